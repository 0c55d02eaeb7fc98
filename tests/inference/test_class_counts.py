"""The borders of number types: 255, 256, 65,535 and 65,536 classes, in arrays, files, pictures and tables."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.contracts import Sample
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.image_io import read_label
from intarsia.data.labels import LabelTable
from intarsia.evaluation.label_maps import IndexFiles, score_files
from intarsia.inference.outputs.areas import AreaTable
from intarsia.inference.outputs.label_values import source_values
from intarsia.inference.outputs.manifest import ResultFinder
from intarsia.inference.outputs.writer import KINDS, Outputs
from intarsia.inference.prediction import Prediction
from intarsia.metrics.iou import IoUMetric
from intarsia.visual.contact_sheet import Tile, contact_sheet
from intarsia.visual.panes import panes

COUNTS = (2, 254, 255, 256, 257, 300, 65534, 65535, 65536)
BITS = {count: 8 if count <= 256 else 16 for count in COUNTS}


def colours(count: int) -> tuple[tuple[int, int, int], ...]:
    return tuple((index % 256, index // 256, 7 * index % 256) for index in range(count))


def prediction(count: int) -> Prediction:
    """The last classes and some others, a strip each; a confidence that falls from left to right."""
    shown = sorted({0, 1, count - 2, count - 1, *(index for index in (253, 254, 255, 256) if index < count)})
    label = np.repeat(np.array(shown, np.uint8 if count <= 256 else np.uint16), 10)[None].repeat(20, axis=0)
    confidence = np.linspace(1, 0.5, label.shape[1], dtype=np.float32)[None].repeat(20, axis=0)
    return Prediction(
        label, tuple(f"class {index}" for index in range(count)), colours(count),
        image=np.full((*label.shape, 3), 99, np.uint8), confidence=confidence, entropy=1 - confidence,
    )  # fmt: skip


@pytest.mark.parametrize("count", COUNTS)
def test_files_keep_every_class(count: int, tmp_path: Path) -> None:
    found = prediction(count)
    outputs = Outputs(tmp_path, frozenset(KINDS) - {"probs", "logits", "masks"})
    outputs.write(found)
    files = outputs.files("image")
    for read in (read_label, lambda path: np.array(Image.open(path))):
        label = read(files["label"])
        assert np.array_equal(label, found.label)
        assert label.dtype == (np.uint8 if BITS[count] == 8 else np.uint16)
    assert np.array_equal(np.array(Image.open(files["color"])), np.array(colours(count), np.uint8)[found.label])
    regions = json.loads(files["polygons"].read_text("utf-8"))["features"]
    assert [region["properties"]["class"] for region in regions] == np.unique(found.label).tolist()
    annotations = json.loads(files["rle"].read_text("utf-8"))["annotations"]
    assert [one["category_id"] for one in annotations] == np.unique(found.label).tolist()
    marked = {path.name for path in files.values() if b"Software\0Intarsia" in path.read_bytes()[:4096]}
    assert marked == {"image.png", "image_color.png", "image_overlay.jpg", "image_confidence.png", "image_entropy.png"}
    assert not ResultFinder().is_result(files["label"])  # there is no manifest


@pytest.mark.parametrize("count", COUNTS)
def test_uncertain_pixels_are_no_class(count: int, tmp_path: Path) -> None:
    found = prediction(count)
    if count == 65536:
        with pytest.raises(ValueError, match="65535, which is the class 'class 65535' here"):
            found.label_with_uncertain(0.7)
        return
    mask = found.uncertain(0.7)
    value = 255 if count <= 255 else 65535
    found.save(tmp_path / "label.png", min_confidence=0.7)
    assert np.array_equal(read_label(tmp_path / "label.png"), np.where(mask, value, found.label.astype(int)))
    outputs = Outputs(tmp_path, frozenset({"label", "color", "overlay", "polygons", "rle"}), min_confidence=0.7)
    outputs.write(found)
    files = outputs.files("image")
    sure = int((~mask).sum())
    features = json.loads(files["polygons"].read_text("utf-8"))["features"]
    assert sum(one["properties"]["pixels"] for one in features) == sure
    assert sum(one["area"] for one in json.loads(files["rle"].read_text("utf-8"))["annotations"]) == sure
    greys = np.array(Image.open(files["color"]))[mask]
    assert set(greys[:, 0]) <= {148, 112}
    table = AreaTable(tmp_path / "areas.csv", found.classes, min_confidence=0.7)
    table.add(found)
    table.save()
    cells = (tmp_path / "areas.csv").read_text("utf-8").splitlines()[1].split(",")
    assert int(cells[-2]) == int(mask.sum())


def test_more_classes_than_16_bits_are_refused(make_predictor) -> None:
    names, palette = tuple(map(str, range(65537))), (*colours(65536), (0, 0, 0))
    with pytest.raises(ValueError, match="at most 65,536, found 65,537"):
        Prediction(np.zeros((4, 4), np.uint16), names, palette)
    predictor = make_predictor()
    from intarsia.inference.predictor import Predictor

    with pytest.raises(ValueError, match="at most 65,536 classes, found 65,537"):
        Predictor(predictor.task, inference=predictor.inference, classes=names, palette=palette)


@pytest.mark.parametrize("count", [255, 256, 257])
def test_predictors_give_every_class(make_predictor, count: int) -> None:
    class Last(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            logits = torch.zeros(len(images), count, *images.shape[2:])
            logits[:, count - 1, :, 4:] = 1
            logits[:, 255 if count > 255 else 0, :, :4] = 1
            return logits

    from intarsia.inference.predictor import Predictor

    task = make_predictor(model=Last()).task
    inference = make_predictor().inference.__class__(num_classes=count)
    predictor = Predictor(task, inference=inference, classes=[str(i) for i in range(count)], palette=colours(count))
    found = predictor.predict(np.zeros((8, 8, 3), np.uint8), confidence=True)
    assert found.label[0].tolist() == [255 if count > 255 else 0] * 4 + [count - 1] * 4
    assert found.overlay().dtype == np.uint8


@pytest.mark.parametrize("count", [255, 256, 257])
def test_pictures_of_labels(count: int) -> None:
    label = prediction(count).label
    image = np.full((*label.shape, 3), 99, np.uint8)
    names = prediction(count).classes
    ignore = 255 if count <= 255 else 65535
    truth = label.astype(np.int64)
    truth[0] = ignore
    shown = panes(image, truth, label, classes=names, palette=colours(count), ignore_index=ignore)
    assert shown.dtype == np.uint8
    tile = Tile(image, label, "caption")
    assert contact_sheet([tile], classes=names, palette=colours(count), ignore_index=ignore).dtype == np.uint8


@pytest.mark.parametrize("count", [255, 256, 257])
def test_label_files_are_read_and_scored(count: int, tmp_path: Path) -> None:
    found = prediction(count)
    for folder in ("images", "labels", "predictions"):
        (tmp_path / folder).mkdir()
    Image.fromarray(np.zeros((*found.label.shape, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    found.save(tmp_path / "labels" / "a.png")
    found.save(tmp_path / "predictions" / "a.png")
    ignore = 255 if count <= 255 else 65535
    if count > 255:
        with pytest.raises(ValueError, match="choose another ignore_index, for example 65535"):
            FolderDataset(
                root=str(tmp_path), images="images", labels="labels", image_suffix=".png", classes=found.classes
            )
    dataset = FolderDataset(
        root=str(tmp_path), images="images", labels="labels", image_suffix=".png", classes=found.classes,
        ignore_index=ignore,
    )  # fmt: skip
    sample = dataset.load(0)
    assert isinstance(sample, Sample)
    assert np.array_equal(sample.label, found.label)
    metric = IoUMetric(num_classes=count, classes=found.classes, ignore_index=ignore)
    report = score_files(dataset, IndexFiles(tmp_path / "predictions", values=count, ignore_index=ignore), metric)
    assert report is not None
    assert report.summary["mIoU"] == 1
    assert sum(one.pixels for one in report.classes) == found.label.size


def test_source_values_of_256_classes_leave_room_for_uncertain_pixels() -> None:
    names = tuple(map(str, range(256)))
    values = source_values(LabelTable.identity(256, 65535), names, with_uncertain=True)
    label = np.arange(256, dtype=np.uint8)[None]
    written = values.applied(label, label == 3)
    assert written.dtype == np.uint16
    assert written[0].tolist() == [65535 if value == 3 else value for value in range(256)]
