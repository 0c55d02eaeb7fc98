"""What is said of files by rasterio's GDAL, from several threads."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest

rasterio = pytest.importorskip("rasterio")

from intarsia.data.gdal import without_place  # noqa: E402


def test_no_thread_is_warned_while_another_one_is_done() -> None:
    category = rasterio.errors.NotGeoreferencedWarning
    before = list(warnings.filters)

    def work(number: int) -> None:
        for _ in range(200):
            with without_place():
                warnings.warn(f"thread {number}", category, stacklevel=1)

    with warnings.catch_warnings():
        warnings.simplefilter("error", category)
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        with pytest.raises(category):
            warnings.warn("outside", category, stacklevel=1)
    assert list(warnings.filters) == before
