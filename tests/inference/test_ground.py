"""Areas and outlines on Earth: turned grids, far north, across the 180th meridian, around a pole, and off the Earth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from rasterio.crs import CRS
from rasterio.transform import Affine, from_origin

from intarsia.inference.outputs.geojson import coordinates_in_words, write_geojson
from intarsia.inference.outputs.ground import COARSE, Ground, Ring, area_inside, signed_area, split
from intarsia.inference.outputs.polygons import Labels, areas, polygons

CLASSES, PALETTE = ("sea", "ice"), ((0, 0, 200), (250, 250, 250))


def square(size: int) -> Ring:
    return np.array([[0, 0], [size, 0], [size, size], [0, size]], float)


def in_equal_area(ground: Ground, ring: Ring, epsg: int) -> float:
    """Square metres by PROJ's own equal-area projection of the ellipsoid, its edges split finely."""
    fine = split(ring)
    for _ in range(6):
        fine = np.stack([fine, (fine + np.roll(fine, -1, axis=0)) / 2], axis=1).reshape(-1, 2)
    x, y = rasterio.warp.transform(ground.crs, f"EPSG:{epsg}", *ground.own(fine).T)
    return abs(signed_area(np.stack([x, y], axis=1)))


@pytest.mark.parametrize(
    ("crs", "transform", "equal_area"),
    [
        ("EPSG:32633", from_origin(400_000, 5_500_000, 10, 10), 3035),
        ("EPSG:32633", from_origin(400_000, 5_500_000, 10, 10) * Affine.rotation(30), 3035),
        ("EPSG:3857", from_origin(1_500_000, 8_400_000, 10, 10), 3035),
        ("EPSG:3857", from_origin(1_500_000, 8_400_000, 10, 10) * Affine.rotation(0.01), 3035),
        ("EPSG:4326", from_origin(10, 60, 0.001, 0.001), 3035),
        ("EPSG:4326", Affine(0.001, 0.0001, 8, 0.0001, -0.001, 50), 3035),
        ("EPSG:2222", from_origin(700_000, 900_000, 30, 30), 5070),
        ("EPSG:3413", from_origin(-500_000, -500_000, 1000, 1000), 6931),
        ("EPSG:3031", from_origin(500_000, 900_000, 1000, 1000), 6932),
    ],
)
def test_areas_are_those_of_the_ellipsoid(crs: str, transform: Any, equal_area: int) -> None:
    ground = Ground(CRS.from_string(crs), transform)
    expected = in_equal_area(ground, square(200), equal_area)
    assert ground.square_metres(square(200)) == pytest.approx(expected, rel=1e-6)
    (_, one) = areas(Labels(np.ones((200, 200), np.uint8)), classes=CLASSES, ground=ground)
    assert one.square_metres == pytest.approx(expected, rel=1e-5)


def test_turning_the_grid_a_little_changes_little() -> None:
    straight = from_origin(1_500_000, 8_400_000, 1, 1)
    found = [
        Ground(CRS.from_epsg(3857), straight * Affine.rotation(degrees)).square_metres(square(64))
        for degrees in (0, 0.01, 90)
    ]
    assert found[0] == pytest.approx(1027, abs=2)
    assert found[1:] == pytest.approx([found[0]] * 2, rel=1e-4)


def features(path: Path, label: np.ndarray, ground: Ground) -> list[dict[str, Any]]:
    found = polygons(Labels(label), nothing=0)
    write_geojson(path, found, classes=CLASSES, palette=PALETTE, ground=ground)
    document: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return list(document["features"])


def parts_of(geometry: dict[str, Any]) -> list[list[np.ndarray]]:
    several = geometry["type"] == "MultiPolygon"
    return [
        [np.array(ring) for ring in rings]
        for rings in (geometry["coordinates"] if several else [geometry["coordinates"]])
    ]


def area_of(parts: list[list[np.ndarray]]) -> float:
    return sum(area_inside(rings[0]) - sum(area_inside(ring) for ring in rings[1:]) for rings in parts)


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32601", from_origin(250_000, 6_000_000, 1000, 1000)),
        ("EPSG:3832", from_origin(3_300_000, 1_000_000, 1000, 1000)),
        ("EPSG:4326", from_origin(179.9, 10, 0.001, 0.001)),
        ("EPSG:3413", from_origin(-2_000_000, 2_000_000, 5000, 5000)),
    ],
)
def test_nothing_crosses_the_180th_meridian(crs: str, transform: Any, tmp_path: Path) -> None:
    pytest.importorskip("shapely")
    label = np.ones((200, 200), np.uint8)
    label[60:90, 40:160] = 0  # a hole, across it, too
    ground = Ground(CRS.from_string(crs), transform)
    (feature,) = features(tmp_path / "a.geojson", label, ground)
    parts = parts_of(feature["geometry"])
    assert len(parts) >= 2
    for rings in parts:
        for number, ring in enumerate(rings):
            assert np.abs(ring[:, 0]).max() <= 180
            assert np.abs(np.diff(ring[:, 0])).max() < 180
            assert np.array_equal(ring[0], ring[-1])
            assert (signed_area(ring[:-1]) > 0) == (number == 0)
    outline = (4 * 200 + 2 * (30 + 120)) * COARSE / feature["properties"]["pixels"]  # what edges may be off
    assert area_of(parts) == pytest.approx(feature["properties"]["square_metres"], rel=outline)


