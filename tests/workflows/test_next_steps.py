"""What a training is told in the end: each sentence with its evidence, and none without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.config.language.reader import Config
from intarsia.contracts import ClassScore, Report, Sample
from intarsia.demo import write_scenes
from intarsia.workflows import next_steps as rules
from intarsia.workflows.evidence import count_labels, crop_of, help_after, larger_than
from intarsia.workflows.next_steps import MOST, ClassEvidence, Evidence, next_steps

FALLING = [1 / (1 + 0.2 * place) for place in range(40)]
STEADY = [0.4 + 0.01 * (-1) ** place for place in range(40)]


def lines(
    losses: Sequence[float] = (), *, val: Sequence[float] = (), fit: Sequence[float] = (), every: int = 10
) -> list[dict[str, float]]:
    """A log: a loss every `every` steps, evaluations spread over its length."""
    found = [{"step": every * (place + 1), "loss": loss} for place, loss in enumerate(losses)]
    for name, scores in (("val", val), ("fit", fit)):
        last = every * max(len(losses), len(scores))
        found += [
            {"step": last * (place + 1) // len(scores), f"{name}/mIoU": score} for place, score in enumerate(scores)
        ]
    return found


def told(
    losses: Sequence[float] = (),
    *,
    val: Sequence[float] = (),
    fit: Sequence[float] = (),
    steps: int | None = 400,
    **more: Any,
) -> list[str]:
    return next_steps(Evidence(lines=lines(losses, val=val, fit=fit), steps=steps, summary={"mIoU": 0.6}, **more))


def test_nothing_is_said_without_evidence() -> None:
    assert next_steps(Evidence(lines=[], steps=None, summary={})) == []
    assert told(val=[0.5]) == []
    assert told(STEADY, val=[0.4, 0.5, 0.6]) == []
    assert told(FALLING[:9]) == []  # too few lines to call it a trend


def test_images_learned_by_heart() -> None:
    (sentence,) = told(FALLING, val=[0.5, 0.62], fit=[0.6, 0.91])
    assert sentence.startswith("mIoU 0.91 on training images, 0.62 on validation images (step 400)")
    assert "more of them" in sentence
    assert "longer" not in sentence  # the loss falls, but that would be no help
    assert told(STEADY, val=[0.62], fit=[0.71]) == []
    assert told(STEADY, fit=[0.91]) == []


def test_what_training_and_validation_score_is_of_one_step() -> None:
    log = [*lines(val=[0.4], every=10), {"step": 20, "fit/mIoU": 0.9}]
    assert next_steps(Evidence(lines=log, steps=20, summary={"mIoU": 0.4})) == []


def test_a_score_that_drops_while_the_loss_falls() -> None:
    (sentence,) = told(FALLING, val=[0.5, 0.71, 0.69, 0.66])
    assert sentence.startswith("mIoU on validation images was highest at step 200 (0.71) and is 0.66 at the end")
    assert "the loss fell from 0.247 to 0.124" in sentence
    assert "longer training would not" in sentence
    assert told(STEADY, val=[0.5, 0.71, 0.69, 0.66]) == []
    assert told(FALLING, val=[0.5, 0.71, 0.705, 0.70]) == []
    assert told(FALLING, val=[0.71, 0.66]) == []  # two evaluations are no course


def test_a_loss_that_still_falls() -> None:
    (sentence,) = told(FALLING)
    assert sentence.startswith("the loss was still falling, from 0.155 to 0.124 in the last fifth: train longer")
    assert sentence.endswith('--for "800 steps"')
    (sentence,) = told(FALLING, val=[0.5, 0.6, 0.65])
    assert "mIoU rose from 0.600 at step 266 to 0.650 at step 400" in sentence
    assert told(FALLING, val=[0.5, 0.6, 0.602]) == []
    assert told(FALLING, steps=None) == []  # it was stopped early


def test_noise_is_no_trend() -> None:
    noisy = [0.5 + 0.4 * math.sin(7 * place) for place in range(32)] + [
        0.4 + 0.4 * math.sin(5 * place) for place in range(8)
    ]
    assert told(noisy) == []
    slow = [0.5 - 0.0005 * place for place in range(40)]
    assert told(slow) == []  # without noise, but next to nothing


def test_a_network_that_does_not_fit_its_training_images() -> None:
    larger = larger_than("recipe segformer_mit-b0")
    assert larger is not None
    (sentence,) = told(STEADY, val=[0.48, 0.50], fit=[0.5, 0.52], larger=larger)
    assert sentence.startswith("mIoU 0.52 on training images, 0.50 on validation images (step 400)")
    assert "(0.4, 0.4 in the last two fifths)" in sentence
    assert f"for example {larger.name} (ade20k {larger.score:g} mIoU against 37.41" in sentence
    (sentence,) = told(STEADY, val=[0.50], fit=[0.52], classes=(ClassEvidence("pole", 0.02),))
    assert sentence.endswith("a larger network would help most")
    assert told(STEADY, val=[0.80], fit=[0.81]) == []
    missed = (ClassEvidence("road", 0.9), ClassEvidence("sign", 0.0))
    assert told(STEADY, val=[0.50], fit=[0.52], classes=missed) == []  # that is why scores are low
    wavering = [*STEADY[:32], *(loss - 0.05 for loss in STEADY[32:])]
    assert told(wavering, val=[0.50, 0.49], fit=[0.52]) == []  # it does fall
    assert told(STEADY[:9], val=[0.50], fit=[0.52]) == []  # whether the loss falls is not known


CLASSES = (
    ClassEvidence("road", 0.9, 0.6, 40),
    ClassEvidence("sky", 0.8, 0.38, 38),
    ClassEvidence("crack", 0.1, 0.013, 40),
    ClassEvidence("pole", 0.2, 0.007, 9),
)


def test_a_rare_class_that_lies_behind() -> None:
    (sentence,) = told(classes=CLASSES, counted=40)
    assert sentence == (
        "far behind mIoU 0.60, and rare: crack (IoU 0.10; 1.30% of the pixels, in 40 of 40 training images) and pole "
        "(IoU 0.20; 0.70% of the pixels, in 9 of 40 training images); more images that show them would help"
    )


def test_a_rare_class_that_is_not_found_at_all() -> None:
    missed = (*CLASSES, ClassEvidence("sign", 0.0, 0.002, 4))
    first, second = told(STEADY, val=[0.5], fit=[0.52], classes=missed, counted=40)
    assert first.startswith(
        "not found at all: sign (IoU 0.00; 0.20% of the pixels, in 4 of 40 training images); a loss"
    )
    assert second.startswith("far behind mIoU 0.60, and rare: crack")


@pytest.mark.parametrize(
    ("iou", "share", "images", "is_said"),
    [
        (0.1, 0.05, 30, True),  # few pixels
        (0.1, 0.2, 7, True),  # few images
        (0.1, 0.2, 30, False),  # neither
        (0.55, 0.01, 3, False),  # rare, but as good as the others
        (0.1, None, None, False),  # not counted
    ],
)
def test_both_must_be_measured(iou: float, share: float | None, images: int | None, is_said: bool) -> None:
    classes = (*CLASSES[:2], ClassEvidence("sign", iou, share, images))
    assert bool(told(classes=classes, counted=40)) is is_said


@pytest.mark.parametrize(
    ("along", "crop", "size", "words"),
    [
        (0.3, (256, 256), (1080, 1920), "larger crops may help, for example --crop 512 512"),
        (0.3, (256, 256), (300, 400), "larger crops may help, for example --crop 288 384"),
        (0.3, (512, 512), (512, 640), "images of a higher resolution would help (trained on 512 x 512 of images of"),
        (0.5, (256, 256), (1080, 1920), None),
        (0.3, None, (1080, 1920), None),
        (math.nan, (256, 256), (1080, 1920), None),
    ],
)
def test_outlines_that_are_worse_than_areas(along: float, crop: Any, size: Any, words: str | None) -> None:
    summary = {"mIoU": 0.7, "mBoundaryIoU": along}
    found = next_steps(Evidence(lines=[], steps=10, summary=summary, crop=crop, image_size=size))
    assert [words in sentence for sentence in found] == ([] if words is None else [True])  # type: ignore[operator]
    assert all("along outlines the IoU is 0.30, over all 0.70" in sentence for sentence in found)
    unknown = {"mIoU": 0.4, "mBoundaryIoU": 0.1}  # bad altogether
    assert next_steps(Evidence(lines=[], steps=10, summary=unknown, crop=crop, image_size=size)) == []


def test_there_are_never_more_than_four() -> None:
    evidence = Evidence(
        lines=lines(FALLING, val=[0.5], fit=[0.9]),
        steps=400,
        summary={"mIoU": 0.6, "mBoundaryIoU": 0.1},
        classes=CLASSES,
        counted=40,
        crop=(64, 64),
        image_size=(640, 640),
    )
    found = next_steps(evidence)
    assert ["by heart" in found[0], "crack" in found[1], "outlines" in found[2]] == [True] * 3
    assert len(found) == 3 <= MOST
    assert len(next_steps(replace(evidence, counted=0, classes=()))) == 2


class _Labels:
    classes, palette, ignore_index = ("a", "b"), ((0, 0, 0), (1, 1, 1)), 255

    def __init__(self, count: int) -> None:
        self.count, self.asked = count, list[int]()

    def __len__(self) -> int:
        return self.count

    def load(self, index: int) -> Sample:
        self.asked.append(index)
        label = np.full((4, 6 + index % 2 * 2), 0, np.uint8)
        label[0, 0], label[1, :2] = 255, index % 2
        return Sample(image=np.zeros((*label.shape, 3), np.uint8), label=label)


def test_labels_are_counted_without_what_is_ignored() -> None:
    counted = count_labels(_Labels(4), ["a", "b"])
    assert counted is not None
    assert counted.share == pytest.approx((104 / 108, 4 / 108))
    assert (counted.images, counted.looked_at, counted.size) == ((4, 2), 4, (4, 8))


def test_of_many_images_some_are_counted_evenly() -> None:
    many = _Labels(1000)
    counted = count_labels(many, ["a", "b"], most=4)
    assert counted is not None
    assert many.asked == [0, 250, 500, 750]
    slow = _Labels(1000)
    assert count_labels(slow, ["a", "b"], seconds=0.0) is not None
    assert slow.asked == [0]


def test_the_crop_of_a_config() -> None:
    assert crop_of({"model": {"data_preprocessor": {"size": (64, 96)}}}) == (64, 96)
    assert crop_of({"data_preprocessor": {"size": (32, 32)}, "model": {}}) == (32, 32)
    assert crop_of({"model": {"data_preprocessor": {"size_divisor": 32}}}) is None


def test_the_larger_network_is_better_and_affordable() -> None:
    larger = larger_than("recipe segformer_mit-b0")
    assert larger is not None
    assert larger.score > larger.other_score == 37.41
    assert 1 < larger.times <= 4
    assert larger_than("recipe small_r18") is None  # nothing was published of it
    assert larger_than("my_config.py") is None
    assert larger_than("recipe no_such") is None
    on_streets = larger_than("recipe pidnet-s")
    assert on_streets is not None
    assert (on_streets.benchmark, on_streets.other_score) == ("cityscapes", 78.74)


def test_a_training_ends_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rules, "BEHIND", -1.0)  # every class is behind, and every one rare
    monkeypatch.setattr(rules, "FEW_PIXELS", 100.0)
    write_scenes(tmp_path / "scenes", train=6, val=2)
    words = ["--crop", "64", "96", "--batch", "2", "--workers", "0", "--for", "4 steps", "--eval-every", "4 steps"]
    where = ["--data", str(tmp_path / "scenes"), "--out", str(tmp_path / "run"), "--pretrained", "none"]
    assert main(["train", "small_r18", *where, *words]) == 0
    printed = capsys.readouterr().err.splitlines()
    said = next(line for line in printed if line.startswith("to do better: ") and "rare" in line)
    assert said.count("(IoU ") == said.count("of 6 training images") >= 1


def test_labels_that_are_gone_stop_no_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "BEHIND", -1.0)
    report = Report({"mIoU": 0.5}, (ClassScore("a", {"IoU": 0.1}, 9), ClassScore("b", {"IoU": math.nan}, 0)), ("b",), 1)
    folder = SimpleNamespace(metrics=tmp_path / "metrics.jsonl")

    class Gone(_Labels):
        def load(self, index: int) -> Sample:
            raise OSError(index)

    run: Any = SimpleNamespace(folder=folder, steps=10, pipeline=SimpleNamespace(dataset=Gone(3)))
    result: Any = SimpleNamespace(step=10, report=report)
    assert help_after(run, result, Config.from_values({}, file="x")) == []
    run.pipeline.dataset = _Labels(3)
    monkeypatch.setattr(rules, "FEW_PIXELS", 100.0)
    (said,) = help_after(run, result, Config.from_values({}, file="x"))
    assert "rare: a (IoU 0.10; 97.40% of the pixels, in 3 of 3 training images)" in said
    result.report = None
    assert help_after(run, result, Config.from_values({}, file="x")) == []
