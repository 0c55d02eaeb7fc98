"""Metrics beyond the original's, each against an implementation that is slow and obvious."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.metrics import boundary, calibration
from intarsia.metrics.agreement import class_groups, cohens_kappa, frequency_weighted_iou, group_iou
from intarsia.metrics.bootstrap import ImageBootstrap, times_drawn
from intarsia.metrics.boundary import BoundaryCounter, band_width, near_boundary
from intarsia.metrics.calibration import Calibration
from intarsia.metrics.confusion import confusion_matrix
from intarsia.metrics.iou import FAMILIES, IoUMetric, class_scores
from intarsia.metrics.per_image import ImageScores, image_iou

Case = tuple[int, list[tuple[Tensor, Tensor, Tensor]]]
"""Number of classes, and prediction, label and confidence of every image."""


@st.composite
def cases(draw: st.DrawFn, *, most: int = 9) -> Case:
    """A few small images with patches of classes, some of them ignored."""
    classes = draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    images = []
    for _ in range(draw(st.integers(1, 4))):
        height, width = draw(st.integers(1, most)), draw(st.integers(1, most))
        block = draw(st.sampled_from([1, 3]))
        coarse = rng.integers(0, classes, (-(-height // block), -(-width // block)))
        label = coarse.repeat(block, 0).repeat(block, 1)[:height, :width].astype(np.uint8)
        prediction = np.where(rng.random(label.shape) < 0.7, label, rng.integers(0, classes, label.shape))
        label[rng.random(label.shape) < draw(st.sampled_from([0.0, 0.2, 1.0]))] = 255
        confidence = rng.random(label.shape, dtype=np.float32)
        confidence[rng.random(label.shape) < 0.2] = draw(st.sampled_from([0.0, 1.0]))
        arrays = (prediction.astype(np.uint8), label, confidence)
        images.append(tuple(torch.from_numpy(np.ascontiguousarray(array)) for array in arrays))
    return classes, images  # type: ignore[return-value]


def same(found: float, expected: float | None) -> bool:
    """Equal up to rounding, where None stands for nan."""
    return math.isnan(found) if expected is None else math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-12)


def ratio(above: float, below: float) -> float | None:
    return above / below if below else None


# --- Boundary IoU -------------------------------------------------------------------------------------------------


def band_pixel_by_pixel(mask: np.ndarray, reach: int) -> np.ndarray:
    """Pixels of a mask with a pixel outside it, or outside the image, within a square window."""
    height, width = mask.shape
    found = np.zeros_like(mask)
    for y, x in np.argwhere(mask):
        for v, u in itertools.product(range(y - reach, y + reach + 1), range(x - reach, x + reach + 1)):
            if not (0 <= v < height and 0 <= u < width) or not mask[v, u]:
                found[y, x] = True
    return found


@given(cases(), st.sampled_from([0.02, 0.1, 0.25, 2.0]))
@settings(max_examples=60, deadline=None)
def test_boundary_iou_pixel_by_pixel(case: Case, share: float) -> None:
    classes, images = case
    counter = BoundaryCounter(classes, dilation_ratio=share)
    both, either = np.zeros(classes), np.zeros(classes)
    for prediction, label, _ in images:
        counter.update(prediction, label)
        reach = max(1, round(share * math.hypot(*label.shape)))
        valid = label.numpy() != 255
        for c in range(classes):
            truth = band_pixel_by_pixel((label.numpy() == c) & valid, reach)
            predicted = band_pixel_by_pixel((prediction.numpy() == c) & valid, reach)
            both[c] += (truth & predicted).sum()
            either[c] += (truth | predicted).sum()
    for c, score in enumerate(counter.scores().tolist()):
        assert same(score, ratio(both[c], either[c]))


def test_the_band_is_that_of_the_published_definition() -> None:
    """The authors erode the padded mask d times by 3 x 3; so does this, with a cascade of single steps."""
    rng = np.random.default_rng(0)
    mask = rng.random((40, 60)).round().repeat(6, 0).repeat(6, 1)[:200, :310].astype(np.uint8)
    reach = band_width((200, 310))
    assert reach == round(0.02 * math.sqrt(200**2 + 310**2)) == 7
    eroded = np.pad(mask, 1)
    for _ in range(reach):
        inner = np.pad(eroded, 1)
        shifted = [inner[1 + y : 1 + y + 202, 1 + x : 1 + x + 312] for y in (-1, 0, 1) for x in (-1, 0, 1)]
        eroded = np.minimum.reduce(shifted)
    expected = mask - eroded[1:-1, 1:-1]
    found = near_boundary(torch.from_numpy(mask), reach).numpy() & (mask == 1)
    assert np.array_equal(found, expected == 1)
    assert 0 < found.sum() < mask.sum()


def test_boundaries_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    label = torch.from_numpy(np.random.default_rng(1).integers(0, 3, (9, 11)).repeat(4, 0).repeat(4, 1))
    whole = near_boundary(label, 3)
    monkeypatch.setattr(boundary, "CHUNK", 100)
    assert torch.equal(near_boundary(label, 3), whole)
    assert 0 < whole.sum() < whole.numel()


def test_one_shifted_square_by_hand() -> None:
    """A square of 6 x 6 in an image of 20 x 20, d = 1: its ring has 20 pixels; one to the right shares 10 of them."""
    truth, prediction = torch.zeros(20, 20, dtype=torch.uint8), torch.zeros(20, 20, dtype=torch.uint8)
    truth[5:11, 5:11] = 1
    prediction[5:11, 6:12] = 1
    counter = BoundaryCounter(2)
    counter.update(prediction, truth)
    assert counter.scores()[1] == 10 / 30


# --- From the confusion matrix ------------------------------------------------------------------------------------


@given(cases())
@settings(max_examples=60)
def test_kappa_frequency_weighted_iou_and_groups_pixel_by_pixel(case: Case) -> None:
    classes, images = case
    metric = IoUMetric(
        num_classes=classes,
        metrics=("fwIoU", "kappa"),
        groups={"first two": ("class 0", "class 1"), "last": (f"class {classes - 1}",)},
    )
    pairs: list[tuple[int, int]] = []
    for prediction, label, _ in images:
        metric.update(prediction, label)
        pairs += [
            (p, t) for p, t in zip(prediction.flatten().tolist(), label.flatten().tolist(), strict=True) if t != 255
        ]
    summary, n = metric.report().summary, len(pairs)

    def iou(members: set[int]) -> float | None:
        hits = sum(p in members and t in members for p, t in pairs)
        return ratio(hits, sum(p in members or t in members for p, t in pairs))

    shares = [sum(t == c for _, t in pairs) / n if n else 0.0 for c in range(classes)]
    weighted = sum(share * (iou({c}) or 0.0) for c, share in enumerate(shares))
    assert same(summary["fwIoU"], weighted if n else None)
    right = sum(p == t for p, t in pairs) / n if n else 0.0
    chance = sum(shares[c] * sum(p == c for p, _ in pairs) / n for c in range(classes)) if n else 1.0
    if chance < 1 - 1e-9:
        assert summary["kappa"] == pytest.approx((right - chance) / (1 - chance), abs=1e-12)
    else:
        assert math.isnan(summary["kappa"])
    assert same(summary["IoU(first two)"], iou({0, 1}))
    assert same(summary["IoU(last)"], iou({classes - 1}))


def test_kappa_of_the_textbook() -> None:
    """Two raters, 20 + 15 agreements of 50 (Cohen's statistic as in every textbook): p = 0.7, e = 0.5, kappa = 0.4."""
    assert cohens_kappa(torch.tensor([[20, 5], [10, 15]])) == pytest.approx(0.4)
    assert frequency_weighted_iou(torch.tensor([[20, 5], [10, 15]])) == pytest.approx(0.5 * 20 / 35 + 0.5 * 15 / 30)


def test_groups_that_make_no_sense() -> None:
    for groups, said in (({"a": ("road", "raod")}, "unknown: raod"), ({"a": ()}, "it has none")):
        with pytest.raises(ValueError, match=said):
            class_groups(groups, ("road", "sky"))
    assert class_groups({"one": "sky", "twice": ("sky", "sky")}, ("road", "sky")) == {"one": (1,), "twice": (1,)}
    assert math.isnan(group_iou(torch.tensor([[3, 0, 0], [0, 0, 0], [0, 0, 0]]), (1, 2)))


# --- Over images --------------------------------------------------------------------------------------------------


def image_scores(case: Case) -> list[float]:
    classes, images = case
    scores = []
    for prediction, label, _ in images:
        p, t = prediction.numpy(), label.numpy()
        valid = t != 255
        found = [
            ((p == c) & (t == c) & valid).sum() / (((p == c) | (t == c)) & valid).sum()
            for c in range(classes)
            if (((p == c) | (t == c)) & valid).any()
        ]
        if found:
            scores.append(float(np.mean(found)))
    return scores


@given(cases())
@settings(max_examples=60)
def test_distribution_over_images(case: Case) -> None:
    counter = ImageScores(case[0])
    for prediction, label, _ in case[1]:
        counter.update(prediction, label)
    scores = image_scores(case)
    if not scores:
        assert math.isnan(counter.mean())
        assert math.isnan(counter.quantile(0.5))
        return
    assert counter.mean() == pytest.approx(np.mean(scores), abs=1e-9)
    for share in (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0):
        expected = np.quantile(scores, share, method="inverted_cdf")
        assert abs(counter.quantile(share) - expected) <= 0.5 / 10_000 + 1e-9


@given(cases())
@settings(max_examples=20, deadline=None)
def test_replicates_are_scores_of_images_drawn_again(case: Case) -> None:
    """Each replicate is the mIoU of a list in which every image stands as often as it was drawn."""
    classes, images = case
    counter = ImageBootstrap(classes, replicates=20)
    for prediction, label, _ in images:
        counter.update(prediction, label)
    drawn = np.stack([times_drawn(number, 20) for number in range(len(images))])  # (images, replicates)
    replicates, by_class = [], []
    for column in drawn.T:
        total = torch.zeros(classes, classes, dtype=torch.int64)
        for count, (prediction, label, _) in zip(column, images, strict=True):
            for _ in range(count):
                total += confusion_matrix(prediction, label, classes, 255)
        iou = class_scores(total)["IoU"]
        replicates.append(float(iou.nanmean()))
        by_class.append(iou.numpy())
    low, high = counter.interval(0.8)
    finite = np.array(replicates)[np.isfinite(replicates)]
    if len(finite):
        assert (low, high) == pytest.approx(tuple(np.quantile(finite, [0.1, 0.9])), abs=1e-12)
    else:
        assert math.isnan(low)
    first = np.array(by_class)[:, 0]
    if np.isfinite(first).any():
        ends = counter.class_intervals(0.8)
        expected = np.quantile(first[np.isfinite(first)], [0.1, 0.9])
        assert [float(end[0]) for end in ends] == pytest.approx(list(expected), abs=1e-12)


def test_the_interval_is_that_of_the_plain_bootstrap() -> None:
    """Drawing with Poisson counts instead of exactly n images moves the ends by little."""
    rng = np.random.default_rng(3)
    tables = []
    for _ in range(120):
        hit = rng.random() * 0.6 + 0.3
        counts = rng.multinomial(1000, [0.7 * hit, 0.7 * (1 - hit), 0.3 * (1 - hit), 0.3 * hit])
        tables.append(torch.from_numpy(counts.reshape(2, 2)))
    counter = ImageBootstrap(2, replicates=4000)
    for table in tables:
        counter.add(table)
    stacked = torch.stack(tables)
    plain = [
        float(class_scores(stacked[rng.integers(0, 120, 120)].sum(0))["IoU"].nanmean()) for _ in range(4000)
    ]  # fmt: skip
    low, high = counter.interval()
    expected = np.quantile(plain, [0.025, 0.975])
    width = expected[1] - expected[0]
    assert [low, high] == pytest.approx(list(expected), abs=0.08 * width)
    score = float(class_scores(stacked.sum(0))["IoU"].nanmean())
    assert low < score < high


def test_the_draws_are_those_of_a_bootstrap() -> None:
    """Counts have mean 1 and variance 1 over replicates and images, and images are drawn independently."""
    drawn = np.stack([times_drawn(number, 2000) for number in range(200)])
    assert drawn.mean() == pytest.approx(1, abs=0.01)
    assert drawn.var() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(drawn[::2].ravel(), drawn[1::2].ravel())[0, 1]) < 0.01


