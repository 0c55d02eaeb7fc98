"""Convolutions as the field builds them: with a norm and an activation behind.

Shape letters: N images, C channels, H, W height and width; h, w the same behind the convolution's stride.

Child names (`conv`, `bn`, `activate`; `depthwise_conv`, `pointwise_conv`) are those of OpenMMLab's published weights.
"""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.norm import Norm


class ConvNormAct(nn.Module):
    """Convolution, norm, activation, in this order; norm and activation may be None.

    The norm is kept under its own name (`bn`, `gn`, `ln`, `in`). `bias` None means: a bias exactly where no norm
    follows that would cancel it. `same`: padded by `pad_same`, whatever `padding` says.

    Initialised after He et al. (arXiv:1502.01852), fan_out, for the slope of the activation.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        bias: bool | None = None,
        norm: Norm | None = None,
        activation: Activation | None = RELU,
        same: bool = False,
    ) -> None:
        super().__init__()
        self.same = same
        self.conv = nn.Conv2d(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=0 if same else padding,
            dilation=dilation,
            groups=groups,
            bias=norm is None if bias is None else bias,
        )
        self.norm_name = norm.name if norm else None
        if norm:
            self.add_module(norm.name, norm(out_channels))
        self.activate = activation() if activation else None
        initialise_conv(self.conv, negative_slope=activation.negative_slope if activation else None)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', h, w)."""
        return self.norm_act(self.conv(pad_same(x, self.conv) if self.same else x))

    def norm_act(self, x: Tensor) -> Tensor:
        """What follows the convolution, for callers that compute the convolution in parts."""
        if self.norm_name is not None:
            x = getattr(self, self.norm_name)(x)
        if self.activate is not None:
            x = self.activate(x)
        return x


class NormActConv(nn.Module):
    """Norm, activation, convolution, in this order (He et al., arXiv:1603.05027, figure 4e).

    Children are named as those of `ConvNormAct`, and start as those do.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        padding: int = 0,
        groups: int = 1,
        bias: bool = False,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding, groups=groups, bias=bias)
        self.norm_name = norm.name
        self.add_module(norm.name, norm(in_channels))
        self.activate = activation()
        initialise_conv(self.conv, negative_slope=activation.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', H, W), given the padding that keeps the size."""
        out: Tensor = self.conv(self.activate(getattr(self, self.norm_name)(x)))
        return out


class DepthwiseSeparableConv(nn.Module):
    """A convolution within each channel, then a 1 x 1 convolution across them (MobileNet, arXiv:1704.04861).

    depthwise_activation: what stands between the two; the papers differ in whether anything does.
    pointwise_norm: whether the norm follows the second convolution too; without it, that convolution has a bias.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        norm: Norm | None = None,
        activation: Activation | None = RELU,
        depthwise_activation: Activation | None = RELU,
        pointwise_norm: bool = True,
    ) -> None:
        super().__init__()
        self.depthwise_conv = ConvNormAct(
            in_channels,
            in_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=in_channels,
            norm=norm,
            activation=depthwise_activation,
        )
        self.pointwise_conv = ConvNormAct(
            in_channels, out_channels, 1, norm=norm if pointwise_norm else None, activation=activation
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C', h, w)."""
        x = self.depthwise_conv(x)  # (N, C, h, w)
        out: Tensor = self.pointwise_conv(x)  # (N, C', h, w)
        return out


def pad_same(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """(N, C, H, W) padded with zeros as TensorFlow does: by as little as lets `conv` give H / stride, rounded up, the
    odd pixel at the end.

    A strided convolution of torch pads both sides alike, and so looks at other pixels of an even map. For windows that
    leave no gaps: the kernel is no smaller than the stride.
    """
    needed: list[int] = []
    for axis in (1, 0):
        pad = conv.dilation[axis] * (conv.kernel_size[axis] - 1) - (x.shape[2 + axis] - 1) % conv.stride[axis]
        needed += [pad // 2, pad - pad // 2]
    return F.pad(x, needed)


def conv1x1(in_channels: int, out_channels: int, *, stride: int = 1) -> nn.Conv2d:
    """1 x 1 convolution without bias."""
    return nn.Conv2d(in_channels, out_channels, kernel_size=1, stride=stride, bias=False)


def conv3x3(in_channels: int, out_channels: int, *, stride: int = 1, dilation: int = 1, groups: int = 1) -> nn.Conv2d:
    """3 x 3 convolution without bias that keeps the size at stride 1."""
    return nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size=3,
        stride=stride,
        padding=dilation,
        dilation=dilation,
        groups=groups,
        bias=False,
    )


def initialise_conv(conv: nn.Conv2d, *, negative_slope: float | None = None) -> None:
    """Kaiming-normal weights by fan_out, for a (leaky) rectifier behind; bias 0."""
    slope = negative_slope or 0.0
    nn.init.kaiming_normal_(conv.weight, a=slope, mode="fan_out", nonlinearity="leaky_relu" if slope else "relu")
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_by_group_(conv: nn.Conv2d) -> None:
    """Normal weights by fan_out, where a channel counts the outputs of its own group only; bias 0."""
    fan_out = math.prod(conv.kernel_size) * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2.0 / fan_out))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def init_caffe2_xavier_(conv: nn.Conv2d) -> None:
    """Uniform weights of variance 1 / fan_in, so that a linear layer keeps the variance of its input; bias 0."""
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
