"""Folders, lists and URLs of rasters through ``intarsia predict``: each becomes a GeoTIFF that lies where it lay."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

rasterio = pytest.importorskip("rasterio")

from rasterio.control import GroundControlPoint  # noqa: E402
from rasterio.rpc import RPC  # noqa: E402
from rasterio.transform import from_origin  # noqa: E402

import intarsia  # noqa: E402
from intarsia.cli.main import main  # noqa: E402
from intarsia.data.scenes.georeference import is_local, is_placed  # noqa: E402
from intarsia.inference.outputs.manifest import ResultFinder  # noqa: E402

PHOTO = np.random.default_rng(0).integers(0, 256, (3, 40, 56), dtype=np.uint8)


def write_tile(path: Path, number: int = 0, **profile) -> Path:
    place = {"crs": "EPSG:32633", "transform": from_origin(4e5 + 56 * number, 5.5e6, 1, 1)}
    path.parent.mkdir(parents=True, exist_ok=True)
    bands, height, width = PHOTO.shape
    shape = {"count": bands, "height": height, "width": width, "dtype": "uint8", "photometric": "RGB"}
    with rasterio.open(path, "w", driver="GTiff", **shape, **(profile or place)) as target:
        target.write(np.roll(PHOTO, number, axis=1))
    return path


@pytest.fixture
def tiles(tmp_path: Path) -> Path:
    for number, name in enumerate(("a.tif", "b.tif", "north/a.tif")):
        write_tile(tmp_path / "tiles" / name, number)
    return tmp_path / "tiles"


def run(*words: object) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_each_tile_of_a_folder_lies_where_it_lay(make_weights, tiles, tmp_path, capsys):
    weights, out = make_weights(), tmp_path / "out"
    assert run(weights, tiles, "-o", out, "--save", "label,polygons") == 0
    assert "3 of 3 rasters" in capsys.readouterr().err
    assert names(out) == [
        "a.geojson", "a.tif", "a.tif.aux.xml", "b.geojson", "b.tif", "b.tif.aux.xml", "intarsia.json",
        "north/a.geojson", "north/a.tif", "north/a.tif.aux.xml",
    ]  # fmt: skip
    for name in ("a.tif", "b.tif", "north/a.tif"):
        with rasterio.open(tiles / name) as scene, rasterio.open(out / name) as labels:
            assert labels.transform == scene.transform
            assert labels.crs == scene.crs
            expected = intarsia.load(weights, device="cpu").predict(tiles / name).label
            assert np.array_equal(labels.read(1), expected)  # as an image of this size, in one piece
    (longitude, latitude), *_ = json.loads((out / "b.geojson").read_text())["features"][0]["geometry"]["coordinates"][0]
    assert 13 < longitude < 14
    assert 49 < latitude < 50


def test_a_raster_that_fails_is_named_and_the_others_are_done(make_weights, tiles, tmp_path, capsys):
    whole = (tiles / "b.tif").read_bytes()
    (tiles / "b.tif").write_bytes(whole[:-3000])
    assert run(make_weights(), tiles, "-o", tmp_path / "out") == 1
    said = capsys.readouterr().err
    assert "2 of 3 rasters" in said
    assert f"failed: {tiles / 'b.tif'}" in said.replace("\n", "")
    assert not (tmp_path / "out" / "b.tif").exists()


def test_going_on_after_an_interruption(make_weights, tiles, tmp_path, capsys):
    weights, out = make_weights(), tmp_path / "out"
    assert run(weights, tiles, "-o", out, "--save", "areas") == 0
    before = (out / "a.tif").stat().st_mtime_ns
    (out / "b.tif").unlink()
    assert run(weights, tiles, "-o", out, "--save", "areas", "--skip-existing") == 0
    assert "1 of 3 rasters (2 were done before)" in capsys.readouterr().err
    assert (out / "a.tif").stat().st_mtime_ns == before
    assert run(weights, tiles, "-o", out, "--save", "areas", "--skip-existing") == 0
    assert "all 3 rasters were done before" in capsys.readouterr().err


def test_photos_beside_rasters_become_what_photos_become(make_weights, tiles, tmp_path):
    Image.fromarray(np.moveaxis(PHOTO, 0, 2)).save(tiles / "photo.png")
    Image.fromarray(np.moveaxis(PHOTO, 0, 2)).save(tiles / "plain.tif")
    assert run(make_weights(), tiles, "-o", tmp_path / "out", "--save", "label") == 0
    assert names(tmp_path / "out") == [
        "a.tif", "a.tif.aux.xml", "b.tif", "b.tif.aux.xml", "intarsia.json", "north/a.tif", "north/a.tif.aux.xml",
        "photo.png", "plain.png",
    ]  # fmt: skip


@pytest.mark.parametrize("words", [["--no-geotiff"], ["--areas", "AREAS"]])
def test_label_maps_in_pixels_can_be_had(make_weights, tiles, tmp_path, words):
    words = [str(tmp_path / "areas.csv") if word == "AREAS" else word for word in words]
    assert run(make_weights(), tiles, "-o", tmp_path / "out", "--save", "label", *words) == 0
    assert names(tmp_path / "out") == ["a.png", "b.png", "intarsia.json", "north/a.png"]


def test_results_among_the_tiles_are_no_tiles(make_weights, tiles, capsys):
    weights = make_weights()
    for _ in range(2):
        assert run(weights, tiles, "-o", tiles / "labels") == 0
        assert "3 of 3 rasters" in capsys.readouterr().err
    assert ResultFinder().is_result(tiles / "labels" / "a.tif")
    assert not ResultFinder().is_result(tiles / "a.tif")


def test_a_folder_is_no_single_raster(make_weights, tiles, tmp_path, capsys):
    assert run(make_weights(), tiles, "-o", tmp_path / "out.tif") == 2
    assert "is one raster, made of one; give a folder for several: -o out" in " ".join(capsys.readouterr().err.split())
    assert run(make_weights(), tiles / "a.tif", tiles / "b.tif", "-o", tiles) == 2
    assert "is the input itself" in capsys.readouterr().err


# --- Names that only GDAL knows -----------------------------------------------------------------------------------


def test_what_is_a_path_and_what_only_gdal_can_open():
    for remote in (
        "https://example.com/a.tif", "s3://bucket/a.tif", "/vsicurl/https://example.com/a.tif", "/vsizip/a.zip/b.tif",
        "/vsis3/bucket/a.tif", "NETCDF:a.nc:ndvi", 'HDF5:"a.h5"://x', "zip://a.zip!b.tif", "GTIFF_DIR:2:a.tif",
    ):  # fmt: skip
        assert not is_local(remote), remote
    for path in ("a.tif", "/data/a.tif", "C:\\data\\a.tif", "c:/data/a.tif", "./NETCDF.tif", "vsi/a.tif", "a b:c.tif"):
        assert is_local(path), path


@pytest.fixture
def served(tiles: Path, monkeypatch: pytest.MonkeyPatch):
    """A server of the tiles, in a process of its own: GDAL holds Python's lock while it opens a file."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    code = (
        "import functools, http.server, sys\n"
        "handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=sys.argv[1])\n"
        "server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler)\n"
        "print(server.server_port, flush=True)\n"
        "server.serve_forever()\n"
    )
    command = [sys.executable, "-c", code, str(tiles)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.terminate()


def test_rasters_behind_urls_and_in_archives(make_weights, tiles, served, tmp_path):
    with zipfile.ZipFile(tmp_path / "tiles.zip", "w") as archive:
        archive.write(tiles / "b.tif", "b.tif")
    weights = make_weights()
    assert run(weights, tiles / "a.tif", "-o", tmp_path / "expected.tif", "--window", "64") == 0
    for source in (f"{served}/a.tif", f"/vsicurl/{served}/a.tif"):
        assert run(weights, source, "-o", tmp_path / "found.tif", "--window", "64") == 0
        assert (tmp_path / "found.tif").read_bytes() == (tmp_path / "expected.tif").read_bytes()
    assert (
        run(weights, f"{served}/a.tif?x=1", f"/vsizip/{tmp_path}/tiles.zip/b.tif", tiles, "-o", tmp_path / "out") == 0
    )
    assert [name for name in names(tmp_path / "out") if name.endswith(".tif")] == [
        "a.tif", "a_2.tif", "b.tif", "b_2.tif", "north/a.tif",
    ]  # fmt: skip


def test_what_is_not_there_is_said_by_its_name(make_weights, served, tmp_path, capsys):
    assert run(make_weights(), f"{served}/nothing.tif", "-o", tmp_path / "x.tif") == 2
    assert f"{served}/nothing.tif: cannot be read as a raster" in " ".join(capsys.readouterr().err.split())
    assert run(make_weights(), "nothing.tif", "-o", tmp_path / "x.tif") == 2
    assert "nothing.tif: no such file" in capsys.readouterr().err


# --- Where rasters lie --------------------------------------------------------------------------------------------

COEFFICIENTS = {"line_den_coeff": [1.0] + [0.0] * 19, "samp_den_coeff": [1.0] + [0.0] * 19}
POLYNOMIALS = RPC(
    height_off=100, height_scale=500, lat_off=49.6, lat_scale=0.1, long_off=13.6, long_scale=0.1, line_off=16,
    line_scale=16, samp_off=16, samp_scale=16, line_num_coeff=[0.0, 0.0, -1.0] + [0.0] * 17,
    samp_num_coeff=[0.0, 1.0] + [0.0] * 18, err_bias=None, err_rand=None, **COEFFICIENTS,
)  # fmt: skip


def test_rational_polynomials_are_kept(make_weights, tmp_path):
    scene = write_tile(tmp_path / "scene.tif", rpcs=POLYNOMIALS)
    assert is_placed(scene)
    assert run(make_weights(), scene, "-o", tmp_path / "out.tif", "--save", "label,confidence") == 0
    for name in ("out.tif", "out_confidence.tif"):
        with rasterio.open(tmp_path / name) as labels:
            expected, found = POLYNOMIALS.to_dict(), labels.rpcs.to_dict()
            assert {key: found[key] for key in expected if "err" not in key} == {
                key: value for key, value in expected.items() if "err" not in key
            }


def test_polynomials_and_control_points_of_turned_scenes(make_weights, tmp_path, capsys):
    points = [
        GroundControlPoint(row, column, 13 + column / 1e3, 50 - row / 1e3) for row in (0, 40) for column in (0, 56)
    ]
    scene = write_tile(tmp_path / "points.tif", crs="EPSG:4326", gcps=points)
    polynomial = write_tile(tmp_path / "polynomial.tif", rpcs=POLYNOMIALS)
    for path in (scene, polynomial):
        data = bytearray(path.read_bytes())
        planar = data.find(b"\x1c\x01\x03\x00")  # a tag for which the default does becomes the orientation
        data[planar : planar + 2] = (274).to_bytes(2, "little")
        data[planar + 8 : planar + 10] = (6).to_bytes(2, "little")
        path.write_bytes(data)
    assert run(make_weights(), scene, "-o", tmp_path / "out.tif") == 0
    with rasterio.open(tmp_path / "out.tif") as labels:
        assert (labels.height, labels.width) == (56, 40)
        found = {(point.row, point.col): (point.x, point.y) for point in labels.gcps[0]}
    assert found[0, 40] == (13.0, 50.0)  # the stored top left corner is at the right of the upright picture
    assert found[56, 0] == (13.056, 49.96)
    assert run(make_weights(), polynomial, "-o", tmp_path / "no.tif") == 2
    assert "stored turned" in capsys.readouterr().err


def test_images_that_lie_nowhere(tmp_path):
    Image.fromarray(np.moveaxis(PHOTO, 0, 2)).save(tmp_path / "plain.tif")
    assert not is_placed(tmp_path / "plain.tif")
    (tmp_path / "plain.tfw").write_text("1\n0\n0\n-1\n400000\n5500000\n")
    assert is_placed(tmp_path / "plain.tif")
    (tmp_path / "text.tif").write_text("no picture")
    assert not is_placed(tmp_path / "text.tif")
    assert not is_placed(tmp_path / "nothing.tif")


def test_one_file_that_is_named_alone_stays_an_image(make_weights, tiles, tmp_path):
    assert run(make_weights(), tiles / "a.tif", "-o", tmp_path / "out", "--save", "label") == 0
    assert names(tmp_path / "out") == ["a.png", "intarsia.json"]
