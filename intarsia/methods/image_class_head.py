"""Auxiliary classification: one layer on the coarsest level says which classes an image shows.

As segmentation_models.pytorch has it (`aux_params`); there is no paper. In our loop it learns what EncNet's layer does
(Zhang et al., arXiv:1803.08904, section 3.1): which classes the labels show. A loop of one's own may teach it any other
labels of whole images.

Shape letters: N images, C channels of the level, K classes, h, w height and width of the level.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, cast

from torch import Tensor, nn

from intarsia.contracts import HeadOutput, ImageLogits, Level, TokenLevel

Pooling = Literal["avg", "max"]


class ImageClassHead(nn.Module):
    """The mean, or the maximum, of each channel over the level, dropout, and a linear layer.

    Args:
        in_channels: channels of the level.
        num_classes: number of logits, a yes or no each.
        in_index: the level, by default the last one.
        pooling: "avg" or "max".
        dropout_ratio: of values, before the layer.
        in_tokens: whether the level comes with a class token, which is not looked at.
        align_corners: has no effect: nothing is resized.

    Raises ValueError for another pooling.
    """

    def __init__(
        self,
        *,
        in_channels: int,
        num_classes: int,
        in_index: int = -1,
        pooling: Pooling = "avg",
        dropout_ratio: float = 0.2,
        in_tokens: bool = False,
        align_corners: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in ("avg", "max"):
            raise ValueError(f"ImageClassHead pools by 'avg' or 'max'; got pooling={pooling!r}")
        self.in_channels, self.in_index, self.in_tokens = in_channels, in_index, in_tokens
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.pooling = pooling
        self.dropout = nn.Dropout(dropout_ratio) if dropout_ratio > 0 else nn.Identity()
        self.fc = nn.Linear(in_channels, num_classes)
        nn.init.xavier_uniform_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)

    def forward(self, features: Sequence[Level]) -> Tensor:
        """Feature maps -> logits of the image as a map of one cell, (N, K, 1, 1)."""
        return self._logits(features)[:, :, None, None]

    def training_outputs(self, features: Sequence[Level]) -> dict[str, HeadOutput]:
        """The same as what they are, logits (N, K) of the image."""
        return {"": ImageLogits(self._logits(features))}

    def _logits(self, features: Sequence[Level]) -> Tensor:
        level = features[self.in_index]
        x = cast("TokenLevel", level).map if self.in_tokens else cast("Tensor", level)
        pooled = x.mean((2, 3)) if self.pooling == "avg" else x.amax((2, 3))  # (N, C)
        logits: Tensor = self.fc(self.dropout(pooled))  # (N, K)
        return logits
