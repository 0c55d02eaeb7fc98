"""Scenes over several processes: the strips of one, or each takes one of many; files are those of one process."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from intarsia.cli.main import main

rasterio = pytest.importorskip("rasterio")
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    folder = tmp_path / "scenes"
    folder.mkdir()
    for number in range(3):
        fields = np.random.default_rng(number).integers(1, 256, (3, 5, 7), dtype=np.uint8)
        image = fields.repeat(40, axis=1).repeat(40, axis=2)
        image[:, :40, :60] = 0
        place = rasterio.transform.from_origin(400_000, 5_500_000, 0.5, 0.5)
        with rasterio.open(
            folder / f"scene_{number}.tif", "w", driver="GTiff", count=3, height=200, width=280, dtype="uint8",
            crs="EPSG:32633", transform=place, nodata=0,
        ) as target:  # fmt: skip
            target.write(image)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


@pytest.mark.parametrize("blend", ["crop", "gaussian"])
def test_one_scene_by_two_processes(
    weights: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], blend: str
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    words = ["--save", "label,confidence,areas", "--window", "64", "--overlap", "16", "--blend", blend]
    scene = scenes / "scene_0.tif"
    assert predict(weights, scene, "-o", one / "labels.tif", *words) == 0
    alone = capsys.readouterr().err
    assert predict(weights, scene, "-o", two / "labels.tif", *words, "--devices", "cpu:2") == 0
    together = capsys.readouterr().err
    assert contents(one) == contents(two)
    windows = next(line for line in alone.splitlines() if " windows" in line).partition(";")[0]
    assert windows in together


def test_many_scenes_by_two_processes(
    weights: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two, parts = tmp_path / "one", tmp_path / "two", tmp_path / "parts"
    (scenes / "damaged.tif").write_bytes((scenes / "scene_1.tif").read_bytes()[:3000])
    words = ["--save", "label,areas"]
    assert predict(weights, scenes, "-o", one, *words) == 1
    assert predict(weights, scenes, "-o", two, *words, "--devices", "cpu:2") == 1
    said = " ".join(capsys.readouterr().err.split())
    assert said.count("3 of 4 rasters") == 2
    assert said.count("damaged.tif") >= 2
    assert contents(one) == contents(two)
    for number in (1, 2):
        predict(weights, scenes, "-o", parts, *words, "--part", f"{number}/2")
    assert contents(parts) == contents(one)
