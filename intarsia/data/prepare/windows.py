"""Where large images are cut, with the file names of the original's windows."""

from __future__ import annotations


def tiles(length: int, clip: int) -> list[int]:
    """Starts of windows side by side, the last moved back to end at `length`; a single 0 if the image is not larger.

    The original multiplies the number of a window by the clip size and not by the stride, so that a stride up to the
    clip size changes nothing, and a larger one loses the right and lower border. Published counts (Potsdam: 144 windows
    an image) come from this. Here the stride never loses anything. An image smaller than a window gave negative starts;
    it is one window.
    """
    if length <= clip:
        return [0]
    return [*range(0, length - clip, clip), length - clip]


def overlapping(length: int, patch: int, overlap: int) -> list[int]:
    """Starts of windows a patch less the overlap apart, those past the end moved back, each once."""
    return sorted({max(min(start, length - patch), 0) for start in range(0, length, patch - overlap)})
