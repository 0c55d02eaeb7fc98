"""What a model of depth says about one image: its range, its files and pictures, and parts that do not fit."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.inference.depth_prediction import DepthPrediction
from intarsia.inference.outputs.depth_files import DepthFiles, DepthTable
from intarsia.terminal import Notice
from intarsia.visual.depth import coloured_depth, with_scale

DEPTH = np.linspace(0.5, 8, 40 * 60, dtype=np.float32).reshape(40, 60)


@pytest.mark.parametrize(
    ("depth", "image", "said"),
    [
        (DEPTH[0], None, r"depth: expected \(H, W\) float32, found \(60,\) float32"),
        (DEPTH.astype(np.float64), None, r"depth: expected .* found \(40, 60\) float64"),
        (DEPTH[:0], None, r"depth: expected .* found \(0, 60\) float32"),
        (DEPTH, np.zeros((60, 40, 3), np.uint8), r"image: expected \(40, 60, 3\) uint8, found \(60, 40, 3\) uint8"),
        (DEPTH, np.zeros((40, 60, 3)), r"image: expected \(40, 60, 3\) uint8, found \(40, 60, 3\) float64"),
    ],
)
def test_parts_that_do_not_fit_are_refused(depth: np.ndarray, image: np.ndarray | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DepthPrediction(depth, image)


def test_the_range_is_that_of_what_is_known() -> None:
    depth = DEPTH.copy()
    depth[0, :2] = np.nan, np.inf
    assert DepthPrediction(depth).range == (depth[0, 2], np.median(DEPTH.ravel()[2:]), 8)
    assert all(map(math.isnan, DepthPrediction(np.full_like(DEPTH, np.nan)).range))


def test_files_and_pictures(tmp_path: Path) -> None:
    found = DepthPrediction(DEPTH)
    assert np.array_equal(np.load(found.save(tmp_path / "new" / "a.npy")), DEPTH)
    assert np.array_equal(np.asarray(Image.open(found.save(tmp_path / "a.TIF"))), DEPTH)
    with pytest.raises(ValueError, match=r"depths are written as \.tif, .*found '\.jpg'"):
        found.save(tmp_path / "a.jpg")
    plain, scaled = coloured_depth(DEPTH, 0.5, 8), with_scale(DEPTH, 0.5, 8)
    for saved, expected in (
        (found.save_coloured(tmp_path / "scaled.png"), scaled),
        (found.save_coloured(tmp_path / "plain.png", scale=False), plain),
    ):
        assert np.array_equal(np.asarray(Image.open(saved)), expected)
    assert np.array_equal(found.coloured(), scaled)
    assert DepthFiles(tmp_path, frozenset({"color"})).encoded(found, "color") == (tmp_path / "scaled.png").read_bytes()


def test_formats_and_tables_of_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--format of depths is tiff, png16, found 'exr'"):
        DepthFiles(tmp_path, frozenset({"depth"}), file_format="exr")
    table = DepthTable(tmp_path / "depths.csv")
    table.add(DepthPrediction(np.full_like(DEPTH, np.nan), name="dark"))
    assert table.summary() == "none"
    table.add(DepthPrediction(DEPTH, name="light"))
    assert table.summary() == "min 0.5, median of medians 4.25, max 8"


def test_a_picture_that_is_too_large_for_its_format_is_made_smaller(tmp_path: Path) -> None:
    wide = DepthPrediction(np.ones((2, 17_000), np.float32), name="wide")
    files = DepthFiles(tmp_path, frozenset({"color"}), scale=False)
    with pytest.warns(Notice, match="^wide: "):
        files.write_one(wide, "color", tmp_path / "wide.webp")
    assert max(Image.open(tmp_path / "wide.webp").size) < 17_000
