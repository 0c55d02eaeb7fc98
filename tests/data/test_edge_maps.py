"""The map of edges beside the labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from intarsia.contracts import Sample
from intarsia.data.transforms.edges import GenerateEdge


def edges_of(label: Any, **arguments: Any) -> list[list[int]]:
    array = np.asarray(label, np.uint8)
    sample = Sample(np.zeros((*array.shape, 3), np.uint8), array, {"depth": np.ones(array.shape)})
    done = GenerateEdge(**arguments)(sample, np.random.default_rng(0))
    assert list(done.maps) == ["depth", "edge"]
    assert done.maps["edge"].dtype == np.uint8
    found: list[list[int]] = done.maps["edge"].tolist()
    return found


def test_edges_are_where_classes_meet_and_nothing_is_ignored() -> None:
    assert edges_of([[1, 1, 2, 2]] * 2, edge_width=1) == [[0, 1, 1, 0], [0, 1, 0, 0]]
    assert edges_of([[1, 1, 2, 2]] * 2, edge_width=3) == [[1, 1, 1, 1]] * 2
    assert edges_of([[1, 255, 2], [255, 255, 255], [3, 255, 4]], edge_width=1) == [[0] * 3] * 3
    assert edges_of([[1, 0, 1]], edge_width=1, ignore_index=0) == [[0, 0, 0]]
    assert edges_of([[7, 7], [7, 7]]) == [[0, 0], [0, 0]]
    with pytest.raises(ValueError, match="edge_width must be at least one pixel, got 0"):
        GenerateEdge(edge_width=0)
