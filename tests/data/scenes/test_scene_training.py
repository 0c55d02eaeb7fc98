"""From scenes and one vector file to a trained model, its scores, and a predicted raster."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")
pytest.importorskip("pyogrio")

from drawn_scenes import noise, triangles, write_scene, write_shapes  # noqa: E402
from typer.testing import CliRunner  # noqa: E402

from intarsia.cli.main import app  # noqa: E402

H, W = 128, 160
BANDS = ("blue", "green", "red", "nir")
DESCRIPTION = """\
root: .
classes: [background, roof, pool]
labels: {0: background, 1: roof, 2: pool}
image: {bands: raw, channels: 4, names: [nir, red, green], indices: [ndvi]}
splits:
  train: {scenes: scenes, labels: things.geojson, column: kind, window: 64, block: 64}
  val: {share: 0.4, of: train}
"""


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_train_evaluate_and_predict_scenes(tmp_path: Path) -> None:
    for number, name in enumerate(("north", "south")):
        write_scene(tmp_path / f"scenes/{name}.tif", noise(H, W, 4, dtype="uint16", seed=number), names=BANDS)
    write_shapes(tmp_path / "things.geojson", triangles(15, H, W))
    (tmp_path / "data.yaml").write_text(DESCRIPTION, encoding="utf-8")
    out = tmp_path / "run"
    run(
        "train", "fast_scnn", "--data", tmp_path / "data.yaml", "--out", out, "--for", "2 steps", "--batch", 2,
        "--workers", 1, "--device", "cpu",
    )  # fmt: skip
    pixels = 0
    for split in ("train", "val"):
        words = ("--data", tmp_path / "data.yaml", "--split", split, "--device", "cpu", "--out", tmp_path / split)
        run("eval", out, *words)
        with open(tmp_path / split / "eval.csv", encoding="utf-8", newline="") as file:
            pixels += sum(int(float(row["pixels"])) for row in csv.DictReader(file) if row.get("pixels"))
    assert pixels == 2 * H * W
    run("predict", out, tmp_path / "scenes/north.tif", "-o", tmp_path / "labels.tif", "--device", "cpu")
    with rasterio.open(tmp_path / "labels.tif") as source:
        assert source.shape == (H, W)
        assert set(np.unique(source.read())) <= {0, 1, 2}
    with rasterio.open(tmp_path / "scenes/north.tif", "r+") as source:
        source.set_band_description(4, "swir")
    words = ["predict", str(out), str(tmp_path / "scenes/north.tif"), "-o", str(tmp_path / "other.tif")]
    failed = CliRunner().invoke(app, words)
    assert failed.exit_code == 2
    assert "(nir, red, green)" in failed.output.replace("\n", " ")
