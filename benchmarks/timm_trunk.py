"""A backbone of one's own (docs/own-parts.md): any convolutional network of timm that gives feature maps.

Used by pretraining.py, as `type="timm_trunk:TimmTrunk"` with `--trust timm_trunk`. The network is timm's; its names are
kept, below the word "net".
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from intarsia.contracts import FeatureSpec


class TimmTrunk(nn.Module):
    """A network of timm from random weights, without what only classifies images.

    name: as timm knows it. output_stride: of its last levels, 8, 16 or 32; blocks beyond are dilated.
    out_indices: levels that are returned; 0 has half the size of the image.
    """

    def __init__(self, *, name: str, output_stride: int = 32, out_indices: Sequence[int] = (1, 2, 3, 4)) -> None:
        super().__init__()
        import timm

        self.net = timm.create_model(
            name, pretrained=False, features_only=True, output_stride=output_stride, out_indices=tuple(out_indices)
        )
        info = self.net.feature_info
        self.features = tuple(
            FeatureSpec(channels, stride) for channels, stride in zip(info.channels(), info.reduction(), strict=True)
        )

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(N, 3, H, W) -> for each of `out_indices` (N, channels, H / stride, W / stride), rounded up."""
        return tuple(self.net(images))
