"""The layers of MobileNets: padding as TensorFlow's, gates, inverted residuals; at inputs that reach their limits."""

from __future__ import annotations

import pytest
import torch
import torch.fx
import torch.nn.functional as F

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct, pad_same
from intarsia.layers.inverted_residual import InvertedResidual, InvertedResidualV3
from intarsia.layers.norm import BN
from intarsia.layers.squeeze_excite import SELayer, make_divisible

HARD_SWISH = Activation("HSwish")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize(("kernel_size", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (3, 1, 2), (5, 3, 1), (4, 2, 1)])
@pytest.mark.parametrize("size", [(8, 9), (11, 12), (13, 7)])
def test_padding_is_the_least_that_reaches_every_pixel(
    kernel_size: int, stride: int, dilation: int, size: tuple[int, int]
) -> None:
    layer = ConvNormAct(2, 3, kernel_size, stride=stride, dilation=dilation, activation=None, same=True)
    conv = layer.conv
    assert conv.padding == (0, 0)
    x = torch.randn(2, 2, *size)
    pads = []
    for side in reversed(size):
        total = max((-(-side // stride) - 1) * stride + dilation * (kernel_size - 1) + 1 - side, 0)
        pads += [total // 2, total - total // 2]
    expected = F.conv2d(F.pad(x, pads), conv.weight, conv.bias, stride=stride, dilation=dilation)
    assert layer(x).equal(expected)
    assert expected.shape[2:] == tuple(-(-side // stride) for side in size)


def test_same_padding_is_seen_through_by_torch_fx() -> None:
    conv = ConvNormAct(2, 3, 3, stride=2, norm=BN, same=True).eval()
    traced = torch.fx.symbolic_trace(conv)
    for size in ((8, 9), (7, 10)):
        x = torch.randn(1, 2, *size)
        assert traced(x).equal(conv(x))


@pytest.mark.parametrize(
    ("channels", "expected"),
    [(18, 24), (30, 32), (4, 8), (120, 120), (8.8, 8), (8.9, 16), (11, 16), (35, 32), (36, 40)],
)
def test_channels_are_rounded_by_a_tenth_down_at_most(channels: float, expected: int) -> None:
    assert make_divisible(channels) == expected


def test_gates_close_and_open_fully() -> None:
    layer = SELayer(16, ratio=4)
    assert layer.conv1.conv.weight.shape == (8, 16, 1, 1)  # 4, rounded to a multiple of 8
    x = 50 * torch.randn(2, 16, 5, 6)
    hidden = F.conv2d(x.mean((2, 3), keepdim=True), layer.conv1.conv.weight, layer.conv1.conv.bias).relu()
    scores = F.conv2d(hidden, layer.conv2.conv.weight, layer.conv2.conv.bias)
    gate = (scores / 6 + 0.5).clamp(0, 1)
    assert (gate == 0).any()
    assert (gate == 1).any()
    torch.testing.assert_close(layer(x), x * gate)


def test_relu6_clips_in_the_inverted_residual() -> None:
    block, x = InvertedResidual(4, 4, stride=1, expand_ratio=2), 20 * torch.randn(2, 4, 6, 6)
    expand, depthwise, project = (layer.conv for layer in block.conv)
    hidden = expand(x).clamp(0, 6)
    assert (hidden == 6).any()
    torch.testing.assert_close(block(x), x + project(depthwise(hidden).clamp(0, 6)))


@pytest.mark.parametrize("stride", [1, 2])
def test_the_third_version_step_by_step(stride: int) -> None:
    block = InvertedResidualV3(
        8, 8, 16, kernel_size=5, stride=stride, squeeze_excite=True, norm=BN, activation=HARD_SWISH
    ).eval()
    x = 8 * torch.randn(2, 8, 9, 12)

    def swish(x: torch.Tensor) -> torch.Tensor:
        return x * (x + 3).clamp(0, 6) / 6

    assert block.expand_conv is not None
    assert block.se is not None
    hidden = swish(block.expand_conv.bn(block.expand_conv.conv(x)))
    conv = block.depthwise_conv.conv
    padded = pad_same(hidden, conv) if stride == 2 else hidden
    hidden = swish(block.depthwise_conv.bn(conv(padded)))
    expected = block.linear_conv(block.se(hidden))
    torch.testing.assert_close(block(x), expected + x if stride == 1 else expected)
    assert block.depthwise_conv.same is (stride == 2)
    assert expected.shape[2:] == ((9, 12) if stride == 1 else (5, 6))


def test_no_expansion_where_there_is_nothing_to_expand() -> None:
    block = InvertedResidualV3(8, 12, 8, kernel_size=3, stride=1, dilation=2, squeeze_excite=False, activation=RELU)
    assert block.expand_conv is None
    assert block.se is None
    assert block.depthwise_conv.conv.padding == (2, 2)
    assert block(torch.randn(1, 8, 5, 5)).shape == (1, 12, 5, 5)


def test_a_slope_for_each_channel() -> None:
    prelu = Activation("PReLU")
    assert prelu().weight.shape == (1,)
    layer = prelu.per_channel(6)()
    assert layer.weight.shape == (6,)
    assert Activation("ReLU").per_channel(6) == Activation("ReLU")
    with pytest.raises(ValueError, match="num_parameters belongs to PReLU, not to ReLU"):
        Activation("ReLU", num_parameters=3)
