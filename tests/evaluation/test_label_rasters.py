"""Scores of predicted rasters: one of any size against one of labels, and folders of tiles."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

rasterio = pytest.importorskip("rasterio")

from rasterio.transform import from_origin  # noqa: E402

from intarsia.cli.main import main  # noqa: E402
from intarsia.data.labels import LabelTable  # noqa: E402
from intarsia.evaluation import label_rasters  # noqa: E402
from intarsia.evaluation.label_rasters import raster_classes, score_raster  # noqa: E402
from intarsia.metrics.iou import IoUMetric  # noqa: E402

CLASSES = ("field", "forest", "water")
UTM = {"crs": "EPSG:32633", "transform": from_origin(4e5, 5.5e6, 2, 2)}


def write(path: Path, values: np.ndarray, *, names: tuple[str, ...] = (), **profile) -> Path:
    height, width = values.shape
    shape = {"count": 1, "height": height, "width": width, "dtype": values.dtype, "tiled": True, "compress": "deflate"}
    with rasterio.open(path, "w", driver="GTiff", **{**shape, **UTM, **profile}) as target:
        target.write(values, 1)
        if names:
            target.update_tags(CLASS_NAMES=json.dumps(names))
    return path


@pytest.fixture
def maps() -> tuple[np.ndarray, np.ndarray]:
    """A prediction with a corner of nodata, and labels with a border of nodata."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, (70, 50), dtype=np.uint8)
    predicted = np.where(rng.random((70, 50)) < 0.8, labels, rng.integers(0, 3, (70, 50))).astype(np.uint8)
    predicted[:20, :20] = 255
    labels[:, :4] = 255
    return predicted, labels


def expected(predicted: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    counts = (predicted != 255) & (labels != 255)
    right = (predicted == labels) & counts
    ious = [
        (right & (labels == k)).sum() / (((predicted == k) | (labels == k)) & counts).sum() for k in range(len(CLASSES))
    ]
    return {"mIoU": float(np.mean(ious)), "aAcc": float(right.sum() / counts.sum())}


@pytest.mark.parametrize("pixels", [1, 900, 2**22])
def test_the_scores_of_two_rasters(maps, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr(label_rasters, "PIXELS", pixels)
    predicted, labels = maps
    files = write(tmp_path / "p.tif", predicted, nodata=255), write(tmp_path / "l.tif", labels, nodata=255)
    metric = IoUMetric(num_classes=3, classes=CLASSES)
    found = score_raster(*files, LabelTable.identity(3), metric, classes=3)
    for name, value in expected(predicted, labels).items():
        assert found.report.summary[name] == pytest.approx(value)
    assert found.report.images == 1
    assert found.unpredicted == 20 * 16
    wide = write(tmp_path / "wide.tif", labels.astype(np.uint16) * 100, nodata=25500)  # a table says what they mean
    table = LabelTable({0: 0, 100: 1, 200: 2}, ignore_index=255)
    again = score_raster(files[0], wide, table, metric, classes=3)
    assert again.report.summary == found.report.summary


def test_by_the_command(maps, tmp_path, capsys):
    predicted, labels = maps
    p = write(tmp_path / "p.tif", predicted, nodata=255, names=CLASSES)
    t = write(tmp_path / "l.tif", labels, nodata=255)
    assert raster_classes(p) == CLASSES
    assert main(["eval", "--predictions", str(p), "--labels", str(t)]) == 0
    said = capsys.readouterr()
    assert "forest" in said.out
    assert "320 labelled pixels have no prediction" in " ".join(said.err.split())
    scores = json.loads((tmp_path / "p_eval" / "eval.json").read_text())
    assert scores["mIoU"] == pytest.approx(expected(predicted, labels)["mIoU"])
    (tmp_path / "data.yaml").write_text(
        "root: .\nclasses: [a, b]\nlabels: {0: a, 1: b, 2: b, 255: ignore}\nsplits: {train: {images: x, labels: y}}\n"
    )
    two = write(tmp_path / "two.tif", np.where(predicted == 2, 1, predicted).astype(np.uint8), nodata=255)
    words = ["--labels", str(t), "--data", str(tmp_path / "data.yaml"), "--out", str(tmp_path / "two")]
    assert main(["eval", "--predictions", str(two), *words]) == 0
    assert 0 < json.loads((tmp_path / "two" / "eval.json").read_text())["mIoU"] < 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"values": np.zeros((70, 51), np.uint8)}, "has 70 x 50 pixels .* has 70 x 51: .*gdalwarp -ts 50 70"),
        ({"crs": "EPSG:32632"}, "lies in EPSG:32633, .* in EPSG:32632"),
        ({"transform": from_origin(4e5 + 1, 5.5e6, 2, 2)}, "lie 0.5 pixels apart"),
        ({"values": np.full((70, 50), 9, np.uint8)}, "9"),
        ({"values": np.zeros((70, 50), np.float32)}, "expected one band of whole numbers"),
    ],
)  # fmt: skip
def test_rasters_that_do_not_belong_together(maps, change, message, tmp_path):
    predicted, labels = maps
    p = write(tmp_path / "p.tif", predicted, nodata=255)
    t = write(tmp_path / "l.tif", **{"values": labels, "nodata": 255, **change})
    with pytest.raises(ValueError, match=message.replace("(", r"\(").replace(")", r"\)")):
        score_raster(p, t, LabelTable.identity(3), IoUMetric(num_classes=3, classes=CLASSES), classes=3)


def test_what_cannot_be_scored_says_what_is_missing(maps, tmp_path, capsys):
    predicted, labels = maps
    p, t = write(tmp_path / "p.tif", predicted, nodata=255), write(tmp_path / "l.tif", labels, nodata=255)
    wrong = write(tmp_path / "wrong.tif", np.full((70, 50), 7, np.uint8), names=CLASSES)
    for words, said in (
        (["--predictions", p], "name that of the labels with --labels FILE.tif"),
        (["--predictions", p, "--labels", t], "does not name its classes (tag CLASS_NAMES)"),
        (["--predictions", wrong, "--labels", t], "holds 7; expected class indices, 0 to 2, or nodata"),
        (["--predictions", tmp_path / "no.tif", "--labels", t], "no such file"),
        (["--predictions", wrong, "--labels", t, "--metrics", "mBoundaryIoU"], "a raster is compared strip by strip"),
        (["--labels", t], "name that with --predictions RASTER"),
    ):
        assert main(["eval", *map(str, words)]) == 2
        assert said in " ".join(capsys.readouterr().err.split())


def test_folders_of_predicted_tiles(maps, tmp_path, capsys):
    predicted, labels = maps
    for folder in ("images", "labels", "out"):
        (tmp_path / folder).mkdir()
    for number in range(2):
        part = slice(35 * number, 35 * number + 35)
        write(tmp_path / "images" / f"{number}.tif", labels[part])
        write(tmp_path / "labels" / f"{number}.tif", labels[part])
        write(tmp_path / "out" / f"{number}.tif", predicted[part], nodata=255, names=CLASSES)
    (tmp_path / "data.yaml").write_text(
        "root: .\nclasses: [field, forest, water]\nsplits: {val: {images: images, labels: labels}}\n"
    )
    assert main(["eval", "--predictions", str(tmp_path / "out"), "--data", str(tmp_path / "data.yaml")]) == 0
    scores = json.loads((tmp_path / "out" / "eval.json").read_text())
    assert scores["mIoU"] == pytest.approx(expected(predicted, labels)["mIoU"])
    assert scores["images"] == 2
    assert "320 labelled pixels have no prediction" in " ".join(capsys.readouterr().err.split())
