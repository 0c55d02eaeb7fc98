"""JPU: which levels come out, at which strides, and what is refused."""

from __future__ import annotations

import pytest
import torch

from intarsia.contracts import FeatureSpec
from intarsia.layers.levels import resize
from intarsia.necks.jpu import JPU

LEVELS = tuple(FeatureSpec(4 * (i + 1), 4 * 2**i) for i in range(4))


def maps(height: int, width: int) -> list[torch.Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, level.channels, height // level.stride, width // level.stride) for level in LEVELS]


@pytest.mark.parametrize(("start", "end"), [(0, -1), (1, -1), (1, 3), (2, 3), (0, 4)])
def test_levels_that_are_read_come_out_with_the_joint_one_last(start: int, end: int) -> None:
    neck = JPU(in_channels=(4, 8, 12, 16), mid_channels=3, start_level=start, end_level=end, dilations=(1, 2)).eval()
    features = maps(64, 96)
    read = slice(start, None if end == -1 else end)
    outs = neck(features)
    assert all(out is level for out, level in zip(outs[:-1], features[read], strict=False))
    assert neck.connect(LEVELS) == (*LEVELS[read][:-1], FeatureSpec(6, LEVELS[start].stride))
    assert outs[-1].shape == (2, 6, *features[start].shape[2:])


@pytest.mark.parametrize("align_corners", [False, True])
def test_coarse_levels_are_enlarged_behind_their_convolution(align_corners: bool) -> None:
    neck = JPU(in_channels=(4, 8, 12, 16), mid_channels=3, start_level=2, dilations=(1, 3), align_corners=align_corners)
    _, _, fine, coarse = maps(64, 96)
    first, second = (conv(level) for conv, level in zip(neck.eval().conv_layers, (fine, coarse), strict=True))
    joint = torch.cat([first, resize(second, fine.shape[2:], align_corners=align_corners)], dim=1)
    expected = torch.cat([layer(joint) for layer in neck.dilation_layers], dim=1)
    torch.testing.assert_close(neck(maps(64, 96))[-1], expected)


def test_dilations_keep_the_size_and_no_activation_stands_between() -> None:
    neck = JPU(in_channels=(4,), mid_channels=3, dilations=(1, 5))
    depthwise = [layer[0].depthwise_conv for layer in neck.dilation_layers]
    assert [layer.conv.dilation for layer in depthwise] == [(1, 1), (5, 5)]
    assert all(layer.activate is None for layer in depthwise)


@pytest.mark.parametrize(("start", "end"), [(-1, -1), (2, 2), (4, -1), (0, 5), (3, 1)])
def test_levels_that_there_are_not_are_refused(start: int, end: int) -> None:
    with pytest.raises(ValueError, match=rf"JPU has 4 levels .* start_level={start} and end_level={end}"):
        JPU(in_channels=(4, 8, 12, 16), start_level=start, end_level=end)
