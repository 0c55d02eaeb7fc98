"""A file means the same to training and evaluation, which read images, and to rasters, which are read by windows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

rasterio = pytest.importorskip("rasterio")

from rasterio.enums import ColorInterp  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

from intarsia.data.image_io import read_image  # noqa: E402
from intarsia.data.image_reader import ImageReader  # noqa: E402
from intarsia.data.image_spec import ImageSpec  # noqa: E402
from intarsia.data.scenes.georeference import Area  # noqa: E402
from intarsia.data.scenes.scene import Scene  # noqa: E402
from intarsia.data.value_range import ValueRange  # noqa: E402
from intarsia.inference.inputs.arrays import as_array  # noqa: E402

RGB = np.random.default_rng(0).integers(0, 256, (3, 20, 34), dtype=np.uint8)
PHOTO = np.moveaxis(RGB, 0, 2)
FOUR = np.concatenate([RGB, RGB[:1]])
WIDE = RGB.astype(np.uint16) * 257
TABLE = {index: (60 * index, 255 - 40 * index, 10 * index, 255) for index in range(4)}
BGRN = (ColorInterp.blue, ColorInterp.green, ColorInterp.red, ColorInterp.undefined)


def tiff(array, *, colours=(), table=None, descriptions=(), **profile):
    def write(path: Path) -> None:
        bands, height, width = array.shape
        profile.setdefault("dtype", array.dtype)
        with rasterio.open(path, "w", driver="GTiff", count=bands, height=height, width=width, **profile) as target:
            if colours:
                target.colorinterp = colours
            if table is not None:
                target.write_colormap(1, table)
            target.write(array)
            for band, text in enumerate(descriptions, 1):
                target.set_band_description(band, text)

    return write


def late_table(path: Path) -> None:
    """A palette that GDAL was given when the file had been begun as a grey one."""
    with rasterio.open(path, "w", driver="GTiff", count=1, height=20, width=34, dtype="uint8") as target:
        target.write(RGB[:1] % 4)
        target.write_colormap(1, TABLE)


def aside(array, *bands):
    """With NAME.tif.aux.xml, as GDAL writes it of files that may not be changed."""

    def write(path: Path) -> None:
        tiff(array, photometric="MINISBLACK")(path)
        inside = "".join(f'<PAMRasterBand band="{n}">{text}</PAMRasterBand>' for n, text in enumerate(bands, 1))
        path.with_name(f"{path.name}.aux.xml").write_text(f"<PAMDataset>{inside}</PAMDataset>")

    return write


def interpreted(word):
    return f"<ColorInterp>{word}</ColorInterp>"


def coloured(table):
    entries = "".join(
        '<Entry c1="{}" c2="{}" c3="{}" c4="{}" />'.format(*table.get(value, (0, 0, 0, 255))) for value in range(256)
    )
    return f"<ColorTable>{entries}</ColorTable>"


def photo(image=PHOTO, **settings):
    return lambda path: Image.fromarray(image).save(path, **settings)


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return {"exif": exif}


FILES = {
    "bgrn.tif": tiff(FOUR[[2, 1, 0, 3]], photometric="MINISBLACK", colours=BGRN),
    "rgbn.tif": tiff(FOUR, photometric="RGB", alpha="UNSPECIFIED"),
    "rgba.tif": tiff(FOUR, photometric="RGB", alpha="NON-PREMULTIPLIED"),
    "rgba_premultiplied.tif": tiff(FOUR, photometric="RGB", alpha="PREMULTIPLIED"),
    "nirrgb.tif": tiff(FOUR, photometric="MINISBLACK", colours=(ColorInterp.undefined, *BGRN[2::-1])),
    "unnamed.tif": tiff(FOUR, photometric="MINISBLACK"),
    "seven_named.tif": tiff(
        np.concatenate([FOUR, RGB]),
        photometric="MINISBLACK",
        colours=(ColorInterp.undefined, *BGRN[:3], *[ColorInterp.undefined] * 3),
        descriptions=["B1", "B2", "B3", "B4", "B5", "B6", "B7"],
    ),
    "grey.tif": tiff(RGB[:1]),
    "grey_alpha.tif": tiff(RGB[:2], photometric="MINISBLACK", alpha="YES"),
    "two.tif": tiff(RGB[:2], photometric="MINISBLACK"),
    "three_unsaid.tif": tiff(RGB, photometric="MINISBLACK"),
    "white_is_zero.tif": tiff(RGB[:1], photometric="MINISWHITE"),
    "white_is_zero_16.tif": tiff(WIDE[:1], photometric="MINISWHITE"),
    "white_is_zero_4.tif": tiff(RGB[:1] >> 4, photometric="MINISWHITE", nbits=4),
    **{f"bits_{bits}.tif": tiff(RGB[:1] >> (8 - bits), nbits=bits) for bits in range(1, 8)},
    **{f"bits_{bits}.tif": tiff(WIDE[:1] >> (16 - bits), nbits=bits) for bits in range(9, 16)},
    "white_is_zero_1.tif": tiff(RGB[:1] >> 7, photometric="MINISWHITE", nbits=1),
    "rgb_4.tif": tiff(RGB >> 4, photometric="RGB", nbits=4),
    "rgb_12.tif": tiff(WIDE >> 4, photometric="RGB", nbits=12),
    "rgb_16.tif": tiff(WIDE, photometric="RGB"),
    "rgb_16_big.tif": tiff(WIDE, photometric="RGB", ENDIANNESS="BIG", BIGTIFF="YES"),
    "planes.tif": tiff(RGB, photometric="RGB", interleave="band"),
    "tiled.tif": tiff(RGB, photometric="RGB", tiled=True, blockxsize=16, blockysize=16, compress="lzw", predictor=2),
    "floats.tif": tiff(RGB.astype(np.float32) / 255),
    "doubles.tif": tiff(RGB.astype(np.float64) / 255),
    "signed.tif": tiff(RGB.astype(np.int16) - 99),
    "signed_8.tif": tiff(RGB.astype(np.int8)),
    "unsigned_32.tif": tiff(RGB.astype(np.uint32) << 20),
    "palette.tif": tiff(RGB[:1] % 4, table=TABLE),
    "palette_16.tif": tiff((RGB[:1] % 4).astype(np.uint16), photometric="PALETTE", table=TABLE),
    "palette_late.tif": late_table,
    "palette_aside.tif": aside(RGB[:1] % 4, interpreted("Palette") + coloured(TABLE)),
    "bgr_aside.tif": aside(RGB[::-1], *map(interpreted, ("Blue", "Green", "Red"))),
    "cmyk.tif": tiff(FOUR, photometric="CMYK"),
    "cmyk_16.tif": tiff(np.concatenate([WIDE, WIDE[:1]]), photometric="CMYK"),
    "lab.tif": tiff(RGB, photometric="CIELAB"),
    **{f"turned_{way}.tif": photo(tiffinfo={274: way}) for way in range(1, 9)},
    **{f"turned_{way}.png": photo(**turned(way)) for way in range(1, 9)},
    **{f"turned_{way}.webp": photo(**turned(way), lossless=True) for way in range(1, 9)},
    "grey.png": photo(PHOTO[:, :, 0]),
    "bits.png": photo(PHOTO[:, :, 0] > 99),
    "wide.png": photo(WIDE[0]),
    "alpha.png": photo(np.moveaxis(FOUR, 0, 2)),
    "palette.png": lambda path: Image.fromarray(PHOTO).quantize(5).save(path),
    "palette.gif": lambda path: Image.fromarray(PHOTO).quantize(5).save(path),
    "palette.bmp": lambda path: Image.fromarray(PHOTO).quantize(5).save(path),
    "grey.bmp": photo(PHOTO[:, :, 0]),
    "rgb.bmp": photo(),
    "rgb.ppm": photo(),
    "rgb.jp2": photo(irreversible=False),
}


def seen_as_image(path: Path, reader: ImageReader) -> np.ndarray | str:
    try:
        return as_array(path, reader)
    except ValueError as error:
        return str(error)


def seen_as_raster(path: Path, reader: ImageReader) -> tuple[np.ndarray, np.ndarray] | str:
    """The pixels, put together from windows, and where there is data."""
    try:
        with Scene(path, reader) as scene:
            height, width = scene.size
            rows = []
            for top in range(0, height, 8):
                row = []
                for left in range(0, width, 11):
                    area = Area(top, left, min(8, height - top), min(11, width - left))
                    found = scene.read(area)
                    row.append(np.zeros((area.height, area.width, scene.channels)) if found is None else found)
                rows.append(np.concatenate(row, axis=1))
            return np.concatenate(rows), scene.valid(Area(0, 0, height, width))
    except ValueError as error:
        return str(error)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("bands", ["rgb", "raw"])
@pytest.mark.parametrize("name", FILES)
def test_the_same_pixels_either_way(name: str, bands: str, tmp_path: Path) -> None:
    path = tmp_path / name
    FILES[name](path)
    wide = (
        ValueRange("uint16", 0, 65535) if bands == "rgb" else None
    )  # whoever was trained on 16 bits takes 8 bits, too
    whole = seen_as_image(path, ImageReader(ImageSpec(bands, 3 if bands == "rgb" else 0, values=wide)))
    channels = 1 if isinstance(whole, str) else whole.shape[2]
    windows = seen_as_raster(path, ImageReader(ImageSpec(bands, channels, values=wide)))
    if isinstance(whole, str) or isinstance(windows, str):
        assert isinstance(whole, str)
        assert whole.replace("float64", "float32") == windows  # refused both ways, in the same words
        assert whole.startswith(f"{path}: ")
        return
    pixels, valid = windows
    if whole.dtype.kind == "f":
        whole = whole.astype(pixels.dtype)  # images of doubles are taken in single precision
    assert pixels.shape == whole.shape
    assert np.array_equal(pixels[valid], whole[valid])
    assert valid.mean() > 0.5
    if bands == "raw" or wide is None:
        assert pixels.dtype == whole.dtype or whole.dtype == np.float32


def test_which_are_refused_as_colours(tmp_path: Path) -> None:
    refused = []
    for name, write in FILES.items():
        write(tmp_path / name)
        try:
            read_image(tmp_path / name)
        except ValueError:
            refused.append(name)
    assert refused == [
        "unnamed.tif", "floats.tif", "doubles.tif", "signed.tif", "signed_8.tif", "unsigned_32.tif", "cmyk_16.tif",
        "lab.tif",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["bgrn.tif", "rgbn.tif", "rgba.tif", "nirrgb.tif", "seven_named.tif", "rgb_16.tif"])
def test_red_is_where_the_file_says_it(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    shifted = {"nirrgb.tif": FOUR[[1, 2, 3]], "seven_named.tif": np.concatenate([FOUR, RGB])[[3, 2, 1]]}
    expected = shifted.get(name, RGB)
    assert np.array_equal(read_image(tmp_path / name), np.moveaxis(expected, 0, 2))


@pytest.mark.parametrize("name", ["white_is_zero.tif", "white_is_zero_16.tif"])
def test_zero_is_white_where_the_file_says_it(name: str, tmp_path: Path) -> None:
    FILES[name](tmp_path / name)
    assert np.array_equal(read_image(tmp_path / name)[:, :, 0], 255 - RGB[0])


@pytest.mark.parametrize("suffix", ["tif", "png", "webp", "jpg", "avif"])
def test_photos_are_turned_whatever_their_format(suffix: str, tmp_path: Path) -> None:
    """From a picture of four flat quarters, which lossy formats keep."""
    quarters = np.kron(
        np.array([[[250, 0, 0], [0, 250, 0]], [[0, 0, 250], [250, 250, 250]]], np.uint8), np.ones((16, 24, 1), np.uint8)
    )
    for way in range(1, 9):
        path = tmp_path / f"a{way}.{suffix}"
        settings = {"tiffinfo": {274: way}} if suffix == "tif" else turned(way)
        try:
            Image.fromarray(quarters).save(path, quality=95, **settings)
        except (KeyError, OSError, ValueError) as error:
            pytest.skip(f"Pillow writes no {suffix} here: {error}")
        expected = {
            1: quarters, 2: quarters[:, ::-1], 3: quarters[::-1, ::-1], 4: quarters[::-1],
            5: quarters.swapaxes(0, 1), 6: quarters[::-1].swapaxes(0, 1),
            7: quarters[::-1, ::-1].swapaxes(0, 1), 8: quarters[:, ::-1].swapaxes(0, 1),
        }[way]  # fmt: skip
        found = read_image(path)
        assert found.shape == expected.shape
        assert np.abs(found.astype(int) - expected).mean() < 12, (suffix, way)
        assert read_image(path, bands="raw").shape == quarters.shape


def test_what_stands_in_a_sidecar_counts_for_images_too(tmp_path: Path) -> None:
    FILES["bgr_aside.tif"](tmp_path / "bgr.tif")
    assert np.array_equal(read_image(tmp_path / "bgr.tif"), PHOTO)
    assert np.array_equal(read_image(tmp_path / "bgr.tif", bands="raw"), PHOTO[:, :, ::-1])
    FILES["palette_aside.tif"](tmp_path / "palette.tif")
    colours = np.array(list(TABLE.values()), np.uint8)[:, :3]
    assert np.array_equal(read_image(tmp_path / "palette.tif"), colours[RGB[0] % 4])


def test_a_turned_raster_lies_where_it_lay(tmp_path: Path) -> None:
    """The labels of an upright reading are placed where the stored pixels are, corner by corner."""
    place = from_origin(400000, 5500000, 2, 2)
    for way in range(1, 9):
        path = tmp_path / f"{way}.tif"
        tiff(RGB, photometric="RGB", crs="EPSG:32633", transform=place)(path)
        data = bytearray(path.read_bytes())
        entry = data.find(b"\x12\x01\x03\x00")  # rasterio writes none: put the tag in place of the planar configuration
        planar = data.find(b"\x1c\x01\x03\x00")
        assert entry < 0 < planar
        data[planar : planar + 2] = (274).to_bytes(2, "little")
        data[planar + 8 : planar + 10] = way.to_bytes(2, "little")
        path.write_bytes(data)
        with Scene(path, ImageReader()) as scene:
            seen = scene.read(Area(0, 0, *scene.size))
            upright = scene.place["transform"]
        assert np.array_equal(seen, read_image(path))
        for row, column in ((0, 0), (3, 7), (19, 33)):
            (at,) = np.argwhere((seen == PHOTO[row, column]).all(axis=2))
            assert upright @ (at[1] + 0.5, at[0] + 0.5) == place @ (column + 0.5, row + 0.5), way
