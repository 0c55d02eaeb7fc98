"""The pyramid out of levels of one size."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.contracts import FeatureSpec
from intarsia.necks.multi_level import MultiLevelNeck

PLAIN = (FeatureSpec(6, 16),) * 4


def neck(levels: int = 4) -> MultiLevelNeck:
    torch.manual_seed(0)
    return MultiLevelNeck(in_channels=(6,) * levels, out_channels=5, scales=(4, 2, 1, 0.5))


def test_each_level_is_resized_between_its_convolutions() -> None:
    made = neck()
    levels = [torch.randn(2, 6, 4, 6) for _ in range(4)]
    for i, (found, size) in enumerate(zip(made(levels), [(16, 24), (8, 12), (4, 6), (2, 3)], strict=True)):
        x = F.interpolate(made.lateral_convs[i](levels[i]), size=size, mode="bilinear")
        torch.testing.assert_close(found, made.convs[i](x))


def test_sizes_are_rounded_down() -> None:
    sizes = [tuple(level.shape[2:]) for level in neck()([torch.randn(1, 6, 5, 7)] * 4)]
    assert sizes == [(20, 28), (10, 14), (5, 7), (2, 3)]


def test_one_level_gives_all() -> None:
    one, x = neck(levels=1), torch.randn(1, 6, 4, 6)
    assert [tuple(level.shape[1:]) for level in one([x])] == [(5, 16, 24), (5, 8, 12), (5, 4, 6), (5, 2, 3)]
    assert [level.stride for level in one.connect(PLAIN[:1])] == [4, 8, 16, 32]


def test_strides_are_those_of_the_levels_by_the_scales() -> None:
    assert neck().connect(PLAIN) == tuple(FeatureSpec(5, stride) for stride in (4, 8, 16, 32))


def test_parts_of_a_pixel_are_refused() -> None:
    with pytest.raises(ValueError, match=r"turn levels of strides \[2, 2, 2, 2\] into strides \[0.5, 1.0, 2.0, 4.0\]"):
        neck().connect((FeatureSpec(6, 2),) * 4)


@pytest.mark.parametrize("levels", [0, 2, 5])
def test_levels_and_scales_must_agree(levels: int) -> None:
    with pytest.raises(ValueError, match=r"a level for each of scales=.*of one level or as many"):
        neck(levels)
