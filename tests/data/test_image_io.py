from __future__ import annotations

import struct
import subprocess
import sys

import cv2
import numpy as np
import pytest
from PIL import Image

from intarsia.data.image_io import read_image, read_label


def picture(height=20, width=30, bands=3, dtype=np.uint8, seed=0):
    shape = (height, width, bands) if bands > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


def test_colour_is_rgb(tmp_path):
    image = picture()
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == image).all()
    assert (read_image(tmp_path / "a.png", bands="raw") == image).all()


def test_colour_equals_opencvs_own_reading(realdata):
    path = realdata / "ade20k_samples" / "images" / "ADE_val_00000001.jpg"
    assert (read_image(path) == cv2.imread(str(path), cv2.IMREAD_COLOR)[:, :, ::-1]).all()


def test_grey_is_repeated_or_kept(tmp_path):
    image = picture(bands=1)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == image[:, :, None]).all()
    assert read_image(tmp_path / "a.png").shape == (20, 30, 3)
    stored = read_image(tmp_path / "a.png", bands="raw")
    assert stored.shape == (20, 30, 1)
    assert (stored[:, :, 0] == image).all()


def test_alpha_is_dropped_or_kept(tmp_path):
    image = picture(bands=4)
    Image.fromarray(image).save(tmp_path / "a.png")
    assert (read_image(tmp_path / "a.png") == image[:, :, :3]).all()
    assert (read_image(tmp_path / "a.png", bands="raw") == image).all()


def test_sixteen_bits_are_kept_as_stored(tmp_path):
    image = picture(bands=1, dtype=np.uint16)
    Image.fromarray(image).save(tmp_path / "a.png")
    stored = read_image(tmp_path / "a.png", bands="raw")
    assert stored.dtype == np.uint16
    assert (stored[:, :, 0] == image).all()
    assert read_image(tmp_path / "a.png").dtype == np.uint8


def test_the_exif_orientation_turns_colour_images_only(tmp_path):
    image = Image.fromarray(picture())
    exif = image.getexif()
    exif[274] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (30, 20, 3)
    assert read_image(tmp_path / "a.jpg", bands="raw").shape == (20, 30, 3)


def tiff(array):
    """An uncompressed TIFF of (H, W, C) with any number of bands."""
    height, width, bands = array.shape
    code = {"u": 1, "i": 2, "f": 3}[array.dtype.kind]
    first = 8 + 2 + 12 * 11 + 4
    pixels = first + 4 * bands
    bits, kinds = (array.dtype.itemsize * 8, code) if bands == 1 else (first, first + 2 * bands)  # where one fits in
    entries = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, bands, bits), (259, 3, 1, 1), (262, 3, 1, 1),
        (273, 4, 1, pixels), (277, 3, 1, bands), (278, 4, 1, height), (279, 4, 1, array.nbytes), (284, 3, 1, 1),
        (339, 3, bands, kinds),
    ]  # fmt: skip
    head = b"II*\0" + struct.pack("<IH", 8, len(entries)) + b"".join(struct.pack("<HHII", *e) for e in entries)
    extra = struct.pack(f"<{bands}H", *[array.dtype.itemsize * 8] * bands) + struct.pack(f"<{bands}H", *[code] * bands)
    return head + struct.pack("<I", 0) + extra + array.tobytes()


def test_a_tiff_never_loses_bands_silently(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "rasterio", None)
    for bands in (4, 6):
        (tmp_path / "a.tif").write_bytes(tiff(picture(bands=bands)))
        with pytest.raises(ValueError, match=rf"a\.tif: a TIFF with {bands} bands needs rasterio.*intarsia\[raster\]"):
            read_image(tmp_path / "a.tif", bands="raw")


def test_an_ordinary_tiff_is_read_as_stored(tmp_path):
    image = picture(dtype=np.uint16)
    cv2.imwrite(str(tmp_path / "a.tif"), image[:, :, ::-1])
    assert (read_image(tmp_path / "a.tif", bands="raw") == image).all()


def test_arrays_hold_any_number_of_bands(tmp_path):
    image = picture(bands=12).astype(np.float32)
    np.save(tmp_path / "a.npy", image)
    assert (read_image(tmp_path / "a.npy", bands="raw") == image).all()
    with pytest.raises(ValueError, match="bands='raw'"):
        read_image(tmp_path / "a.npy")


def test_labels_keep_palette_indices(tmp_path):
    label = picture(bands=1) % 5
    image = Image.fromarray(label).convert("L")
    image.putpalette([200, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140])
    image.save(tmp_path / "a.png")
    assert Image.open(tmp_path / "a.png").mode == "P"
    assert (read_label(tmp_path / "a.png") == label).all()
    assert read_label(tmp_path / "a.png", colours=True)[label == 0].tolist()[0] == [200, 10, 20]


