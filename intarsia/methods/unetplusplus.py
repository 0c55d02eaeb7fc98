"""UNet++: a decoder at every depth, each of which reads all maps of its size that come before it.

Paper: Zhou et al., UNet++: Redesigning Skip Connections to Exploit Multiscale Features in Image Segmentation,
    arXiv:1912.05074, figure 1 and equation 1.
The form is that of segmentation_models.pytorch (Iakubovskii, https://github.com/qubvel-org/segmentation_models.pytorch,
MIT), over the levels of any backbone: with the same weights the logits are the same.

Deviations from the paper, shared with it: nearest neighbours instead of transposed convolutions; no deep supervision;
nodes inside the pyramid are as wide as the level beside them. As in `unet_head.py`, blocks beyond the finest level have
nothing beside them, and the last of these no attention before its convolutions.

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
    checked_attention,
    checked_interpolation,
    start_decoder,
    wide_classifier,
)
from intarsia.layers.levels import paired_levels
from intarsia.layers.norm import BN, Norm


class UNetPlusPlusHead(nn.Module):
    """Node `x_d_l` reads the node `x_d_l-1`, one size coarser, and all that the paths d + 1 to l have at its own size.

    Path 0 begins at the coarsest level, path 1 at the next finer one ...; l counts the sizes, from the first above the
    coarsest.

    Args:
        in_channels: channels of each level, the finest first.
        num_classes: number of logits.
        in_index: the levels read, the finest first.
        decoder_channels: channels of path 0, the coarsest first. As many as levels, where the finest has stride 2; one
            more, where it has stride 4; and so the output has the size of the image.
        attention: "scse" puts gates of channels and pixels before and behind the convolutions of each node.
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
        attention: Attention | None = None,
        interpolation: Interpolation = "nearest",
        dropout_ratio: float = 0.0,
        norm: Norm | None = BN,
        activation: Activation = RELU,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        self.in_index, self.in_channels = paired_levels("UNetPlusPlusHead", in_index, in_channels)
        self.num_classes = num_classes
        self.align_corners = align_corners
        checked_attention("UNetPlusPlusHead", attention)
        checked_interpolation("UNetPlusPlusHead", interpolation)
        widths = block_widths("UNetPlusPlusHead", self.in_channels, decoder_channels)
        self.sizes, self.doublings = len(self.in_channels) - 1, len(widths)
        self.blocks = nn.ModuleDict()
        for path, size, (below, beside, out) in _nodes(widths, self.sizes):
            self.blocks[f"x_{path}_{size}"] = DecoderBlock(
                below,
                beside,
                out,
                norm=norm,
                activation=activation,
                attention=attention,
                attend_input=size < max(self.sizes, len(widths) - 1),
                interpolation=interpolation,
            )
        start_decoder(self)
        self.dropout = channel_dropout(dropout_ratio)
        self.conv_seg = wide_classifier(decoder_channels[-1], num_classes)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, f H, f W), twice as large for each block that has no level beside it."""
        levels = [features[i] for i in reversed(self.in_index)]
        paths = list(levels[:-1])  # where each path is: at the level that it begins with
        for size in range(self.sizes):
            beside = [levels[size + 1]]  # what has this size: the level, and the paths that have reached it
            for path in range(size, -1, -1):
                paths[path] = self.blocks[f"x_{path}_{size}"](paths[path], *beside)
                beside.insert(0, paths[path])
        x = paths[0] if paths else levels[0]
        for size in range(self.sizes, self.doublings):
            x = self.blocks[f"x_0_{size}"](x)
        logits: Tensor = self.conv_seg(self.dropout(x))
        return logits


def _nodes(widths: Sequence[tuple[int, int, int]], sizes: int) -> list[tuple[int, int, tuple[int, int, int]]]:
    """Path, size, and channels of what each node gets from below, from beside, and gives."""
    nodes = []
    for size, (below, beside, out) in enumerate(widths):
        nodes.append((0, size, (below, beside * (size + 1), out)))
        if size < sizes:
            coarser = widths[size - 1][1]  # of the level one size coarser
            nodes += [(path, size, (coarser, beside * (size + 1 - path), beside)) for path in range(1, size + 1)]
    return nodes