@pytest.mark.parametrize(("crs", "pole"), [("EPSG:3413", 90), ("EPSG:3031", -90), ("EPSG:3995", 90)])
def test_a_region_around_a_pole_holds_it(crs: str, pole: int, tmp_path: Path) -> None:
    pytest.importorskip("shapely")
    ground = Ground(CRS.from_string(crs), from_origin(-1_000_000, 1_000_000, 10_000, 10_000))
    (feature,) = features(tmp_path / "a.geojson", np.ones((200, 200), np.uint8), ground)
    parts = parts_of(feature["geometry"])
    corners = np.concatenate([ring for rings in parts for ring in rings])
    assert (corners[:, 0].min(), corners[:, 0].max()) == (-180, 180)
    assert (corners[:, 1] * np.sign(pole)).max() == 90
    expected = in_equal_area(ground, square(200), 6931 if pole > 0 else 6932)
    assert feature["properties"]["square_metres"] == pytest.approx(expected, rel=1e-6)
    assert area_of(parts) == pytest.approx(expected, rel=4 * 200 * COARSE / 200**2)
    (_, one) = areas(Labels(np.ones((200, 200), np.uint8)), classes=CLASSES, ground=ground)
    assert one.square_metres == pytest.approx(expected, rel=1e-4)


def test_a_hole_around_a_pole(tmp_path: Path) -> None:
    pytest.importorskip("shapely")
    label = np.ones((200, 200), np.uint8)
    label[80:120, 80:120] = 0
    ground = Ground(CRS.from_epsg(3413), from_origin(-1_000_000, 1_000_000, 10_000, 10_000))
    (feature,) = features(tmp_path / "a.geojson", label, ground)
    expected = in_equal_area(ground, square(200), 6931) - in_equal_area(ground, 80 + square(40), 6931)
    assert feature["properties"]["square_metres"] == pytest.approx(expected, rel=1e-6)
    assert area_of(parts_of(feature["geometry"])) == pytest.approx(expected, rel=(4 * 240) * COARSE / (200**2 - 40**2))


def test_longitudes_to_360_become_those_to_180(tmp_path: Path) -> None:
    label = np.zeros((10, 360), np.uint8)
    label[:, 200:210] = 1
    ground = Ground(CRS.from_epsg(4326), from_origin(0, 5, 1, 1))
    (feature,) = features(tmp_path / "a.geojson", label, ground)
    ((ring,),) = parts_of(feature["geometry"])
    assert (ring[:, 0].min(), ring[:, 0].max()) == (-160, -150)


# --- Off the Earth ------------------------------------------------------------------------------------------------

LOCAL = 'LOCAL_CS["Local Coordinates (m)",UNIT["metre",1]]'
FEET = 'LOCAL_CS["Local Coordinates (ft)",UNIT["foot",0.3048]]'
DISK = "+proj=geos +lon_0=0 +h=35785831 +ellps=WGS84 +sweep=y"


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        (LOCAL, from_origin(1000, 2000, 0.5, 0.5), 64 * 32 * 0.25),
        (FEET, from_origin(1000, 2000, 100, 100), 64 * 32 * 100**2 * 0.3048**2),
        (DISK, from_origin(-5_570_248, 5_570_248, 174_000, 174_000), None),
    ],
)
def test_where_there_is_no_longitude_the_raster_keeps_its_coordinates(
    crs: str, transform: Any, metres: float | None, tmp_path: Path
) -> None:
    label = np.zeros((64, 64), np.uint8)
    label[:, :32] = 1
    with rasterio.open(
        tmp_path / "a.tif",
        "w",
        driver="GTiff",
        count=1,
        height=64,
        width=64,
        dtype="uint8",
        crs=crs,
        transform=transform,
    ) as file:
        file.write(label, 1)
    with rasterio.open(tmp_path / "a.tif") as file:
        ground = Ground.of(file)
    assert ground is not None
    assert not ground.on_earth
    assert "own coordinates" in coordinates_in_words(ground)
    (feature,) = features(tmp_path / "a.geojson", label, ground)
    ((ring,),) = parts_of(feature["geometry"])
    left, top = transform * (0, 0)
    right, bottom = transform * (32, 64)
    assert {tuple(corner) for corner in ring.tolist()} == {(left, top), (right, top), (left, bottom), (right, bottom)}
    assert "crs" in json.loads((tmp_path / "a.geojson").read_text("utf-8"))
    if metres is not None:
        assert feature["properties"]["square_metres"] == pytest.approx(metres)
        assert areas(Labels(label), classes=CLASSES, ground=ground)[1].square_metres == pytest.approx(metres)


def test_places_beyond_the_edge_of_the_earth_have_no_pixel() -> None:
    ground = Ground(CRS.from_string(DISK), from_origin(-5_570_248, 5_570_248, 174_070.25, 174_070.25))
    middle = ground.pixel_of(0.0, 0.0)
    assert middle is not None
    np.testing.assert_allclose(middle, [[32, 32]], atol=1e-6)
    assert ground.pixel_of(180.0, 0.0) is None


def test_what_coordinates_are_is_said() -> None:
    assert coordinates_in_words(None) == "in pixels: the raster says no place"
    assert coordinates_in_words(Ground(CRS.from_epsg(4326), from_origin(0, 0, 1, 1))) == "in longitude and latitude"
