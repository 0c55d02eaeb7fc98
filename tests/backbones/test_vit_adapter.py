"""ViT-Adapter: sizes of the paper's table, and the equations written out once more."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.norm import BN
from intarsia.methods.fcn import FCNHead
from intarsia.methods.upernet import UPerHead
from intarsia.weights.file import apply_state
from intarsia.weights.pretrained.fit import fit_to, may_lack
from intarsia.weights.pretrained.timm_hub import as_published
from tests.recipes.test_recipes import own

timm = pytest.importorskip("timm", reason="timm is not installed")

from intarsia.backbones.vit_adapter import ViTAdapter  # noqa: E402

SIZES = {
    "vit_tiny_patch16_224": (6, 1.0, 36.1),
    "deit_small_patch16_224": (6, 1.0, 57.6),
    "vit_base_patch16_384": (12, 0.5, 133.9),
    "vit_large_patch16_384": (16, 0.5, 363.8),
}
"""Transformer -> heads and share of values of its adapter, millions of parameters under UPerNet on ADE20K (the paper's
table of UPerNet; T and S are DeiTs at 224 pixels, B and L AugRegs at 384)."""


def small(**changes: Any) -> ViTAdapter:
    torch.manual_seed(0)
    return ViTAdapter("test_vit", **{"conv_channels": 8, "deform_num_heads": 4, **changes})


@pytest.mark.parametrize("name", SIZES)
def test_parameters_of_the_paper(name: str) -> None:
    heads, ratio, millions = SIZES[name]
    with torch.device("meta"):
        trunk = ViTAdapter(name, deform_num_heads=heads, deform_ratio=ratio, prefix_tokens=False)
        width = trunk.features[0].channels
        levels = {"in_channels": [width] * 4, "in_index": [0, 1, 2, 3]}
        head = UPerHead(**levels, channels=512, num_classes=150, pool_scales=(1, 2, 3, 6), norm=BN)
        auxiliary = FCNHead(
            in_channels=width, in_index=2, channels=256, num_convs=1, concat_input=False, num_classes=150, norm=BN
        )
    parts = (trunk, head, auxiliary)
    count = sum(parameter.numel() for part in parts for parameter in part.parameters() if parameter.requires_grad)
    assert round(count / 1e6, 1) == millions


# --- The paper once more ------------------------------------------------------------------------------------------


def attended(attention: Any, query: Tensor, memory: Tensor, sizes: list[tuple[int, int]], points: Tensor) -> Tensor:
    """Equation 2 of Deformable DETR, one query, head, level and point at a time."""
    heads, count = attention.num_heads, attention.num_points
    levels = attention.num_levels
    values = attention.value_proj(memory).unflatten(-1, (heads, -1))
    offsets = attention.sampling_offsets(query).unflatten(-1, (heads, levels, count, 2))
    weights = attention.attention_weights(query).unflatten(-1, (heads, levels * count)).softmax(-1)
    outs = []
    for head in range(heads):
        total = torch.zeros(*query.shape[:2], values.shape[-1], dtype=query.dtype)
        start = 0
        for level, (height, width) in enumerate(sizes):
            plane = values[:, start : start + height * width, head].transpose(1, 2).unflatten(2, (height, width))
            start += height * width
            for point in range(count):
                at = points + offsets[:, :, head, level, point] / torch.tensor([width, height], dtype=query.dtype)
                seen = F.grid_sample(plane, 2 * at[:, :, None] - 1, align_corners=False)[..., 0].transpose(1, 2)
                total = total + seen * weights[:, :, head, level * count + point, None]
        outs.append(total)
    found: Tensor = attention.output_proj(torch.cat(outs, -1))
    return found


def grid(height: int, width: int) -> Tensor:
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return torch.stack([x / width, y / height], -1).flatten(0, 1).double()


def by_the_paper(trunk: Any, images: Tensor) -> list[Tensor]:
    """Sections 3.3 to 3.5 and figure 4, from the parts of the network."""
    height, width = images.shape[2] // 16, images.shape[3] // 16
    sizes = [(2 * height, 2 * width), (height, width), (height // 2, width // 2)]
    c1 = trunk.spm.stem(images)
    c2 = trunk.spm.conv2(c1)
    c3 = trunk.spm.conv3(c2)
    c4 = trunk.spm.conv4(c3)
    first = trunk.spm.fc1(c1)
    coarse = [fc(x) for fc, x in zip((trunk.spm.fc2, trunk.spm.fc3, trunk.spm.fc4), (c2, c3, c4), strict=True)]
    c = torch.cat([x.flatten(2).mT + e for x, e in zip(coarse, trunk.level_embed, strict=True)], 1)
    x = trunk.network[0]._pos_embed(trunk.patch_embed(images))
    cls, x = x[:, :1], x[:, 1:]
    everywhere = torch.cat([grid(*size) for size in sizes])
    maps = []
    for interaction, stretch in zip(trunk.interactions, ([0], [1, 2], [3], [4, 5]), strict=True):
        i = interaction.injector
        x = x + i.gamma * attended(i.attn, i.query_norm(x), i.feat_norm(c), sizes, grid(height, width))
        tokens = torch.cat([cls, x], 1)
        for block in stretch:
            tokens = trunk.blocks[block](tokens)
        cls, x = tokens[:, :1], tokens[:, 1:]
        for e in (interaction.extractor, *(interaction.extra_extractors or ())):
            c = c + attended(e.attn, e.query_norm(c), e.feat_norm(x), [(height, width)], everywhere)
            hidden = e.ffn.fc1(e.ffn_norm(c))
            n = height * width // 4
            parts = [hidden[:, : 16 * n], hidden[:, 16 * n : 20 * n], hidden[:, 20 * n :]]
            mixed = [e.ffn.dwconv.dwconv(p.mT.unflatten(2, s)).flatten(2).mT for p, s in zip(parts, sizes, strict=True)]
            c = c + e.ffn.fc2(F.gelu(torch.cat(mixed, 1)))
        maps.append(x.mT.unflatten(2, (height, width)))
    n = height * width // 4
    split = [c[:, : 16 * n], c[:, 16 * n : 20 * n], c[:, 20 * n :]]
    levels = [part.mT.unflatten(2, size) for part, size in zip(split, sizes, strict=True)]
    levels = [trunk.up(levels[0]) + first, *levels]
    scaled = [F.interpolate(m, scale_factor=s, mode="bilinear") for m, s in zip(maps, (4, 2, 1, 0.5), strict=True)]
    norms = (trunk.norm1, trunk.norm2, trunk.norm3, trunk.norm4)
    return [norm(level + m) for norm, level, m in zip(norms, levels, scaled, strict=True)]


def test_levels_are_those_of_the_paper() -> None:
    trunk = small(deform_ratio=0.5).double().eval()
    for interaction in trunk.interactions:
        for name, parameter in interaction.named_parameters():
            if "gamma" in name or "sampling_offsets.weight" in name or "attention_weights" in name:
                nn.init.normal_(parameter, std=0.3)
    images = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    with torch.no_grad():
        found, expected = trunk(images), by_the_paper(trunk, images)
    for level, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(level, wanted, rtol=1e-6, atol=1e-6)


def test_at_first_the_transformer_is_as_it_was() -> None:
    trunk = small().eval()
    alone = timm.create_model("test_vit", num_classes=0, dynamic_img_size=True).eval()
    alone.load_state_dict(trunk.state_dict(), strict=False)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        tokens, rope = trunk._tokens(images)
        sizes = [(8, 8), (4, 4), (2, 2)]
        _, maps = trunk._interacted(torch.randn(1, 84, 64), tokens, rope, sizes)
        wanted = alone.forward_intermediates(images, indices=[0, 2, 3, 5], intermediates_only=True)
    for found, expected in zip(maps, wanted, strict=True):
        torch.testing.assert_close(found, expected)


def test_images_of_any_size_and_networks_with_rotations() -> None:
    trunk = ViTAdapter(
        "vit_small_patch16_dinov3", conv_channels=8, options={"embed_dim": 48, "num_heads": 2, "depth": 4}
    ).train()
    levels = trunk(torch.randn(2, 3, 50, 75))
    assert [tuple(level.shape) for level in levels] == [(2, 48, 13, 19), (2, 48, 7, 10), (2, 48, 4, 5), (2, 48, 2, 3)]
    assert trunk.interaction_indexes == ((0, 0), (1, 1), (2, 2), (3, 3))
    sum(level.square().mean() for level in levels).backward()  # type: ignore[union-attr]
    still = [name for name, parameter in trunk.named_parameters() if parameter.grad is None]
    assert still == []


def test_without_the_tokens_in_front() -> None:
    trunk = small(prefix_tokens=False)
    assert "cls_token" not in trunk.state_dict(), "nothing would learn it"
    tokens, _ = trunk._tokens(torch.randn(1, 3, 64, 64))
    assert tokens.shape[1] == 16


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("test_convnext", {}, "plain transformers of timm .*; test_convnext is none"),
        ("vit_small_patch14_dinov2", {}, r"those of vit_small_patch14_dinov2 have 14: options=\{'patch_size': 16\}"),
        ("test_vit", {"interaction_indexes": [[0, 2], [3, 5]]}, "four stretches that are all 6 blocks of test_vit"),
        ("test_vit", {"deform_num_heads": 6}, "64 channels cannot be divided among 6"),
    ],
)
def test_what_is_refused(name: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message), torch.device("meta"):
        ViTAdapter(name, **arguments)


@pytest.mark.parametrize("head", ["upernet", "segformer", "mask2former"])
def test_recipes_on_it(head: str) -> None:
    config = own(f"{head}-adapter_timm:test_vit")
    assert config["model"]["backbone"]["type"] == "ViTAdapter"
    assert "neck" not in config["model"]
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values(config, file=head)))
    assert [level.stride for level in task.model.features] == [4, 8, 16, 32]
    with pytest.raises(ValueError, match="test_convnext has levels of several strides"):
        own(f"{head}-adapter_timm:test_convnext")


@pytest.mark.parametrize(("name", "heads", "ratio"), [
    ("vit_tiny_patch16_224", 6, 1.0), ("vit_base_patch16_224", 12, 0.5), ("vit_large_patch16_224", 16, 0.5),
])  # fmt: skip
def test_recipes_have_the_settings_of_the_authors(name: str, heads: int, ratio: float) -> None:
    backbone = own(f"upernet-adapter_timm:{name}")["model"]["backbone"]
    assert (backbone["deform_num_heads"], backbone["deform_ratio"]) == (heads, ratio)


@pytest.mark.parametrize("tokens", [True, False])
def test_the_transformer_starts_from_weights_of_timm(tokens: bool) -> None:
    """Those of another size, with a classifier; the adapter keeps its own start."""
    published = timm.create_model("test_vit", img_size=64)
    trunk = small(prefix_tokens=tokens)
    before = {name: value.clone() for name, value in trunk.state_dict().items()}
    fitted = fit_to(as_published(published.state_dict(), trunk), trunk, kind="ViTAdapter")
    apply_state(trunk, fitted.state, optional=may_lack("ViTAdapter", list(before)))
    after = trunk.state_dict()
    for name, value in published.named_parameters():
        if name.startswith("blocks."):
            assert after[name].equal(value), name
    dropped = set() if tokens else {"cls_token"}
    assert set(fitted.left_out) == {"norm.weight", "norm.bias", "head.weight", "head.bias", *dropped}
    assert after["pos_embed"].shape == before["pos_embed"].shape
    assert all(after[name].equal(before[name]) for name in after if name.startswith(("spm.", "interactions.", "up.")))


@pytest.mark.parametrize(
    ("name", "network", "rate", "decay", "mean"),
    [
        ("deit-t_upernet_8xb2-amp", "deit_tiny_patch16_224.fb_in1k", 12e-5, 0.01, 123.675),
        ("deit-b_upernet_8xb2-amp", "deit_base_patch16_224.fb_in1k", 6e-5, 0.01, 123.675),
        ("augreg-b_upernet_8xb2-amp", "vit_base_patch16_384.augreg_in21k_ft_in1k", 2e-5, 0.01, 127.5),
        ("augreg-l_upernet_8xb2", "vit_large_patch16_384.augreg_in21k_ft_in1k", 2e-5, 0.05, 127.5),
    ],
)
def test_published_recipes_have_the_settings_of_the_authors(
    name: str, network: str, rate: float, decay: float, mean: float
) -> None:
    name = f"vit-adapter-{name}-160k_ade20k-512x512"
    config = recipes.get(name)
    assert check(Config.from_values(config, file=name)) == []
    model, optim = config["model"], config["optim_wrapper"]
    assert (model["backbone"]["model_name"], model["backbone"]["prefix_tokens"]) == (network, False)
    assert model["data_preprocessor"]["mean"][0] == mean
    assert model["test_cfg"] == {"mode": "slide", "crop_size": (512, 512), "stride": (341, 341)}
    assert (optim["optimizer"]["lr"], optim["optimizer"]["weight_decay"]) == (rate, decay)
    assert optim.get("loss_scale") == ({"init_scale": 512.0} if "amp" in name else None)
    large, layers = "-l_" in name, 24 if "-l_" in name else 12
    assert model["backbone"].get("with_cp", False) == large
    if "augreg-b" in name:
        assert optim["paramwise_cfg"]["custom_keys"]["head"] == {"lr_mult": 10.0}
    else:
        assert optim["paramwise_cfg"] == {"num_layers": layers, "layer_decay_rate": 0.95}
    assert {"type": "ResizeToMultiple", "size_divisor": 32} in config["val_dataloader"]["dataset"]["pipeline"]
    assert lower(Config.from_values(config, file=name)).pretrained == (("backbone", f"timm://{network}"),)
