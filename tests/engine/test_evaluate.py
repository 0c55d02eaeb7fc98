from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from standins import CLASSES, PALETTE, Pictures, tiny_run, tiny_task
from torch import Tensor

from intarsia.contracts import Sample
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.resize import Resize
from intarsia.evaluation.evaluate import evaluate, labels_at_input
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import AugmentedInference, InferenceSpec


def predictor_of(task: torch.nn.Module) -> Predictor:
    return Predictor(task, inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE)  # type: ignore[arg-type]


@pytest.mark.parametrize(("batch_size", "workers"), [(1, 0), (2, 0), (5, 2)])
def test_one_pass_gives_scores_and_loss(batch_size: int, workers: int) -> None:
    task = tiny_task()
    pictures = Pictures(5)
    metric = IoUMetric(num_classes=3, classes=CLASSES)
    metric.update(torch.tensor([[0]]), torch.tensor([[2]]))  # evaluation begins with an empty metric
    seen: list[str] = []
    counted: list[int] = []
    report = evaluate(
        predictor_of(task),
        Pipeline(pictures, (), label_size="original"),
        metric,
        batch_size=batch_size,
        workers=workers,
        progress=counted.append,
        on_prediction=lambda meta, label: seen.append(f"{meta.name} {tuple(label.shape)}"),
        task=task,
    )
    assert seen == [f"picture{i} (12, 16)" for i in range(5)]
    assert sum(counted) == report.images == 5

    task.eval()
    by_hand, losses = IoUMetric(num_classes=3, classes=CLASSES), []
    for i in range(5):
        sample = pictures.load(i)
        assert sample.label is not None
        image, label = torch.from_numpy(sample.image).permute(2, 0, 1)[None], torch.from_numpy(sample.label)
        with torch.no_grad():
            logits = task.model(task.preprocess(image, (), train=False))
        by_hand.update(logits.argmax(1)[0], label)
        losses.append(float(F.cross_entropy(logits, label[None].long(), ignore_index=255, reduction="none").mean()))
    assert report.summary == by_hand.report().summary
    assert report.losses["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("mode", [True, False])
def test_the_mode_of_the_task_is_left_as_it_was(mode: bool) -> None:
    task = tiny_task()
    task.train(mode)
    evaluate(predictor_of(task), Pipeline(Pictures(1), (), label_size="original"), IoUMetric(num_classes=3), task=task)
    assert task.training is mode
    with pytest.raises(ValueError, match="cannot be read"):
        evaluate(
            predictor_of(task), Pipeline(Pictures(1, broken=0), (), label_size="original"), IoUMetric(num_classes=3),
            task=task,
        )  # fmt: skip
    assert task.training is mode


@pytest.mark.parametrize(("batch_size", "batch_windows", "least"), [(1, 1, 1), (3, 4, 1), (2, 4, 12)])
def test_sliding_windows_have_scores_and_a_loss(batch_size: int, batch_windows: int, least: int) -> None:
    """The loss is the mean over windows, each of which is one input with its part of the label, where it is image.

    least: side that smaller windows are padded to.
    """
    task = tiny_task()
    pictures = Pictures(3, size=(14, 20))
    inference = InferenceSpec(mode="slide", crop_size=(8, 9), stride=(6, 6), num_classes=3)
    predictor = Predictor(
        task, inference=inference, classes=CLASSES, palette=PALETTE, batch_windows=batch_windows,  # type: ignore[arg-type]
    )  # fmt: skip
    predictor.least_size = least
    pipeline = Pipeline(pictures, (), label_size="original")
    report = evaluate(predictor, pipeline, IoUMetric(num_classes=3), batch_size=batch_size, task=task)

    task.eval()
    by_hand, losses = IoUMetric(num_classes=3), []
    for i in range(3):
        sample = pictures.load(i)
        assert sample.label is not None
        label = torch.from_numpy(sample.label)
        by_hand.update(torch.from_numpy(predictor.predict(sample.image).label), label)
        for top in (0, 6):
            for left in (0, 6, 11):
                part = sample.image[top : top + 8, left : left + 9].transpose(2, 0, 1).copy()
                rest = (0, max(least - 9, 0), 0, max(least - 8, 0))
                with torch.no_grad():
                    logits = task.model(F.pad(task.preprocess(torch.from_numpy(part)[None], (), train=False), rest))
                target = F.pad(label[None, top : top + 8, left : left + 9].long(), rest, value=task.ignore_index)
                losses.append(float(task.validation_loss(logits, target)))
    assert report.summary == by_hand.report().summary
    assert report.losses["loss"] == pytest.approx(np.mean(losses), rel=1e-5)


def test_augmented_views_are_made_of_images_that_nothing_has_resized() -> None:
    task = tiny_task()
    inference = InferenceSpec(num_classes=3, augmented=AugmentedInference((0.5, 1.0), (None, "horizontal")))
    transforms = [Resize(scale=(64, 64))]
    predictor = Predictor(
        task, inference=inference, augment=True, transforms=transforms, classes=CLASSES, palette=PALETTE,  # type: ignore[arg-type]
    )  # fmt: skip
    pictures = Pictures(3, size=(24, 32))
    metric = IoUMetric(num_classes=3)
    pipeline = Pipeline(pictures, transforms, label_size="original")
    report = evaluate(predictor, pipeline, metric, batch_size=2, task=task)
    assert report.losses == {}
    by_hand = IoUMetric(num_classes=3)
    for i in range(3):
        sample = pictures.load(i)
        assert sample.label is not None
        by_hand.update(torch.from_numpy(predictor.predict(sample.image).label), torch.from_numpy(sample.label))
    assert report.summary == by_hand.report().summary


def test_without_a_task_there_is_no_loss() -> None:
    pipeline = Pipeline(Pictures(2), (), label_size="original")
    assert evaluate(predictor_of(tiny_task()), pipeline, IoUMetric(num_classes=3)).losses == {}


def test_images_without_labels() -> None:
    @dataclass(frozen=True)
    class Unlabelled(Pictures):
        def load(self, index: int) -> Sample:
            sample = Pictures.load(self, index)
            return Sample(sample.image, None, meta=sample.meta)

    with pytest.raises(ValueError, match="needs labels, but there are none for: picture0"):
        evaluate(predictor_of(tiny_task()), Pipeline(Unlabelled(), ()), IoUMetric(num_classes=3))


def test_labels_follow_the_image_to_the_input() -> None:
    label = torch.arange(12, dtype=torch.uint8).view(3, 4)
    target = labels_at_input([label, label], [(6, 8), (3, 2)], (7, 8), 255)
    assert torch.equal(target[0, :6], label.long().repeat_interleave(2, 0).repeat_interleave(2, 1))
    assert (target[0, 6] == 255).all()
    assert torch.equal(target[1, :3, :2], label[:, ::2].long())
    expected = torch.full((7, 8), True)
    expected[:3, :2] = False
    assert torch.equal(target[1] == 255, expected)


def test_memory_does_not_grow_with_the_images(tmp_path: Path) -> None:
    """Only counts are kept: no prediction and no logits survive their batch."""
    import gc

    run = tiny_run(tmp_path, task=tiny_task())
    assert run.validation is not None

    def tensors(images: int) -> int:
        assert run.validation is not None
        evaluate(run.validation.predictor, Pipeline(Pictures(images), (), label_size="original"), run.validation.metric)
        gc.collect()
        return sum(issubclass(type(thing), Tensor) for thing in gc.get_objects())

    tensors(1)
    assert abs(tensors(30) - tensors(3)) <= 1


def test_a_metric_that_needs_confidences_is_told_them() -> None:
    task = tiny_task()
    metric = IoUMetric(num_classes=3, classes=CLASSES, metrics=("mIoU", "ECE"))
    report = evaluate(predictor_of(task), Pipeline(Pictures(3), (), label_size="original"), metric, batch_size=2)
    held: list[tuple[float, bool]] = []
    for i in range(3):
        sample = Pictures(3).load(i)
        assert sample.label is not None
        image = torch.from_numpy(sample.image).permute(2, 0, 1)[None]
        with torch.no_grad():
            shares, labels = task.model(task.preprocess(image, (), train=False)).softmax(1).max(1)
        for share, found, truth in zip(
            shares.flatten().tolist(), labels.flatten().tolist(), sample.label.flat, strict=True
        ):
            if truth != 255:
                held.append((share, found == truth))
    error = 0.0
    for low in range(15):
        bin = [entry for entry in held if min(int(entry[0] * 15), 14) == low]
        if bin:
            error += abs(np.mean([s for s, _ in bin]) - np.mean([right for _, right in bin])) * len(bin) / len(held)
    assert report.summary["ECE"] == pytest.approx(error, abs=1e-5)
    plain = evaluate(predictor_of(task), Pipeline(Pictures(3), (), label_size="original"), IoUMetric(num_classes=3))
    assert report.summary["mIoU"] == plain.summary["mIoU"]
