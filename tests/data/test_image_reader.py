"""What a model was trained on, and what becomes of images of other bands, types and ranges."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from intarsia.data.bands import FileBands
from intarsia.data.decoders import DecodedImage
from intarsia.data.image_reader import ImageReader, measured, range_of
from intarsia.data.image_spec import ImageSpec
from intarsia.data.value_range import Scale, ValueRange, suggested_scale

EIGHT = ValueRange("uint8", 0, 255)
TWELVE = ValueRange("uint16", 3, 4010, 900)
SIXTEEN = ValueRange("uint16", 0, 65000, 30000)
SHARES = ValueRange("float32", 0.0, 1.0, 0.7)
HEIGHTS = ValueRange("float32", -20.0, 900.0, 120.0)


def image(low, high, dtype="uint16", bands=3):
    """(4, 5, bands) with values from low to high."""
    return np.linspace(low, high, 20 * bands).astype(dtype).reshape(4, 5, bands)


def seen(spec, array, *, scale=None, bits=0, **settings):
    roles = {1: ("grey",), 3: ("red", "green", "blue")}.get(array.shape[2], ("",) * array.shape[2])
    reader = ImageReader(spec, scale=None if scale is None else Scale.parse(scale), **settings)
    return reader.convert(DecodedImage(array, FileBands(roles, bits=bits)))


@pytest.mark.parametrize(
    ("values", "low", "high", "dtype"),
    [
        (EIGHT, 0, 255, "uint8"),
        (EIGHT, 3, 9, "uint8"),  # eight bits are eight bits, however dark
        (EIGHT, 0, 250, "int64"),  # the same numbers in another container
        (EIGHT, 0, 250, "float32"),
        (TWELVE, 0, 4095, "uint16"),
        (TWELVE, 100, 300, "uint16"),  # a third of the dimmest
        (TWELVE, 0, 4000, "float32"),
        (TWELVE, 7, 7, "uint16"),  # of one value: an empty tile
        (TWELVE, 0, 8000, "uint16"),
        (SIXTEEN, 0, 65535, "uint16"),
        (SHARES, 0, 1, "float32"),
        (HEIGHTS, 101, 103, "float32"),  # flat land is no other range
        (HEIGHTS, -25, 1500, "int16"),
    ],
)
def test_numbers_such_as_the_training_saw_are_taken_as_they_are(values, low, high, dtype):
    array = image(low, high, dtype)
    found = seen(ImageSpec("raw", 3, values=values), array)
    assert found.dtype == array.dtype
    assert np.array_equal(found, array)


@pytest.mark.parametrize(
    ("values", "low", "high", "dtype", "message"),
    [
        (EIGHT, 0, 1, "float32", "trained on uint8 numbers from 0 to 255, this holds float32 from 0 to 1.*--scale 0,1"),
        (EIGHT, 0, 4080, "uint16", r"this holds uint16 from 0 to 4080.*--scale 0,4095 \(12 bits\)"),
        (EIGHT, 0, 65535, "uint16", r"--scale 0,65535 \(16 bits\)"),
        (TWELVE, 0, 255, "uint8", r"trained on uint16 numbers from 3 to 4010, this holds uint8 .*--scale 0,255"),
        (ValueRange("uint16", 3, 4010, 1500), 0, 255, "uint16", "--scale none"),
        (TWELVE, 0, 1, "float32", "--scale 0,1"),
        (TWELVE, 0, 65535, "uint16", "--scale 0,65535"),
        (SIXTEEN, 0, 4095, "uint16", "--scale 0,4095"),
        (SIXTEEN, 0, 255, "uint8", "--scale 0,255"),
        (SHARES, 0, 255, "uint8", "this holds uint8"),
        (SHARES, 0, 255, "float32", "this holds float32 from 0 to 255"),
        (HEIGHTS, 0, 9000, "float32", "this holds float32 from 0 to 9000"),
        (HEIGHTS, -9999, 500, "float32", "this holds float32 from -9999 to 500"),
    ],
)
def test_others_are_refused_with_the_way_out(values, low, high, dtype, message):
    with pytest.raises(ValueError, match=message):
        seen(ImageSpec("raw", 3, values=values), image(low, high, dtype))


def test_a_scale_brings_them_to_the_range_of_the_training():
    spec = ImageSpec("raw", 3, values=TWELVE)
    assert np.allclose(seen(spec, image(0, 255, "uint8"), scale="0,255"), image(0, 255, "uint8") * (4095 / 255))
    assert np.allclose(seen(spec, image(0, 1, "float32"), scale="0,1"), image(0, 1, "float32") * 4095)
    assert seen(spec, image(0, 1, "float32"), scale="0,1").dtype == np.float32
    assert np.array_equal(seen(spec, image(0, 255, "uint8"), scale="none"), image(0, 255, "uint8"))
    heights = ImageSpec("raw", 1, values=HEIGHTS)
    assert np.allclose(seen(heights, image(0, 1, "float32", 1), scale="0,1"), image(0, 1, "float64", 1) * 920 - 20)
    each = seen(spec, image(0, 255, "uint8"), scale="0,255,0,51,0,17")
    assert np.allclose(
        each[0, 0], image(0, 255, "uint8")[0, 0] * np.array([4095 / 255, 4095 / 51, 4095 / 17]), rtol=1e-6
    )


def test_colours_of_eight_bits():
    spec = ImageSpec(values=EIGHT)
    assert np.array_equal(seen(spec, image(0, 9, "uint8")), image(0, 9, "uint8"))
    for dtype, high in (("uint16", 65535), ("uint16", 4080), ("float32", 1), ("int16", 255)):
        with pytest.raises(
            ValueError, match=rf"trained on colours of 8 bits, this holds {dtype} from 0 to {high}.*--scale"
        ):
            seen(spec, image(0, high, dtype))
    wide = image(0, 4080)
    assert np.abs(seen(spec, wide, scale="0,4095").astype(int) - wide / 4095 * 255).max() <= 0.5001
    assert np.array_equal(seen(spec, wide, scale="training"), wide >> 8)
    assert np.array_equal(seen(spec, wide, scale="none"), wide >> 8)
    assert seen(spec, image(-3, 3, "float32"), scale="-1,1").tolist()[0][0] == [0, 0, 0]
    with pytest.raises(ValueError, match="--scale training is for images of 16 bits, found float32"):
        seen(spec, image(0, 1, "float32"), scale="training")
    with pytest.raises(ValueError, match="one for each of 3 bands, found 2 pairs"):
        seen(spec, wide, scale="0,1,0,1")


def test_colours_of_sixteen_bits_of_which_training_took_the_upper_eight():
    spec = ImageSpec(values=SIXTEEN)
    assert np.array_equal(seen(spec, image(0, 65535)), image(0, 65535) >> 8)
    assert np.array_equal(seen(spec, image(0, 255, "uint8")), image(0, 255, "uint8"))  # the network saw 0 to 255
    assert np.array_equal(seen(spec, image(0, 4095), bits=12), image(0, 4095) >> 4)  # the file says that 4095 is white
    with pytest.raises(ValueError, match="this holds uint16 from 0 to 4095"):
        seen(spec, image(0, 4095))
    dark = ImageSpec(values=TWELVE)  # what was 0 to 15 to the network
    with pytest.raises(ValueError, match="this holds uint8"):
        seen(dark, image(0, 255, "uint8"))
    assert np.array_equal(seen(dark, image(0, 4095)), image(0, 4095) >> 8)


def test_colours_whose_training_had_a_scale():
    spec = ImageSpec(values=TWELVE, scale=Scale.parse("0,4095"))
    assert np.array_equal(seen(spec, image(0, 4095)), Scale.parse("0,4095").to_colours(image(0, 4095)))
    assert np.array_equal(seen(spec, image(0, 4095), scale="training"), seen(spec, image(0, 4095)))
    assert np.array_equal(seen(spec, image(0, 255, "uint8")), image(0, 255, "uint8"))
    with pytest.raises(ValueError, match="this holds uint16 from 0 to 65535"):
        seen(spec, image(0, 65535))


def test_weights_that_do_not_say_it_are_used_as_before():
    with pytest.warns(UserWarning, match="of uint16 the upper 8 bits are taken.*--scale MIN,MAX"):
        assert np.array_equal(seen(ImageSpec(), image(0, 4095)), image(0, 4095) >> 8)
    for array in (image(0, 1, "float32"), image(0, 255, "uint8"), image(0, 65535)):
        assert np.array_equal(seen(ImageSpec("raw", 3), array), array)
    with pytest.raises(ValueError, match="expected colours of 8 or 16 bits, found float32"):
        seen(ImageSpec(), image(0, 1, "float32"))


def test_what_stands_in_a_weights_file():
    for spec in (
        ImageSpec(),
        ImageSpec(values=EIGHT),
        ImageSpec(values=TWELVE, scale=Scale.parse("0,4095")),
        ImageSpec("raw", 4, ("blue", "green", "red", ""), SHARES),
    ):
        assert ImageSpec.from_json(spec.to_json(), bands="rgb", channels=spec.channels) == spec
    assert ImageSpec(values=EIGHT).to_json() == {
        "bands": "rgb", "names": ["red", "green", "blue"], "values": {"type": "uint8", "low": 0, "high": 255}
    }  # fmt: skip
    assert ImageSpec.from_json({}, bands="raw", channels=7) == ImageSpec("raw", 7)
    assert ImageSpec.from_json({"bands": "stored"}, bands="rgb", channels=7) == ImageSpec("raw", 7)
    for wrong in ({"values": 3}, {"values": {"type": "text", "low": 0, "high": 1}}, {"scale": 5}, {"bands": "x"}, [1]):
        with pytest.raises(ValueError):  # noqa: PT011  # each in its own words
            ImageSpec.from_json(wrong, bands="rgb", channels=3)


def test_the_range_of_a_training_is_that_of_its_images():
    found = range_of("uint16", [(0, 900), (5, 4000), (0, 0)])
    assert found == ValueRange("uint16", 0, 4000, 900)  # an image of one value is not dim but empty
    assert found.ends == (0, 4095)
    assert ValueRange("float32", -1.5, 2.5).ends == (-1.5, 2.5)
    assert ValueRange("uint16", 0, 300).ends == (0, 1023)


def test_files_are_measured_as_they_are_stored(tmp_path):
    paths = []
    for number, high in enumerate((4000, 800)):
        paths.append(tmp_path / f"{number}.png")
        cv2.imwrite(str(paths[-1]), image(10, high, "uint16"))
    for bands in ("rgb", "raw"):
        found = measured(paths, ImageSpec(bands, 3))
        assert found.values == ValueRange("uint16", 10, 4000, 800)
        assert found.names == (() if bands == "rgb" else ("red", "green", "blue"))
    cv2.imwrite(str(tmp_path / "eight.png"), image(0, 99, "uint8"))
    assert measured([tmp_path / "eight.png"], ImageSpec()).values == EIGHT
    assert measured([*paths, tmp_path / "eight.png"], ImageSpec()).values is None
    assert measured([tmp_path / "nothing.png"], ImageSpec()).values is None


@pytest.mark.parametrize(
    ("low", "high", "dtype", "expected"),
    [
        (0, 200, "uint8", "--scale 0,255 (8 bits)"), (0, 1000, "uint16", "--scale 0,1023 (10 bits)"),
        (0, 1, "float32", "--scale 0,1"), (-3, 3, "float32", "--scale -2.88,2.88 (2 % and 98 % of its values)"),
        (7, 7, "uint16", "--scale MIN,MAX"),
    ],
)  # fmt: skip
def test_what_is_suggested(low, high, dtype, expected):
    assert suggested_scale(image(low, high, dtype)).startswith(expected)