# --- Calibration --------------------------------------------------------------------------------------------------


@given(cases(), st.integers(1, 20))
@settings(max_examples=60)
def test_calibration_pixel_by_pixel(case: Case, bins: int) -> None:
    counter = Calibration(bins=bins)
    held: list[list[tuple[bool, float]]] = [[] for _ in range(bins)]
    for prediction, label, confidence in case[1]:
        counter.update(prediction, label, confidence)
        for p, t, sure in zip(*(x.flatten().tolist() for x in (prediction, label, confidence)), strict=True):
            if t != 255:
                held[min(int(sure * bins), bins - 1)].append((p == t, sure))
    total = sum(map(len, held))
    found = counter.reliability()
    assert found.pixels.tolist() == [len(bin) for bin in held]
    error = 0.0
    for number, bin in enumerate(held):
        if bin:
            accuracy, sure = np.mean([right for right, _ in bin]), np.mean([s for _, s in bin])
            assert float(found.accuracy[number]) == pytest.approx(accuracy, abs=1e-12)
            assert float(found.confidence[number]) == pytest.approx(sure, abs=1e-7)
            error += len(bin) / total * abs(accuracy - sure)
    assert math.isnan(found.error) if not total else found.error == pytest.approx(error, abs=1e-7)


def test_calibration_in_pieces_and_with_nan(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    prediction, label, sure = torch.randint(0, 3, (7, 13)), torch.randint(0, 3, (7, 13)), torch.rand(7, 13)
    sure[2, 3] = math.nan
    whole, pieces = Calibration(), Calibration()
    whole.update(prediction, label, sure)
    monkeypatch.setattr(calibration, "CHUNK", 10)
    pieces.update(prediction, label, sure)
    assert torch.equal(whole.state(), pieces.state())
    assert int(whole.reliability().pixels.sum()) == 7 * 13


# --- All of them in one metric ------------------------------------------------------------------------------------


@given(cases(most=6), st.data())
@settings(max_examples=15, deadline=None)
def test_processes_and_resuming_change_nothing(case: Case, data: st.DataObject) -> None:
    """States add up, but for the draws of the bootstrap; a metric that was stored goes on as if it had not been."""
    classes, images = case
    names = tuple(name for name in FAMILIES if name != "interval")
    whole, first, second = (IoUMetric(num_classes=classes, metrics=names) for _ in range(3))
    resumed = [IoUMetric(num_classes=classes, metrics=tuple(FAMILIES)) for _ in range(2)]
    cut = data.draw(st.integers(0, len(images)))
    for number, image in enumerate(images):
        whole.update(*image)
        (first if number < cut else second).update(*image)
    first.load_state(first.state() + second.state())
    assert torch.equal(first.state(), whole.state())
    assert repr(first.report()) == repr(whole.report())
    for number, image in enumerate(images):
        resumed[0].update(*image)
        if number == cut:
            resumed[1].load_state(resumed[1].state().clone())
        resumed[1].update(*image)
    assert torch.equal(resumed[0].state(), resumed[1].state())
    resumed[1].load_state(torch.zeros_like(resumed[1].state()))
    assert not resumed[1].state().any()


def test_names_in_the_report() -> None:
    metric = IoUMetric(num_classes=3, metrics=tuple(FAMILIES), groups={"both": ("class 0", "class 1")})
    for seed in range(20):
        torch.manual_seed(seed)
        label = torch.randint(0, 3, (12, 9)).to(torch.uint8)
        metric.update(torch.where(torch.rand(12, 9) < 0.5, label, 0), label, torch.rand(12, 9))
    report = metric.report()
    assert set(report.summary) == {
        "aAcc", "mIoU", "mAcc", "mDice", "mFscore", "mFscore_mmseg", "mPrecision", "mPrecision_mmseg", "mRecall",
        "mBoundaryIoU", "fwIoU", "kappa", "imageIoU", "imageIoU_q05", "imageIoU_q25", "imageIoU_q50", "imageIoU_q75",
        "imageIoU_q95", "mIoU_low", "mIoU_high", "ECE", "IoU(both)",
    }  # fmt: skip
    assert all(0 <= value <= 1 for value in report.summary.values())
    assert report.summary["mIoU_low"] < report.summary["mIoU"] < report.summary["mIoU_high"]
    assert set(report.classes[0].values) == {
        "IoU", "Acc", "Dice", "Fscore", "Fscore_mmseg", "Precision", "Precision_mmseg", "Recall", "BoundaryIoU",
    }  # fmt: skip


def test_confidence_is_asked_for_only_where_it_is_needed() -> None:
    assert not IoUMetric(num_classes=2, metrics=("mIoU", "mBoundaryIoU")).needs_confidence
    metric = IoUMetric(num_classes=2, metrics=("ECE",))
    assert metric.needs_confidence
    with pytest.raises(ValueError, match='"ECE" needs the confidence'):
        metric.update(torch.zeros(2, 2, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8))


def test_memory_of_a_metric_does_not_grow() -> None:
    metric = IoUMetric(num_classes=4, metrics=tuple(FAMILIES))
    size = metric.state().numel()
    for _ in range(5):
        metric.update(torch.zeros(3, 4, dtype=torch.uint8), torch.ones(3, 4, dtype=torch.uint8), torch.ones(3, 4))
    assert metric.state().numel() == size
    assert image_iou(metric.matrix) == 0.0


# --- Against libraries that others wrote --------------------------------------------------------------------------


@pytest.fixture(scope="module")
def many() -> tuple[np.ndarray, np.ndarray]:
    """Labels and predictions of 19 classes, one of which is absent from both, and one from the labels."""
    rng = np.random.default_rng(19)
    label = rng.integers(0, 17, (6, 64, 96))
    prediction = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, 18, label.shape))
    return prediction, label


