"""Scores of each of several data sets: those that an evaluation of its images alone gives."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from intarsia.contracts import Report
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.datasets.mixed import MixedDataset
from intarsia.data.datasets.region import RegionDataset
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.checkpoint import report_from, report_values
from intarsia.evaluation.by_part import PartCounts
from intarsia.evaluation.evaluate import evaluate
from intarsia.evaluation.files import report_as_dict
from intarsia.evaluation.score_table import part_lines
from intarsia.inference.predictor import Predictor
from intarsia.metrics.best_threshold import BestThresholdMetric
from intarsia.metrics.iou import FAMILIES, IoUMetric
from intarsia.spec import InferenceSpec, PreprocessSpec
from intarsia.tasks.preprocess import Preprocess

CLASSES = ("a", "b", "c")


class Brightest(torch.nn.Module):
    """The class of a pixel is its brightest channel."""

    def forward(self, images: Tensor) -> Tensor:
        return images


class Task(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Brightest()
        self.preprocess = Preprocess(PreprocessSpec(mean=(0.0,) * 3, std=(1.0,) * 3))
        self.num_classes, self.ignore_index = 3, 255

    def logits(self, images: Tensor, sizes: object = None) -> Tensor:
        return self.model(images)


@pytest.fixture
def parts(tmp_path: Path) -> dict[str, FolderDataset]:
    rng = np.random.default_rng(0)
    found = {}
    for name, count, classes in (("first", 3, 3), ("second", 1, 2), ("third", 4, 3)):
        for i in range(count):
            for kind, array in (
                ("images", rng.integers(0, 256, (9 + i, 12, 3), dtype=np.uint8)),
                ("labels", rng.choice([*range(classes), 255], (9 + i, 12)).astype(np.uint8)),
            ):
                path = tmp_path / name / kind / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(path)
        found[name] = FolderDataset(
            root=str(tmp_path / name), images="images", labels="labels", image_suffix=".png", classes=CLASSES
        )
    return found


def predictor() -> Predictor:
    palette = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    return Predictor(Task(), inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=palette)  # type: ignore[arg-type]


def metric() -> IoUMetric:
    names = [name for name in FAMILIES if name != "interval"]  # which draws by the number of the image
    return IoUMetric(num_classes=3, classes=CLASSES, metrics=names)


def scores(dataset: object, batch: int = 1) -> Report:
    return evaluate(predictor(), Pipeline(dataset, [], label_size="original"), metric(), batch_size=batch)  # type: ignore[arg-type]


def same(one: Report, other: Report) -> bool:
    a, b = report_values(one), report_values(other)
    assert a is not None
    assert b is not None
    assert a["images"] == b["images"]
    assert a["absent"] == b["absent"]
    assert a["classes"] == b["classes"]
    return bool(a["summary"] == pytest.approx(b["summary"], rel=1e-9))


@pytest.mark.parametrize("batch", [1, 3])
def test_each_part_has_the_scores_of_its_images_alone(parts: dict[str, FolderDataset], batch: int) -> None:
    mixed = MixedDataset(parts, spec=parts["first"].image_spec)
    report = scores(mixed, batch)
    assert list(report.parts) == ["first", "second", "third"]
    for name, part in parts.items():
        assert same(report.parts[name], scores(part))
    assert report.images == 8
    total = sum(sum(entry.pixels for entry in part.classes) for part in report.parts.values())
    assert sum(entry.pixels for entry in report.classes) == total
    assert report.parts["second"].absent == ("c",)


def test_a_data_set_by_itself_has_no_parts(parts: dict[str, FolderDataset]) -> None:
    assert scores(parts["first"]).parts == {}


def test_parts_are_known_inside_a_region(parts: dict[str, FolderDataset], tmp_path: Path) -> None:
    for name, part in parts.items():
        for i in range(len(part)):
            path = tmp_path / "roi" / name / f"{part.name(i)}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            height, width = part.load(i).image.shape[:2]
            Image.fromarray(np.tile(np.arange(width, dtype=np.uint8) % 2, (height, 1))).save(path)
    found = scores(RegionDataset(MixedDataset(parts, spec=parts["first"].image_spec), masks=str(tmp_path / "roi")))
    alone = scores(RegionDataset(parts["third"], masks=str(tmp_path / "roi" / "third")))
    assert same(found.parts["third"], alone)


class Process:
    """One of two processes; what they count is added up afterwards."""

    world_size = 2

    def __init__(self, rank: int) -> None:
        self.rank, self.sent, self.answers = rank, [], []

    def all_reduce_sum(self, values: Tensor) -> Tensor:
        self.sent.append(values.clone())
        return self.answers.pop(0) if self.answers else values


def test_two_processes_give_the_parts_that_one_gives(parts: dict[str, FolderDataset]) -> None:
    mixed = MixedDataset(parts, spec=parts["first"].image_spec)
    expected = scores(mixed)

    def count(process: Process) -> dict[str, Report]:
        counter = IoUMetric(num_classes=3, classes=CLASSES)
        found = PartCounts(mixed, counter, process)  # type: ignore[arg-type]
        for index in range(process.rank, len(mixed), 2):
            sample = mixed.load(index)
            found.next_image()
            prediction = torch.from_numpy(sample.image.argmax(axis=2))
            counter.update(prediction, torch.from_numpy(sample.label))
        found.end()
        return found.reports(None)

    sent = []
    for rank in (0, 1):
        process = Process(rank)
        any_counts = torch.cat([torch.ones(10, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)])
        process.answers = [any_counts.clone() for _ in parts]  # what is reported here does not matter
        count(process)
        sent.append(process.sent)
    both = Process(0)
    both.answers = [one + two for one, two in zip(*sent, strict=True)]
    found = count(both)
    for name in parts:
        assert found[name].summary["mIoU"] == pytest.approx(expected.parts[name].summary["mIoU"], rel=1e-12)
        assert found[name].images == len(parts[name])


def test_parts_are_scored_at_the_threshold_of_the_whole(parts: dict[str, FolderDataset]) -> None:
    mixed = MixedDataset(parts, spec=parts["first"].image_spec)

    def counted(counter: BestThresholdMetric, dataset: MixedDataset | FolderDataset, found: PartCounts | None) -> None:
        for index in range(len(dataset)):
            sample = dataset.load(index)
            if found is not None:
                found.next_image()
            label = torch.from_numpy(np.where(sample.label == 2, 255, sample.label))
            foreground = torch.from_numpy(sample.image[..., 0] / np.float32(255))
            counter.update(label, label, foreground=foreground)

    def chooser() -> BestThresholdMetric:
        return BestThresholdMetric(IoUMetric(num_classes=2, classes=CLASSES[:2]))

    whole = chooser()
    found = PartCounts(mixed, whole, FabricRuntime(accelerator="cpu"))
    counted(whole, mixed, found)
    found.end()
    threshold = whole.report().threshold
    assert threshold is not None
    reports, own = found.reports(threshold), set()
    for name, part in parts.items():
        alone = chooser()
        counted(alone, part, None)
        assert reports[name].threshold == threshold
        assert same(reports[name], alone.report_at(threshold))
        own.add(alone.report().threshold)
    assert own != {threshold}, "each would choose another one"


def test_parts_are_written_and_come_back(parts: dict[str, FolderDataset]) -> None:
    report = scores(MixedDataset(parts, spec=parts["first"].image_spec))
    again = report_from(report_values(report))
    assert again is not None
    assert same(again.parts["third"], report.parts["third"])
    written = report_as_dict(report)
    assert written["parts"]["first"]["images"] == 3
    lines = part_lines(report)
    assert lines[1].startswith("second  1 images")
    assert "(not in its labels: c)" in lines[1]
