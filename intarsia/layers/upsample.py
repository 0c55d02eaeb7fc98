"""Upsampling by two, as decoders of the U-Net kind do it, and the block that joins it with what the encoder kept.

Shape letters: N images, C channels, h, w height and width of the coarse map, H, W of the map that is kept.

Where H or W is odd, the coarse map has (H + 1) / 2 rows; twice that many would be one too many, so every way of
upsampling here is told the size that is wanted. At even sizes this is exactly twofold.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import resize
from intarsia.layers.norm import Norm


class InterpConv(nn.Module):
    """Bilinear upsampling and a convolution behind it, or before it with `conv_first`."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int = 1,
        conv_first: bool = False,
        align_corners: bool = False,
        norm: Norm | None = None,
        activation: Activation = RELU,
    ) -> None:
        super().__init__()
        conv = ConvNormAct(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, norm=norm, activation=activation
        )
        upsample = Resize(align_corners=align_corners)
        self.interp_upsample = nn.ModuleList([conv, upsample] if conv_first else [upsample, conv])

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(N, C, h, w) -> (N, C', *size)."""
        for layer in self.interp_upsample:
            x = layer(x, size) if isinstance(layer, Resize) else layer(x)
        return x


class Resize(nn.Module):
    """Bilinear resizing as a layer, so that it has its place among the numbers of published weights."""

    def __init__(self, *, align_corners: bool = False) -> None:
        super().__init__()
        self.align_corners = align_corners

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(N, C, h, w) -> (N, C, *size)."""
        return resize(x, size, align_corners=self.align_corners)


class DeconvModule(nn.Module):
    """A transposed convolution of stride 2 with norm and activation; starts as torch's do.

    Raises ValueError for a kernel that leaves gaps, or covers pixels unevenly (Odena et al., Distill 2016).
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, kernel_size: int = 4, norm: Norm, activation: Activation = RELU
    ) -> None:
        super().__init__()
        if kernel_size < 2 or kernel_size % 2:
            raise ValueError(f"kernel_size of a DeconvModule must be a multiple of its stride 2; got {kernel_size}")
        deconv = nn.ConvTranspose2d(in_channels, out_channels, kernel_size, stride=2, padding=kernel_size // 2 - 1)
        self.deconv_upsamping = nn.Sequential(deconv, norm(out_channels), activation())  # so in published weights

    def forward(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """(N, C, h, w) -> (N, C', *size), cut from (N, C', 2 h, 2 w)."""
        x = self.deconv_upsamping(x)
        return F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2]))  # by nothing, or by -1


class UpConvBlock(nn.Module):
    """A coarse map brought to the size and channels of a finer one, laid beside it, and convolved.

    upsample: to twice the size; a convolution of one pixel where the coarse map is no smaller.
    conv_block: (N, 2 C, H, W) -> (N, C', H, W), with C the channels of the finer map.
    """

    def __init__(self, *, upsample: nn.Module, conv_block: nn.Module) -> None:
        super().__init__()
        self.conv_block = conv_block
        self.upsample = upsample

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        """The finer map (N, C, H, W) and the coarse one -> (N, C', H, W)."""
        size = skip.shape[2:]
        x = self.upsample(x) if isinstance(self.upsample, ConvNormAct) else self.upsample(x, size)  # (N, C, H, W)
        out: Tensor = self.conv_block(torch.cat([skip, x], dim=1))
        return out
