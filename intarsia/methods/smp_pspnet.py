"""PSPNet of segmentation_models.pytorch: pooled maps of a quarter of the channels, and a 1 x 1 convolution behind them.

Paper: Zhao et al., Pyramid Scene Parsing Network, arXiv:1612.01105, section 3.2.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over a level of any backbone: with the same weights the logits are the same. `methods/pspnet.py` is the form of
OpenMMLab's weights.

Deviations from the paper, shared with it: the backbone is not dilated but ends at stride 8; the map that is pooled to
one cell has no norm, so that a batch of one image can be trained on; the classifier has 3 x 3 pixels.

Shape letters: N images, C channels, K classes, h, w height and width of the level that is read.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.layers.activation import RELU, Activation
from intarsia.layers.classifier import channel_dropout
from intarsia.layers.conv import ConvNormAct
from intarsia.layers.decoder_block import start_decoder, wide_classifier
from intarsia.layers.norm import BN, Norm
from intarsia.layers.pyramid_pooling import PyramidPooling
from intarsia.layers.resized_concat import conv_of_resized


class SmpPSPHead(nn.Module):
    """The pyramid pooling module, a convolution that fuses it with what was pooled, and the classifier (figure 3).

    Args:
        in_channels: channels of the level read.
        num_classes: number of logits.
        channels: of the fusion; the pooled maps together have as many as the level.
        in_index: the level read.
        pool_scales: cells of each grid along one side.
        dropout_ratio: of channels, before the classifier.
        norm: behind each convolution but that of the grid of one cell.
        activation: behind each norm.
        align_corners: how pooled maps are resized here, and logits by those who consume them.

    Raises ValueError for channels that are no multiple of the number of grids.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        channels: int = 512,
        in_index: int = -1,
        pool_scales: Sequence[int] = (1, 2, 3, 6),
        dropout_ratio: float = 0.2,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = True,
    ) -> None:
        super().__init__()
        if in_channels % len(pool_scales):
            raise ValueError(
                f"SmpPSPHead divides the channels of its level among {len(pool_scales)} grids; got "
                f"in_channels={in_channels}"
            )
        self.in_index = in_index
        self.in_channels = in_channels
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.psp_modules = PyramidPooling(
            pool_scales,
            in_channels,
            in_channels // len(pool_scales),
            norm=norm,
            activation=activation,
            norm_of_one_cell=False,
        )
        self.bottleneck = ConvNormAct(2 * in_channels, channels, 1, norm=norm, activation=activation)
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(channels, num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        x = features[self.in_index]  # (N, C, h, w)
        pooled = self.psp_modules(x)
        small = range(len(pooled))
        x = conv_of_resized(self.bottleneck, [*pooled, x], small=small, align_corners=self.align_corners)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits
