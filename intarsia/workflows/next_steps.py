"""What would help a training most, of what was measured in it; a pure function, so that it can be asked about any run.

Each sentence names the figures that it rests on. Where those are missing, or lie where they say nothing, it is left
out. `evidence` finds the figures. Imports no torch.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from intarsia.contracts import Size

LEARNED_BY_HEART = 0.1
"""From such a difference in mIoU between training and validation images on, the network has learned the former."""
MISSED = 0.01
"""A class with a lower IoU is as good as not found."""
ALIKE, LOW = 0.05, 0.7
"""Where both are alike and neither is above so much, the network does not even fit the images that it has seen."""
FELL, ROSE = 0.05, 0.005
"""What counts as a loss that still falls (share of it, over a fifth of the training), and as an mIoU that rises."""
DROPPED = 0.02
"""By so much the mIoU must have dropped since its best evaluation, to say that training went on for too long."""
BEHIND = 0.1
"""By so much a class must be behind the mIoU to be named."""
FEW_PIXELS, FEW_IMAGES = 0.25, 0.2
"""A class is rare with less than this part of an even share of the pixels, or in less than this part of the images."""
FUZZY, FOUND = 0.6, 0.5
"""Outlines are worse than areas if the IoU along them is below so much of the IoU, where that is at least the other."""
LINES = 10
"""Lines of the log that are needed to say how the loss goes."""
MOST, NAMED = 4, 2
"""Sentences, and classes that one of them names."""

_SCORE = "mIoU"


@dataclass(frozen=True)
class ClassEvidence:
    """A class: its IoU on the validation images, and how much of it the training images show.

    share: of their labelled pixels, images: in how many it is; None where they were not counted.
    """

    name: str
    iou: float
    share: float | None = None
    images: int | None = None


@dataclass(frozen=True)
class Larger:
    """A network that costs more and has a better published score. times: its multiply-adds over those of the other."""

    name: str
    score: float
    other_score: float
    benchmark: str
    times: float

    def __str__(self) -> str:
        scores = f"{self.benchmark} {self.score:g} mIoU against {self.other_score:g}"
        return f"{self.name} ({scores}, {self.times:.2g} times the multiply-adds)"


@dataclass(frozen=True)
class Evidence:
    """What is known of a training that is over.

    lines: of metrics.jsonl. steps: of the whole schedule; None if it was not trained to its end. summary: the scores of
    the weights that are kept. counted: training images whose labels were counted. crop: that was trained on, and
    image_size: of a typical training image, each (height, width).
    """

    lines: Sequence[Mapping[str, float | None]]
    steps: int | None
    summary: Mapping[str, float]
    classes: Sequence[ClassEvidence] = ()
    counted: int = 0
    crop: Size | None = None
    image_size: Size | None = None
    larger: Larger | None = None


def next_steps(evidence: Evidence) -> list[str]:
    """Sentences, the most important first, at most `MOST`."""
    by_heart = _learned_by_heart(evidence) or _trained_for_too_long(evidence)
    first = by_heart or _could_go_on(evidence) or _does_not_fit(evidence)
    found = [first, _classes_are_missed(evidence), _classes_are_behind(evidence), _outlines_are_off(evidence)]
    return [sentence for sentence in found if sentence is not None][:MOST]


def behind(evidence: Evidence) -> list[ClassEvidence]:
    """The classes that lie far behind the others, the worst first."""
    mean = evidence.summary.get(_SCORE, math.nan)
    low = [one for one in evidence.classes if one.iou < mean - BEHIND]
    return sorted(low, key=lambda one: one.iou)


def outlines_are_worse(summary: Mapping[str, float]) -> bool:
    """Whether the IoU along outlines was measured, and is far below that of the areas."""
    areas, along = summary.get(_SCORE, math.nan), summary.get("mBoundaryIoU", math.nan)
    return areas >= FOUND and along < FUZZY * areas


# --- How the training went ----------------------------------------------------------------------------------------


def _learned_by_heart(evidence: Evidence) -> str | None:
    found = _fit_and_validation(evidence)
    if found is None or found[1] - found[2] < LEARNED_BY_HEART:
        return None
    step, fit, validation = found
    return (
        f"mIoU {fit:.2f} on training images, {validation:.2f} on validation images (step {step}): the former are "
        "learned by heart; more of them would help most, or --augment strong"
    )


def _trained_for_too_long(evidence: Evidence) -> str | None:
    """The score on validation images has dropped while the loss on the training images fell."""
    scores, losses = _series(evidence, f"val/{_SCORE}"), _series(evidence, "loss")
    if len(scores) < 3 or len(losses) < LINES:
        return None
    best_at, best = max(scores, key=lambda one: one[1])
    last = scores[-1][1]
    some = len(losses) // 5
    before = [loss for step, loss in losses if step <= best_at][-some:]
    after = [loss for step, loss in losses if step > best_at][-some:]
    if best - last < DROPPED or len(before) < some or len(after) < some or not _fell(before, after):
        return None
    return (
        f"mIoU on validation images was highest at step {best_at} ({best:.2f}) and is {last:.2f} at the end, while the "
        f"loss fell from {statistics.fmean(before):.3g} to {statistics.fmean(after):.3g}: more training images would "
        "help most, or --augment strong; longer training would not"
    )


def _could_go_on(evidence: Evidence) -> str | None:
    """The loss still fell in the last fifth, and the score, if there are several of it, still rose."""
    fifths = _last_fifths(evidence)
    if evidence.steps is None or fifths is None or not _fell(*fifths):
        return None
    before, after = map(statistics.fmean, fifths)
    scores = _series(evidence, f"val/{_SCORE}")
    rising = ""
    if len(scores) > 1:
        (step, score), (last_step, last) = scores[-2:]
        if last - score < ROSE or last < max(value for _, value in scores):
            return None
        rising = f", and mIoU rose from {score:.3f} at step {step} to {last:.3f} at step {last_step}"
    return (
        f"the loss was still falling, from {before:.3g} to {after:.3g} in the last fifth{rising}: train longer, for "
        f'example --for "{2 * evidence.steps} steps"'
    )


def _does_not_fit(evidence: Evidence) -> str | None:
    """Training images score low, as validation images do, and the loss does not fall any more.

    Where a class is not found at all, that is why scores are low.
    """
    found, fifths = _fit_and_validation(evidence), _last_fifths(evidence)
    if found is None or found[1] >= LOW or abs(found[1] - found[2]) >= ALIKE or fifths is None:
        return None
    step, fit, validation = found
    before, after = map(statistics.fmean, fifths)
    if abs(before - after) >= FELL * abs(before) or any(one.iou < MISSED for one in evidence.classes):
        return None
    which = "" if evidence.larger is None else f", for example {evidence.larger}"
    return (
        f"mIoU {fit:.2f} on training images, {validation:.2f} on validation images (step {step}), and a loss that "
        f"falls no longer ({before:.3g}, {after:.3g} in the last two fifths): a larger network would help most{which}"
    )


def _last_fifths(evidence: Evidence) -> tuple[list[float], list[float]] | None:
    """The losses of the last fifth of a training and of the one before; None where the log has too few lines."""
    losses = [loss for _, loss in _series(evidence, "loss")]
    some = len(losses) // 5
    return (losses[-2 * some : -some], losses[-some:]) if len(losses) >= LINES else None


def _fell(before: Sequence[float], after: Sequence[float]) -> bool:
    """Whether a loss is lower than it was, by a part of it, and by more than it goes up and down."""
    difference = statistics.fmean(before) - statistics.fmean(after)
    doubt = math.sqrt(statistics.variance(before) / len(before) + statistics.variance(after) / len(after))
    return difference >= FELL * abs(statistics.fmean(before)) and difference > 2 * doubt


def _fit_and_validation(evidence: Evidence) -> tuple[int, float, float] | None:
    """(step, mIoU of training images, of validation images) of the last evaluation that has both."""
    fit, validation = dict(_series(evidence, f"fit/{_SCORE}")), dict(_series(evidence, f"val/{_SCORE}"))
    both = [step for step in fit if step in validation]
    return (both[-1], fit[both[-1]], validation[both[-1]]) if both else None


def _series(evidence: Evidence, name: str) -> list[tuple[int, float]]:
    """(step, value) of the lines that have it as a finite number."""
    found = ((int(line["step"] or 0), line.get(name)) for line in evidence.lines)
    return [(step, value) for step, value in found if value is not None and math.isfinite(value)]


# --- What it was trained on ---------------------------------------------------------------------------------------


def _classes_are_missed(evidence: Evidence) -> str | None:
    missed = [one for one in _rare(evidence) if one.iou < MISSED]
    if not missed:
        return None
    by_loss = "" if _has_area_loss(evidence) else "a loss that weighs rare classes, "
    return (
        f"not found at all: {_shown(missed, evidence)}; {by_loss}longer training, or more images that show them would "
        "help"
    )


def _has_area_loss(evidence: Evidence) -> bool:
    """Whether a loss of the training counts classes and not pixels alone."""
    terms = {name for line in evidence.lines for name in line}
    return any(word in name for name in terms for word in ("lovasz", "dice", "tversky"))


def _classes_are_behind(evidence: Evidence) -> str | None:
    found = [one for one in _rare(evidence) if one.iou >= MISSED]
    if not found:
        return None
    return (
        f"far behind mIoU {evidence.summary[_SCORE]:.2f}, and rare: {_shown(found, evidence)}; more images that show "
        "them would help"
    )


def _rare(evidence: Evidence) -> list[ClassEvidence]:
    """The classes that lie behind and are rare in the training images, the worst first."""
    even = 1 / max(1, len(evidence.classes))
    return [
        one
        for one in behind(evidence)
        if one.share is not None
        and one.images is not None
        and (one.share < FEW_PIXELS * even or one.images < FEW_IMAGES * evidence.counted)
    ]


def _shown(classes: Sequence[ClassEvidence], evidence: Evidence) -> str:
    """The first of them with their figures."""
    of = f"of {evidence.counted} training images"
    return " and ".join(
        f"{one.name} (IoU {one.iou:.2f}; {one.share:.2%} of the pixels, in {one.images} {of})"
        for one in classes[:NAMED]
    )


def _outlines_are_off(evidence: Evidence) -> str | None:
    if not outlines_are_worse(evidence.summary):
        return None
    areas, along = evidence.summary[_SCORE], evidence.summary["mBoundaryIoU"]
    said = f"along outlines the IoU is {along:.2f}, over all {areas:.2f}"
    crop, size = evidence.crop, evidence.image_size
    if crop is None or size is None:
        return None
    trained = f"(trained on {crop[0]} x {crop[1]} of images of {size[0]} x {size[1]}, height x width)"
    if size[0] < 1.5 * crop[0] and size[1] < 1.5 * crop[1]:
        return f"{said}: images of a higher resolution would help {trained}"
    larger = [max(have, min(2 * have, whole // 32 * 32)) for have, whole in zip(crop, size, strict=True)]
    return f"{said}: larger crops may help, for example --crop {larger[0]} {larger[1]} {trained}"
