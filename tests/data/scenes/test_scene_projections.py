"""Labels in another coordinate system, or of another resolution, than the scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import UTM, grid, noise, on_earth, triangles, write_scene, write_shapes  # noqa: E402
from rasterio.features import rasterize  # noqa: E402
from rasterio.warp import transform, transform_geom  # noqa: E402

from intarsia.data.description.model import DataDescription  # noqa: E402
from intarsia.data.scenes.rule import SceneSplit  # noqa: E402

H, W = 200, 240


def assembled(root: Path, rule: SceneSplit) -> np.ndarray:
    """The label of the whole scene from the windows of its data set; -1 where nothing is said."""
    labels = {0: "background", 1: "roof", 2: "pool", 9: "ignore"}
    description = DataDescription(
        root=root, classes=("background", "roof", "pool"), splits={"train": rule}, labels=labels
    )
    dataset = description.dataset("train")
    found = np.full((H, W), -1)
    for index, pair in enumerate(description.pairs("train")):
        assert pair.window is not None
        label = dataset.load(index).label
        assert label is not None
        cell = pair.window.cell
        assert label.shape == (cell.height, cell.width)
        found[cell.top : cell.top + cell.height, cell.left : cell.left + cell.width] = label
    return np.where(found == 255, -1, found)


def rule_of(labels: str, column: str = "") -> SceneSplit:
    # One cell fills its window, so that labels can be put together again.
    return SceneSplit(("scenes",), labels, column=column, window=40, margin=0, block=40)


def centres(crs: str) -> tuple[np.ndarray, np.ndarray]:
    """The centre of every pixel of the scene in another system."""
    rows, columns = np.mgrid[0:H, 0:W] + 0.5
    a, b, c, d, e, f = tuple(grid())[:6]
    xs, ys = a * columns + b * rows + c, d * columns + e * rows + f
    found = transform(UTM, crs, xs.ravel(), ys.ravel())
    return tuple(np.reshape(part, (H, W)) for part in found)  # type: ignore[return-value]


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32632"])
def test_shapes_of_another_system(tmp_path: Path, crs: str) -> None:
    write_scene(tmp_path / "scenes/north.tif", noise(H, W))
    shapes = triangles(15, H, W)
    there = [transform_geom(UTM, crs, {"type": "Polygon", "coordinates": [on_earth(ring)]}) for ring, _ in shapes]
    rings = [geometry["coordinates"][0][:-1] for geometry in there]
    identity = rasterio.Affine.identity()
    rows = [columns for _, columns in shapes]
    write_shapes(tmp_path / "things.geojson", list(zip(rings, rows, strict=True)), crs=crs, transform=identity)
    back = [(transform_geom(crs, UTM, one), row["code"]) for one, row in zip(there, rows, strict=True)]
    expected = rasterize(back, out_shape=(H, W), transform=grid())
    found = assembled(tmp_path, rule_of("things.geojson", "kind"))
    # Coordinates that went there and back differ by less than a millionth of a pixel.
    assert set(np.unique(expected)) == {0, 1, 2}
    assert (found != expected).sum() <= 2


@pytest.mark.parametrize(
    ("crs", "pixel"), [("EPSG:4326", 2e-5), ("EPSG:3857", 3.1), ("EPSG:32633", 2.0), ("EPSG:32633", 0.2)]
)
def test_label_rasters_are_carried_over_by_the_nearest_pixel(tmp_path: Path, crs: str, pixel: float) -> None:
    write_scene(tmp_path / "scenes/north.tif", noise(H, W))
    xs, ys = centres(crs)
    inner = 3 * pixel + (xs.max() - xs.min()) / 10  # a border of the scene has no labels
    left, right, bottom, top = xs.min() + inner, xs.max() - inner, ys.min() + inner, ys.max() - inner
    place = grid(left=left, top=top, pixel=pixel)
    size = round((top - bottom) / pixel), round((right - left) / pixel)
    stored = np.random.default_rng(0).integers(0, 3, size, dtype=np.uint8)
    write_scene(tmp_path / "labels.tif", stored[None], crs=crs, transform=place)
    found = assembled(tmp_path, rule_of("labels.tif"))
    columns, rows = (xs - left) / pixel, (top - ys) / pixel
    within = (columns >= 0) & (rows >= 0) & (columns < size[1]) & (rows < size[0])
    at = (rows.clip(0, size[0] - 1).astype(int), columns.clip(0, size[1] - 1).astype(int))
    expected = np.where(within, stored[at].astype(int), -1)
    # GDAL may be off by a thousandth of a pixel, which matters to centres so near to an edge alone.
    doubtful = (abs(columns - np.rint(columns)) < 0.002) | (abs(rows - np.rint(rows)) < 0.002)
    assert within.any()
    assert not within.all()
    assert doubtful.mean() < 0.05
    assert (found == expected)[~doubtful].all()


def test_a_value_that_means_no_data_is_for_the_table_to_say(tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes/north.tif", noise(H, W))
    stored = np.zeros((1, H // 2, W // 2), np.uint8)
    stored[:, 10:40] = 1
    stored[:, 60:70] = 9
    write_scene(tmp_path / "labels.tif", stored, transform=grid(pixel=1.0), nodata=0)
    found = assembled(tmp_path, rule_of("labels.tif"))
    expected = stored[0].repeat(2, axis=0).repeat(2, axis=1).astype(int)
    assert (found == np.where(expected == 9, -1, expected)).all()


def test_colours_of_a_label_raster(tmp_path: Path) -> None:
    write_scene(tmp_path / "scenes/north.tif", noise(H, W))
    stored = np.zeros((3, H // 2, W // 2), np.uint8)
    stored[0, 10:40] = 255
    write_scene(tmp_path / "labels.tif", stored, transform=grid(pixel=1.0))
    description = DataDescription(
        root=tmp_path,
        classes=("background", "roof"),
        splits={"train": rule_of("labels.tif")},
        labels={(0, 0, 0): "background", (255, 0, 0): "roof"},
    )
    dataset = description.dataset("train")
    total = sum(int((dataset.load(index).label == 1).sum()) for index in range(len(dataset)))
    assert total == 60 * W