def test_against_scikit_learn(many: tuple[np.ndarray, np.ndarray]) -> None:
    sklearn = pytest.importorskip("sklearn.metrics")
    prediction, label = (values.reshape(-1) for values in many)
    metric = IoUMetric(num_classes=19, metrics=("mIoU", "mFscore", "kappa"))
    metric.update(torch.from_numpy(many[0]), torch.from_numpy(many[1]))
    report = metric.report()
    assert np.array_equal(metric.matrix.numpy(), sklearn.confusion_matrix(label, prediction, labels=range(19)))
    iou = sklearn.jaccard_score(label, prediction, labels=range(18), average=None)
    assert report.summary["mIoU"] == pytest.approx(iou.mean(), rel=1e-12)
    assert report.summary["kappa"] == pytest.approx(sklearn.cohen_kappa_score(label, prediction), rel=1e-12)
    precision, recall, f, _ = sklearn.precision_recall_fscore_support(label, prediction, labels=range(17))
    for c in range(17):
        values = report.classes[c].values
        assert [values["Precision"], values["Recall"], values["Fscore"]] == pytest.approx(
            [precision[c], recall[c], f[c]]
        )


def test_against_torchmetrics(many: tuple[np.ndarray, np.ndarray]) -> None:
    torchmetrics = pytest.importorskip("torchmetrics.classification")
    prediction, label = (torch.from_numpy(values) for values in many)
    jaccard = torchmetrics.MulticlassJaccardIndex(num_classes=18, average="none")(prediction, label)
    metric = IoUMetric(num_classes=18)
    metric.update(prediction, label)
    assert [entry.values["IoU"] for entry in metric.report().classes] == pytest.approx(jaccard.tolist(), rel=1e-6)
