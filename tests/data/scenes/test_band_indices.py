"""Indices of bands: read as data, computed in float, the same for training, evaluation and prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import noise, triangles, write_scene, write_shapes  # noqa: E402

from intarsia.data.band_indices import KNOWN, check_indices, known_indices, with_indices  # noqa: E402
from intarsia.data.bands import FileBands  # noqa: E402
from intarsia.data.description.read import read_description  # noqa: E402
from intarsia.data.description.write import write_description  # noqa: E402
from intarsia.data.doctor.examine import examine  # noqa: E402
from intarsia.data.image_reader import ImageReader  # noqa: E402
from intarsia.data.image_spec import ImageSpec  # noqa: E402
from intarsia.data.scenes.georeference import Area  # noqa: E402
from intarsia.data.scenes.grid import around  # noqa: E402
from intarsia.data.scenes.scene import Scene  # noqa: E402

BANDS = ("blue", "green", "red", "nir")
NDVI = ("ndvi", KNOWN["ndvi"])

DESCRIPTION = """\
root: .
classes: [background, roof, pool]
labels: {0: background, 1: roof, 2: pool}
image: {bands: raw, channels: 5, names: [nir, red, green], indices: %s}
splits:
  train: {scenes: scenes, labels: things.geojson, column: kind, window: 64, block: 64}
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_scene(tmp_path / "scenes/north.tif", noise(128, 160, 4, dtype="uint16"), names=BANDS)
    write_shapes(tmp_path / "things.geojson", triangles(12, 128, 160))
    return tmp_path


def described(place: Path, indices: str = "[ndvi, ndwi]") -> Path:
    file = place / "data.yaml"
    file.write_text(DESCRIPTION % indices, encoding="utf-8")
    return file


def test_an_index_is_what_numpy_computes() -> None:
    samples = np.random.default_rng(0).integers(0, 4000, (7, 9, 4)).astype(np.uint16)
    samples[2, 3] = 0
    indices = (NDVI, ("half", "-(red + 3) * 0.5 / 2 - blue / nir"))
    found = with_indices(samples, indices, BANDS)
    wide = samples.astype(np.float64)
    blue, _, red, nir = (wide[..., band] for band in range(4))
    with np.errstate(all="ignore"):
        ndvi, half = (nir - red) / (nir + red), -(red + 3) * 0.5 / 2 - blue / nir
    assert found.dtype == np.float32
    assert (found[..., :4] == samples).all()
    assert np.allclose(found[..., 4], np.nan_to_num(ndvi), rtol=1e-5)
    assert np.allclose(found[..., 5], np.where(np.isfinite(half), half, 0), rtol=1e-5)
    assert found[2, 3, 4] == 0
    assert -1 <= found[..., 4].min() < 0 < found[..., 4].max() <= 1


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("nir - swir", "found 'swir'"),
        ("nir -", "expected an expression"),
        ("nir ** 2", "is no name of a band"),
        ("__import__('os').getcwd()", "is no name of a band"),
        ("nir if red else 1", "is no name of a band"),
        ("'red'", "is no name of a band"),
        ("True", "is no name of a band"),
        ("(" * 400 + "nir" + ")" * 400, "expected an expression"),
    ],
)
def test_expressions_that_are_refused(expression: str, words: str) -> None:
    with pytest.raises(ValueError, match="expected") as error:
        check_indices([("x", expression)], BANDS)
    assert words in str(error.value)


def test_names_of_indices() -> None:
    assert known_indices(["ndvi", "NDWI"]) == (NDVI, ("NDWI", "(green - nir) / (green + nir)"))
    with pytest.raises(ValueError, match="'ndxi' is none of ndvi"):
        known_indices(["ndxi"])
    with pytest.raises(ValueError, match="'red' cannot be the name"):
        check_indices([("red", "nir / green")], BANDS)


