"""PP-LiteSeg: a decoder that gets narrower as maps get larger, and lets each pixel choose between two levels.

Paper: Peng et al., PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model, arXiv:2204.02681.
Original code: https://github.com/PaddlePaddle/PaddleSeg (configs/pp_liteseg)

The backbone is STDC's (`methods/stdc.py`), without its context path.

Deviations: the pooling's convolutions have no biases, which the norms behind them would take out; classifiers have.
Weights start as elsewhere here (He et al.), not as Paddle's do. With the same weights the logits are PaddleSeg's
(`weights/maps/paddle.py`), where the backbone's averages do not count what lies outside of the image. The authors state
no number of parameters; with 19 classes, the network as it is used has 8.03 million (T) and 12.23 million (B), and 11.4
and 19.2 G multiply-adds at 512 x 1024.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 160k steps, batch 16    T 77.04 (77.46)    B 79.04 (79.85)

Shape letters: N images, C channels, K classes, h, w of the present level.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from intarsia.contracts import HeadOutput
from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import BN, Norm
from intarsia.layers.pyramid_pooling import PyramidPooling


class SimplePyramidPooling(nn.Module):
    """What the image looks like at several grids, summed and not concatenated (section 3.3, SPPM)."""

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        pool_scales: Sequence[int],
        norm: Norm,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.stages = PyramidPooling(pool_scales, in_channels, channels, norm=norm, activation=activation)
        self.conv_out = ConvNormAct(channels, channels, 3, padding=1, norm=norm, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, channels, h, w)."""
        first, *others = (resize(scale, x.shape[2:], align_corners=self.align_corners) for scale in self.stages(x))
        for scale in others:
            first = first + scale
        out: Tensor = self.conv_out(first)
        return out


class AttentionFusion(nn.Module):
    """A fine level and a coarse map, of which each pixel takes a share that both together tell (section 3.2, UAFM).

    Of either map, the mean and the largest of the channels are looked at: the form with spatial attention.
    """

    def __init__(
        self,
        fine_channels: int,
        coarse_channels: int,
        out_channels: int,
        *,
        norm: Norm,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.align_corners = align_corners
        self.conv_x = ConvNormAct(fine_channels, coarse_channels, 3, padding=1, norm=norm, activation=activation)
        self.conv_out = ConvNormAct(coarse_channels, out_channels, 3, padding=1, norm=norm, activation=activation)
        self.conv_xy_atten = nn.Sequential(
            ConvNormAct(4, 2, 3, padding=1, norm=norm, activation=activation),
            ConvNormAct(2, 1, 3, padding=1, norm=norm, activation=None),
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        """Maps (N, C, h, w) and (N, C', h', w') -> (N, out_channels, h, w)."""
        fine = self.conv_x(fine)  # (N, C', h, w)
        coarse = resize(coarse, fine.shape[2:], align_corners=self.align_corners)  # (N, C', h, w)
        seen = [of(map) for map in (fine, coarse) for of in (_mean, _largest)]  # four of (N, 1, h, w)
        share = self.conv_xy_atten(torch.cat(seen, dim=1)).sigmoid()  # (N, 1, h, w)
        out: Tensor = self.conv_out(fine * share + coarse * (1 - share))
        return out


def _mean(x: Tensor) -> Tensor:
    return x.mean(dim=1, keepdim=True)


def _largest(x: Tensor) -> Tensor:
    return x.amax(dim=1, keepdim=True)


class PPLiteSegHead(nn.Module):
    """The context of the coarsest level, fused with each level in turn, coarsest first (figure 2, FLD).

    Every fusion is classified; the finest is the answer, and training looks at the others, too.

    Args:
        in_channels: channels of each level.
        channels: behind each fusion, finest first, and of the convolution that the finest is classified after.
        num_classes: number of logits.
        in_index: the levels read, finest first.
        aux_channels: of the convolutions that the other fusions are classified after; None: they are not.
        context_channels: of the pooling behind the coarsest level.
        pool_scales: cells on each side of the grids of the pooling.
        dropout_ratio: of channels, before the classifier of the finest.
        norm: behind each convolution. The grid of one cell leaves a batch norm nothing but the batch to average over,
            so that training needs two images or more.
        activation: behind each norm.
        align_corners: how maps are resized here, and logits by those who consume them.

    Raises ValueError if `in_index`, `in_channels` and `channels` do not fit together.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: Sequence[int] = (32, 64, 128),
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2),
        aux_channels: int | None = 64,
        context_channels: int = 128,
        pool_scales: Sequence[int] = (1, 2, 4),
        dropout_ratio: float = 0.0,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("PPLiteSegHead", in_index, in_channels)
        if len(channels) != len(self.in_channels):
            raise ValueError(
                f"PPLiteSegHead has one entry of channels for each level, finest first: expected "
                f"{len(self.in_channels)}, got {tuple(channels)}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv_seg = pixel_classifier(channels[0], num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.cm = SimplePyramidPooling(
            self.in_channels[-1], context_channels, pool_scales=pool_scales, norm=norm, activation=activation,
            align_corners=align_corners,
        )  # fmt: skip
        self.arm_list = nn.ModuleList(
            AttentionFusion(fine, coarse, out, norm=norm, activation=activation, align_corners=align_corners)
            for fine, coarse, out in zip(self.in_channels, (*channels[1:], context_channels), channels, strict=True)
        )
        hidden = (channels[0], *(() if aux_channels is None else (aux_channels for _ in channels[1:])))
        self.seg_heads = nn.ModuleList(
            ConvNormAct(width, inner, 3, padding=1, norm=norm, activation=activation)
            for width, inner in zip(channels, hidden, strict=aux_channels is not None)
        )
        self.aux_cls_seg = nn.ModuleList(pixel_classifier(inner, num_classes) for inner in hidden[1:])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w) at the size of the first level read."""
        return self._classified(self._fused(features)[0])

    def training_outputs(self, features: Sequence[Tensor]) -> dict[str, HeadOutput]:
        """The logits as "", and those of the coarser fusions as "aux_1", "aux_2" ...; (N, K, h, w) each."""
        finest, *coarser = self._fused(features)
        outputs: dict[str, HeadOutput] = {"": self._classified(finest)}
        # Fewer of them where the coarser ones are not classified.
        for i, (x, conv, classify) in enumerate(zip(coarser, self.seg_heads[1:], self.aux_cls_seg, strict=False)):
            outputs[f"aux_{i + 1}"] = classify(conv(x))
        return outputs

    def _fused(self, features: Sequence[Tensor]) -> list[Tensor]:
        """The fusions, finest first: (N, channels, h, w) each."""
        levels = [features[i] for i in self.in_index]
        x = self.cm(levels[-1])  # (N, context_channels, h, w)
        fused: list[Tensor] = []
        for level, arm in zip(reversed(levels), reversed(list(self.arm_list)), strict=True):
            x = arm(level, x)
            fused.insert(0, x)
        return fused

    def _classified(self, finest: Tensor) -> Tensor:
        logits: Tensor = self.conv_seg(self.dropout(self.seg_heads[0](finest)))  # (N, K, h, w)
        return logits
