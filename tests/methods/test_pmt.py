"""PMT against DINOv3's own layers in transformers, and against its formula written out; several heads on one pass."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.backbones.timm import TIMM
from intarsia.contracts import OpenLevel
from intarsia.layers.levels import resize
from intarsia.methods.linear_head import LinearHead
from intarsia.methods.pmt import Block, PMTHead, rotations
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.models.mask_classifier import MaskClassifier
from intarsia.models.shared_trunk import SharedTrunk
from intarsia.weights.maps import recognise

pytest.importorskip("timm", reason="timm is not installed")

SMALL = {"embed_dim": 16, "depth": 4, "num_heads": 2, "patch_size": 16}
PLAIN = ("vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb", "vit_small_patch16_224")
HEAD = {"in_channels": (16, 16), "in_index": (0, 1), "num_queries": 5, "num_blocks": 3, "num_heads": 2,
        "hidden_channels": 24}  # fmt: skip


def trunk(name: str = PLAIN[1], seed: int = 0, **options: Any) -> TIMM:
    torch.manual_seed(seed)
    given = {"norm": True, "prefix": True, "out_indices": (1, 3), **options}
    return TIMM(name, options=SMALL, **given).eval()


def randomised(module: nn.Module, seed: int) -> nn.Module:
    """Nothing is at its beginning, and running statistics are some."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in module.state_dict().items():
        if value.is_floating_point() and "attn_mask_probs" not in name:
            value.copy_(torch.rand(value.shape, generator=generator) * 0.4 + (0.8 if "running_var" in name else -0.2))
    return module


def model(name: str = PLAIN[1], seed: int = 1, num_classes: int = 3) -> MaskClassifier:
    head = randomised(PMTHead(**HEAD, num_classes=num_classes), seed)
    return MaskClassifier(backbone=trunk(name), decode_head=head).eval()  # type: ignore[arg-type]


