"""SETR's decoders beyond what the reference figures cover: the naive one, sums from the last level on, refusals."""

from __future__ import annotations

import pytest
import torch

from intarsia.contracts import FeatureSpec
from intarsia.methods.setr import MLANeck, SETRMLAHead, SETRUPHead


def test_naive_is_a_norm_a_convolution_and_one_enlargement() -> None:
    torch.manual_seed(0)
    head = SETRUPHead(in_channels=6, channels=8, num_classes=3, kernel_size=1, align_corners=True).eval()
    torch.nn.init.normal_(head.norm.weight)  # type: ignore[arg-type]
    x = torch.randn(2, 6, 4, 5)
    normed = head.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    convolved = head.up_convs[0][0](normed)  # type: ignore[index]
    larger = torch.nn.functional.interpolate(convolved, size=(16, 20), mode="bilinear", align_corners=True)
    torch.testing.assert_close(head([torch.randn(2, 6, 4, 5), x]), head.conv_seg(larger))


@pytest.mark.parametrize(("convs", "scale", "size"), [(1, 4, (16, 20)), (4, 2, (64, 80)), (2, 3, (36, 45))])
def test_every_convolution_enlarges(convs: int, scale: int, size: tuple[int, int]) -> None:
    head = SETRUPHead(in_channels=6, channels=8, num_classes=3, num_convs=convs, up_scale=scale)
    assert head([torch.randn(1, 6, 4, 5)]).shape == (1, 3, *size)


def test_other_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="kernel_size of SETRUPHead must be 1 or 3; got 5"):
        SETRUPHead(in_channels=6, channels=8, num_classes=3, kernel_size=5)


def test_levels_are_added_from_the_last_on() -> None:
    """What comes out at i holds the last i + 1 levels and none before them."""
    torch.manual_seed(0)
    neck = MLANeck(in_channels=(6,) * 4, out_channels=5).eval()
    levels = [torch.randn(1, 6, 3, 4) for _ in range(4)]
    before = neck(levels)
    for changed in range(4):
        others = [x + (torch.randn_like(x) if i == changed else 0) for i, x in enumerate(levels)]
        moved = [not a.equal(b) for a, b in zip(neck(others), before, strict=True)]
        assert moved == [i >= 3 - changed for i in range(4)]


def test_the_neck_keeps_strides_and_refuses_to_add_up_different_ones() -> None:
    neck = MLANeck(in_channels=(6, 7), out_channels=5)
    assert neck.connect((FeatureSpec(6, 8), FeatureSpec(7, 8))) == (FeatureSpec(5, 8),) * 2
    with pytest.raises(ValueError, match=r"levels of one stride, but the backbone's levels have strides \[8, 16\]"):
        neck.connect((FeatureSpec(6, 8), FeatureSpec(7, 16)))


def test_mla_classifies_all_levels_side_by_side() -> None:
    torch.manual_seed(0)
    head = SETRMLAHead(in_channels=(6, 6), channels=8, num_classes=3, in_index=(2, 0), mla_channels=4).eval()
    levels = [torch.randn(1, 6, 3, 4) for _ in range(3)]
    joined = torch.cat([head.up_convs[0](levels[2]), head.up_convs[1](levels[0])], dim=1)
    assert joined.shape == (1, 8, 12, 16)
    torch.testing.assert_close(head(levels), head.conv_seg(joined))


def test_channels_must_be_those_of_the_levels() -> None:
    with pytest.raises(ValueError, match="set channels=8 instead of 9"):
        SETRMLAHead(in_channels=(6, 6), channels=9, num_classes=3, in_index=(0, 1), mla_channels=4)
