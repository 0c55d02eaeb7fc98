"""Patches of an image as tokens, and tokens as a map.

Tokens (N, L, C) and maps (N, C, h, w) are two views of one memory layout, channels last, so that changing between them
copies nothing.

Shape letters: N images, C channels, H, W height and width of the input, h, w of the grid of patches, L = h * w tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.norm import Norm


class PatchEmbed(nn.Module):
    """A convolution over patches, as a grid of tokens.

    stride: distance between patches; `patch_size` unless given, so that they do not overlap.
    padding: zeros around the input, as many on each side; or as many as make patches cover the whole input, all of them
    below and to the right ("corner"), or half of them above and to the left ("same").
    norm: behind it, over the channels of a token.

    Raises ValueError if patches are to cover the whole input, but pixels would lie between them.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        *,
        patch_size: int,
        stride: int | None = None,
        padding: int | Literal["corner", "same"] = "corner",
        bias: bool = True,
        norm: Norm | None = None,
    ) -> None:
        super().__init__()
        stride = patch_size if stride is None else stride
        if stride > patch_size and not isinstance(padding, int):
            raise ValueError(f"patches of {patch_size} pixels leave some out at a stride of {stride}; set it lower")
        self.patch_size = patch_size
        self.stride = stride
        self.padding = padding
        self.projection = nn.Conv2d(
            in_channels,
            channels,
            patch_size,
            stride=stride,
            padding=padding if isinstance(padding, int) else 0,
            bias=bias,
        )
        self.norm = norm(channels) if norm else None

    def forward(self, x: Tensor) -> Tensor:
        """(N, bands, H, W) -> (N, h, w, C)."""
        x = self.projection(x if isinstance(self.padding, int) else self._pad(x)).permute(0, 2, 3, 1)  # (N, h, w, C)
        return x if self.norm is None else self.norm(x)

    def _pad(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        overlap = self.patch_size - self.stride
        (_, rows), (_, columns) = (pieces_and_padding(length, self.stride) for length in (height, width))
        rows, columns = rows + overlap, columns + overlap
        above, left = (rows // 2, columns // 2) if self.padding == "same" else (0, 0)
        return F.pad(x, (left, columns - left, above, rows - above))


def pieces(length: int, side: int) -> int:
    """How many pieces of `side` cover `length`.

    In this form torch.export sees through padded sizes when they may change, which it does not with a remainder; and
    ONNX, which rounds towards zero, not down, has no -(-length // side).
    """
    return (length + side - 1) // side


def within_image(x: Tensor, size: Sequence[int], stride: int) -> Tensor:
    """A level (N, C, h, w) of a padded image without what lies beyond an image of `size`, (height, width)."""
    height, width = (pieces(side, stride) for side in size)
    if not torch.compiler.is_exporting():
        return x[..., :height, :width]
    # torch.export takes a slice that may be all of it for one or the other, and is then right for that alone.
    rows, columns = (torch.arange(side, device=x.device) for side in (height, width))
    return x.index_select(2, rows).index_select(3, columns)


def pieces_and_padding(length: int, side: int) -> tuple[int, int]:
    """The same, and how much padding the last one needs."""
    count = pieces(length, side)
    return count, count * side - length


def to_tokens(x: Tensor) -> Tensor:
    """(N, C, h, w) -> (N, L, C)."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def to_map(x: Tensor, height: int, width: int) -> Tensor:
    """(N, L, C) -> (N, C, h, w)."""
    grid: Tensor = x.unflatten(1, (height, width))  # (N, h, w, C)
    return grid.permute(0, 3, 1, 2)
