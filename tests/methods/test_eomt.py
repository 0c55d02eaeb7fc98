"""EoMT on networks of timm: who looks at whom, how masked attention fades, images of any size, what is refused.

That classes, masks, losses and gradients are those of transformers is `tests/weights/test_maps_eomt.py`.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.backbones.timm import TIMM
from intarsia.contracts import OpenLevel
from intarsia.layers.levels import resize
from intarsia.layers.query_masks import attention_mask
from intarsia.methods.eomt import EoMTHead
from intarsia.models.mask_classifier import MaskClassifier

pytest.importorskip("timm", reason="timm is not installed")

SMALL = {"embed_dim": 16, "depth": 4, "num_heads": 2}
PLAIN = ("vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3", "vit_small_patch16_224")
"""With positions that are added, with positions that are rotated, and without registers."""


def trunk(name: str, **options: Any) -> TIMM:
    torch.manual_seed(0)
    return TIMM(name, options={**SMALL, "patch_size": 16}, **options).eval()


def model(name: str = PLAIN[0], **head: Any) -> MaskClassifier:
    backbone = trunk(name, open_blocks=2)
    width = backbone.features[0].channels
    own = EoMTHead(**{"in_channels": width, "num_classes": 3, "num_queries": 5, "num_blocks": 2, **head})
    return MaskClassifier(backbone=backbone, decode_head=own).eval()


def tokens_of(level: OpenLevel) -> Tensor:
    return torch.cat([level.prefix, level.map.flatten(2).transpose(1, 2)], dim=1)


@pytest.mark.parametrize("name", PLAIN)
def test_the_last_blocks_give_what_the_whole_network_gives(name: str) -> None:
    """Also behind tokens at which nobody looks: positions do not move."""
    backbone, images = trunk(name, open_blocks=2), torch.randn(2, 3, 48, 80)
    with torch.no_grad():
        (level,) = backbone(images)
        expected = backbone.network[0].forward_features(images)
        count = expected.shape[1]
        alone, behind = tokens_of(level), torch.cat([torch.randn(2, 3, level.map.shape[1]), tokens_of(level)], dim=1)
        mask = torch.ones(2, 1, count + 3, count + 3, dtype=torch.bool)
        mask[:, :, 3:, :3] = False
        for block in level.blocks:
            alone, behind = block(alone, None), block(behind, mask)
        torch.testing.assert_close(level.norm(alone), expected)
        torch.testing.assert_close(level.norm(behind)[:, 3:], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", PLAIN)
def test_every_parameter_of_the_whole_network_learns(name: str) -> None:
    network = model(name).train().double()
    layers = network.queries(torch.randn(2, 3, 48, 80, dtype=torch.float64))
    assert len(layers) == 3
    torch.stack([(x * torch.randn_like(x)).sum() for layer in layers for x in layer]).sum().backward()
    without = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


def test_recomputed_blocks_learn_the_same() -> None:
    found = []
    for recompute in (False, True):
        network = model().train()
        network.backbone.checkpoint_activations = recompute
        torch.manual_seed(1)
        images = torch.randn(1, 3, 32, 48)
        torch.stack([x.square().mean() for layer in network.queries(images) for x in layer]).sum().backward()
        found.append({name: p.grad for name, p in network.named_parameters()})
    assert found[0].keys() == found[1].keys()
    for name, gradient in found[0].items():
        torch.testing.assert_close(gradient, found[1][name], msg=name)


def test_images_of_any_size_and_masks_that_cover_them_alone() -> None:
    """Patches reach beyond the image; cells of masks that lie there are none of the answer."""
    network = model()
    with torch.no_grad():
        (found,) = network.queries(torch.randn(2, 3, 50, 70))
        assert network(torch.randn(2, 3, 50, 70)).shape == (2, 3, 50, 70)
    assert found.mask_logits.shape == (2, 5, 13, 18)
    assert found.class_logits.shape == (2, 5, 4)


def test_queries_look_at_the_mask_that_they_predicted_and_all_others_at_everything() -> None:
    network, masks = model().train(), []
    (level,) = network.backbone(torch.randn(2, 3, 48, 80))
    noted = [lambda x, mask, block=block: (masks.append(mask), block(x, mask))[1] for block in level.blocks]
    found = network.decode_head([level._replace(blocks=noted)])
    assert len(masks) == 2
    for mask, before in zip(masks, found, strict=False):
        inside = resize(before.mask_logits, (3, 5)).flatten(2) > 0  # (N, Q, h w)
        assert 0 < inside.float().mean() < 1
        assert mask[:, 0, :5, 10:].equal(inside)  # behind 5 queries, a class token and 4 registers
        assert mask[:, 0, :5, :10].all()
        assert mask[:, 0, 5:].all()


def test_outside_of_training_queries_look_at_everything() -> None:
    network, masks = model(), []
    (level,) = network.backbone(torch.randn(1, 3, 48, 80))
    noted = [lambda x, mask, block=block: (masks.append(mask), block(x, mask))[1] for block in level.blocks]
    assert len(network.decode_head([level._replace(blocks=noted)])) == 1
    assert masks == [None, None]


def test_a_query_is_freed_with_the_probability_that_is_left() -> None:
    for probability in (0.0, 0.3, 1.0):
        mask = attention_mask(torch.full((1, 2000, 8, 8), -1.0), (2, 2), 1, torch.tensor(probability))
        freed = mask[0, 0, :2000, 2001:]
        assert freed.all(dim=1).equal(freed.any(dim=1)), "a query is freed as a whole"
        assert freed.float().mean().item() == pytest.approx(1 - probability, abs=0.04)


def test_masked_attention_fades_block_by_block_as_in_the_paper() -> None:
    """The steps of the authors' configuration for ADE20K, of 39,120; with the exact ones it is in tests/recipes."""
    head = EoMTHead(in_channels=8, num_classes=3)
    starts, ends, steps = (6520, 13040, 19560, 26080), (13040, 19560, 26080, 32600), 39120
    for step in (0, 6519, 6520, 7000, 13039, 13040, 15000, 26080, 32599, 32600, 39119):
        head.set_training_progress(step / steps)
        expected = [
            1.0 if step < start else 0.0 if step >= end else (1 - (step - start) / (end - start)) ** 0.9
            for start, end in zip(starts, ends, strict=True)
        ]
        torch.testing.assert_close(head.attn_mask_probs, torch.tensor(expected), rtol=0, atol=1e-5)


