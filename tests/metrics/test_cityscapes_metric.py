"""Cityscapes' own scores, compared with those of the package that the benchmark publishes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import official_cityscapes as official
import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor

from intarsia.contracts import Report
from intarsia.data.datasets import cityscapes
from intarsia.inference.outputs.label_values import server_values
from intarsia.metrics import cityscapes as metrics
from intarsia.metrics.cityscapes import LABELS, CityscapesMetric
from intarsia.terminal import Notice

FIGURES = json.loads(official.FILE.read_text(encoding="utf-8"))
K = 19


def tensors(name: str) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Prediction, label and objects of each image, as a metric is given them."""
    index = np.full(34, 255)
    index[list(official.CLASSES)] = np.arange(K)
    given = np.where(index < 255, index, K + np.arange(34))
    return [
        (torch.from_numpy(given[predicted]), torch.from_numpy(index[label]), torch.from_numpy(objects))
        for label, objects, predicted in official.images(name)
    ]


def counted(name: str, **options: Any) -> CityscapesMetric:
    metric = CityscapesMetric(**options)
    for prediction, label, objects in tensors(name):
        metric.update(prediction, label, instances=objects)
    return metric


def same(found: float, expected: float | None) -> bool:
    return math.isnan(found) if expected is None else found == expected


def compare(report: Report, expected: dict[str, Any]) -> None:
    for key in official.KEYS:
        assert same(report.summary.get(key, math.nan), expected[key]), key
    assert not [key for key, value in report.summary.items() if math.isnan(value)]
    for entry in report.classes:
        assert same(entry.values["IoU"], expected["classScores"][entry.name]), entry.name
        assert same(entry.values["iIoU"], expected["classInstScores"][entry.name]), entry.name
    for category in metrics.CATEGORIES:
        found = report.summary.get(f"IoU({category})", math.nan)
        assert same(found, expected["categoryScores"][category]), category
        weighed = report.summary.get(f"iIoU({category})", math.nan)
        assert same(weighed, expected["categoryInstScores"][category]), category


@pytest.mark.parametrize("name", official.CASES)
def test_scores_of_the_benchmark_to_the_last_digit(name: str) -> None:
    compare(counted(name).report(), FIGURES[name])


@pytest.mark.skipif(not official.installed(), reason="the package cityscapesscripts is not installed")
@pytest.mark.parametrize("name", official.CASES)
def test_scores_of_the_package_itself(name: str, tmp_path: Path) -> None:
    found = official.official(name, tmp_path)
    assert found == FIGURES[name]
    compare(counted(name).report(), found)


def test_names_and_ids_are_those_of_the_data_set_and_of_the_server() -> None:
    assert tuple(LABELS) == cityscapes.CLASSES
    ids = server_values("cityscapes", cityscapes.CLASSES).table.tolist()
    assert [label.id for label in LABELS.values()] == ids == list(official.CLASSES)
    assert metrics.CATEGORIES == ("flat", "construction", "object", "nature", "sky", "human", "vehicle")


@pytest.mark.parametrize("spelt", [str, lambda name: f" {name.upper().replace(' ', '_')}"])
def test_classes_may_come_in_another_order_and_spelling(spelt: Callable[[str], str]) -> None:
    metric = CityscapesMetric(classes=tuple(map(spelt, cityscapes.CLASSES[::-1])))
    for prediction, label, objects in tensors("classes"):
        turned = torch.where(label == 255, label, K - 1 - label)
        metric.update(K - 1 - prediction, turned, instances=objects)
    report = metric.report()
    assert [entry.name for entry in report.classes] == list(map(spelt, cityscapes.CLASSES[::-1]))
    plain = [replace(entry, name=name) for entry, name in zip(report.classes, cityscapes.CLASSES[::-1], strict=True)]
    compare(replace(report, classes=tuple(plain)), FIGURES["classes"])


def test_classes_without_names_are_those_of_the_benchmark() -> None:
    assert CityscapesMetric(classes=[f"class {index}" for index in range(K)]).classes == cityscapes.CLASSES


def test_some_of_the_classes() -> None:
    """Of the others nothing is labelled, and their objects are none."""
    metric = CityscapesMetric(num_classes=2, classes=("rider", "road"))
    objects = torch.tensor([[25001, 25001, 24001, 7]])
    metric.update(torch.tensor([[0, 1, 0, 1]]), torch.tensor([[0, 0, 255, 1]]), instances=objects)
    report = metric.report()
    assert [(entry.name, entry.pixels, entry.values["IoU"]) for entry in report.classes] == [
        ("rider", 2, 0.5), ("road", 1, 0.5),
    ]  # fmt: skip
    assert report.absent == ()
    assert report.summary["averageScoreInstClasses"] == report.summary["iIoU(human)"] == 0.5


def test_what_was_counted() -> None:
    metric = counted("everything")
    labels = [label for _, label, _ in tensors("everything")]
    assert int(metric.matrix.sum()) == sum(int((label != 255).sum()) for label in labels), "no ignored pixel"
    assert metric._pending == [], "nothing waits on the processor"
    report = metric.report()
    assert report.images == metric.images == 5
    assert [entry.pixels for entry in report.classes] == [
        sum(int((label == index).sum()) for label in labels) for index in range(K)
    ]
    assert all(type(entry.pixels) is int for entry in report.classes)
    assert report.absent == ()
    assert set(counted("absent").report().absent) == set(cityscapes.CLASSES) - {"road", "building", "person", "car"}


