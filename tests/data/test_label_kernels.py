"""Windows of nearest-neighbour resized labels with numba and without: the same pixels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data import fast_libraries
from intarsia.data.transforms import resize

pytest.importorskip("numba")
from intarsia.data import label_kernels, numba_compile
from intarsia.terminal import Notice

sides = st.integers(1, 60)


@pytest.fixture(scope="module")
def choose():
    return label_kernels.make_chooser()


@settings(max_examples=300)
@given(st.integers(0, 2**32 - 1), sides, sides, sides, sides)
def test_chosen_pixels_are_numpys(choose, seed, height, width, new_height, new_width):
    rng = np.random.default_rng(seed)
    source = rng.integers(0, 256, (height, width + 3), dtype=np.uint8)[:, 1:-2]
    rows, columns = np.sort(rng.integers(0, height, new_height)), rng.integers(0, width, new_width)
    before = source.copy()
    source.setflags(write=False)
    np.testing.assert_array_equal(choose(source, rows, columns), before[rows][:, columns])
    np.testing.assert_array_equal(source, before)


@pytest.mark.parametrize(("rows", "columns"), [([5], [0]), ([-1], [0]), ([0], [7]), ([0], [-1]), ([], [0]), ([0], [])])
def test_places_beside_the_source_are_no_places(choose, rows, columns):
    """Compiled code would read whatever lies in memory there."""
    with pytest.raises(AssertionError):
        choose(np.zeros((5, 7), np.uint8), np.array(rows, np.intp), np.array(columns, np.intp))


@pytest.mark.parametrize("size", [(50, 70), (200, 310), (333, 101), (31, 640)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_windows_are_the_same_with_numba_and_without(monkeypatch, choose, size, dtype):
    label = np.random.default_rng(1).integers(0, 256, (90, 130)).astype(dtype)
    whole = cv2.resize(label, size[::-1], interpolation=cv2.INTER_NEAREST)
    for way in (choose, None):
        monkeypatch.setattr(resize, "fast_chooser", lambda way=way: way)
        found = resize.nearest_window(label, size, (7, 11), (20, 30))
        np.testing.assert_array_equal(found, whole[7:27, 11:41])
        assert found.dtype == dtype


def test_it_is_used_where_it_is_there_and_wanted(monkeypatch):
    for choice, expected in (("fast", True), ("usual", False)):
        monkeypatch.setenv(fast_libraries.VARIABLE, choice)
        fast_libraries.fast_library.cache_clear()
        resize.fast_chooser.cache_clear()
        assert (resize.fast_chooser() is not None) is expected
    fast_libraries.fast_library.cache_clear()
    resize.fast_chooser.cache_clear()


def test_a_machine_where_numba_cannot_compile_goes_on_without(monkeypatch):
    def unable(*arguments, **options):
        raise RuntimeError("no target")

    monkeypatch.setattr(numba_compile, "_njit", unable)
    with pytest.warns(Notice, match="no target"):
        assert label_kernels.make_chooser() is None