def test_other_schedules_and_other_numbers_of_blocks() -> None:
    head = EoMTHead(in_channels=8, num_classes=3, num_blocks=2, annealing_start=[0, 0.5], annealing_end=[0.5, 1])
    head.set_training_progress(0.25)
    torch.testing.assert_close(head.attn_mask_probs, torch.tensor([0.5**0.9, 1.0]))
    three = EoMTHead(in_channels=8, num_classes=3, num_blocks=3).annealing  # the authors' on COCO: of 177384 steps
    expected = [(29564, 59128), (73910, 103474), (118256, 147820)]
    torch.testing.assert_close(torch.tensor(three) * 177384, torch.tensor(expected, dtype=torch.float))


@pytest.mark.parametrize(
    ("annealing", "message"),
    [
        ({"annealing_start": [0.1]}, "one entry for each of 2 blocks.*got 1 and 1"),
        ({"annealing_start": [0.1, 0.2], "annealing_end": [0.1, 0.3]}, "to a later one, both in 0..1"),
        ({"annealing_end": [0.6, 1.5]}, "to a later one, both in 0..1"),
        ({"annealing_start": [0.1, 0.9]}, "to a later one, both in 0..1"),
    ],
)
def test_schedules_that_cannot_be(annealing: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EoMTHead(in_channels=8, num_classes=3, num_blocks=2, **annealing)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("test_convnext", {"open_blocks": 2}, "open_blocks is for plain transformers"),
        ("test_vit", {"open_blocks": 6}, "open_blocks of test_vit is from 1 to 5, as it has one more; got 6"),
        ("test_vit", {"open_blocks": 2, "norm": True}, "no out_indices, no norm"),
        ("eva02_tiny_patch14_224", {"open_blocks": 2}, "has no norm behind its last block"),
    ],
)
def test_networks_whose_blocks_cannot_be_opened(name: str, arguments: dict[str, Any], message: str) -> None:
    with torch.device("meta"), pytest.raises(ValueError, match=message):
        TIMM(name, **arguments)


def test_blocks_and_head_must_agree() -> None:
    backbone = trunk("vit_small_patch16_224", open_blocks=2)
    with pytest.raises(ValueError, match=r"runs the last 4 blocks.* leaves it 2;.*Set open_blocks=4 in the backbone"):
        MaskClassifier(backbone=backbone, decode_head=EoMTHead(in_channels=16, num_classes=3))
