"""U-Net's decoder as a head, over the levels of any backbone.

Paper: Ronneberger et al., U-Net: Convolutional Networks for Biomedical Image Segmentation, arXiv:1505.04597, section 2.
    The network of the paper, encoder and all, is `methods/unet.py`.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), in which it is used most: with the same weights the logits are the same. Its checkpoints are read
(`weights/maps/smp.py`).

Deviations from the paper, shared with it: maps are enlarged by their nearest neighbours instead of transposed
convolutions; convolutions are padded and have norms; the output has the size of the image, although the finest level
has half of it. A backbone without a level at stride 2 (ConvNeXt, Swin) has one block less with a level beside it.

Ours: the last block is without attention before its convolutions where no level is beside it, since the original has
parameters there that nothing reads. And the size of the output is that of the finest level, doubled: for an image of
odd sides a pixel more, which those who consume logits resize.

Shape letters: N images, C channels, K classes, H, W height and width of the finest level.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.decoder_block import (
    Attention,
    DecoderBlock,
    Interpolation,
    block_widths,
    center_block,
    checked_attention,
    checked_interpolation,
    start_decoder,
    wide_classifier,
)
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import BN, Norm


class UNetHead(nn.Module):
    """From the coarsest level to the finest, a block each, and on to the size of the image.

    Args:
        in_channels: channels of each level, the finest first.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        decoder_channels: channels of each block, the coarsest first. As many as levels, where the finest has stride 2;
            one more, where it has stride 4; and so the output has the size of the image.
        center: two more convolutions of the coarsest level before the first block.
        attention: "scse" puts gates of channels and pixels before and behind the convolutions of each block.
        interpolation: how maps are enlarged.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution.
        activation: behind each norm.
        align_corners: how logits are resized by those who consume them.

    Raises ValueError for levels that do not pair up, too few blocks, or an attention or interpolation that is none.
    """

    def __init__(
        self,
        *,
        in_channels: Sequence[int],
        num_classes: int,
        in_index: Sequence[int] = (0, 1, 2, 3, 4),
        decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
        center: bool = False,
        attention: Attention | None = None,
        interpolation: Interpolation = "nearest",
        dropout_ratio: float = 0.0,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("UNetHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        checked_attention("UNetHead", attention)
        checked_interpolation("UNetHead", interpolation)
        widths = block_widths("UNetHead", self.in_channels, decoder_channels)
        coarsest = self.in_channels[-1]
        self.center = center_block(coarsest, norm=norm, activation=activation) if center else nn.Identity()
        self.blocks = nn.ModuleList(
            DecoderBlock(
                *width,
                norm=norm,
                activation=activation,
                attention=attention,
                attend_input=i < len(self.in_channels) - 1 or i < len(widths) - 1,
                interpolation=interpolation,
            )
            for i, width in enumerate(widths)
        )
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(decoder_channels[-1], num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, f H, f W), twice as large for each block that has no level beside it."""
        coarsest, *skips = [features[i] for i in reversed(self.in_index)]
        x = self.center(coarsest)
        for i, block in enumerate(self.blocks):
            x = block(x, *skips[i : i + 1])
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits
