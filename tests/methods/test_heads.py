"""The heads of this issue beyond what the reference figures cover."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from intarsia.layers.levels import concat_levels
from intarsia.layers.norm import BN
from intarsia.methods.fast_scnn import DepthwiseSeparableFCNHead, FastSCNN
from intarsia.methods.fcn import FCNHead
from intarsia.methods.segformer import SegformerHead

CHANNELS = (4, 8, 12)


def levels(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    torch.manual_seed(0)
    return [torch.randn(2, c, 16 // 2**i, 24 // 2**i, dtype=dtype) for i, c in enumerate(CHANNELS)]


@pytest.mark.parametrize("norm", [None, BN])
@pytest.mark.parametrize("align_corners", [False, True])
def test_segformer_fuses_as_if_it_concatenated(norm: object, align_corners: bool) -> None:
    """The order of fusing and resizing moves no number, gradients included."""
    torch.manual_seed(1)
    head = SegformerHead(
        in_channels=CHANNELS, channels=6, num_classes=3, in_index=(0, 1, 2), norm=norm, align_corners=align_corners
    )
    head.double().train().dropout.p = 0.0
    features = levels()
    found = head(features)
    projected = [conv(level) for conv, level in zip(head.convs, features, strict=True)]
    expected = head.conv_seg(head.fusion_conv(concat_levels(projected, align_corners=align_corners)))
    torch.testing.assert_close(found, expected)
    noise = torch.randn_like(found)
    gradients = [torch.autograd.grad((out * noise).sum(), list(head.parameters())) for out in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1])


def test_fcn_reads_several_levels_as_one() -> None:
    shared = {"channels": 6, "num_classes": 3, "norm": BN}
    several = (
        FCNHead(in_channels=CHANNELS, in_index=(0, 1, 2), input_transform="resize_concat", **shared).double().eval()
    )
    one = FCNHead(in_channels=sum(CHANNELS), in_index=0, **shared).double().eval()
    one.load_state_dict(several.state_dict())
    torch.testing.assert_close(several(levels()), one([concat_levels(levels())]))


def test_fcn_without_convolutions_classifies_the_level_itself() -> None:
    head = (
        FCNHead(in_channels=8, channels=8, num_classes=3, in_index=1, num_convs=0, concat_input=False).double().eval()
    )
    assert list(head.state_dict()) == ["conv_seg.weight", "conv_seg.bias"]
    features = levels()
    torch.testing.assert_close(head(features), head.conv_seg(features[1]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"in_channels": 8, "num_convs": 0}, "8 channels into channels=6"),
        ({"in_channels": (4, 8), "in_index": (0, 1)}, "unless input_transform is 'resize_concat'"),
        ({"in_channels": 8, "input_transform": "resize_concat"}, "lists of equal length"),
        ({"in_channels": 8, "input_transform": "multiple_select"}, "got in_index=-1"),
    ],
)
def test_fcn_refuses_contradictions(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        FCNHead(channels=6, num_classes=3, **arguments)


def test_segformer_refuses_lists_that_do_not_pair_up() -> None:
    with pytest.raises(ValueError, match="SegformerHead reads several levels"):
        SegformerHead(in_channels=(4, 8), channels=6, num_classes=3, in_index=(0, 1, 2))


def test_fast_scnn_refuses_channels_that_do_not_meet() -> None:
    with pytest.raises(ValueError, match="higher_in_channels=32 must equal global_in_channels=64"):
        FastSCNN(higher_in_channels=32)


def test_separable_head_with_its_input_concatenated() -> None:
    head = DepthwiseSeparableFCNHead(in_channels=8, channels=6, num_classes=3, in_index=1, norm=BN).double().eval()
    x = levels()[1]
    expected = head.conv_seg(head.conv_cat(torch.cat([x, head.convs(x)], dim=1)))
    torch.testing.assert_close(head(levels()), expected)
    with pytest.raises(ValueError, match="at least one convolution"):
        DepthwiseSeparableFCNHead(in_channels=8, channels=6, num_classes=3, num_convs=0)
