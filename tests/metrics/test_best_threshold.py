"""The chosen threshold and its scores against trying out every threshold on label maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_gpu import DEVICE, simulated_gpu

from intarsia.contracts import Report
from intarsia.metrics import best_threshold
from intarsia.metrics.best_threshold import BINS, BestThresholdMetric, probability_table
from intarsia.metrics.foreground import EmptyImages
from intarsia.metrics.iou import IoUMetric

Pair = tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]
THRESHOLDS = [place / BINS for place in range(1, BINS)]


def metric_of(rule: EmptyImages = "one") -> IoUMetric:
    return IoUMetric(
        num_classes=2, classes=("background", "crack"), metrics=("mIoU", "mDice", "kappa"), empty_images=rule
    )


@st.composite
def pairs(draw: st.DrawFn) -> list[Pair]:
    """Probabilities and labels of some images. Many probabilities lie exactly at thresholds, or a hair beside one."""
    found = []
    for _ in range(draw(st.integers(1, 4))):
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        shape = (draw(st.integers(1, 6)), draw(st.integers(1, 6)))
        shares = draw(st.sampled_from([(0.5, 0.4, 0.1), (1, 0, 0), (0, 0, 1), (0.2, 0.8, 0)]))
        label = rng.choice(np.array([0, 1, 255], np.uint8), shape, p=shares)
        exact = (rng.integers(0, BINS + 1, shape) / BINS).astype(np.float32)
        shown = [exact, np.nextafter(exact, np.float32(0)), np.nextafter(exact, np.float32(1)), rng.random(shape)]
        foreground = np.choose(rng.integers(0, 4, shape), shown).astype(np.float32)
        found.append((foreground, label))
    return found


def iou_at(images: list[Pair], threshold: float) -> float:
    """Of class 1, over all pixels, from label maps."""
    both = either = 0
    for foreground, label in images:
        predicted = (foreground > np.float32(threshold)) & (label != 255)
        both += int((predicted & (label == 1)).sum())
        either += int((predicted | (label == 1)).sum())
    return both / either if either else -1.0


def filled(metric: BestThresholdMetric, images: list[Pair]) -> BestThresholdMetric:
    for foreground, label in images:
        nothing = torch.zeros(label.shape, dtype=torch.uint8)
        metric.update(nothing, torch.from_numpy(label), foreground=torch.from_numpy(foreground))
    return metric


@settings(max_examples=30, deadline=None)
@given(pairs(), st.sampled_from(["one", "skip"]))
def test_the_best_of_all_thresholds_and_the_scores_at_it(images: list[Pair], rule: EmptyImages) -> None:
    report = filled(BestThresholdMetric(metric_of(rule)), images).report()
    found = report.threshold
    assert found is not None
    if any((label == 1).any() for _, label in images):
        tried = {threshold: iou_at(images, threshold) for threshold in THRESHOLDS}
        best = [threshold for threshold, iou in tried.items() if iou == max(tried.values())]
        assert found == min(best, key=lambda threshold: (abs(threshold - 0.5), threshold))
    else:
        assert found == 0.5
    assert_like_label_maps(report, images, found, rule)
    other = filled(BestThresholdMetric(metric_of(rule)), images)
    assert_like_label_maps(other.report_at(0.25), images, 0.25, rule)


def assert_like_label_maps(report: Report, images: list[Pair], threshold: float, rule: EmptyImages) -> None:
    """The report has the scores that label maps at the threshold have."""
    direct = metric_of(rule)
    for foreground, label in images:
        predicted = torch.from_numpy(foreground) > threshold
        direct.update(predicted.to(torch.uint8), torch.from_numpy(label))
    expected = direct.report()
    assert report.threshold == threshold
    assert repr(report.summary) == repr(expected.summary)
    assert (repr(report.classes), report.absent, report.images) == (
        repr(expected.classes), expected.absent, expected.images,
    )  # fmt: skip


@settings(max_examples=20, deadline=None)
@given(pairs(), st.integers(0, 4))
def test_processes_add_up_and_a_metric_can_be_emptied(images: list[Pair], cut: int) -> None:
    whole = filled(BestThresholdMetric(metric_of()), images)
    first, second = BestThresholdMetric(metric_of()), BestThresholdMetric(metric_of())
    filled(first, images[:cut])
    filled(second, images[cut:])
    first.load_state(first.state() + second.state())
    assert repr(first.report()) == repr(whole.report())
    first.load_state(torch.zeros_like(first.state()))
    assert repr(filled(first, images).report()) == repr(whole.report())


def test_scores_at_a_threshold_need_no_search_before() -> None:
    """Images of an accelerator, which wait to be counted together, are counted when scores are asked for."""
    rng = np.random.default_rng(1)
    images = [(rng.random((8, 8), np.float32), rng.integers(0, 2, (8, 8)).astype(np.uint8)) for _ in range(2)]
    metric = BestThresholdMetric(metric_of())
    with simulated_gpu():
        for foreground, label in images:
            there = torch.from_numpy(label).to(DEVICE)
            metric.update(there, there, foreground=torch.from_numpy(foreground).to(DEVICE))
        report = metric.report_at(0.25)
    assert report.threshold == 0.25
    assert report.summary["IoU(crack)"] == iou_at(images, 0.25)


def test_counting_on_leaves_the_state_alone_that_it_went_on_from() -> None:
    rng = np.random.default_rng(2)
    images = [(rng.random((4, 4), np.float32), np.ones((4, 4), np.uint8)) for _ in range(2)]
    state = filled(BestThresholdMetric(metric_of()), images[:1]).state()
    before, other = state.clone(), BestThresholdMetric(metric_of())
    other.load_state(state)
    assert filled(other, images[1:]).report().images == 2
    torch.testing.assert_close(state, before, rtol=0, atol=0)


def test_reports_may_be_asked_for_again() -> None:
    rng = np.random.default_rng(0)
    images = [(rng.random((8, 8), np.float32), rng.integers(0, 2, (8, 8)).astype(np.uint8)) for _ in range(3)]
    metric = filled(BestThresholdMetric(metric_of()), images[:2])
    assert repr(metric.report()) == repr(metric.report())
    after = filled(metric, images[2:]).report()
    assert after.images == 3
    assert repr(after) == repr(filled(BestThresholdMetric(metric_of()), images).report())
    at = {threshold: metric.foreground_iou(threshold) for threshold in (0.25, 0.5, 0.75)}
    assert at == {threshold: iou_at(images, threshold) for threshold in at}
    assert metric.labelled_foreground == sum(int(label.sum()) for _, label in images)


def test_a_rare_class_wants_another_threshold_than_one_half() -> None:
    foreground = np.array([[0.1] * 90 + [0.3] * 10], np.float32)
    label = np.array([[0] * 92 + [1] * 8], np.uint8)
    metric = filled(BestThresholdMetric(metric_of()), [(foreground, label)])
    report = metric.report()
    assert report.threshold is not None
    assert 0.1 < report.threshold < 0.3
    assert report.threshold == pytest.approx(0.3, abs=1 / BINS)  # the nearest to one half of those as good
    assert report.summary["IoU(crack)"] == 0.8
    assert metric.foreground_iou(0.5) == 0.0


def test_what_separates_everywhere_stays_at_one_half() -> None:
    images = [(np.array([[0.2, 0.9]], np.float32), np.array([[0, 1]], np.uint8))]
    assert filled(BestThresholdMetric(metric_of()), images).best() == 0.5


def test_large_images_are_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    foreground, label = torch.rand(31, 7), torch.randint(0, 2, (31, 7))
    label[3] = 255
    foreground[0, 0], foreground[0, 1] = torch.nan, 1.0
    whole, _ = probability_table(foreground, label, 255)
    monkeypatch.setattr(best_threshold, "CHUNK", 10)
    pieces, wrong = probability_table(foreground, label, 255)
    assert torch.equal(whole, pieces)
    assert (int(whole.sum()), int(wrong)) == (30 * 7, 0)
    assert int(whole[label[0, 0], 0]) >= 1
    assert int(whole[label[0, 1], BINS]) >= 1


def test_what_cannot_be_counted() -> None:
    label = torch.zeros(2, 2, dtype=torch.uint8)
    metric = BestThresholdMetric(metric_of())
    with pytest.raises(ValueError, match="needs the probability of the foreground"):
        metric.update(label, label)
    with pytest.raises(ValueError, match="must have one shape"):
        metric.update(label, label, foreground=torch.rand(3, 2))
    with pytest.raises(ValueError, match="4 pixels of the label are no class: expected 0 to 1"):
        metric.update(label, label + 2, foreground=torch.rand(2, 2))
    with pytest.raises(ValueError, match="nothing to report"):
        BestThresholdMetric(metric_of()).report()
    for other in (IoUMetric(num_classes=3), IoUMetric(num_classes=2, metrics=("mIoU", "mBoundaryIoU"))):
        with pytest.raises(ValueError, match="two classes and scores that follow from counts of pixels"):
            BestThresholdMetric(other)
