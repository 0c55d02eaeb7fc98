"""Every kind of image file, PIL image and array, through `predict`, with a model of colours and one of stored bands."""

from __future__ import annotations

import struct
import zlib
from functools import cache

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

import intarsia
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.inference.inputs.arrays import as_array

RAW = ImageReader(ImageSpec("raw", 0))
PIXELS = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (40, 56, 3), dtype=np.uint8), (9, 9), 0)
RGB = Image.fromarray(PIXELS)
GREY = np.asarray(RGB.convert("L"))
WIDE = PIXELS.astype(np.uint16) * 200 + 7
ALPHA = np.linspace(0, 255, GREY.size).astype(np.uint8).reshape(GREY.shape)
OPAQUE = np.full_like(ALPHA, 255)


@pytest.fixture(scope="module")
def colour(make_weights):
    return intarsia.load(make_weights(), device="cpu")


@pytest.fixture(scope="module")
def stored(make_weights):
    """A model of so many stored bands."""
    return cache(lambda bands: intarsia.load(make_weights(bands=bands, stored=True), device="cpu"))


def grey(array):
    return np.repeat(array[:, :, None], 3, axis=2)


def indexed(count):
    return RGB.quantize(count)


def looked_up(image):
    return np.asarray(image.convert("RGB"))


def lab():
    profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    return ImageCms.profileToProfile(RGB, *profiles, outputMode="LAB")


