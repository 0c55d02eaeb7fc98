"""ANN: non-local blocks whose keys and values are a few means of the map instead of all its pixels.

Paper: Zhu et al., Asymmetric Non-local Neural Networks for Semantic Segmentation, arXiv:1908.07678.
Original code: https://github.com/MendelXu/ANN

Deviations, shared with OpenMMLab's published weights: none in the computation. Where keys and queries are the same,
they are computed once, so that the batch norm counts a batch once.

Published scores, single scale (flipped and multi-scale), mIoU:
    Cityscapes 512x1024, 80k steps    R-50  77.34 (78.65)    R-101  77.14 (78.81)
    Cityscapes 769x769, 80k steps     R-50  78.88 (80.57)    R-101  78.80 (80.34)
    ADE20K 512x512, 160k steps        R-50  41.74 (42.62)    R-101  42.94 (44.06)

Shape letters: N images, C channels, D channels of the attention, K classes, h, w height and width of a level,
S cells of all grids.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.adaptive_pooling import adaptive_avg_pool
from intarsia.layers.classifier import channel_dropout, pixel_classifier
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.levels import paired_levels, resize
from intarsia.layers.norm import Norm
from intarsia.layers.self_attention import attend, projection


def grid_means(x: Tensor, pool_scales: Sequence[int]) -> Tensor:
    """(N, D, h, w) -> the means over grids of `pool_scales` x `pool_scales` cells, side by side (N, D, S)."""
    return torch.cat([adaptive_avg_pool(x, cells).flatten(2) for cells in pool_scales], dim=2)


class AsymmetricAttention(nn.Module):
    """Attention of the pixels of one level over grid means of another (figure 3).

    query_scale: side of the squares of pixels that ask together; above 1, the answer is resized.
    share_key_query: the level looks at itself, and keys and queries are the same; the layer has both names.
    """

    def __init__(
        self,
        key_channels: int,
        query_channels: int,
        channels: int,
        *,
        query_scale: int,
        key_pool_scales: Sequence[int],
        share_key_query: bool,
        norm: Norm | None,
        activation: Activation,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.share_key_query = share_key_query
        self.query_scale = query_scale
        self.key_pool_scales = tuple(key_pool_scales)
        self.align_corners = align_corners
        self.key_project = projection(key_channels, channels, norm=norm, activation=activation)
        self.query_project = (
            self.key_project
            if share_key_query
            else projection(query_channels, channels, norm=norm, activation=activation)
        )
        self.value_project = nn.Conv2d(key_channels, channels, kernel_size=1)
        self.out_project = nn.Conv2d(channels, query_channels, kernel_size=1)
        for parameter in self.out_project.parameters():
            nn.init.zeros_(parameter)

    def forward(self, looking: Tensor, looked_at: Tensor) -> Tensor:
        """(N, C, h, w) and a level of any size -> (N, C, h, w)."""
        pixels = self.key_project(looked_at)  # (N, D, ., .)
        query = pixels if self.share_key_query else self.query_project(looking)  # (N, D, h, w)
        if self.query_scale > 1:
            query = F.max_pool2d(query, self.query_scale)
        key = grid_means(pixels, self.key_pool_scales)  # (N, D, S)
        value = grid_means(self.value_project(looked_at), self.key_pool_scales)  # (N, D, S)
        context: Tensor = self.out_project(attend(query, key, value))  # (N, C, h, w)
        if self.query_scale > 1:
            context = resize(context, looking.shape[2:], align_corners=self.align_corners)
        return context


class AsymmetricBlock(nn.Module):
    """The sum of an attention for each of `query_scales`, beside the level that looked, and what fuses both.

    Arguments as those of `AsymmetricAttention`; fusion_activation: behind the fusion.
    """

    def __init__(
        self,
        key_channels: int,
        query_channels: int,
        channels: int,
        *,
        query_scales: Sequence[int],
        key_pool_scales: Sequence[int],
        share_key_query: bool,
        norm: Norm | None,
        activation: Activation,
        fusion_activation: Activation | None,
        align_corners: bool,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            AsymmetricAttention(
                key_channels,
                query_channels,
                channels,
                query_scale=scale,
                key_pool_scales=key_pool_scales,
                share_key_query=share_key_query,
                norm=norm,
                activation=activation,
                align_corners=align_corners,
            )
            for scale in query_scales
        )
        self.bottleneck = ConvNormAct(2 * query_channels, query_channels, 1, norm=norm, activation=fusion_activation)

    def forward(self, looking: Tensor, looked_at: Tensor) -> Tensor:
        """(N, C, h, w) and a level of any size -> (N, C, h, w)."""
        context = torch.stack([stage(looking, looked_at) for stage in self.stages]).sum(dim=0)
        out: Tensor = self.bottleneck(torch.cat([context, looking], dim=1))
        return out


class ANNHead(nn.Module):
    """The last level looks at the one before (AFNB), the result at itself (APNB), then comes the classifier (figure 2).

    Args:
        in_channels: channels of the two levels read.
        channels: channels in front of the classifier.
        project_channels: channels of the attention.
        num_classes: number of logits.
        in_index: the two levels read, the deeper one last.
        query_scales: sides of the squares of pixels that ask together, one attention for each.
        key_pool_scales: cells of each grid of means along one side.
        dropout_ratio: of channels, behind the fusion of both levels and before the classifier.
        norm: behind each convolution but those of values and answers.
        activation: behind each norm but that of the first block.
        align_corners: how answers are resized here, and logits by those who consume them.

    Raises ValueError unless there are two levels.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        channels: int,
        project_channels: int,
        num_classes: int,
        in_index: Sequence[int] = (-2, -1),
        query_scales: Sequence[int] = (1,),
        key_pool_scales: Sequence[int] = (1, 3, 6, 8),
        dropout_ratio: float = 0.1,
        norm: Norm | None = None,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("ANNHead", in_index, in_channels)
        if len(self.in_index) != 2:
            raise ValueError(f"ANNHead reads two levels, the deeper one last; got in_index={in_index}")
        self.num_classes = num_classes
        self.align_corners = align_corners
        low, high = self.in_channels

        def block(
            key_channels: int, query_channels: int, *, share_key_query: bool, fusion_activation: Activation | None
        ) -> AsymmetricBlock:
            return AsymmetricBlock(
                key_channels,
                query_channels,
                project_channels,
                query_scales=query_scales,
                key_pool_scales=key_pool_scales,
                share_key_query=share_key_query,
                norm=norm,
                activation=activation,
                fusion_activation=fusion_activation,
                align_corners=align_corners,
            )

        self.conv_seg = pixel_classifier(channels, num_classes)
        self.dropout = channel_dropout(dropout_ratio)
        self.fusion = block(low, high, share_key_query=False, fusion_activation=None)
        self.fusion_dropout = channel_dropout(dropout_ratio)
        self.bottleneck = ConvNormAct(high, channels, 3, padding=1, norm=norm, activation=activation)
        self.context = block(channels, channels, share_key_query=True, fusion_activation=activation)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        low, high = (features[i] for i in self.in_index)
        x = self.bottleneck(self.fusion_dropout(self.fusion(high, low)))  # (N, channels, h, w)
        x = self.context(x, x)  # (N, channels, h, w)
        logits: Tensor = self.conv_seg(self.dropout(x))  # (N, K, h, w)
        return logits
