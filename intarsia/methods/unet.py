"""U-Net: an encoder that halves the map stage by stage, a decoder that doubles it again with the encoder's maps beside.

Paper: Ronneberger, Fischer, Brox, U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv:1505.04597.
Original code: https://lmb.informatik.uni-freiburg.de/people/ronneber/u-net (Caffe).

It is a backbone here: the classifier is a head on the finest level, an FCN, PSP or ASPP head, and a second FCN head on
the level before it trains along.

Deviations from the paper, shared with OpenMMLab's published weights: convolutions keep the size of the map, so that
nothing is cropped; each has a batch norm; upsampling interpolates and projects, or is a transposed convolution of
4 x 4 instead of 2 x 2. And one of ours: OpenMMLab refuses images whose sides 16 does not divide. Here pooling rounds up
and upsampling gives the size of the encoder's map, which at divisible sizes is the same and otherwise just works.

Published scores, single scale, Dice of the vessels (with cross entropy and Dice loss):
    DRIVE 64x64, 40k steps         FCN 78.67 (79.32)    PSP 78.62 (79.42)    DeepLabV3 78.69 (79.56)
    STARE 128x128, 40k steps       FCN 81.02 (82.70)    PSP 81.22 (82.84)    DeepLabV3 80.93 (82.71)
    CHASE_DB1 128x128, 40k steps   FCN 80.24 (80.40)    PSP 80.36 (80.28)    DeepLabV3 80.47 (80.37)
    HRF 256x256, 40k steps         FCN 79.45 (80.87)    PSP 80.07 (80.96)    DeepLabV3 80.21 (80.71)
    Cityscapes 512x1024, 160k steps, mIoU    FCN 69.10, flipped and multi-scale 71.05

Shape letters: N images, C channels, H, W height and width of the input, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Literal

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.activation_checkpointing import run_block
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import BN, Norm
from intarsia.layers.stages import keep_statistics
from intarsia.layers.upsample import DeconvModule, InterpConv, UpConvBlock


class ConvBlock(nn.Module):
    """3 x 3 convolutions; the first may stride, the others may be dilated."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        num_convs: int,
        stride: int = 1,
        dilation: int,
        norm: Norm,
        activation: Activation,
    ) -> None:
        super().__init__()
        self.convs = nn.Sequential(
            ConvNormAct(in_channels, channels, 3, stride=stride, padding=1, norm=norm, activation=activation),
            *(
                ConvNormAct(
                    channels, channels, 3, padding=dilation, dilation=dilation, norm=norm, activation=activation
                )
                for _ in range(num_convs - 1)
            ),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h / stride, w / stride)."""
        out: Tensor = self.convs(x)
        return out


class UNet(nn.Module):
    """Encoder and decoder (figure 1). The levels are the encoder's last map and then the decoder's, coarsest first.

    Args:
        in_channels: bands of the image.
        base_channels: of the first stage; each stage doubles them.
        num_stages: stages of the encoder; the sequences that follow have one entry for each, those of the decoder and
            `downsamples` one for each step between two.
        strides: of each stage's first convolution.
        enc_num_convs: convolutions of each encoder stage.
        dec_num_convs: convolutions of each decoder stage, finest first.
        downsamples: whether the map is halved from one stage to the next: by pooling, unless the stage strides itself.
        enc_dilations: of the convolutions behind the first of an encoder stage.
        dec_dilations: the same of the decoder.
        upsample: "interpolation" resizes and projects, "deconvolution" is a transposed convolution.
        upsample_kernel_size: of the convolution in either; 1 and 4 unless given.
        upsample_conv_first: interpolation projects before it resizes.
        upsample_align_corners: how interpolation resizes.
        norm: behind each convolution.
        activation: behind each norm.
        norm_eval: batch norms always use their running statistics.
        checkpoint_activations: recompute each stage in the backward pass instead of keeping its activations.

    Convolutions start Kaiming-normal by fan_out, transposed ones as torch's do, norms as identity.

    Raises ValueError if a sequence has another length, or a stage strides where nothing is halved.
    """

    def __init__(
        self,
        *,
        in_channels: int = 3,
        base_channels: int = 64,
        num_stages: int = 5,
        strides: Sequence[int] = (1, 1, 1, 1, 1),
        enc_num_convs: Sequence[int] = (2, 2, 2, 2, 2),
        dec_num_convs: Sequence[int] = (2, 2, 2, 2),
        downsamples: Sequence[bool] = (True, True, True, True),
        enc_dilations: Sequence[int] = (1, 1, 1, 1, 1),
        dec_dilations: Sequence[int] = (1, 1, 1, 1),
        upsample: Literal["interpolation", "deconvolution"] = "interpolation",
        upsample_kernel_size: int | None = None,
        upsample_conv_first: bool = False,
        upsample_align_corners: bool = False,
        norm: Norm = BN,
        activation: Activation = RELU,
        norm_eval: bool = False,
        checkpoint_activations: bool = False,
    ) -> None:
        super().__init__()
        _check(num_stages, [strides, enc_num_convs, enc_dilations], [dec_num_convs, downsamples, dec_dilations])
        self.norm_eval = norm_eval
        self.checkpoint_activations = checkpoint_activations
        self.encoder, self.decoder = nn.ModuleList(), nn.ModuleList()
        halves = _halves(strides, downsamples)

        def upsampling(before: int, after: int, *, halved: bool) -> nn.Module:
            if not halved:
                return ConvNormAct(before, after, 1, norm=norm, activation=activation)
            if upsample == "deconvolution":
                return DeconvModule(
                    before, after, kernel_size=upsample_kernel_size or 4, norm=norm, activation=activation
                )
            return InterpConv(
                before, after, kernel_size=upsample_kernel_size or 1, conv_first=upsample_conv_first,
                align_corners=upsample_align_corners, norm=norm, activation=activation,
            )  # fmt: skip

        channels = [base_channels * 2**stage for stage in range(num_stages)]
        for stage, width in enumerate(channels):
            block = ConvBlock(
                channels[stage - 1] if stage else in_channels, width, num_convs=enc_num_convs[stage],
                stride=strides[stage], dilation=enc_dilations[stage], norm=norm, activation=activation,
            )  # fmt: skip
            pooled = stage > 0 and halves[stage - 1] and strides[stage] == 1
            self.encoder.append(nn.Sequential(*([nn.MaxPool2d(2, ceil_mode=True)] if pooled else []), block))
        for step, width in enumerate(channels[:-1]):
            block = ConvBlock(
                2 * width, width, num_convs=dec_num_convs[step], dilation=dec_dilations[step], norm=norm,
                activation=activation,
            )  # fmt: skip
            upsample_ = upsampling(channels[step + 1], width, halved=halves[step])
            self.decoder.append(UpConvBlock(upsample=upsample_, conv_block=block))
        level_strides = accumulate((2 if halved else 1 for halved in halves), mul, initial=strides[0])
        self.features = tuple(map(FeatureSpec, channels, level_strides))[::-1]

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, C, H, W) -> for each stage, coarsest first, (N, channels, H / stride, W / stride), rounded up."""
        checkpoint = self.checkpoint_activations
        kept: list[Tensor] = []
        x = images
        for stage in self.encoder:
            x = run_block(stage, x, checkpoint=checkpoint)
            kept.append(x)
        outputs = [x]
        for skip, block in zip(reversed(kept[:-1]), reversed(self.decoder), strict=True):
            x = run_block(block, skip, x, checkpoint=checkpoint)
            outputs.append(x)
        return tuple(outputs)

    def train(self, mode: bool = True) -> UNet:
        """Training mode, except for batch norms under `norm_eval`."""
        super().train(mode)
        if mode and self.norm_eval:
            keep_statistics(self)
        return self


def _halves(strides: Sequence[int], downsamples: Sequence[bool]) -> list[bool]:
    """Whether the map is halved before or in each stage but the first."""
    if any(stride not in (1, 2) for stride in strides):
        raise ValueError(f"strides of a UNet are 1 or 2; got {tuple(strides)}")
    return [stride == 2 or down for stride, down in zip(strides[1:], downsamples, strict=True)]


def _check(num_stages: int, encoder: list[Sequence[int]], decoder: list[Sequence[int]]) -> None:
    if any(len(values) != num_stages for values in encoder) or any(len(values) != num_stages - 1 for values in decoder):
        raise ValueError(
            f"a UNet of num_stages={num_stages} needs as many entries in strides, enc_num_convs and enc_dilations, and "
            f"one less in dec_num_convs, downsamples and dec_dilations; got "
            f"{', '.join(str(tuple(values)) for values in (*encoder, *decoder))}"
        )
