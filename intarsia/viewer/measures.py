"""What has been counted of each image, and the images in an order and by conditions that ask for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.label_sets import has, set_count

Floats = npt.NDArray[np.floating[Any]]
Label = npt.NDArray[np.integer[Any]]

SORTS = ("file", "name", "score", "disagreement", "confidence")
PLACES = ("any", "truth", "prediction", "wrong")


@dataclass(frozen=True, slots=True)
class Query:
    """Which images, and in which order.

    sort: one of `SORTS`. A score is the IoU of an image, or of the class in it if one is asked for. label: a label
    value that the truth or the prediction shows, as `place` says; "wrong": in some pixel only one of them. low, high:
    of the score, least: of the disagreement, in fractions of 1. text: a part of the name, in any case. run: whose
    scores.

    An image that was not measured fulfils no condition on what is measured, and comes last where that is sorted by.
    """

    sort: str = "file"
    descending: bool = False
    label: int | None = None
    place: str = "any"
    low: float = 0.0
    high: float = 1.0
    least: float = 0.0
    text: str = ""
    run: int = 0

    def __post_init__(self) -> None:
        if self.sort not in SORTS or self.place not in PLACES:
            raise ValueError(f"expected a sort of {SORTS} and a place of {PLACES}, found {self.sort!r}, {self.place!r}")


class Measures:
    """Numbers of each image, as arrays that take no memory before they are filled.

    images, values, runs: how many. sets: whether maps hold sets of classes (`label_sets`); values are the classes then,
    each counted by itself. truth_shows (images, values); shows, class_iou (runs, images, values); iou, confidence
    (runs, images); disagreement (images): two runs' with each other, one run's with the labels; of sets,
    class_disagreement (images, values) that of each class. All in fractions of 1, nan where there is none.
    """

    def __init__(self, images: int, values: int, runs: int, *, sets: bool = False) -> None:
        self.sets = sets
        self.class_disagreement = np.full((images, values if sets else 0), np.nan, np.float16)
        self.measured = np.zeros(images, bool)
        self.truth_shows = np.zeros((images, values), bool)
        self.shows = np.zeros((runs, images, values), bool)
        self.class_iou = np.zeros((runs, images, values), np.float16)
        self.iou = np.full((runs, images), np.nan, np.float32)
        self.confidence = np.full((runs, images), np.nan, np.float32)
        self.disagreement = np.full(images, np.nan, np.float32)
        self.failed: dict[int, str] = {}
        self.lock = threading.Lock()

    @property
    def done(self) -> int:
        """Images that have been looked at, those included that cannot be read."""
        return int(np.count_nonzero(self.measured)) + len(self.failed)

    def fail(self, index: int, why: str) -> None:
        """Note that an image cannot be measured."""
        with self.lock:
            if not self.measured[index]:
                self.failed[index] = why

    def record(
        self, index: int, truth: Label | None, predictions: Sequence[tuple[Label, npt.NDArray[np.uint8] | None]]
    ) -> None:
        """Count one image. Values of maps (H, W) that are no label value count for nothing in the truth."""
        values = self.truth_shows.shape[1]
        shown, iou = (_members, image_set_iou) if self.sets else (_shown, image_iou)
        labels = [label for label, _ in predictions]
        with self.lock:
            if truth is not None:
                self.truth_shows[index] = shown(truth, values)
            for run, (label, confidence) in enumerate(predictions):
                self.shows[run, index] = shown(label, values)
                if confidence is not None:
                    self.confidence[run, index] = confidence.mean() / 255
                if truth is not None:
                    self.class_iou[run, index], self.iou[run, index] = iou(truth, label, values)
            count = set_count(values) if self.sets else values
            self.disagreement[index] = _disagreement(truth, labels, count)
            for k in range(values if self.sets else 0):
                self.class_disagreement[index, k] = _disagreement(truth, labels, count, only=k)
            self.measured[index] = True
            self.failed.pop(index, None)

    def score(self, query: Query) -> Floats:
        """What `query` calls the score of each image, (images,); nan where there is none."""
        if not len(self.iou):
            return np.full(len(self.measured), np.nan, np.float32)
        if query.label is None:
            return np.asarray(self.iou[query.run])
        there = self.truth_shows[:, query.label] | self.shows[query.run, :, query.label]
        there &= np.isfinite(self.iou[query.run])
        return np.asarray(np.where(there, self.class_iou[query.run, :, query.label], np.nan))

    def disagreement_of(self, query: Query) -> Floats:
        """What `query` calls the disagreement of each image, (images,): of sets, that of its class if it names one."""
        return self.disagreement if query.label is None or not self.sets else self.class_disagreement[:, query.label]

    def images(self, query: Query, names: Sequence[str] | None = None) -> npt.NDArray[np.int64]:
        """Indices of the images that fulfil a query, in its order. names: of all, where it asks for them."""
        with self.lock:
            keep = self._fulfilling(query)
            key = self._key(query)
        if query.text:
            assert names is not None
            part = query.text.casefold()
            keep &= np.fromiter((part in name.casefold() for name in names), bool, len(keep))
        chosen = np.flatnonzero(keep)
        if query.sort == "name":
            assert names is not None
            chosen = np.array(sorted(chosen.tolist(), key=lambda index: names[index]), np.int64)
        elif key is not None:
            values = key[chosen]
            unknown = ~np.isfinite(values)
            ranked = np.argsort(np.where(unknown, np.inf, -values if query.descending else values), kind="stable")
            return chosen[ranked]
        return chosen[::-1] if query.descending else chosen

    def _fulfilling(self, query: Query) -> npt.NDArray[np.bool_]:
        keep = np.ones(len(self.measured), bool)
        if query.label is not None:
            keep &= self._showing(query, query.label)
        if query.low > 0 or query.high < 1:
            score = self.score(query)
            keep &= (score >= query.low) & (score <= query.high)  # nan is neither
        if query.least > 0:
            keep &= self.disagreement_of(query) >= query.least
        return keep

    def _showing(self, query: Query, label: int) -> npt.NDArray[np.bool_]:
        truth = self.truth_shows[:, label]
        said = self.shows[query.run, :, label] if len(self.shows) else np.zeros_like(truth)
        if query.place == "truth":
            return truth
        if query.place == "prediction":
            return said
        return (truth | said) if query.place == "any" else self.score(query) < 1

    def _key(self, query: Query) -> Floats | None:
        if query.sort == "score":
            return self.score(query)
        if query.sort == "disagreement":
            return self.disagreement_of(query)
        return self.confidence[query.run] if query.sort == "confidence" and len(self.confidence) else None


def image_iou(truth: Label, prediction: Label, values: int) -> tuple[Floats, float]:
    """(IoU of each label value, their mean over those in truth or prediction) of maps (H, W); nan where there is none.

    Pixels whose truth is no label value count for nothing.
    """
    known = (truth >= 0) & (truth < values)
    true, said = truth[known].astype(np.int64), np.minimum(prediction[known].astype(np.int64), values)
    both = np.bincount(true[true == said], minlength=values)[:values]
    union = np.bincount(true, minlength=values)[:values] + np.bincount(said, minlength=values)[:values] - both
    iou = np.where(union > 0, both / np.maximum(union, 1), np.nan)
    return iou, float(np.nanmean(iou)) if (union > 0).any() else float("nan")


def image_set_iou(truth: Label, prediction: Label, classes: int) -> tuple[Floats, float]:
    """The same of maps of sets: of each class by itself, as where a pixel has it or has not."""
    known = (truth >= 0) & (truth < set_count(classes))
    true, said = truth[known], prediction[known]
    both = np.array([int((has(true, k) & has(said, k)).sum()) for k in range(classes)])
    union = np.array([int((has(true, k) | has(said, k)).sum()) for k in range(classes)])
    iou = np.where(union > 0, both / np.maximum(union, 1), np.nan)
    return iou, float(np.nanmean(iou)) if (union > 0).any() else float("nan")


def _members(label: Label, classes: int) -> npt.NDArray[np.bool_]:
    """Which classes are in any set of a map."""
    sets = np.unique(label)
    sets = sets[(sets >= 0) & (sets < set_count(classes))].astype(np.int64)
    return np.array([bool(has(sets, k).any()) for k in range(classes)])


def _shown(label: Label, values: int) -> npt.NDArray[np.bool_]:
    found = np.bincount(label.astype(np.int64).clip(0, values).ravel(), minlength=values)[:values] > 0
    return np.asarray(found)


def _disagreement(truth: Label | None, labels: Sequence[Label], values: int, only: int | None = None) -> float:
    """The share of pixels in which two runs differ, or those of one from the labels, of the labelled ones.

    only: of sets, the class that is looked at.
    """
    if len(labels) == 2:
        return float(_differ(labels[0], labels[1], only).mean())
    if truth is None or not labels:
        return float("nan")
    known = (truth >= 0) & (truth < values)
    return float(_differ(truth, labels[0], only)[known].mean()) if known.any() else float("nan")


def _differ(one: Label, other: Label, only: int | None) -> npt.NDArray[np.bool_]:
    return np.asarray(one != other if only is None else has(one, only) != has(other, only))
