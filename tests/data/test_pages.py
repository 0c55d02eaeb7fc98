"""Files of several images: how many, and each of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from intarsia.data.image_io import read_image, read_label
from intarsia.data.pages import count_pages, page_file

COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def pages(mode: str = "RGB") -> list[Image.Image]:
    return [Image.fromarray(np.full((32, 48, 3), colour, np.uint8)).convert(mode) for colour in COLOURS]


@pytest.mark.parametrize("name", ["stack.tif", "big.tif", "move.gif", "move.webp", "move.png", "move.avif"])
def test_pages_and_frames_are_counted_and_read(tmp_path: Path, name: str) -> None:
    if name.endswith(".avif") and not features.check("avif"):
        pytest.skip("this Pillow writes no AVIF")
    first, *others = pages()
    options = {"lossless": True} if name.endswith(".webp") else {"big_tiff": True} if name == "big.tif" else {}
    path = tmp_path / name
    first.save(path, save_all=True, append_images=others, **options)
    assert count_pages(path) == count_pages(path.read_bytes()) == 3
    for number, colour in enumerate(COLOURS):
        (tmp_path / "page").write_bytes(page_file(path.read_bytes(), number))
        found = read_image(tmp_path / "page")
        assert found.shape == (32, 48, 3)
        assert np.abs(found.astype(int) - colour).max() < (10 if name.endswith(".avif") else 1)
    assert np.array_equal(read_image(path), read_image(path, page=0))
    if not name.endswith(".avif"):
        assert np.array_equal(read_image(path, page=2)[0, 0], COLOURS[2])
    with pytest.raises(ValueError, match=rf"{path.name}: there is no (page|frame) 4"):
        read_image(path, page=3)


def test_frames_that_store_what_changes_are_shown_whole(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (64, 64), "black") for _ in range(2)]
    frames[1].paste("white", (5, 5, 9, 9))
    frames[0].save(tmp_path / "move.gif", save_all=True, append_images=frames[1:])
    second = read_image(tmp_path / "move.gif", page=1)
    assert second.shape == (64, 64, 3)
    assert (second == np.array(frames[1])).all()


def test_smaller_copies_and_masks_are_no_pages(tmp_path: Path) -> None:
    rasterio = pytest.importorskip("rasterio")
    rng = np.random.default_rng(0)
    profile = {"driver": "GTiff", "height": 256, "width": 256, "count": 3, "dtype": "uint8", "tiled": True}
    with rasterio.open(tmp_path / "scene.tif", "w", blockxsize=64, blockysize=64, **profile) as target:
        target.write(rng.integers(0, 256, (3, 256, 256), dtype=np.uint8))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(tmp_path / "scene.tif", "r+") as target:
        target.write_mask(np.full((256, 256), 255, np.uint8))
        target.build_overviews([2, 4])
    assert count_pages(tmp_path / "scene.tif") == 1


def test_files_that_are_damaged_or_turn_in_circles_have_one_page(tmp_path: Path) -> None:
    path = tmp_path / "stack.tif"
    first, *others = pages()
    first.save(path, save_all=True, append_images=others)
    data = path.read_bytes()
    for end in range(0, len(data), 997):
        assert 1 <= count_pages(data[:end]) <= 3
    # The last directory's pointer to the next leads to the first.
    offset, step = int.from_bytes(data[4:8], "little"), 0
    circle = bytearray(data)
    while offset:
        step = offset + 2 + 12 * int.from_bytes(data[offset : offset + 2], "little")
        offset = int.from_bytes(data[step : step + 4], "little")
    circle[step : step + 4] = data[4:8]
    assert count_pages(bytes(circle)) == 3
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.jpg")
    assert count_pages(tmp_path / "photo.jpg") == count_pages(tmp_path / "missing.png") == count_pages(b"") == 1


def test_a_page_of_labels(tmp_path: Path) -> None:
    first, *others = [Image.fromarray(np.full((4, 6), value, np.uint8)) for value in (1, 2, 3)]
    first.save(tmp_path / "labels.tif", save_all=True, append_images=others)
    assert (read_label(tmp_path / "labels.tif") == 1).all()
