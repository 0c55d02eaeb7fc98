"""What a model of depth says about one image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.io.whole_files import write_bytes
from intarsia.visual.depth import coloured_depth, with_scale
from intarsia.visual.depth_files import depth_bytes
from intarsia.visual.files import save_picture


class DepthRange(NamedTuple):
    """Of the depths of an image; nan where the network gave no number at all."""

    least: float
    median: float
    most: float


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class DepthPrediction:
    """The depth of every pixel of one image at the image's own size.

    depth: (H, W) float32, in the unit of the training: metres, where its true depths were. image: (H, W, 3) uint8 RGB,
    or None. name: of the image, without suffix; may contain folders.

    Raises ValueError, saying what was expected and found, if the parts do not fit together.
    """

    depth: npt.NDArray[np.float32]
    image: npt.NDArray[np.uint8] | None = None
    name: str = "image"

    def __post_init__(self) -> None:
        if self.depth.ndim != 2 or self.depth.dtype != np.float32 or self.depth.size == 0:
            raise ValueError(f"depth: expected (H, W) float32, found {self.depth.shape} {self.depth.dtype}")
        if self.image is not None and (self.image.shape[:2] != self.depth.shape or self.image.dtype != np.uint8):
            expected = (*self.depth.shape, 3)
            raise ValueError(f"image: expected {expected} uint8, found {self.image.shape} {self.image.dtype}")

    def __repr__(self) -> str:
        height, width = self.depth.shape
        least, median, most = self.range
        depths = f"{least:.4g} to {most:.4g}, median {median:.4g}"
        return f"<DepthPrediction {self.name!r}: {width} x {height} pixels: {depths}>"

    @property
    def range(self) -> DepthRange:
        """The least depth, the median and the largest; of the pixels that have a number."""
        known = self.depth[np.isfinite(self.depth)]
        if not known.size:
            return DepthRange(np.nan, np.nan, np.nan)
        return DepthRange(float(known.min()), float(np.median(known)), float(known.max()))

    def coloured(self, *, scale: bool = True) -> npt.NDArray[np.uint8]:
        """The depths in colours from bright (the nearest pixel) to black (the farthest), (H, W', 3) uint8 RGB.

        scale: with a bar at the right that says which colour is which depth; small images are then enlarged, so that
        its numbers are legible.
        """
        nearest, _, farthest = self.range
        return with_scale(self.depth, nearest, farthest) if scale else coloured_depth(self.depth, nearest, farthest)

    def save(self, path: PathLike) -> Path:
        """Write the depths: .tif as they are, float32; .npy the same; .png in 16 bits, as thousandths of the unit.

        So metres become millimetres, as the benchmarks of depth have them; 0 stands for what is no number.
        Missing folders are made. Returns the path. Raises ValueError for another suffix, and for depths beyond what 16
        bits hold.
        """
        path = Path(path)
        return write_bytes(path, depth_bytes(self.depth, path.suffix.lower()))

    def save_coloured(self, path: PathLike, *, scale: bool = True) -> Path:
        """Write the picture; the suffix (.jpg, .png, .webp) decides the format. Returns the path."""
        return save_picture(path, self.coloured(scale=scale))