def png(array, colour_type):
    """A PNG of 8 or 16 bits as no library here writes it: grey with alpha, RGBA of 16 bits."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = array.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 8 * array.dtype.itemsize, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(row.dtype.newbyteorder(">")).tobytes() for row in array)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def saved(image, **settings):
    return lambda path: image.save(path, **settings)


def written(array, **_):
    return lambda path: cv2.imwrite(str(path), array)


def content(data):
    return lambda path: path.write_bytes(data)


def raster(array, **settings):
    def write(path):
        rasterio = pytest.importorskip("rasterio")
        bands, height, width = array.shape[2], *array.shape[:2]
        profile = {"driver": "GTiff", "width": width, "height": height, "count": bands, "dtype": array.dtype}
        with rasterio.open(path, "w", **profile, **settings) as file:
            file.write(np.moveaxis(array, 2, 0))

    return write


BGR16 = np.ascontiguousarray(WIDE[:, :, ::-1])
REDUCED = (WIDE >> 8).astype(np.uint8)
BITS = np.asarray(RGB.convert("1")).astype(np.uint8) * 255
INTEGERS, REALS = GREY.astype(np.int32) * 3, GREY.astype(np.float32) / 3
SEVEN = np.dstack([WIDE, WIDE, WIDE[:, :, :1]])
MULTI = {"save_all": True, "append_images": [RGB.resize((8, 8))]}
NO_COLOUR = "expected colours of 8 or 16 bits"

# name: how it is written, what a model of colours sees or is told, what a model of stored bands sees.
# A number: of so many bands, whatever their values. None: whatever its colours.
FILES = {
    "1.png": (saved(RGB.convert("1")), grey(BITS), BITS[:, :, None]),
    "1.bmp": (saved(RGB.convert("1")), grey(BITS), BITS[:, :, None]),
    "1.tif": (saved(RGB.convert("1")), grey(BITS), BITS[:, :, None]),
    "1_fax.tif": (saved(RGB.convert("1"), compression="group4"), grey(BITS), BITS[:, :, None]),
    "L.png": (saved(RGB.convert("L")), grey(GREY), GREY[:, :, None]),
    "L.bmp": (saved(RGB.convert("L")), grey(GREY), GREY[:, :, None]),
    "L.tif": (saved(RGB.convert("L")), grey(GREY), GREY[:, :, None]),
    "L.jpg": (saved(RGB.convert("L"), quality=95), grey(GREY), 1),
    "LA.png": (content(png(np.dstack([GREY, ALPHA]), 4)), grey(GREY), np.dstack([GREY, ALPHA])),
    "LA_16.png": (content(png(np.dstack([WIDE[:, :, 0], WIDE[:, :, 1]]), 4)), grey(REDUCED[:, :, 0]), WIDE[:, :, :2]),
    "LA.tif": (saved(RGB.convert("LA")), grey(GREY), 2),
    "P_1bit.png": (saved(indexed(2), bits=1), looked_up(indexed(2)), looked_up(indexed(2))),
    "P_2bit.png": (saved(indexed(4), bits=2), looked_up(indexed(4)), looked_up(indexed(4))),
    "P_4bit.png": (saved(indexed(16), bits=4), looked_up(indexed(16)), looked_up(indexed(16))),
    "P_8bit.png": (saved(indexed(99)), looked_up(indexed(99)), looked_up(indexed(99))),
    "P_transparent.png": (saved(indexed(9), transparency=3), looked_up(indexed(9)), 4),
    "P.bmp": (saved(indexed(99)), looked_up(indexed(99)), looked_up(indexed(99))),
    "P.tif": (saved(indexed(99)), looked_up(indexed(99)), looked_up(indexed(99))),
    "P.gif": (saved(indexed(99)), looked_up(indexed(99)), looked_up(indexed(99))),
    "PA.tif": (saved(indexed(9).convert("PA")), looked_up(indexed(9)), 3),
    "RGB.png": (saved(RGB), PIXELS, PIXELS),
    "RGB.bmp": (saved(RGB), PIXELS, PIXELS),
    "RGB.tif": (saved(RGB), PIXELS, PIXELS),
    "RGB_lzw.tif": (saved(RGB, compression="tiff_lzw"), PIXELS, PIXELS),
    "RGB_deflate.tif": (saved(RGB, compression="tiff_adobe_deflate"), PIXELS, PIXELS),
    "RGB_packbits.tif": (saved(RGB, compression="packbits"), PIXELS, PIXELS),
    "RGB_jpeg.tif": (saved(RGB, compression="jpeg", quality=98), PIXELS, 3),
    "RGB_big.tif": (saved(RGB, big_tiff=True), PIXELS, PIXELS),
    "RGB_pages.tif": (saved(RGB, **MULTI), PIXELS, PIXELS),
    "RGB_unsaid.tif": (raster(PIXELS), PIXELS, PIXELS),
    "RGB_tiled.tif": (raster(PIXELS, photometric="RGB", tiled=True, blockxsize=32, blockysize=32), PIXELS, PIXELS),
    "RGB_planes.tif": (raster(PIXELS, interleave="band", photometric="RGB"), PIXELS, PIXELS),
    "RGB.jpg": (saved(RGB, quality=98, subsampling=0), PIXELS, 3),
    "RGB_progressive.jpg": (saved(RGB, quality=98, subsampling=0, progressive=True), PIXELS, 3),
    "RGB.webp": (saved(RGB, lossless=True), PIXELS, PIXELS),
    "RGB_lossy.webp": (saved(RGB, quality=99), PIXELS, 3),
    "RGB.ppm": (saved(RGB), PIXELS, PIXELS),
    "RGB.jp2": (saved(RGB), PIXELS, PIXELS),
    "RGBA.png": (saved(Image.fromarray(np.dstack([PIXELS, ALPHA]))), PIXELS, np.dstack([PIXELS, ALPHA])),
    "RGBA.tif": (saved(Image.fromarray(np.dstack([PIXELS, OPAQUE]))), PIXELS, np.dstack([PIXELS, OPAQUE])),
    "RGBA_clear.tif": (saved(Image.fromarray(np.dstack([PIXELS, ALPHA]))), PIXELS, np.dstack([PIXELS, ALPHA])),
    "RGB_and_infrared.tif": (raster(np.dstack([PIXELS, ALPHA])), PIXELS, np.dstack([PIXELS, ALPHA])),
    "RGB_unsaid_16.tif": (raster(WIDE), REDUCED, WIDE),
    "RGBA.webp": (saved(Image.fromarray(np.dstack([PIXELS, ALPHA])), lossless=True, exact=True), PIXELS, 4),
    "CMYK.jpg": (saved(RGB.convert("CMYK"), quality=98), PIXELS, 3),
    "CMYK.tif": (saved(RGB.convert("CMYK")), PIXELS, 4),
    "YCbCr.jpg": (saved(RGB.convert("YCbCr"), quality=98, subsampling=0), PIXELS, 3),
    "YCbCr.tif": (saved(RGB.convert("YCbCr")), PIXELS, 3),
    "LAB.tif": (saved(lab()), r"its colours are CIE L\*a\*b\*", 3),
    "I;16.png": (saved(Image.fromarray(WIDE[:, :, 0])), grey(REDUCED[:, :, 0]), WIDE[:, :, :1]),
    "I;16.tif": (saved(Image.fromarray(WIDE[:, :, 0])), grey(REDUCED[:, :, 0]), WIDE[:, :, :1]),
    "I;16B.tif": (saved(Image.fromarray(WIDE[:, :, 0].astype(">u2"))), grey(REDUCED[:, :, 0]), WIDE[:, :, :1]),
    "I;16.pgm": (written(WIDE[:, :, 0]), grey(REDUCED[:, :, 0]), 1),
    "I.tif": (saved(Image.fromarray(INTEGERS)), NO_COLOUR, INTEGERS[:, :, None]),
    "F.tif": (saved(Image.fromarray(REALS)), NO_COLOUR, REALS[:, :, None]),
    "RGB_16.png": (written(BGR16), REDUCED, WIDE),
    "RGB_16.tif": (written(BGR16), REDUCED, WIDE),
    "RGB_16_big_endian.tif": (raster(WIDE, photometric="RGB", ENDIANNESS="BIG"), REDUCED, WIDE),
    "RGBA_16.png": (content(png(np.dstack([WIDE, WIDE[:, :, :1]]), 6)), REDUCED, np.dstack([WIDE, WIDE[:, :, :1]])),
    "RGB_float.tif": (raster(WIDE.astype(np.float32) / 9), NO_COLOUR, WIDE.astype(np.float32) / 9),
    "signed.tif": (raster(WIDE.astype(np.int16) - 99), NO_COLOUR, WIDE.astype(np.int16) - 99),
    "7_bands.tif": (raster(SEVEN), "expected a grey band, or red, green and blue, found 7 bands", SEVEN),
    "7_bands.npy": (lambda path: np.save(path, SEVEN), "expected 1, 3 or 4 channels", SEVEN),
    "RGB.npy": (lambda path: np.save(path, PIXELS), PIXELS, PIXELS),
    "L.npy": (lambda path: np.save(path, GREY), grey(GREY), GREY[:, :, None]),
    "F.npy": (lambda path: np.save(path, REALS), "expected a uint8 image, found float32", REALS[:, :, None]),
}  # fmt: skip
LOSSY = (".jpg", "_lossy.webp", "_jpeg.tif", "YCbCr.tif")
ROUNDED = ("RGB_16.tif", "RGB_16_big_endian.tif")
"""OpenCV cuts 16 bits off in a PNG and rounds them in a TIFF."""


@pytest.mark.parametrize("name", FILES)
def test_files(colour, stored, tmp_path, name):
    write, as_colours, as_stored = FILES[name]
    path = tmp_path / name.replace(";", "_")
    write(path)

    if isinstance(as_colours, str):
        with pytest.raises(ValueError, match=rf"^{tmp_path}.*: .*{as_colours}"):
            colour.predict(path)
    else:
        seen = as_array(path)
        assert seen.dtype == np.uint8
        if as_colours is not None:
            # JPEG and WebP of high quality are off by a few; so is what is converted from other colours.
            mean, most = (4, 32) if name.endswith(LOSSY) else (0.5, 1) if name in ROUNDED else (0, 0)
            difference = np.abs(seen.astype(int) - as_colours)
            assert difference.mean() <= mean
            assert difference.max() <= most
        prediction = colour.predict(path)
        assert prediction.label.shape == PIXELS.shape[:2]
        assert np.array_equal(prediction.image, seen)

    seen = as_array(path, RAW)
    if isinstance(as_stored, int):
        assert seen.shape == (*PIXELS.shape[:2], as_stored)
    else:
        assert seen.dtype == as_stored.dtype
        assert np.array_equal(seen, as_stored)
    assert stored(seen.shape[2]).predict(path).label.shape == PIXELS.shape[:2]


def test_the_orientation_of_a_photo_is_applied_to_colours(colour, stored, tmp_path):
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        RGB.save(tmp_path / "photo.jpg", exif=exif, quality=98, subsampling=0)
        RGB.save(tmp_path / "photo.png", exif=exif)
        with Image.open(tmp_path / "photo.png") as photo:
            upright = as_array(photo)
        assert upright.shape[:2] == (PIXELS.shape[:2] if orientation < 5 else PIXELS.shape[1::-1])
        assert np.array_equal(as_array(tmp_path / "photo.png"), upright), orientation
        assert np.abs(as_array(tmp_path / "photo.jpg").astype(int) - upright).max() < 32
        for name in ("photo.jpg", "photo.png"):
            assert as_array(tmp_path / name, RAW).shape == PIXELS.shape
    assert colour.predict(tmp_path / "photo.jpg").label.shape == PIXELS.shape[1::-1]
    assert stored(3).predict(tmp_path / "photo.jpg").label.shape == PIXELS.shape[:2]


def test_a_file_may_have_the_suffix_of_another_format(colour, tmp_path):
    RGB.save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    np.save(tmp_path / "b.npy", PIXELS)
    (tmp_path / "b.npy").rename(tmp_path / "b.tif")
    assert np.array_equal(colour.predict(tmp_path / "a.jpg").image, PIXELS)
    with pytest.raises(ValueError, match=r"b\.tif: an array file has no colours of its own"):
        colour.predict(tmp_path / "b.tif")


PIL_MODES = {
    "1": (grey(BITS), BITS[:, :, None]), "L": (grey(GREY), GREY[:, :, None]), "LA": (grey(GREY), 2),
    "P": (looked_up(RGB.convert("P")), 3), "RGB": (PIXELS, PIXELS), "RGBA": (PIXELS, 4), "RGBX": (PIXELS, 4),
    "CMYK": (PIXELS, 4), "YCbCr": (None, 3), "HSV": (None, 3), "I": (r"int32 up to .* scale it to 0\.\.255", 1),
    "F": (r"float32 up to .* multiply by 255 if", 1),
}  # fmt: skip


@pytest.mark.parametrize("mode", PIL_MODES)
def test_pil_images(colour, stored, mode):
    as_colours, as_stored = PIL_MODES[mode]
    image = RGB.convert(mode)
    if isinstance(as_colours, str):
        with pytest.raises(ValueError, match=as_colours):
            colour.predict(image)
    else:
        seen = colour.predict(image).image
        assert seen.shape == PIXELS.shape
        assert as_colours is None or np.array_equal(seen, as_colours)
    bands = as_stored if isinstance(as_stored, int) else as_stored.shape[2]
    if not isinstance(as_stored, int):
        assert np.array_equal(as_array(image, RAW), as_stored)
    assert stored(bands).predict(image).label.shape == PIXELS.shape[:2]


def test_a_pil_image_whose_file_is_damaged(colour, tmp_path):
    RGB.save(tmp_path / "a.png")
    (tmp_path / "a.png").write_bytes((tmp_path / "a.png").read_bytes()[:-2000])
    with Image.open(tmp_path / "a.png") as image, pytest.raises(ValueError, match="the PIL image of mode RGB cannot"):
        colour.predict(image)


TYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "int64", "float16", "float32", "float64", ">u2")


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("bands", [1, 3, 5, 20])
def test_arrays_of_any_type_and_number_of_bands(colour, stored, dtype, bands):
    image = (np.dstack([PIXELS] * 7)[:, :, :bands] > 99).astype(dtype)
    given = stored(bands).predict(image, logits=True).logits
    assert np.array_equal(given, stored(bands).predict(image.astype(np.float32), logits=True).logits)
    if bands == 3 and dtype == "uint8":
        assert np.array_equal(colour.predict(image).image, image)
    elif bands <= 3 and dtype != "uint8":
        with pytest.raises(ValueError, match=r"expected a uint8 image, found .* use \.astype\('uint8'\)"):
            colour.predict(image)
    elif bands > 4:
        with pytest.raises(ValueError, match=r"expected 1, 3 or 4 channels \(grey, RGB, RGBA\)"):
            colour.predict(image)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64, torch.float16, torch.float32, torch.float64])
def test_tensors(stored, kind):
    tensor = torch.from_numpy(PIXELS).permute(2, 0, 1).to(kind)
    expected = stored(3).predict(PIXELS).label
    assert np.array_equal(stored(3).predict(tensor).label, expected)
    assert np.array_equal(stored(3).predict(tensor.float().requires_grad_()).label, expected)
    assert stored(1).predict(tensor[0]).label.shape == PIXELS.shape[:2]


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), complex), "integers or real numbers, found complex128"),
        (np.full((8, 8, 3), "x"), "integers or real numbers, found <U1"),
        (np.full((8, 8, 3), None), "integers or real numbers, found object"),
        (np.zeros((8, 8, 2), np.uint8), "takes 3 bands, the file has 2"),
        (np.full((8, 8, 3), np.nan), r"found 192 of 192 that are nan or infinite; .*nan_to_num"),
        (np.where(np.arange(192).reshape(8, 8, 3) == 7, np.inf, 0), "found 1 of 192 that are nan"),
        (np.zeros((2, 8, 8, 3)), r"\(H, W, C\) or \(H, W\)"),
        (np.zeros((0, 8, 3)), "with pixels in it"),
        (torch.zeros(3, 8, 8, dtype=torch.bfloat16), r"torch.bfloat16; use \.float\(\)"),
        ([["a"]], "found list"),
        (b"bytes", "found bytes"),
        (None, "found NoneType"),
    ],
)
def test_what_no_model_takes_is_refused(stored, image, message):
    read = stored(3).predict if isinstance(image, np.ndarray | torch.Tensor) else as_array
    with pytest.raises(ValueError, match=message):
        read(image)
