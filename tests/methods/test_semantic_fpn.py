"""Semantic FPN's head: how far each level is brought up, and what is summed."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.layers.norm import BN
from intarsia.methods.semantic_fpn import FPNHead


def head(**more: Any) -> FPNHead:
    torch.manual_seed(0)
    settings = {"in_channels": (6, 6, 6, 6), "channels": 4, "num_classes": 3, "feature_strides": (4, 8, 16, 32)}
    return FPNHead(**{**settings, "norm": BN, **more}).eval()


def test_each_level_is_convolved_before_each_doubling() -> None:
    fpn = head()
    convolutions = [[name for name, _ in level.named_children() if hasattr(level[int(name)], "conv")]
                    for level in fpn.scale_heads]  # fmt: skip
    assert convolutions == [["0"], ["0"], ["0", "2"], ["0", "2", "4"]]
    names = [name for name in fpn.state_dict() if name.endswith("weight")]
    assert names[:3] == ["conv_seg.weight", "scale_heads.0.0.conv.weight", "scale_heads.0.0.bn.weight"]


@pytest.mark.parametrize("align_corners", [False, True])
def test_levels_are_summed_at_the_size_of_the_finest(align_corners: bool) -> None:
    fpn = head(align_corners=align_corners)
    sizes = ((17, 25), (9, 13), (5, 7), (3, 4))  # doubled, they are not each other's
    levels = [torch.randn(2, 6, *size) for size in sizes]

    def enlarge(x: Tensor, size: tuple[int, ...]) -> Tensor:
        return F.interpolate(x, size=size, mode="bilinear", align_corners=align_corners)

    total = fpn.scale_heads[0][0](levels[0])
    for i in (1, 2, 3):
        x = levels[i]
        for layer in fpn.scale_heads[i][::2]:
            x = layer(x)
            x = enlarge(x, (2 * x.shape[2], 2 * x.shape[3]))
        total = total + enlarge(x, sizes[0])
    torch.testing.assert_close(fpn(levels), fpn.conv_seg(total))


def test_levels_of_equal_stride_are_convolved_once() -> None:
    fpn = head(in_channels=(6, 6), in_index=(0, 1), feature_strides=(8, 8))
    assert [len(level) for level in fpn.scale_heads] == [1, 1]
    assert fpn([torch.randn(2, 6, 8, 8)] * 2).shape == (2, 3, 8, 8)


@pytest.mark.parametrize("strides", [(), (4, 8, 16), (4, 8, 16, 24), (8, 4, 16, 32), (4, 8, 16, 34), (0, 0, 0, 0)])
def test_strides_that_doublings_cannot_reach_are_refused(strides: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"stride of each of FPNHead's 4 levels, each the first stride times 1, 2, 4"):
        head(feature_strides=strides)


def test_levels_must_pair_up() -> None:
    with pytest.raises(ValueError, match="FPNHead reads several levels"):
        head(in_index=(0, 1))
