"""Edges between classes, as a further map beside the labels."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np

from intarsia.contracts import IGNORE_INDEX, Sample

_ALL, _FIRST, _LAST = slice(None), slice(None, -1), slice(1, None)
"""Rows or columns: all, all but the last, all but the first."""
_NEIGHBOURS = (
    ((_LAST, _ALL), (_FIRST, _ALL)),
    ((_ALL, _FIRST), (_ALL, _LAST)),
    ((_FIRST, _FIRST), (_LAST, _LAST)),
    ((_FIRST, _LAST), (_LAST, _FIRST)),
)
"""Pixels that become edges, and those that they are compared with: above, right, lower right, lower left."""


@dataclass(frozen=True)
class GenerateEdge:
    """Add the map "edge": 1 at pixels near which the class changes, 0 at others (CE2P, arXiv:1809.05996).

    A pixel is an edge if the one above, to the right, or diagonally below is of another class and neither of the two is
    ignored; edges are then widened to squares.

    edge_width: side of a square in pixels.
    ignore_index: the label value that makes no edge.
    """

    edge_width: int = 3
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        if self.edge_width < 1:
            raise ValueError(f"GenerateEdge: edge_width must be at least one pixel, got {self.edge_width!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with a map more, uint8; without labels, as it is."""
        if sample.label is None:
            return sample
        label = sample.label
        known = label != self.ignore_index
        edge = np.zeros(label.shape, np.uint8)
        for here, there in _NEIGHBOURS:
            edge[here] |= (label[here] != label[there]) & known[here] & known[there]
        kernel = cv2.getStructuringElement(cv2.MORPH_RECT, (self.edge_width, self.edge_width))
        return replace(sample, maps={**sample.maps, "edge": np.asarray(cv2.dilate(edge, kernel))})
