"""What the page is made of where a pixel may have several classes: each is counted by itself."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from viewed_sets import CLASSES, HEIGHT, WIDTH, collected, paint

from intarsia.contracts import Dataset
from intarsia.data.description.read import read_description
from intarsia.metrics.multi_label import MultiLabelMetric
from intarsia.viewer.measures import Query, image_set_iou
from intarsia.workflows.view import ViewRequest, open_view


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read_description(paint(tmp_path / "plants")).dataset("train")


def test_each_class_is_counted_as_the_evaluation_counts_it(dataset: Dataset) -> None:
    rng = np.random.default_rng(0)
    truth, said = rng.integers(0, 8, (30, 40)), rng.integers(0, 8, (30, 40))
    truth[:3] = 255
    iou, mean = image_set_iou(truth, said, 3)
    metric = MultiLabelMetric(num_classes=3, classes=("a", "b", "c"), ignore_index=255)
    metric.update(torch.from_numpy(said), torch.from_numpy(truth))
    report = metric.report()
    assert iou == pytest.approx([one.values["IoU"] for one in report.classes])
    assert mean == pytest.approx(report.summary["mIoU"])
    collection = collected(dataset, 100)
    for index in range(3):
        collection.measure(index)
    measures = collection.measures
    assert measures.class_iou[0, 1].tolist() == pytest.approx([1, 0.5], abs=1e-3)
    assert measures.disagreement[1] == pytest.approx(20 * 40 / (HEIGHT * WIDTH))
    assert measures.class_disagreement[1].tolist() == pytest.approx([0, 20 * 40 / (HEIGHT * WIDTH)], abs=1e-3)
    assert measures.truth_shows.tolist() == [[True, True], [True, True], [True, False]]
    wrong = Query(label=1, place="wrong")
    assert collection.find(wrong).tolist() == [1]
    assert collection.find(Query(label=0, least=0.01)).tolist() == []
    assert collection.find(Query(label=1, sort="disagreement", descending=True)).tolist()[0] == 1


def test_two_runs_differ_class_by_class(dataset: Dataset) -> None:
    collection = collected(dataset, 100, 300)
    collection.measure(0)
    assert collection.measures.class_disagreement[0].tolist() == pytest.approx([0, 20 * 40 / 2400], abs=1e-3)


def test_data_alone_are_shown(tmp_path: Path) -> None:
    server = open_view(ViewRequest(place=paint(tmp_path / "plants"), browser=False))
    try:
        about = server.about({})
        assert (about["sets"], about["values"], tuple(about["classes"])) == (True, 4, CLASSES)
        assert about["first_editable"] == 0
    finally:
        server.server_close()