def test_a_block_is_that_of_dinov3_in_transformers() -> None:
    """Rotations, too: of patches alone, the tokens before them stay where they are."""
    theirs = pytest.importorskip("transformers.models.dinov3_vit.modeling_dinov3_vit", reason="transformers is missing")
    config = theirs.DINOv3ViTConfig(
        hidden_size=32, num_attention_heads=2, intermediate_size=24, image_size=64, patch_size=16, layer_norm_eps=1e-5
    )
    layer = theirs.DINOv3ViTLayer(config).double().eval()
    rope = theirs.DINOv3ViTRopePositionEmbedding(config).eval()
    ours = randomised(Block(32, 2, 24).double(), 3)
    assert layer.load_state_dict(ours.state_dict(), strict=True)
    tokens = torch.randn(2, 5 + 12, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    cosines, sines = rope(torch.zeros(2, 3, 48, 64, dtype=torch.float64))
    found = rotations((3, 4), 16, tokens)
    torch.testing.assert_close(found, (sines, cosines), rtol=0, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(
            ours(tokens, (sines, cosines), None), layer(tokens, position_embeddings=(cosines, sines))
        )


@pytest.mark.parametrize("name", PLAIN)
def test_levels_hold_all_tokens_behind_the_final_norm(name: str) -> None:
    backbone, images = trunk(name), torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        last = backbone(images)[1]
        tokens = torch.cat([last.prefix, last.map.flatten(2).transpose(1, 2)], dim=1)
        torch.testing.assert_close(tokens, backbone.network[0].forward_features(images))
    assert [level.prefix for level in backbone.features] == [True, True]


def plainly(head: PMTHead, levels: list[OpenLevel]) -> tuple[Tensor, Tensor]:
    """The head's answer, step by step as its authors' code has it."""
    lateral = []
    for i, level in enumerate(levels):
        x = torch.cat([level.prefix, level.map.flatten(2).transpose(1, 2)], dim=1)
        norm = head.bn[i]
        x = (x - norm.running_mean) / torch.sqrt(norm.running_var + 1e-5) * norm.weight + norm.bias
        first, _, second = head.lateral_projections[i]
        lateral.append((x + second(F.gelu(first(x)))) * head.scalers[i])
    grid = tuple(levels[0].map.shape[2:])
    x = torch.cat([head.q.weight.expand(x.shape[0], -1, -1), sum(lateral)], dim=1)
    for block in head.blocks:
        x = block(x, rotations(grid, 8, x), None)
    x = head.decoder_norm(x)
    queries, patches = x[:, :5], x[:, 5 + levels[0].prefix.shape[1] :]
    pixels = head.upscale(patches.transpose(1, 2).reshape(x.shape[0], -1, *grid))
    return head.class_head(queries), torch.einsum("bqc,bchw->bqhw", head.mask_head(queries), pixels)


@pytest.mark.parametrize("name", PLAIN)
def test_the_answer_is_that_of_its_formula(name: str) -> None:
    network = model(name)
    images = torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        levels = network.backbone(images)
        (found,) = network.queries(images)
        classes, masks = plainly(network.decode_head, levels)  # type: ignore[arg-type]
    torch.testing.assert_close(found.class_logits, classes)
    torch.testing.assert_close(found.mask_logits, masks)


def test_images_of_any_size_and_masks_that_cover_them_alone() -> None:
    with torch.no_grad():
        (found,) = model().queries(torch.randn(2, 3, 50, 70))
        assert model()(torch.randn(2, 3, 50, 70)).shape == (2, 3, 50, 70)
    assert found.mask_logits.shape == (2, 5, 13, 18)


def test_the_head_learns_and_queries_look_at_their_masks() -> None:
    network, masks = model().train().double(), []
    network.backbone.requires_grad_(False)
    for block in network.decode_head.blocks:  # type: ignore[union-attr]
        block.register_forward_pre_hook(lambda _, given: masks.append(given[2]))
    layers = network.queries(torch.randn(2, 3, 48, 80, dtype=torch.float64))
    assert (len(layers), len(masks)) == (4, 3)
    for mask, before in zip(masks, layers, strict=False):
        inside = resize(before.mask_logits, (3, 5)).flatten(2) > 0
        assert 0 < inside.float().mean() < 1
        assert mask[:, 0, :5, 10:].equal(inside)  # behind 5 queries, a class token and 4 registers
        assert mask[:, 0, :5, :10].all()
        assert mask[:, 0, 5:].all()
    torch.stack([(x * torch.randn_like(x)).sum() for layer in layers for x in layer]).sum().backward()
    for name, parameter in network.named_parameters():
        learns = parameter.grad is not None and bool(parameter.grad.abs().max() > 0)
        assert learns == name.startswith("decode_head."), name


def test_names_are_those_of_the_authors_files() -> None:
    """As their module builds them; the backbone is not in their files."""
    head = PMTHead(**HEAD, num_classes=3)
    expected = {"q.weight", "class_head.weight", "class_head.bias", "decoder_norm.weight", "decoder_norm.bias",
                "attn_mask_probs"}  # fmt: skip
    for i in range(2):
        expected |= {f"lateral_projections.{i}.{k}.{kind}" for k in (0, 2) for kind in ("weight", "bias")}
        expected |= {f"scalers.{i}", f"upscale.{i}.conv2.weight"}
        expected |= {f"upscale.{i}.{part}.{kind}" for part in ("conv1", "norm") for kind in ("weight", "bias")}
    for i in range(3):
        parts = (
            "norm1",
            "norm2",
            "attention.q_proj",
            "attention.v_proj",
            "attention.o_proj",
            "mlp.up_proj",
            "mlp.down_proj",
        )
        expected |= {f"blocks.{i}.{part}.{kind}" for part in parts for kind in ("weight", "bias")}
        expected |= {f"blocks.{i}.attention.k_proj.weight"}
        expected |= {f"blocks.{i}.layer_scale{k}.lambda1" for k in (1, 2)}
        expected |= {f"mask_head.{2 * i}.{kind}" for kind in ("weight", "bias")}
    statistics = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    own = {f"bn.{i}.{kind}" for i in range(2) for kind in statistics}
    assert set(head.state_dict()) == expected | own
    theirs = {f"network.decoder.{name}": value for name, value in head.state_dict().items() if name in expected}
    theirs |= {f"network.{name}": value for name, value in head.state_dict().items() if name in own}
    found = recognise(theirs)
    assert found is not None
    assert (found.name, found.base) == ("PMT of its authors", "taken")
    state, unknown = found.convert(theirs)
    assert unknown == ()
    assert set(state) == {f"decode_head.{name}" for name in head.state_dict()}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"in_channels": (16, 8)}, "adds up levels, which have one number of channels"),
        ({"num_heads": 3}, "num_heads must leave each head a multiple of 4 of 16 channels; got 3"),
        ({"annealing_start": [0.1]}, "one entry for each of 3 blocks"),
    ],
)
def test_heads_that_cannot_be(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PMTHead(**{**HEAD, "num_classes": 3, **wrong})


def test_backbone_and_head_must_agree() -> None:
    with pytest.raises(ValueError, match=r"reads all tokens before the patches .* gives none.*Set prefix=True"):
        MaskClassifier(backbone=trunk(prefix=False), decode_head=PMTHead(**HEAD, num_classes=3))
    with pytest.raises(ValueError, match=r"reads maps alone, but .* gives the tokens before the patches"):
        EncoderDecoder(backbone=trunk(), decode_head=LinearHead(in_channels=16, in_index=0, num_classes=3))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("test_convnext", {}, "prefix is for plain transformers with a class token or registers"),
        ("vit_base_patch16_siglip_224", {}, "prefix is for plain transformers with a class token or registers"),
        ("test_vit", {"open_blocks": 2}, "gives the tokens before the patches anyhow: no prefix"),
    ],
)
def test_networks_without_such_tokens(name: str, arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        TIMM(name, prefix=True, **arguments)


# --- Several heads on one pass ------------------------------------------------------------------------------------


def test_heads_on_one_pass_give_what_their_models_give() -> None:
    roads, trees = model(seed=1), model(seed=2, num_classes=6)
    both, images, passes = SharedTrunk({"roads": roads, "trees": trees}).eval(), torch.randn(2, 3, 48, 80), []
    both.backbone.register_forward_hook(lambda *_: passes.append(1))
    with torch.no_grad():
        found = both(images)
        assert passes == [1]
        assert found["roads"].equal(roads(images))
        assert found["trees"].equal(trees(images))
    assert found["trees"].shape == (2, 6, 48, 80)


def test_heads_of_pixels_share_a_pass_too() -> None:
    models = {
        name: EncoderDecoder(
            backbone=trunk(prefix=False), decode_head=LinearHead(in_channels=16, in_index=1, num_classes=count)
        ).eval()
        for name, count in (("a", 2), ("b", 4))
    }
    images = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        found = SharedTrunk(models).eval()(images)
        for name, own in models.items():
            assert found[name].equal(own(images))


def test_models_that_cannot_share_a_pass() -> None:
    other = model(seed=2)
    with torch.no_grad():
        next(other.backbone.parameters()).add_(1e-3)
    with pytest.raises(ValueError, match=r"the backbones of 'a' and 'b' differ in 1 tensors \(first cls_token\)"):
        SharedTrunk({"a": model(), "b": other})
    with pytest.raises(ValueError, match="'a' is a Linear"):
        SharedTrunk({"a": nn.Linear(2, 2)})
    with pytest.raises(ValueError, match="a model at least"):
        SharedTrunk({})
