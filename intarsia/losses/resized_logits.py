"""Logits that are looked at in the size of the labels, and are still in their own.

A loss that needs them for a sum over pixels (`LossOfResized`) gets by without K x H x W numbers at once.

Shape letters: N images, K logits, H, W height and width of the labels, h, w of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from intarsia.contracts import Size
from intarsia.layers.levels import resize
from intarsia.losses.targets import is_on_cpu

_FEWEST_CLASSES = 4
"""Of fewer, strips take longer on a processor than the plain way, and the plain way little memory."""
_LEAST = 300_000
"""So many numbers at the size of the labels are not worth the strips: the plain way takes no longer, and 1 MB."""


@dataclass
class ResizedLogits:
    """Logits `low` (N, K, h, w), in float32 or float64, to be enlarged to `size` by bilinear interpolation.

    labels: (N, H, W), if anybody will want to know where the likeliest class is that of the label. `right` says so,
        (N, H, W) bool, as soon as somebody has gone through all pixels, which costs little on that occasion.
    """

    low: Tensor
    size: Size
    align_corners: bool = False
    labels: Tensor | None = None
    right: Tensor | None = field(default=None, init=False)

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(N, K, H, W)."""
        return (self.low.shape[0], self.low.shape[1], *self.size)

    @cached_property
    def whole(self) -> Tensor:
        """The enlarged logits (N, K, H, W)."""
        return resize(self.low, self.size, align_corners=self.align_corners)

    @property
    def worthwhile(self) -> bool:
        """Whether going through them in pieces is faster than making them, or saves memory that counts.

        Never inside torch.compile, which fuses the plain operations.
        """
        images, classes, height, width = self.shape
        enough = classes >= (_FEWEST_CLASSES if is_on_cpu(self.low) else 2)
        return enough and images * classes * height * width > _LEAST and not torch.compiler.is_compiling()


class LossOfResized(Protocol):
    """A loss that takes logits which nobody has enlarged."""

    def of_resized(self, logits: ResizedLogits, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """What the loss gives for `logits.whole`, target (N, H, W) -> scalar.

        weight: as that of the loss; only given to one that takes weights.
        """
        ...


def takes_resized(part: Any) -> bool:
    """Whether a loss or a sampler has `of_resized` and means it: not one that inherits it and computes other things."""
    for kind in type(part).__mro__:
        if "of_resized" in vars(kind):
            return True
        if "forward" in vars(kind) or "__call__" in vars(kind):
            return False
    return False


def refuse_second_derivative() -> None:
    """For the backward pass of a loss whose gradient is computed, and not recorded.

    Raises RuntimeError where its own derivative is going to be asked for (create_graph=True).
    """
    if torch.is_grad_enabled():
        raise RuntimeError(
            "a loss of logits that are not enlarged has no second derivative, but the backward pass was run "
            "with create_graph=True. Take the loss of the enlarged logits: loss(logits.whole, target)"
        )
