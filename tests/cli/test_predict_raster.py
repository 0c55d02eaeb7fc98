"""``intarsia predict`` for rasters: what is written, refused, and gone on with after a kill -9."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import torch
from pycocotools import mask as coco
from rasterio.features import rasterize
from rasterio.transform import from_origin

import intarsia
from intarsia.cli.main import main
from intarsia.spec import InferenceSpec
from intarsia.weights.file import WeightsMeta, save_weights
from intarsia.workflows.raster_job import _default_overlap

CLASSES = ("field", "forest", "water")
PALETTE = ((240, 228, 66), (0, 158, 115), (0, 114, 178))
CONFIG: dict[str, Any] = {
    "model": {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True, "pad_val": 0, "seg_pad_val": 255, "size": [64, 64],
        },
        "backbone": {
            "type": "MixVisionTransformer", "in_channels": 3, "embed_dims": 8, "num_stages": 4,
            "num_layers": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1], "out_indices": [0, 1, 2, 3], "mlp_ratio": 2, "qkv_bias": True,
        },
        "decode_head": {
            "type": "SegformerHead", "in_channels": [8, 16, 16, 16], "in_index": [0, 1, 2, 3], "channels": 16,
            "dropout_ratio": 0.1, "num_classes": 3, "norm_cfg": {"type": "BN", "requires_grad": True},
            "align_corners": False, "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, far enough from its start that it says different things of pixels."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    torch.manual_seed(3)
    task = build_task(lower(Config.from_values(CONFIG, file="test")))
    state = {
        name: value * 6 if name.endswith("conv_seg.weight") else value
        for name, value in task.model.state_dict().items()
    }
    path = tmp_path_factory.mktemp("run") / "weights.safetensors"
    save_weights(path, state, WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE))
    return path


def write_scene(path: Path, height: int, width: int, *, dtype: str = "uint8") -> Path:
    coarse = np.random.default_rng(0).integers(1, 256, (3, height // 20 + 1, width // 20 + 1))
    image = coarse.repeat(20, axis=1).repeat(20, axis=2)[:, :height, :width].astype(dtype)
    image[:, : height // 3, : width // 3] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=3, height=height, width=width, dtype=dtype, nodata=0, crs="EPSG:32633",
        transform=from_origin(400000, 5500000, 0.5, 0.5),
    ) as target:  # fmt: skip
        target.write(image)
    return path


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", 200, 300)


def read(path: Path) -> np.ndarray:
    with rasterio.open(path) as source:
        return source.read()


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_everything_that_can_be_saved(
    weights: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "maps" / "labels.tif"
    kinds = "label,confidence,entropy,probs,logits,polygons,rle,areas"
    assert predict(weights, scene, "-o", out, "--save", kinds, "--min-confidence", "0.4") == 0
    assert sorted(path.name for path in out.parent.iterdir()) == [
        "labels.geojson", "labels.tif", "labels.tif.aux.xml", "labels_areas.csv", "labels_confidence.tif",
        "labels_entropy.tif", "labels_logits.tif", "labels_probs.tif", "labels_rle.json",
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert "24 windows, 1 without data; 23 predicted in" in said  # 64, as in training, every 48
    assert "polygons in longitude and latitude" in said
    label, probs = read(out)[0], read(out.with_name("labels_probs.tif"))
    valid = (read(scene) > 0).any(axis=0)
    sure = np.nan_to_num(probs).max(axis=0) >= 0.4
    assert np.array_equal(label == 255, ~(valid & sure))
    assert np.array_equal(label[valid & sure], probs.argmax(axis=0)[valid & sure])
    assert len(np.unique(label)) == 4

    document = json.loads(out.with_name("labels.geojson").read_text())
    with rasterio.open(out) as source:
        back = [
            (rasterio.warp.transform_geom("EPSG:4326", source.crs, feature["geometry"]), feature["properties"]["class"])
            for feature in document["features"]
        ]
        again = rasterize(back, out_shape=label.shape, fill=255, transform=source.transform, dtype="uint8")
    assert np.array_equal(again, label)

    for annotation in json.loads(out.with_name("labels_rle.json").read_text())["annotations"]:
        counts = annotation["segmentation"]["counts"].encode()
        mask = coco.decode({**annotation["segmentation"], "counts": counts})
        assert np.array_equal(mask == 1, label == annotation["category_id"])

    with open(out.with_name("labels_areas.csv"), newline="") as file:
        for row in csv.DictReader(file):
            pixels = (label == int(row["class"])).sum()
            assert int(row["pixels"]) == pixels
            assert float(row["square_metres"]) == pytest.approx(pixels * 0.25, rel=1e-3)  # UTM's scale
            assert CLASSES[int(row["class"])] == row["name"]


def test_one_window_says_what_predict_says_in_python(weights: Path, tmp_path: Path) -> None:
    scene, out = write_scene(tmp_path / "scene.tif", 100, 120), tmp_path / "out.tif"
    image = read(scene).transpose(1, 2, 0)
    expected = intarsia.load(weights, device="cpu").predict(np.ascontiguousarray(image)).label
    for blend in ("crop", "average", "gaussian", "linear"):
        assert predict(weights, scene, "-o", out, "--window", "128", "--blend", blend) == 0
        valid = (read(scene) > 0).any(axis=0)
        assert np.array_equal(read(out)[0][valid], expected[valid])


def test_scenes_of_sixteen_bits_and_polygons_by_size(weights: Path, tmp_path: Path) -> None:
    scene, out = write_scene(tmp_path / "scene.tif", 100, 120, dtype="uint16"), tmp_path / "out.tif"
    eight = write_scene(tmp_path / "eight.tif", 100, 120)
    assert predict(weights, scene, "-o", out) == 2
    assert predict(weights, scene, "-o", out, "--scale", "0,255", "--save", "polygons") == 0
    assert predict(weights, eight, "-o", tmp_path / "eight_out.tif") == 0
    assert np.array_equal(read(out), read(tmp_path / "eight_out.tif"))
    exact = json.loads((tmp_path / "out.geojson").read_text())["features"]
    words = ["--scale", "0,255", "--save", "polygons", "--min-area", "40", "--simplify", "1.5", "--bands", "1,2,3"]
    assert predict(weights, scene, "-o", out, *words) == 0
    fewer = json.loads((tmp_path / "out.geojson").read_text())["features"]
    assert 0 < len(fewer) == sum(feature["properties"]["pixels"] >= 40 for feature in exact) < len(exact)


@pytest.mark.slow
def test_killed_and_gone_on_with(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene, out, straight = write_scene(tmp_path / "scene.tif", 900, 160), tmp_path / "out.tif", tmp_path / "whole.tif"
    words = ["--blend", "gaussian", "--save", "label,confidence", "--overlap", "16"]
    command = [sys.executable, "-m", "intarsia", "predict", weights, scene, "-o", out, *words, "--device", "cpu"]
    parts = tmp_path / "out.tif.parts"
    with subprocess.Popen(list(map(str, command)), stderr=subprocess.DEVNULL) as process:
        while len(list(parts.glob("strip_*.npz"))) < 3:
            assert process.poll() is None
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    assert not out.exists()
    assert predict(weights, scene, "-o", out, *words[:-1], "24") == 2
    assert "overlap: 16 then, 24 now" in capsys.readouterr().err
    assert predict(weights, scene, "-o", out, *words) == 0
    assert "went on with an interrupted run" in capsys.readouterr().err
    assert not parts.exists()
    assert predict(weights, scene, "-o", straight, *words) == 0
    for one, other in ((out, straight), (tmp_path / "out_confidence.tif", tmp_path / "whole_confidence.tif")):
        assert one.read_bytes() == other.read_bytes()


def test_other_weights_do_not_go_on(
    weights: Path, scene: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from intarsia.inference.raster.resume import FinishedStrips

    out, put = tmp_path / "out.tif", FinishedStrips.put

    def fail(self: FinishedStrips, panel: int, row: int, layers: Any) -> None:
        if row == 2:
            raise ValueError("the lights went out")
        put(self, panel, row, layers)

    with monkeypatch.context() as patch:
        patch.setattr(FinishedStrips, "put", fail)
        assert predict(weights, scene, "-o", out) == 2
    other = tmp_path / "other.safetensors"
    state = {name: value + 0.1 for name, value in intarsia.load(weights).task.model.state_dict().items()}  # type: ignore[attr-defined]
    save_weights(other, state, WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE))
    capsys.readouterr()
    assert predict(other, scene, "-o", out) == 2
    said = capsys.readouterr().err
    assert "weights: weights.safetensors" in said
    assert "--restart" in said
    assert predict(other, scene, "-o", out, "--restart") == 0
    assert "went on" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--save", "heights"], "label, confidence, entropy, probs, logits, masks, polygons, rle, areas can be saved"),
        (["--window", "wide"], "--window takes pixels, one number or HEIGHTxWIDTH, found 'wide'"),
        (["--overlap", "64"], "an overlap from 0 to below the window's 64 x 64 pixels, found 64"),
        (["--blend", "none"], "--blend: expected one of crop, average, gaussian, linear, found 'none'"),
        (["--bands", "1,2"], "--bands: expected 3 bands among 1..3"),
    ],
)
def test_what_makes_no_sense_is_refused(
    words: list[str], said: str, weights: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(weights, scene, "-o", tmp_path / "out.tif", *words) == 2
    assert said in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in tmp_path.iterdir()] == ["scene.tif"]


def test_the_scene_is_not_overwritten_and_options_of_rasters_are_theirs(
    weights: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = scene.read_bytes()
    assert predict(weights, scene, "-o", scene) == 2
    assert scene.read_bytes() == before
    assert predict(weights, scene, "-o", tmp_path / "folder", "--window", "64") == 2
    assert "--window is for rasters" in capsys.readouterr().err


def test_overlap_is_that_of_the_models_windows_or_a_quarter() -> None:
    whole = InferenceSpec(num_classes=2)
    slide = InferenceSpec(num_classes=2, mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert [_default_overlap((side, side), whole) for side in (512, 1024, 500, 64, 20)] == [128, 256, 148, 16, 5]
    assert _default_overlap((512, 512), slide) == 171
    assert _default_overlap((1024, 512), slide) == 128


@pytest.mark.parametrize("kind", ["local", "disk"])
def test_scenes_off_the_earth_keep_their_labels_and_coordinates(kind: str, weights: Path, tmp_path: Path) -> None:
    """A building site's own system, and a satellite's full disk: neither has longitudes for all of its pixels."""
    crs = {"local": 'LOCAL_CS["Site (m)",UNIT["metre",1]]', "disk": "+proj=geos +lon_0=0 +h=35785831 +ellps=WGS84"}[
        kind
    ]
    step = {"local": 0.5, "disk": 174_000.0}[kind]
    transform = from_origin(-32 * step, 32 * step, step, step)
    profile = {"driver": "GTiff", "count": 3, "height": 64, "width": 64, "dtype": "uint8"}
    with rasterio.open(tmp_path / "scene.tif", "w", crs=crs, transform=transform, **profile) as file:
        file.write(np.random.default_rng(0).integers(1, 256, (3, 64, 64), dtype=np.uint8))
    out = tmp_path / "labels.tif"
    assert predict(weights, tmp_path / "scene.tif", "-o", out, "--save", "polygons,areas") == 0
    document = json.loads((tmp_path / "labels.geojson").read_text("utf-8"))
    assert "crs" in document
    corners = np.concatenate([np.array(f["geometry"]["coordinates"][0]) for f in document["features"]])
    assert (corners.min(), corners.max()) == (-32 * step, 32 * step)
    assert out.is_file()


def test_what_is_made_of_labels_may_fail_alone(
    weights: Path, scene: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from intarsia.workflows import raster_job as room

    def fail(*words: object, **more: object) -> int:
        raise ValueError("no shapes today")

    monkeypatch.setattr(room, "write_geojson", fail)
    assert predict(weights, scene, "-o", tmp_path / "labels.tif", "--save", "polygons,areas") == 1
    assert (tmp_path / "labels.tif").is_file()
    assert (tmp_path / "labels_areas.csv").is_file()
    assert "labels.geojson: no shapes today" in " ".join(capsys.readouterr().err.split())
