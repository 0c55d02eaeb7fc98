"""U-Net beyond what the reference figures cover: sizes of any kind, transposed convolutions, other layouts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.upsample import DeconvModule, InterpConv
from intarsia.methods.unet import UNet


def test_levels_come_coarsest_first() -> None:
    assert UNet(base_channels=4).features == tuple(map(FeatureSpec, (64, 32, 16, 8, 4), (16, 8, 4, 2, 1)))


@pytest.mark.parametrize("upsample", ["interpolation", "deconvolution"])
@pytest.mark.parametrize("size", [(64, 96), (65, 97), (33, 50), (1, 1), (17, 3)])
def test_any_size_will_do(upsample: Any, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    network = UNet(base_channels=4, upsample=upsample).eval()
    with torch.no_grad():
        levels = network(torch.randn(1, 3, *size))
    for level, feature in zip(levels, network.features, strict=True):
        assert tuple(level.shape[1:]) == (feature.channels, *(-(-side // feature.stride) for side in size))
        assert level.isfinite().all()


def test_at_sizes_that_16_divides_pooling_leaves_nothing_over() -> None:
    torch.manual_seed(0)
    network, x = UNet(base_channels=4).eval(), torch.randn(1, 3, 32, 48)
    expected = network(x)
    for module in network.modules():
        if isinstance(module, nn.MaxPool2d):
            assert module.ceil_mode
            module.ceil_mode = False
    assert all(a.equal(b) for a, b in zip(network(x), expected, strict=True))


def test_stages_may_stride_or_keep_their_size() -> None:
    network = UNet(
        base_channels=4, num_stages=4, strides=(1, 2, 1, 1), downsamples=(True, False, True),
        enc_num_convs=(2, 1, 3, 2), dec_num_convs=(1, 2, 3), enc_dilations=(1, 1, 2, 2), dec_dilations=(1, 2, 1),
    ).eval()  # fmt: skip
    assert [feature.stride for feature in network.features] == [4, 2, 2, 1]
    assert [level.shape[2] for level in network(torch.randn(1, 3, 21, 21))] == [6, 11, 11, 21]
    kinds = [type(block.upsample).__name__ for block in network.decoder]
    assert kinds == ["InterpConv", "ConvNormAct", "InterpConv"]
    assert [len(list(block.conv_block.convs)) for block in network.decoder] == [1, 2, 3]
    dilations = [[conv.conv.dilation[0] for conv in stage[-1].convs] for stage in network.encoder]
    assert dilations == [[1, 1], [1], [1, 2, 2], [1, 2]]
    assert [conv.conv.dilation[0] for conv in network.decoder[1].conv_block.convs] == [1, 2]


def test_settings_of_the_upsampling_arrive() -> None:
    last = UNet(base_channels=4, upsample_kernel_size=3, upsample_conv_first=True, upsample_align_corners=True).decoder[
        3
    ]
    assert isinstance(last.upsample, InterpConv)
    conv, resize = last.upsample.interp_upsample
    assert conv.conv.kernel_size == (3, 3)
    assert resize.align_corners
    wide = UNet(base_channels=4, upsample="deconvolution", upsample_kernel_size=2).decoder[0].upsample
    assert isinstance(wide, DeconvModule)
    assert wide.deconv_upsamping[0].kernel_size == (2, 2)


def test_statistics_can_stand_still() -> None:
    norms = [m for m in UNet(base_channels=4, norm_eval=True).train().modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)
    assert UNet(base_channels=4).train().encoder[0][0].convs[0].bn.training


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_stages": 4}, "num_stages=4 needs as many entries"),
        ({"dec_num_convs": (2, 2)}, "one less in dec_num_convs"),
        ({"strides": (1, 3, 1, 1, 1)}, r"are 1 or 2; got \(1, 3, 1, 1, 1\)"),
        ({"upsample": "deconvolution", "upsample_kernel_size": 3}, "multiple of its stride 2; got 3"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UNet(base_channels=4, **arguments)