def test_bands_are_chosen_by_name_and_indices_follow(place: Path) -> None:
    file = described(place)
    description = read_description(file)
    assert description.indices == (NDVI, ("ndwi", KNOWN["ndwi"]))
    write_description(description, place / "again.yaml")
    assert read_description(place / "again.yaml") == description
    dataset = description.dataset("train")
    with rasterio.open(place / "scenes/north.tif") as source:
        _, green, red, nir = source.read().astype(np.float32)
    whole = np.stack([nir, red, green, (nir - red) / (nir + red), (green - nir) / (green + nir)], axis=2)
    for index, pair in enumerate(description.pairs("train")):
        assert pair.window is not None
        area = around(pair.window.cell, (128, 160), 64)
        part = whole[area.top : area.top + 64, area.left : area.left + 64]
        assert np.array_equal(dataset.load(index).image, part)


def test_the_doctor_measures_what_the_network_sees(place: Path) -> None:
    findings = examine(described(place))
    assert findings.ok
    assert findings.mean is not None
    assert len(findings.mean) == 5
    with rasterio.open(place / "scenes/north.tif") as source:
        _, green, red, nir = source.read().astype(np.float64)
    ndvi = (nir - red) / (nir + red)
    assert findings.mean == pytest.approx(
        [nir.mean(), red.mean(), green.mean(), ndvi.mean(), ((green - nir) / (green + nir)).mean()], rel=1e-3
    )
    values = findings.proposal().values
    assert values is not None
    assert (values.dtype, values.high) == ("uint16", max(nir.max(), red.max(), green.max()))


def test_weights_say_it_and_rasters_are_read_by_it(place: Path) -> None:
    description = examine(described(place)).proposal()
    dataset = description.dataset("train")
    spec = ImageSpec.from_json(dataset.image_spec.to_json(), bands="raw", channels=5)
    assert spec == dataset.image_spec
    with Scene(place / "scenes/north.tif", ImageReader(spec)) as scene:
        assert scene.channels == 5
        whole = scene.read(Area(0, 0, 128, 160))
    assert whole is not None
    pair = description.pairs("train")[4]
    assert pair.window is not None
    area = around(pair.window.cell, (128, 160), 64)
    assert np.array_equal(dataset.load(4).image, whole[area.top : area.top + 64, area.left : area.left + 64])


def test_images_are_read_by_it_too(tmp_path: Path) -> None:
    image = noise(8, 9, 4, dtype="uint16")
    write_scene(tmp_path / "a.tif", image, names=BANDS)
    spec = ImageSpec("raw", 4, ("red", "green", "nir"), indices=(NDVI,))
    found = ImageReader(spec).read(tmp_path / "a.tif")
    red, nir = (image[band].astype(np.float32) for band in (2, 3))
    assert np.array_equal(found[..., 3], (nir - red) / (nir + red))
    assert np.array_equal(found[..., 0], red)
    assert ImageReader(spec, chosen=(3, 2, 4)).select(FileBands(("",) * 4)) == (2, 1, 3)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("{bands: raw, channels: 4, names: [nir, red, green], indices: [ndvi, ndwi]}", "3 names and 2 indices for 4"),
        ("{bands: raw, channels: 3, names: [nir, red], indices: [ndwi]}", "found 'green'"),
        ("{bands: raw, channels: 2, indices: [ndwi]}", "found 'green'"),
        ("{bands: rgb, channels: 3, indices: [ndvi]}", "is for `bands: raw`"),
        ("{bands: raw, channels: 3, names: [nir, red], indices: [nonsense]}", "'nonsense' is none of ndvi"),
    ],
)
def test_descriptions_that_make_no_sense(place: Path, image: str, words: str) -> None:
    text = (DESCRIPTION % "[]").splitlines()
    text[3] = f"image: {image}"
    (place / "data.yaml").write_text("\n".join(text), encoding="utf-8")
    with pytest.raises(ValueError, match=r"data\.yaml:4") as error:
        read_description(place / "data.yaml")
    assert words in str(error.value)


def test_a_band_that_the_scene_does_not_have(place: Path) -> None:
    file = described(place)
    file.write_text(
        file.read_text(encoding="utf-8").replace("green]", "swir]").replace("ndwi", "ndmi"), encoding="utf-8"
    )
    with pytest.raises(ValueError, match=r"north\.tif: .*nir, red, swir.*4 nir") as error:
        read_description(file).dataset("train").load(0)
    assert "1 blue, 2 green, 3 red, 4 nir" in str(error.value)
