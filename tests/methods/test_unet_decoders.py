"""Decoders of the U-Net kind over levels of any strides. That their logits are those of segmentation_models.pytorch:
`tests/weights/test_maps_smp.py`, where that is installed; the figures here are of it and must hold everywhere.
"""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia.layers.decoder_block import ScSE
from intarsia.methods.unet_head import UNetHead

FIVE = ((8, 2), (8, 4), (16, 8), (16, 16), (24, 32))
FOUR = FIVE[1:]
"""(channels, stride) of levels."""
SMALL = {"num_classes": 3, "decoder_channels": (16, 16, 8, 8, 8)}


def maps(levels: tuple[tuple[int, int], ...], height: int, width: int) -> list[Tensor]:
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(2, c, -(-height // stride), -(-width // stride), generator=draw) for c, stride in levels]


def built(kind: Any, levels: tuple[tuple[int, int], ...], **arguments: Any) -> Any:
    torch.manual_seed(0)
    channels, index = [c for c, _ in levels], range(len(levels))
    return kind(in_channels=channels, in_index=tuple(index), **{**SMALL, **arguments}).eval()


@pytest.mark.parametrize("levels", [FIVE, FOUR], ids=["five", "four"])
@pytest.mark.parametrize("attention", [None, "scse"])
def test_logits_have_the_size_of_the_image(levels: tuple[tuple[int, int], ...], attention: str | None) -> None:
    head = built(UNetHead, levels, attention=attention)
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
