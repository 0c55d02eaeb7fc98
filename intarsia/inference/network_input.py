"""What a network is shown: whole images, or windows of them, normalised and padded.

Normalising makes floating-point numbers of stored ones, several copies at a time: 9 GB for an image of 16,000 x 16,000.
A large image that is seen through windows is therefore normalised window by window. The numbers are the same.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import Size
from intarsia.inference.logits.sliding import Window, cut_from
from intarsia.tasks.preprocess import Preprocess


@dataclass(frozen=True, slots=True)
class NetworkInput:
    """size: height and width, padding included. count: of images. whole: all of them, (n, C, H, W). cut: one window."""

    size: Size
    count: int
    whole: Callable[[], Tensor]
    cut: Callable[[Window], Tensor]

    @classmethod
    def of(cls, inputs: Tensor) -> NetworkInput:
        """Of images (n, C, H, W) that are normalised and padded already."""
        size = (inputs.shape[2], inputs.shape[3])
        return cls(size, len(inputs), lambda: inputs, cut_from(inputs.unbind()))


def by_windows(images: Tensor, preprocess: Preprocess) -> NetworkInput:
    """Of stored images (n, C, h, w), of which each window is normalised when it is asked for."""
    height, width = images.shape[2:]
    size = preprocess.padded_size((height, width), train=False)

    def cut(window: Window) -> Tensor:
        bottom, right = min(window.bottom, height), min(window.left + window.width, width)
        part = images[window.image, None, :, window.top : bottom, window.left : right]
        inside = (part.shape[2], part.shape[3])
        pixels = preprocess(part, (inside,), train=False)[0, :, : inside[0], : inside[1]]
        beyond = (0, window.width - inside[1], 0, window.height - inside[0])
        pixels = F.pad(pixels, beyond, value=preprocess.spec.pad_value) if any(beyond) else pixels
        return window.turned(pixels)

    return NetworkInput(
        size, len(images), lambda: preprocess(images, ((height, width),) * len(images), train=False), cut
    )


def can_be_cut(preprocess: object, size: Size, least_size: int) -> bool:
    """Whether images of a size may be normalised by windows: nothing but a multiple is what they are padded to."""
    is_plain = isinstance(preprocess, Preprocess) and preprocess.spec.eval_size is None
    return is_plain and min(size) >= least_size
