from __future__ import annotations

import csv
import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.evaluation.files import report_as_dict, write_report
from intarsia.metrics import confusion
from intarsia.metrics.confusion import confusion_matrix
from intarsia.metrics.iou import IoUMetric, class_scores

EVERYTHING = ("mIoU", "mDice", "mFscore", "mFscore_mmseg")
OF_THE_ORIGINAL = {
    "Fscore": "Fscore_mmseg", "mFscore": "mFscore_mmseg",
    "Precision": "Precision_mmseg", "mPrecision": "mPrecision_mmseg",
}  # fmt: skip
"""Names of the recorded scores whose formula has another name here."""


def filler(shared: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location("fill", shared / "golden/fill.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["c19", "c2", "c150", "beta2", "absent"])
def test_numbers_of_the_original(shared: Path, name: str) -> None:
    golden = json.loads((shared / "golden/inference_and_metrics.json").read_text())[f"metrics:{name}"]
    fill, K, (H, W) = filler(shared), golden["classes"], golden["size"]
    metric = IoUMetric(num_classes=K, metrics=EVERYTHING, beta=golden.get("options", {}).get("beta", 1))
    for i in range(golden["images"]):
        # "absent": the truth holds classes 0 to 3 and the prediction 0 to 4 of six.
        truth = fill.label(1, H, W, 4 if name == "absent" else K, name=f"metric:{name}:gt{i}")[0]
        prediction = fill.label(1, H, W, 5 if name == "absent" else K, name=f"metric:{name}:pred{i}")[0]
        prediction[prediction == 255] = 0
        if name != "absent":
            agree = (fill.rng(f"metric:{name}:agree{i}").random(truth.shape) < 0.6) & (truth != 255)
            prediction[agree] = truth[agree]
        metric.update(torch.from_numpy(prediction), torch.from_numpy(truth))
    report = metric.report()
    for score, value in golden["summary"].items():
        assert round(100 * report.summary[OF_THE_ORIGINAL.get(score, score)], 2) == value, score
    for score, values in golden["per_class"].items():
        if score == "aAcc":
            assert report.summary["aAcc"] == pytest.approx(values[0], rel=1e-6)
            continue
        expected = [math.nan if value is None else value for value in values]
        found = [entry.values[OF_THE_ORIGINAL.get(score, score)] for entry in report.classes]
        assert found == pytest.approx(expected, rel=2e-6, nan_ok=True), score
    if name == "absent":
        assert report.absent == ("class 4", "class 5")


def test_a_class_that_was_never_hit_counts() -> None:
    """Class 2 is labelled and never predicted, class 3 the other way round, class 4 is nowhere."""
    matrix = torch.tensor([[8, 0, 0, 1, 0], [0, 6, 0, 0, 0], [2, 0, 0, 0, 0], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    scores = class_scores(matrix)
    assert scores["Fscore"].tolist() == pytest.approx([16 / 19, 1, 0, 0, math.nan], nan_ok=True)
    assert torch.equal(scores["Fscore"].nan_to_num(nan=-1), scores["Dice"].nan_to_num(nan=-1))
    assert scores["Fscore_mmseg"].tolist() == pytest.approx([16 / 19, 1, math.nan, math.nan, math.nan], nan_ok=True)
    assert scores["Precision"].tolist() == pytest.approx([0.8, 1, 0, 0, math.nan], nan_ok=True)
    assert scores["Precision_mmseg"].tolist() == pytest.approx([0.8, 1, math.nan, 0, math.nan], nan_ok=True)
    assert scores["Recall"].tolist() == pytest.approx([8 / 9, 1, 0, math.nan, math.nan], nan_ok=True)
    doubled = class_scores(matrix, beta=2.0)
    precision, recall = doubled["Precision"][0], doubled["Recall"][0]
    assert doubled["Fscore"][0] == pytest.approx(float(5 * precision * recall / (4 * precision + recall)))


maps = st.integers(1, 5).flatmap(
    lambda K: st.tuples(
        st.just(K),
        st.lists(
            st.lists(st.tuples(st.integers(0, K - 1), st.sampled_from([*range(K), 255])), min_size=1, max_size=30),
            min_size=1, max_size=4,
        ),
    )
)  # fmt: skip


@given(maps)
def test_against_counting_pixel_by_pixel(case: tuple[int, list[list[tuple[int, int]]]]) -> None:
    K, images = case
    matrix = [[0] * K for _ in range(K)]
    metric = IoUMetric(num_classes=K) if K > 1 else IoUMetric(num_classes=2)
    for image in images:
        prediction, label = (torch.tensor(values, dtype=torch.uint8) for values in zip(*image, strict=True))
        metric.update(prediction, label)
        for p, t in image:
            if t != 255:
                matrix[t][p] += 1
    for c in range(K):
        tp = matrix[c][c]
        fp = sum(matrix[t][c] for t in range(K)) - tp
        fn = sum(matrix[c]) - tp
        score = {entry.name: entry for entry in metric.report().classes}[f"class {c}"]
        assert score.values["IoU"] == (
            pytest.approx(tp / (tp + fp + fn)) if tp + fp + fn else pytest.approx(math.nan, nan_ok=True)
        )
        assert score.values["Acc"] == (
            pytest.approx(tp / (tp + fn)) if tp + fn else pytest.approx(math.nan, nan_ok=True)
        )
        assert score.pixels == tp + fn


@given(st.integers(0, 2**32 - 1), st.permutations(range(6)), st.integers(1, 5))
@settings(max_examples=25)
def test_order_and_grouping_do_not_matter(seed: int, order: list[int], cut: int) -> None:
    rng = np.random.default_rng(seed)
    pairs = [
        (torch.from_numpy(rng.integers(0, 4, (5, 7))), torch.from_numpy(rng.integers(0, 4, (5, 7)))) for _ in order
    ]
    whole, first, second = (IoUMetric(num_classes=4, metrics=EVERYTHING) for _ in range(3))
    for pair in pairs:
        whole.update(*pair)
    for place, i in enumerate(order):
        (first if place < cut else second).update(*pairs[i])
    first.load_state(first.state() + second.state())
    assert torch.equal(first.state(), whole.state())
    assert repr(first.report()) == repr(whole.report())


def test_large_maps_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    prediction, label = torch.randint(0, 7, (2, 3, 101)), torch.randint(0, 7, (2, 3, 101))
    whole = confusion_matrix(prediction, label, 7, 255)
    monkeypatch.setattr(confusion, "CHUNK", 10)
    assert torch.equal(confusion_matrix(prediction, label, 7, 255), whole)
    assert whole.sum() == label.numel()


@pytest.mark.parametrize("num_classes", [3, 40, 900])
def test_many_classes_are_counted_pixel_by_pixel(num_classes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pass over all pairs of classes is left to those that are fewer than pixels."""
    monkeypatch.setattr(confusion, "CHUNK", 500)
    torch.manual_seed(0)
    prediction, label = torch.randint(0, num_classes, (2, 23, 41))
    label[0, :7] = 65535
    expected = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for truth, answer in zip(label.flatten().tolist(), prediction.flatten().tolist(), strict=True):
        if truth != 65535:
            expected[truth, answer] += 1
    assert torch.equal(confusion_matrix(prediction, label, num_classes, 65535), expected)


def test_counters_of_a_gpu_are_fewer_for_many_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confusion, "COUNTED", 100)
    values = torch.tensor([5, 5, 39, 0, 5, 39], dtype=torch.int32)
    for length in (40, 300):
        counts = confusion.counts_of_neighbours(values, length)
        assert {place: int(counts[place]) for place in counts.nonzero().flatten().tolist()} == {0: 1, 5: 3, 39: 2}


@given(st.lists(st.integers(0, 6), min_size=1, max_size=200))
def test_a_gpu_counts_like_a_processor(values: list[int]) -> None:
    counts = confusion.counts_of_neighbours(torch.tensor(values, dtype=torch.int32), 7)
    assert counts.tolist() == [values.count(value) for value in range(7)]
    assert counts.dtype == torch.int64


def test_a_matrix_is_a_tensor_of_its_own() -> None:
    """Processes send it to each other, and no larger table hangs on it."""
    labels = torch.tensor([0, 1, 2, 2])
    matrix = confusion.confusion_matrix(labels, labels, 3, 255)
    assert matrix.is_contiguous()
    assert matrix.untyped_storage().nbytes() == matrix.nbytes


def test_images_of_a_batch_are_counted_one_by_one() -> None:
    """Scores of images, and not of pixels alone: the foreground's rule, the spread over images, the number of them."""
    scores = ("mIoU", "imageIoU", "mBoundaryIoU", "ECE")
    single, batched = (IoUMetric(num_classes=2, metrics=scores) for _ in range(2))
    prediction, label = torch.randint(0, 2, (2, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    label[1] = 0  # an image without foreground
    confidence = torch.rand(3, 8, 9, generator=torch.Generator().manual_seed(1))
    for one in zip(prediction, label, confidence, strict=True):
        single.update(*one)
    batched.update(prediction, label, confidence)
    assert batched.images == 3
    assert report_as_dict(batched.report()) == report_as_dict(single.report())


@pytest.mark.parametrize("ignore", [0, 3, 255, 65535])
def test_any_index_can_be_the_ignored_one(ignore: int) -> None:
    label = torch.tensor([[0, 1, 2, ignore]], dtype=torch.int64)
    counted = confusion_matrix(torch.tensor([[0, 1, 2, 1]]), label, 3, ignore)
    assert counted.sum() == (label != ignore).sum()


def test_many_classes_do_not_wrap_around() -> None:
    labels = torch.arange(400, dtype=torch.int32).to(torch.uint16)
    assert torch.equal(confusion_matrix(labels, labels, 400, 65535), torch.eye(400, dtype=torch.int64))


def test_values_that_are_no_class() -> None:
    good = torch.zeros(2, 2, dtype=torch.int64)
    for prediction, label, said in (
        (good, good + 3, "4 pixels of the label are no class: expected 0 to 2 .* values up to 3"),
        (good + 9, good, "4 pixels of the prediction are no class"),
        (good, good - 1, "4 pixels of the label"),
        (good, good[:1], "must have one shape"),
    ):
        with pytest.raises(ValueError, match=said):
            confusion_matrix(prediction, label, 3, 255)
    # What stands under ignored pixels does not matter.
    assert confusion_matrix(good + 9, good + 255, 3, 255).sum() == 0


def test_one_foreground_and_two_classes_say_the_same() -> None:
    prediction, label = torch.tensor([[0, 1, 1, 0]]), torch.tensor([[0, 1, 0, 255]])
    one = IoUMetric(num_classes=1, classes=("crack",))
    two = IoUMetric(num_classes=2, classes=("background", "crack"))
    for metric in (one, two):
        metric.update(prediction, label)
    assert one.report() == two.report()
    assert one.report().summary["IoU(crack)"] == 0.5
    assert IoUMetric(num_classes=1, classes=("background",)).classes == ("other", "background")


def test_a_value_in_place_of_nan() -> None:
    metric = IoUMetric(num_classes=3, nan_to_num=0.0)
    metric.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
    assert metric.report().summary["mIoU"] == pytest.approx(2 / 3)
    assert metric.report().classes[2].values["IoU"] == 0.0


def test_metrics_that_make_no_sense() -> None:
    with pytest.raises(ValueError, match="3 classes but 2 names"):
        IoUMetric(num_classes=3, classes=("a", "b"))
    with pytest.raises(ValueError, match="unknown metric 'mBoundary'; known: mIoU"):
        IoUMetric(num_classes=3, metrics=("mBoundary",))
    with pytest.raises(ValueError, match="no image was evaluated"):
        IoUMetric(num_classes=3).report()


def test_scores_of_an_empty_matrix_are_nan_without_warnings() -> None:
    assert all(values.isnan().all() for values in class_scores(torch.zeros(3, 3, dtype=torch.int64)).values())


def test_files_of_a_report(tmp_path: Path) -> None:
    metric = IoUMetric(num_classes=3, classes=("road", "sky, blue", "sea"))
    metric.update(torch.tensor([0, 1, 1, 0]), torch.tensor([0, 1, 1, 1]))
    report = metric.report()
    write_report(report, tmp_path)
    content = json.loads((tmp_path / "eval.json").read_text())
    assert content == report_as_dict(report)
    assert content["classes"]["sea"] == {"IoU": None, "Acc": None}
    assert content["absent"] == ["sea"]
    assert (content["images"], content["aAcc"]) == (1, 0.75)
    rows = list(csv.DictReader((tmp_path / "eval.csv").open()))
    assert [row["class"] for row in rows] == ["road", "sky, blue", "sea", "mean"]
    assert float(rows[0]["IoU"]) == 0.5
    assert rows[2] == {"class": "sea", "IoU": "", "Acc": "", "pixels": "0"}
    assert float(rows[3]["IoU"]) == pytest.approx(content["mIoU"])


def test_names_that_configs_may_watch_are_those_of_reports() -> None:
    from intarsia.config.lowering.names import SCORES
    from intarsia.metrics.iou import FAMILIES

    assert set(SCORES) == set(FAMILIES)
    label = torch.tensor([[0, 1, 2, 1]], dtype=torch.uint8)
    for metric, names in SCORES.items():
        counter = IoUMetric(num_classes=3, metrics=(metric,))
        counter.update(label, label, torch.full((1, 4), 0.9))
        assert set(names) <= set(counter.report().summary), metric
