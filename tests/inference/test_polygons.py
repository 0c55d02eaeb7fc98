"""Polygons give the label map back, run lengths are COCO's, areas are those on the ground."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from pycocotools import mask as coco
from rasterio.crs import CRS
from rasterio.features import rasterize
from rasterio.transform import from_origin

from intarsia.inference.outputs.coco import CocoImage, join_coco, rle, write_coco
from intarsia.inference.outputs.geojson import write_geojson
from intarsia.inference.outputs.ground import Ground
from intarsia.inference.outputs.polygons import Labels, areas, polygons, write_areas

CLASSES = ("soil", "crop", "weed")
PALETTE = ((120, 80, 40), (0, 158, 115), (213, 94, 0))
NOTHING = 255

label_maps = arrays.arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.sampled_from([0, 1, 2, NOTHING])
)


def written(path: Path, label: np.ndarray, ground: Ground | None = None, **options) -> dict:
    found = polygons(Labels(label), nothing=NOTHING, **options)
    count = write_geojson(path, found, classes=CLASSES, palette=PALETTE, ground=ground)
    document = json.loads(path.read_text("utf-8"))
    assert document["type"] == "FeatureCollection"
    assert len(document["features"]) == count
    return document


def painted(document: dict, shape: tuple[int, int], **options) -> np.ndarray:
    pairs = [(feature["geometry"], feature["properties"]["class"]) for feature in document["features"]]
    if not pairs:
        return np.full(shape, NOTHING, np.uint8)
    return rasterize(pairs, out_shape=shape, fill=NOTHING, dtype="uint8", **options)


def signed_area(ring: list[list[float]]) -> float:
    (x, y) = np.array(ring).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1])) / 2


@settings(deadline=None, max_examples=150)
@given(label=label_maps)
def test_polygons_give_the_label_map_back(label: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> None:
    document = written(tmp_path_factory.getbasetemp() / "map.geojson", label)
    assert np.array_equal(painted(document, label.shape), label)
    assert sum(feature["properties"]["pixels"] for feature in document["features"]) == (label != NOTHING).sum()
    for feature in document["features"]:
        outline, *holes = feature["geometry"]["coordinates"]
        assert outline[0] == outline[-1]
        assert signed_area(outline) > 0  # counter-clockwise, RFC 7946
        assert all(signed_area(hole) < 0 for hole in holes)
        inside = signed_area(outline) + sum(map(signed_area, holes))
        assert inside == feature["properties"]["pixels"]


def test_a_hole_stays_a_hole_and_says_what_it_is(tmp_path: Path) -> None:
    label = np.zeros((5, 6), np.uint8)
    label[1:4, 2:4] = 1
    document = written(tmp_path / "map.geojson", label)
    by_class = {feature["properties"]["class"]: feature for feature in document["features"]}
    assert len(by_class[0]["geometry"]["coordinates"]) == 2
    assert by_class[1]["properties"] == {"class": 1, "name": "crop", "pixels": 6, "fill": "#009e73"}
    assert sorted(by_class[1]["geometry"]["coordinates"][0][:-1]) == [[2, 1], [2, 4], [4, 1], [4, 4]]


def test_corners_do_not_connect(tmp_path: Path) -> None:
    document = written(tmp_path / "map.geojson", np.eye(3, dtype=np.uint8))
    assert sorted(feature["properties"]["class"] for feature in document["features"]) == [0, 0, 1, 1, 1]


def test_small_regions_are_left_out_and_simplified_ones_stay_near(tmp_path: Path) -> None:
    y, x = np.mgrid[:80, :80]
    label = ((x - 40) ** 2 + (y - 40) ** 2 < 30**2).astype(np.uint8)
    label[2, 2] = 2
    exact = written(tmp_path / "exact.geojson", label, min_area=2)
    assert {feature["properties"]["class"] for feature in exact["features"]} == {0, 1}
    simple = written(tmp_path / "simple.geojson", label, simplify=1.5)
    corners = [sum(len(ring) for f in d["features"] for ring in f["geometry"]["coordinates"]) for d in (exact, simple)]
    assert corners[1] < corners[0] / 3
    circle = painted({"features": [f for f in simple["features"] if f["properties"]["class"] == 1]}, label.shape) == 1
    away = np.hypot(x + 0.5 - 40.5, y + 0.5 - 40.5)
    assert (circle == (label == 1))[np.abs(away - 30) > 2.5].all()


def test_polygons_in_lonlat_fall_on_their_pixels(tmp_path: Path) -> None:
    ground = Ground(CRS.from_epsg(32633), from_origin(400000, 5500000, 10, 10))
    label = np.kron(np.random.default_rng(0).integers(0, 3, (6, 5)), np.ones((30, 40))).astype(np.uint8)
    document = written(tmp_path / "map.geojson", label, ground)
    corner = np.array(document["features"][0]["geometry"]["coordinates"][0])
    assert corner[:, 0].min() > 13  # west of the zone's middle, 15 degrees
    assert corner[:, 0].max() < 15
    assert np.abs(corner[:, 1] - 49.6).max() < 0.2
    back = [
        (rasterio.warp.transform_geom("EPSG:4326", ground.crs, feature["geometry"]), feature["properties"]["class"])
        for feature in document["features"]
    ]
    assert np.array_equal(rasterize(back, out_shape=label.shape, transform=ground.transform, dtype="uint8"), label)
    for feature in document["features"]:
        plane = (
            feature["properties"]["pixels"] * 100
        )  # the scale of UTM is 0.9996 to 1.0001 here, that of areas its square
        assert feature["properties"]["square_metres"] == pytest.approx(plane, rel=1e-3)


def test_long_edges_get_corners_where_the_projection_is_left(tmp_path: Path) -> None:
    ground = Ground(CRS.from_epsg(32633), from_origin(200000, 5500000, 30, 30))
    (feature,) = written(tmp_path / "map.geojson", np.zeros((640, 640), np.uint8), ground)["features"]
    assert len(feature["geometry"]["coordinates"][0]) == 4 * 10 + 1


@pytest.mark.parametrize("epsg", [4326, 3857])
def test_areas_on_the_ellipsoid_do_not_grow_towards_the_pole(epsg: int) -> None:
    crs = CRS.from_epsg(epsg)
    (x, x2), (y, y2) = rasterio.warp.transform("EPSG:4326", crs, [10, 10.01], [60, 59.99])
    ground = Ground(crs, from_origin(x, y, (x2 - x) / 20, (y - y2) / 20))
    found = areas(Labels(np.ones((20, 20), np.uint8)), classes=CLASSES, ground=ground)
    # Radii of curvature of WGS 84 at 60 degrees: 6 378 137 m and e^2 = 0.00669438.
    phi = np.radians(59.995)
    n = 6378137 / np.sqrt(1 - 0.00669438 * np.sin(phi) ** 2)
    m = n * (1 - 0.00669438) / (1 - 0.00669438 * np.sin(phi) ** 2)
    expected = n * np.cos(phi) * m * np.radians(0.01) ** 2
    assert found[1].square_metres == pytest.approx(expected, rel=1e-4)
    assert found[1].pixels == 400
    ring = np.array([[0, 0], [20, 0], [20, 20], [0, 20]], float)
    assert ground.square_metres(ring) == pytest.approx(expected, rel=1e-4)


def test_areas_as_csv(tmp_path: Path) -> None:
    label = np.array([[0, 0, 1, NOTHING]], np.uint8)
    found = areas(Labels(label), classes=CLASSES, ground=Ground(CRS.from_epsg(32633), from_origin(4e5, 5e6, 2, 2)))
    write_areas(tmp_path / "areas.csv", found)
    with open(tmp_path / "areas.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == list(CLASSES)
    assert [int(row["pixels"]) for row in rows] == [2, 1, 0]
    assert [float(row["share"]) for row in rows] == pytest.approx([2 / 3, 1 / 3, 0], abs=1e-8)
    assert [float(row["square_metres"]) for row in rows] == pytest.approx([8, 4, 0], rel=1e-3)
    nowhere = areas(Labels(label), classes=CLASSES, ground=None)
    write_areas(tmp_path / "areas.csv", nowhere)
    assert (tmp_path / "areas.csv").read_text().splitlines()[1] == "0,soil,2,0.66666667,"


@settings(deadline=None, max_examples=150)
@given(mask=arrays.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40))))
def test_run_lengths_are_those_of_pycocotools(mask: np.ndarray) -> None:
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert rle(mask) == {"size": list(mask.shape), "counts": theirs["counts"].decode()}


def test_long_runs_take_several_digits() -> None:
    mask = np.zeros((1500, 1500), np.bool_)
    mask[7, 3] = mask[100:, 700:1100] = mask[-1, -1] = True
    assert rle(mask)["counts"] == coco.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


@settings(deadline=None, max_examples=60)
@given(label=label_maps, step=st.sampled_from([1, 12]))
def test_coco_file_decodes_to_the_label_map(
    label: np.ndarray, step: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "rle.json"

    class Narrow(Labels):
        def columns(self):  # as a raster that is read in pieces
            for left in range(0, label.shape[1], step):
                yield label[:, left : left + step]

    write_coco(path, Narrow(label), classes=CLASSES, image=CocoImage("map.tif"), nothing=NOTHING)
    document = json.loads(path.read_text())
    assert document["images"] == [{"id": 1, "file_name": "map.tif", "height": label.shape[0], "width": label.shape[1]}]
    decoded = np.full(label.shape, NOTHING, np.uint8)
    for annotation in document["annotations"]:
        theirs = {**annotation["segmentation"], "counts": annotation["segmentation"]["counts"].encode()}
        mask = coco.decode(theirs).astype(bool)
        decoded[mask] = annotation["category_id"]
        assert annotation["area"] == mask.sum() == coco.area(theirs)
        assert annotation["bbox"] == coco.toBbox(theirs).tolist()
    assert np.array_equal(decoded, label)


def test_a_raster_is_read_as_an_array_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("intarsia.inference.outputs.polygons.AT_ONCE", 512)
    label = np.random.default_rng(1).integers(0, 3, (600, 1100)).astype(np.uint8)
    label = np.kron(label[::20, ::20], np.ones((20, 20), np.uint8))
    with rasterio.open(
        tmp_path / "map.tif", "w", driver="GTiff", height=600, width=1100, count=1, dtype="uint8",
        crs="EPSG:32633", transform=from_origin(4e5, 5e6, 1, 1),
    ) as target:  # fmt: skip
        target.write(label, 1)
    with rasterio.open(tmp_path / "map.tif") as source:
        band = Labels(source)
        ground = Ground.of(source)
        assert areas(band, classes=CLASSES, ground=ground) == areas(Labels(label), classes=CLASSES, ground=ground)
        for name, labels in (("a.json", band), ("b.json", Labels(label))):
            write_coco(tmp_path / name, labels, classes=CLASSES, image=CocoImage("map.tif"), nothing=None)
        shapes = [polygon.rings for polygon in polygons(band, nothing=None)]
        again = [polygon.rings for polygon in polygons(Labels(label), nothing=None)]
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    assert all(
        np.array_equal(a, b) for one, other in zip(shapes, again, strict=True) for a, b in zip(one, other, strict=True)
    )


def test_too_many_pixels_for_coco_are_refused(tmp_path: Path) -> None:
    class Huge:
        shape = (70000, 70000)

    with pytest.raises(ValueError, match="70000 x 70000 pixels are more than"):
        write_coco(tmp_path / "x.json", Labels(Huge()), classes=CLASSES, image=CocoImage("x.tif"), nothing=None)


def test_what_is_no_label_map_and_no_file_of_annotations(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="label map: expected integers of 8 or 16 bits, found int64"):
        list(polygons(Labels(np.zeros((2, 2), np.int64)), nothing=None))
    for number, content in enumerate(('{"images": [], "annotations": []}', '{"images": [{}]}', "[1]", "no JSON")):
        file = tmp_path / f"{number}.json"
        file.write_text(content)
        with pytest.raises(ValueError, match=rf"{number}\.json: holds no annotations of one image"):
            join_coco(tmp_path / "all.json", [file], classes=CLASSES)
    assert not (tmp_path / "all.json").exists()


def test_without_rasterio_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "rasterio.features", None)
    with pytest.raises(ValueError, match=r"pip install \"intarsia\[raster\]\""):
        list(polygons(Labels(np.zeros((2, 2), np.uint8)), nothing=None))