def test_labels_keep_sixteen_bits_and_read_one_bit_as_0_and_1(tmp_path):
    label = picture(bands=1, dtype=np.uint16)
    Image.fromarray(label).save(tmp_path / "a.png")
    assert (read_label(tmp_path / "a.png") == label).all()
    mask = label > 30000
    Image.fromarray(mask).save(tmp_path / "b.png")
    assert (read_label(tmp_path / "b.png").astype(int) == mask).all()


@pytest.mark.parametrize("dtype", ["int64", "uint64", "float64"])
def test_labels_of_64_bits_are_read(tmp_path, dtype):
    label = np.random.default_rng(0).integers(0, 5, (20, 30)).astype(dtype)
    (tmp_path / "a.tif").write_bytes(tiff(label[:, :, None]))
    found = read_label(tmp_path / "a.tif")
    assert found.dtype.kind in "iu"
    np.testing.assert_array_equal(found, label)


@pytest.mark.parametrize("dtype", [">f4", ">u2", ">f8", ">i4"])
def test_arrays_in_the_other_order_of_bytes_are_not_misread_by_opencv(tmp_path, dtype):
    array = np.random.default_rng(0).integers(0, 900, (20, 30, 3)).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    image, label = read_image(tmp_path / "a.npy", bands="raw"), read_label(tmp_path / "a.npy")
    assert image.dtype.isnative
    assert label.dtype.isnative
    np.testing.assert_array_equal(image, array)
    np.testing.assert_array_equal(label, array)
    if array.dtype.kind != "i":
        smaller = cv2.resize(array.astype(array.dtype.newbyteorder("=")), (15, 10))
        np.testing.assert_array_equal(cv2.resize(image, (15, 10)), smaller)


def test_labels_drop_alpha(tmp_path):
    label = picture(bands=4)
    Image.fromarray(label).save(tmp_path / "a.png")
    assert (read_label(tmp_path / "a.png") == label[:, :, :3]).all()


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_files_that_are_cut_off(tmp_path, read, suffix, share):
    image = Image.fromarray(picture(200, 300))
    exif = image.getexif()
    exif[270] = "description"
    image.save(tmp_path / f"whole.{suffix}", exif=exif)
    data = (tmp_path / f"whole.{suffix}").read_bytes()
    (tmp_path / f"cut.{suffix}").write_bytes(data[: int(len(data) * share)])
    read(tmp_path / f"whole.{suffix}")
    with pytest.raises(ValueError, match=rf"cut\.{suffix}: .*cut off"):
        read(tmp_path / f"cut.{suffix}")


def test_a_thumbnails_end_does_not_pass_for_the_images(tmp_path):
    Image.fromarray(picture(200, 300)).save(tmp_path / "a.jpg")
    data = (tmp_path / "a.jpg").read_bytes()
    thumbnail = b"\xff\xe1" + struct.pack(">H", 8) + b"\xff\xd8..\xff\xd9"
    with_thumbnail = data[:2] + thumbnail + data[2:]
    (tmp_path / "b.jpg").write_bytes(with_thumbnail)
    assert read_image(tmp_path / "b.jpg").shape == (200, 300, 3)
    (tmp_path / "b.jpg").write_bytes(with_thumbnail[:-500])
    with pytest.raises(ValueError, match="cut off"):
        read_image(tmp_path / "b.jpg")


@pytest.mark.parametrize("read", [read_image, read_label])
@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "git lfs pull"),
        (b"<!doctype html><html>login", "web page"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"PK\x03\x04rest of it", "zip"),
        (b"hello there, no image", "first bytes"),
        (b"\x89PNG\r\n\x1a\n" + b"\0" * 40 + b"IEND", "cannot be read"),
    ],
)
def test_files_that_are_no_images_are_named_with_the_cause(tmp_path, read, content, cause):
    (tmp_path / "broken.png").write_bytes(content)
    with pytest.raises(ValueError, match=rf"broken\.png: .*{cause}"):
        read(tmp_path / "broken.png")


def test_missing_files_and_folders(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="is a folder"):
        read_image(tmp_path)


def test_pillow_says_nothing_of_bands_that_it_cannot_read() -> None:
    """It printed a line for each multispectral TIFF, which is read by rasterio."""
    program = "import logging, intarsia.data.image_io; logging.getLogger('PIL.TiffImagePlugin').error('More samples')"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stderr == b""
