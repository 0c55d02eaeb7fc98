"""Decoders of the U-Net kind over levels of any strides. That their logits are those of segmentation_models.pytorch:
`tests/weights/test_maps_smp.py`, where that is installed.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.layers.decoder_block import ScSE
from intarsia.methods.linknet import LinknetHead
from intarsia.methods.manet import MANetHead, PositionAttention
from intarsia.methods.pan import PANHead
from intarsia.methods.unet_head import UNetHead
from intarsia.methods.unetplusplus import UNetPlusPlusHead

FIVE = ((8, 2), (8, 4), (16, 8), (16, 16), (24, 32))
FOUR = FIVE[1:]
"""(channels, stride) of levels."""
SMALL = {"num_classes": 3, "decoder_channels": (16, 16, 8, 8, 8)}
LINKNET = {"num_classes": 3, "channels": 8}


def maps(levels: tuple[tuple[int, int], ...], height: int, width: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, -(-height // stride), -(-width // stride), generator=draw) for c, stride in levels]


def built(kind: Any, levels: tuple[tuple[int, int], ...], **arguments: Any) -> Any:
    torch.manual_seed(0)
    channels, index = [c for c, _ in levels], range(len(levels))
    usual = LINKNET if kind is LinknetHead else SMALL
    return kind(in_channels=channels, in_index=tuple(index), **{**usual, **arguments}).eval()


KINDS: list[tuple[Any, dict[str, Any]]] = [
    (UNetHead, {}), (UNetHead, {"attention": "scse"}), (UNetPlusPlusHead, {"attention": "scse"}), (LinknetHead, {}),
    (MANetHead, {}),
]  # fmt: skip


@pytest.mark.parametrize("levels", [FIVE, FOUR], ids=["five", "four"])
@pytest.mark.parametrize(("kind", "arguments"), KINDS)
def test_logits_have_the_size_of_the_image(
    levels: tuple[tuple[int, int], ...], kind: Any, arguments: dict[str, Any]
) -> None:
    head = built(kind, levels, **arguments)
    assert head(maps(levels, 64, 96)).shape == (2, 3, 64, 96)
    finest = levels[0][1]
    assert head(maps(levels, 65, 97)).shape == (2, 3, -(-65 // finest) * finest, -(-97 // finest) * finest)


def test_fewer_blocks_than_doublings_leave_the_logits_small() -> None:
    assert built(UNetHead, FIVE, decoder_channels=(16, 8, 8, 8))(maps(FIVE, 64, 96)).shape == (2, 3, 32, 48)


def test_the_last_block_with_a_level_beside_it_attends_before_its_convolutions() -> None:
    """Without a level there is nothing to weigh that the block before has not weighed."""
    last = [built(UNetHead, FIVE, attention="scse", decoder_channels=(16,) * n).blocks[-1] for n in (4, 5)]
    assert [isinstance(block.attention1, ScSE) for block in last] == [True, False]


def test_gates_of_channels_and_pixels_are_added() -> None:
    module = ScSE(32)
    x = torch.randn(2, 32, 3, 4)
    for gate in (module.cse, module.sse):
        torch.nn.init.zeros_(gate[-2].weight)
        torch.nn.init.zeros_(gate[-2].bias)
    torch.testing.assert_close(module(x), x)  # a half and a half
    torch.nn.init.constant_(module.sse[-2].bias, -100.0)
    torch.testing.assert_close(module(x), x / 2)
    assert module.cse[1].out_channels == 2
    assert ScSE(8).cse[1].out_channels == 1


def test_every_gate_gets_a_gradient() -> None:
    """With more than one unit within, where no rectifier closes all of them."""
    levels = tuple((64, stride) for stride in (2, 4, 8))
    for kind in (UNetHead, UNetPlusPlusHead, MANetHead):
        attention = {} if kind is MANetHead else {"attention": "scse"}
        head = built(kind, levels, decoder_channels=(64, 64, 64), **attention)
        head(maps(levels, 32, 48)).square().sum().backward()
        gates = {name: p.grad for name, p in head.named_parameters() if any(g in name for g in ("cse", "sse", "se_"))}
        assert gates
        assert [name for name, gradient in gates.items() if not gradient.any()] == []


def test_single_levels_and_pairs() -> None:
    """The least that a decoder can read."""
    one, two = FIVE[:1], FIVE[:2]
    for kind in (UNetHead, UNetPlusPlusHead, MANetHead):
        assert built(kind, one, decoder_channels=(8,))(maps(one, 32, 48)).shape == (2, 3, 32, 48)
        assert built(kind, two, decoder_channels=(8, 8))(maps(two, 32, 48)).shape == (2, 3, 32, 48)
    assert built(LinknetHead, one, num_blocks=1)(maps(one, 32, 48)).shape == (2, 3, 32, 48)


def test_the_shares_of_positions_are_those_of_an_image() -> None:
    """One softmax over all pairs: with nothing to tell them apart, each pair has a share of one in (h w) squared."""
    attention = PositionAttention(4, 2)
    for parameter in attention.parameters():
        torch.nn.init.zeros_(parameter)
    attention.out_conv.weight.data[range(4), range(4), 1, 1] = 1.0
    torch.nn.init.constant_(attention.bottom_conv.bias, 30.0)
    x = torch.randn(2, 4, 5, 6)
    torch.testing.assert_close(attention(x), x + 1.0)  # 30 positions of 30, each with a share of 1 in 900


def test_pan_ends_at_its_finest_level() -> None:
    levels = ((8, 4), (8, 8), (16, 16))
    head = PANHead(in_channels=(8, 8, 16), in_index=(0, 1, 2), num_classes=3, channels=4).eval()
    assert head(maps(levels, 128, 192)).shape == (2, 3, 32, 48)
    assert head.align_corners


def test_linknet_wants_a_block_for_each_level() -> None:
    with pytest.raises(ValueError, match="num_blocks must be 5 or more for 5 levels; got 4"):
        LinknetHead(in_channels=(8, 8, 16, 16, 24), num_classes=3, num_blocks=4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"decoder_channels": (8, 8, 8)}, "UNetHead needs a block for each level but the coarsest.* 4 or more"),
        ({"attention": "se"}, "UNetHead has the attention 'scse' or None; got attention='se'"),
        ({"interpolation": "linear"}, "UNetHead enlarges by one of nearest, .*; got interpolation='linear'"),
        ({"in_index": (0, 1)}, "UNetHead reads several levels"),
    ],
)
def test_settings_that_cannot_be(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.compile(message, re.DOTALL)):
        UNetHead(**{"in_channels": (8, 8, 16, 16, 24), **SMALL, **arguments})


def test_pan_trains_on_crops_that_are_smaller_than_its_attention_needs() -> None:
    """The smallest crop of a recipe has two cells at stride 32; larger maps are not padded."""
    head: Any = PANHead(in_channels=(8, 16), in_index=(0, 1), num_classes=3, channels=4).train()
    assert head([torch.randn(2, 8, 4, 5), torch.randn(2, 16, 2, 3)]).shape == (2, 3, 4, 5)
    large = [torch.randn(2, 8, 24, 24), torch.randn(2, 16, 12, 12)]
    found, attention = head(large), head.fpa
    head._attended = attention
    torch.testing.assert_close(found, head(large))