def test_numbers_that_are_no_objects() -> None:
    metric = CityscapesMetric()
    numbers = torch.tensor([[0, 26, 1001, 23999, 34000, 65535]])
    metric.update(torch.full((1, 6), 13), torch.full((1, 6), 13), instances=numbers)
    assert [key for key in metric.report().summary if key.startswith("iIoU")] == []


def test_states_of_processes_add_up() -> None:
    """Counts to the last digit; sums of objects but for the order in which they are added."""
    parts = [CityscapesMetric() for _ in range(2)]
    for place, (prediction, label, objects) in enumerate(tensors("everything")):
        parts[place % 2].update(prediction, label, instances=objects)
    whole, expected = CityscapesMetric(), counted("everything").report()
    whole.load_state(parts[0].state() + parts[1].state())
    found = whole.report()
    assert found.images == 5
    assert [entry.pixels for entry in found.classes] == [entry.pixels for entry in expected.classes]
    for key, value in expected.summary.items():
        assert found.summary[key] == pytest.approx(value, rel=1e-14, abs=0), key
    assert found.summary["averageScoreClasses"] == expected.summary["averageScoreClasses"]
    whole.load_state(torch.zeros_like(whole.state()))
    with pytest.raises(ValueError, match="no image was evaluated"):
        whole.report()


def test_going_on_from_a_state_changes_no_digit() -> None:
    first, second = CityscapesMetric(), CityscapesMetric()
    for place, (prediction, label, objects) in enumerate(tensors("everything")):
        (first if place < 2 else second).update(prediction, label, instances=objects)
        if place == 1:
            second.load_state(first.state())
    compare(second.report(), FIGURES["everything"])


def test_what_an_accelerator_keeps_back_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Objects wait there until there are enough images; here they are made to wait on the processor."""
    monkeypatch.setattr(CityscapesMetric, "_keeps_back", staticmethod(lambda device: True))
    monkeypatch.setattr(metrics, "TOGETHER", 2)
    metric = counted("everything")
    assert len(metric._pending) == 1
    compare(metric.report(), FIGURES["everything"])


def test_no_image_waits_for_an_accelerator() -> None:
    with simulated_gpu() as waits:
        metric = CityscapesMetric()
        for prediction, label, objects in tensors("everything"):
            there = prediction.to(DEVICE), label.to(DEVICE), objects.to(DEVICE)
            waits.found.clear()
            metric.update(there[0], there[1], instances=there[2])
            assert waits.found == []
        compare(metric.report(), FIGURES["everything"])


def test_what_an_accelerator_was_given_wrongly_is_said_in_the_end() -> None:
    with simulated_gpu():
        metric = CityscapesMetric()
        label = torch.zeros(2, 3, dtype=torch.int64).to(DEVICE)
        metric.update(label + 18, label + 19)
        with pytest.raises(ValueError, match="6 pixels of the label are no class"):
            metric.report()


def test_on_every_device(device: torch.device) -> None:
    metric = CityscapesMetric()
    for prediction, label, objects in tensors("everything"):
        metric.update(prediction.to(device), label, instances=objects)
    compare(metric.report(), FIGURES["everything"])


def test_without_the_objects_of_an_image_their_scores_are_left_out() -> None:
    metric = CityscapesMetric()
    for place, (prediction, label, objects) in enumerate(tensors("classes")):
        metric.update(prediction, label, instances=objects if place else None)
    with pytest.warns(Notice, match=r"1 of 4 images have no \*_instanceIds.png") as said:
        report = metric.report()
    assert said[0].filename == __file__  # who has asked for the scores
    assert report.summary["averageScoreClasses"] == FIGURES["classes"]["averageScoreClasses"]
    assert report.summary["averageScoreCategories"] == FIGURES["classes"]["averageScoreCategories"]
    assert not [key for key in report.summary if "Inst" in key or key.startswith(("iIoU", "miIoU"))]
    assert list(report.classes[0].values) == ["IoU"]


def test_another_ignored_index_and_wide_labels() -> None:
    metric = CityscapesMetric(ignore_index=65535)
    for prediction, label, objects in tensors("classes"):
        wide = torch.where(label == 255, 65535, label)
        metric.update(prediction.to(torch.uint8), wide, instances=objects.to(torch.int32))
    compare(metric.report(), FIGURES["classes"])
    small = CityscapesMetric(ignore_index=65535)
    small.update(torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, 2, dtype=torch.uint8))
    with pytest.warns(Notice):
        assert small.report().summary["mIoU"] == 1.0


def test_what_cannot_be_counted_is_said() -> None:
    metric = CityscapesMetric()
    label = torch.zeros(2, 3, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"1 pixels of the label are no class: expected 0 to 18 \(or 255.*up to 19"):
        metric.update(label, torch.tensor([[0, 0, 19], [0, 0, 0]]))
    with pytest.raises(ValueError, match=r"6 pixels of the prediction are no class.*found values up to 53"):
        metric.update(label + K + 34, label)
    with pytest.raises(ValueError, match=r"one shape, found \(2, 3\) and \(3, 2\)"):
        metric.update(label, label, instances=label.T)
    with pytest.raises(ValueError, match=r"no 'kerb'.*For other classes there is IoUMetric"):
        CityscapesMetric(classes=("road", "kerb"))
    with pytest.raises(ValueError, match="20 classes but 19 names"):
        CityscapesMetric(num_classes=20)
