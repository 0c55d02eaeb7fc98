"""ERFNet beyond what the reference figures cover: odd sizes, arguments."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from intarsia.methods.erfnet import ERFNet, NonBottleneck1d, Upsample


def test_the_size_of_the_literature() -> None:
    with torch.device("meta"):
        total = sum(parameter.numel() for parameter in ERFNet().parameters())
    assert total == pytest.approx(2.1e6, rel=0.05)  # table II of the paper, with the last transposed convolution


@pytest.mark.parametrize("size", [(64, 64), (65, 97), (66, 68), (63, 71)])
def test_the_decoder_gives_half_the_image_at_any_size(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    (level,) = ERFNet().eval()(torch.randn(1, 3, *size))
    assert tuple(level.shape) == (1, 16, *(-(-side // 2) for side in size))


def test_its_least_size_is_exact() -> None:
    net = ERFNet().eval()
    net(torch.rand(1, 3, net.least_size, net.least_size))
    with pytest.raises(RuntimeError):
        net(torch.rand(1, 3, net.least_size - 1, 64))


def test_upsampling_is_torchs_and_is_cut_at_the_end() -> None:
    torch.manual_seed(0)
    layer, x = Upsample(4, 3, norm=nn.BatchNorm2d, activation=nn.ReLU).eval(), torch.randn(2, 4, 5, 6)  # type: ignore[arg-type]
    doubled = layer.bn(layer.conv(x)).relu()
    assert doubled.shape == (2, 3, 10, 12)
    torch.testing.assert_close(layer(x, (10, 12)), doubled)
    torch.testing.assert_close(layer(x, (9, 12)), doubled[:, :, :9])
    torch.testing.assert_close(layer(x, (10, 11)), doubled[..., :11])


def test_dilations_take_turns() -> None:
    blocks = [part for part in ERFNet().encoder if isinstance(part, NonBottleneck1d)]
    dilations = [block.convs_layers[5].dilation[0] for block in blocks]
    assert dilations == [1] * 5 + [2, 4, 8, 16] * 2
    assert [block.convs_layers[7].dilation[1] for block in blocks] == dilations
    assert {block.convs_layers[0].dilation for block in blocks} == {(1, 1)}
    rates = [m.p for m in ERFNet(dropout_ratio=0.3).decoder.modules() if isinstance(m, nn.Dropout)]
    assert set(rates) == {0.0}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"enc_downsample_channels": (16, 64)}, "needs 3 entries"),
        ({"enc_non_bottleneck_channels": (64, 64)}, r"must be the two channel counts.*\(64, 128\); got \(64, 64\)"),
        ({"dec_upsample_channels": (64, 8)}, r"dec_non_bottleneck_channels .* \(64, 8\); got \(64, 16\)"),
        ({"enc_stage_non_bottlenecks": (5,)}, "enc_stage_non_bottlenecks of ERFNet needs two entries"),
        ({"dec_stages_non_bottleneck": (2, 2, 2)}, "dec_stages_non_bottleneck of ERFNet needs two entries"),
    ],
)
def test_contradictions_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ERFNet(**arguments)
