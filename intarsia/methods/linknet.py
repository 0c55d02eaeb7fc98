"""LinkNet: a light decoder that adds the levels of the encoder instead of laying them beside its maps.

Paper: Chaurasia, Culurciello, LinkNet: Exploiting Encoder Representations for Efficient Semantic Segmentation,
    arXiv:1707.03718, figures 1 and 3.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over the levels of any backbone: with the same weights the logits are the same.

Deviations from the paper, shared with it: all blocks are alike, also the last; transposed convolutions have kernels of
4 pixels instead of 3. Where a backbone has no level at stride 2, one more block keeps the channels of its finest level.

Ours: at odd sizes an enlarged map is cut to the size of the level that is added.

Shape letters: N images, C channels, K classes, h, w height and width of a map, H, W those of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import start_decoder, wide_classifier
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import BN, Norm
from intarsia.layers.upsample import DeconvModule

REDUCTION = 4


class LinknetBlock(nn.Module):
    """A quarter of the channels, twice the size, and the channels of the next level (figure 3)."""

    def __init__(self, in_channels: int, out_channels: int, *, norm: Norm, activation: Activation) -> None:
        super().__init__()
        hidden = max(in_channels // REDUCTION, 1)
        self.reduce = ConvNormAct(in_channels, hidden, 1, norm=norm, activation=activation)
        self.upsample = DeconvModule(hidden, hidden, kernel_size=4, norm=norm, activation=activation)
        self.expand = ConvNormAct(hidden, out_channels, 1, norm=norm, activation=activation)

    def forward(self, x: Tensor, *skip: Tensor) -> Tensor:
        """(N, C, h, w), and the level of the finer size, if any -> (N, C', H, W) of that size, or twice as large."""
        height, width = x.shape[2:]
        size = (skip[0].shape[2], skip[0].shape[3]) if skip else (2 * height, 2 * width)
        out: Tensor = self.expand(self.upsample(self.reduce(x), size))
        return out + skip[0] if skip else out


class LinknetHead(nn.Module):
    """From the coarsest level to the finest, each added to what comes from below, and on to the size of the image.

    Args:
        in_channels: channels of each level, the finest first.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        num_blocks: how often the size is doubled: 5 from stride 32 to the image.
        channels: of the last block.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for levels that do not pair up, or fewer blocks than levels.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3, 4),
        num_blocks: int = 5,
        channels: int = 32,
        dropout_ratio: float = 0.0,
        norm: Norm = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("LinknetHead", in_index, in_channels)
        if num_blocks < len(self.in_channels):
            raise ValueError(
                f"LinknetHead has a block for each level and one more for each doubling behind the first: num_blocks "
                f"must be {len(self.in_channels)} or more for {len(self.in_channels)} levels; got {num_blocks}"
            )
        self.num_classes = num_classes
        self.align_corners = align_corners
        further = (self.in_channels[0],) * (num_blocks - len(self.in_channels))
        widths = (*reversed(self.in_channels), *further, channels)
        self.blocks = nn.ModuleList(
            LinknetBlock(width, following, norm=norm, activation=activation) for width, following in pairwise(widths)
        )
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(channels, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, f H, f W), twice as large for each block behind the finest level."""
        x, *skips = [features[i] for i in reversed(self.in_index)]
        for i, block in enumerate(self.blocks):
            x = block(x, *skips[i : i + 1])
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits
