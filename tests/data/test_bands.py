"""What the bands of a file mean, and which of them a model sees."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageOps

from intarsia.data.bands import (
    FileBands,
    band_mode,
    brightness,
    chosen_bands,
    eight_bits,
    parse_bands,
    raw_bands,
    rgb_bands,
    upright,
)


def test_old_words_for_how_images_are_read_stay():
    assert [band_mode(word) for word in ("rgb", "raw", "colour", "stored")] == ["rgb", "raw", "rgb", "raw"]
    with pytest.raises(ValueError, match="bands: expected rgb or raw, found 'grey'"):
        band_mode("grey")


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        (("red", "green", "blue"), (0, 1, 2)),
        (("blue", "green", "red", ""), (2, 1, 0)),
        (("coastal", "blue", "green", "red", "nir", "alpha"), (3, 2, 1)),
        (("grey",), (0, 0, 0)),
        (("",), (0, 0, 0)),
        (("grey", "alpha"), (0, 0, 0)),
        (("alpha", "grey"), (1, 1, 1)),
        (("grey", ""), (0, 0, 0)),  # a second sample without a meaning may be passed over (TIFF 6.0, ExtraSamples)
        (("grey", "", ""), (0, 1, 2)),  # so GDAL calls three bands of which nobody says that they are colours
        (("", "", "", "alpha"), (0, 1, 2)),
    ],
)
def test_bands_that_are_seen_as_colours(roles, expected):
    assert rgb_bands(FileBands(roles)) == expected


@pytest.mark.parametrize(
    ("file", "message"),
    [
        (FileBands(("grey", "", "", "")), r"found 4 bands \(1 unnamed, 2 unnamed, 3 unnamed, 4 unnamed\)"),
        (FileBands(("nir", "red", "green")), r"found 3 bands \(1 nir, 2 red, 3 green\)"),
        (FileBands(("red", "green", "green")), "does not say which are colours"),
        (FileBands(("red", "green", "blue"), space="CIELAB"), r"its colours are CIE L\*a\*b\*"),
        (FileBands(("",) * 12, ("B01", *[""] * 11)), "1 B01, 2 unnamed"),
    ],
)
def test_bands_of_which_nobody_says_the_colours_are_refused(file, message):
    with pytest.raises(ValueError, match=message):
        rgb_bands(file)


STORED = ("blue", "green", "red", "")


@pytest.mark.parametrize(
    ("roles", "channels", "names", "expected"),
    [
        (STORED, 0, (), (0, 1, 2, 3)),
        (STORED, 4, (), (0, 1, 2, 3)),
        (STORED, 4, STORED, (0, 1, 2, 3)),
        (("red", "green", "blue", ""), 4, STORED, (2, 1, 0, 3)),  # by name; what has none by what is left
        (("", "red", "green", "blue"), 4, STORED, (3, 2, 1, 0)),
        (("red", "green", "blue", "alpha"), 4, ("red", "green", "blue", "alpha"), (0, 1, 2, 3)),
        (("red", "green", "blue", "alpha"), 3, (), (0, 1, 2)),  # alpha is no data where there is one too many
        (("red", "green", "blue", "nir", "swir"), 2, ("nir", "red"), (3, 0)),
        (("", "", "", ""), 4, STORED, (0, 1, 2, 3)),  # a file without names is taken as it is
    ],
)
def test_bands_of_a_raw_model(roles, channels, names, expected):
    assert raw_bands(FileBands(roles), channels, names) == expected


@pytest.mark.parametrize(
    ("roles", "channels", "names", "message"),
    [
        (
            ("red", "green", "blue", "alpha"),
            5,
            (),
            r"takes 5 bands, the file has 4 \(1 red, 2 green.*--bands 1,2,3,4,5",
        ),
        (
            ("red", "green", "blue"),
            3,
            ("nir", "red", "green"),
            "trained on the bands nir, red, green, the file has 1 red",
        ),
        (("red", "green", "blue", "alpha"), 4, (*STORED[:3], "nir"), "trained on the bands blue, green, red, nir"),
    ],
)
def test_bands_that_are_not_those_of_the_training(roles, channels, names, message):
    with pytest.raises(ValueError, match=message):
        raw_bands(FileBands(roles), channels, names)


def test_descriptions_find_bands_but_do_not_refuse_them():
    file = FileBands(("",) * 3, ("B02", "B03", "B04"))
    assert file.names == ("B02", "B03", "B04")
    assert raw_bands(file, 3, ("B04", "B03", "B02")) == (2, 1, 0)
    assert raw_bands(file, 3, ("Band 1", "Band 2", "Band 3")) == (0, 1, 2)
    assert FileBands(("",) * 2, ("same", "same")).names == ("", "")


def test_a_band_that_the_model_reads_masks_nothing():
    file = FileBands(("red", "green", "blue", "alpha"))
    assert file.alpha_beside((0, 1, 2)) == 3
    assert file.alpha_beside((0, 1, 2, 3)) is None
    assert FileBands(("alpha", "alpha")).alpha_beside((0,)) is None


def test_bands_by_number():
    file = FileBands(("red", "green", "blue", "nir"))
    assert parse_bands("4,1,2") == (4, 1, 2)
    assert chosen_bands((4, 1, 2), file, 3) == (3, 0, 1)
    for wrong in ((1, 2), (1, 2, 5), (0, 1, 2)):
        with pytest.raises(ValueError, match=r"--bands: expected 3 bands among 1\.\.4"):
            chosen_bands(wrong, file, 3)


@pytest.mark.parametrize(
    ("bits", "inverted", "expected"),
    [
        (1, False, [0, 255]), (1, True, [255, 0]), (2, False, [0, 85, 170, 255]), (2, True, [255, 170, 85, 0]),
        (4, False, [17 * value for value in range(16)]), (8, False, [0, 7, 255]), (8, True, [255, 248, 0]),
        (0, True, [255, 248, 0]),
    ],
)  # fmt: skip
def test_more_is_brighter_and_white_is_255(bits, inverted, expected):
    stored = [0, 7, 255] if bits in (0, 8) else list(range(2**bits))
    samples = np.array(stored, np.uint8).reshape(1, -1, 1)
    assert brightness(samples, FileBands(("grey",), bits=bits, inverted=inverted)).ravel().tolist() == expected


def test_sixteen_bits_are_inverted_in_their_own_range():
    samples = np.array([[[0], [1], [65535]]], np.uint16)
    assert brightness(samples, FileBands(("grey",), inverted=True)).ravel().tolist() == [65535, 65534, 0]
    twelve = FileBands(("grey",), bits=12, inverted=True)
    assert brightness(np.array([[[0], [4095]]], np.uint16), twelve).ravel().tolist() == [4095, 0]


def test_the_upper_eight_of_the_bits_that_count():
    assert eight_bits(np.array([0, 255, 256, 65535], np.uint16)).tolist() == [0, 0, 1, 255]
    assert eight_bits(np.array([0, 16, 4095], np.uint16), 12).tolist() == [0, 1, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientations_are_those_of_exif(orientation):
    array = np.arange(24, dtype=np.uint8).reshape(4, 6)
    image = Image.fromarray(array)
    image.getexif()[274] = orientation
    assert np.array_equal(upright(array, orientation), np.asarray(ImageOps.exif_transpose(image)))
