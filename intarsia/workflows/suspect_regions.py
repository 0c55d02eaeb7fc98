"""Regions where a model is sure of another class than the label: counted in one pass, image by image.

After confident learning (Northcutt, Jiang and Chuang 2021, Confident Learning: Estimating Uncertainty in Dataset
Labels, section 3), which takes an example labelled i for one of class j where the model's probability of j reaches a
threshold of its own for each class, the mean probability of j over what is labelled j. Here the examples are connected
regions and not single pixels, whose errors are not independent; they are ranked by mean probability times area. And of
every pixel only the predicted class and its probability are known: where a pixel labelled j is predicted as another
class, what that leaves of 1 stands for the probability of j, which it cannot exceed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import Report
from intarsia.label_sets import has

PER_IMAGE = 100
"""Regions of one image that are kept at most."""

Map = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Region:
    """Connected pixels of one label for which a model says one other class.

    image: its number in the data. labelled, predicted: label values. area: pixels. confidence: mean probability that
    the model gives to `predicted` there. box: (top, left, bottom, right) in pixels, the last two exclusive.
    """

    image: int
    labelled: int
    predicted: int
    area: int
    confidence: float
    box: tuple[int, int, int, int]

    @property
    def score(self) -> float:
        """What regions are ranked by: in pixels of which the model is certain."""
        return self.confidence * self.area


class SuspectCounter:
    """A metric that collects regions. For one pass in one process; `regions` says what came of it.

    values: how many label values there are. margin: pixels on either side of an outline in the label that are left out,
    since outlines are drawn roughly and predicted roughly. least_area: pixels of the smallest region.
    """

    def __init__(self, *, values: int, ignore_index: int, margin: int, least_area: int) -> None:
        self._values, self._ignored = values, ignore_index
        self._margin, self._least = margin, least_area
        self._sums = torch.zeros(2, values, dtype=torch.float64)
        self._found: list[Region] = []
        self.images = 0
        self.labelled: list[int] = []  # pixels of each image that were looked at

    @property
    def needs_confidence(self) -> bool:
        """Always."""
        return True

    def update(self, prediction: Tensor, label: Tensor, confidence: Tensor | None = None) -> None:
        """Look at one image, all (H, W)."""
        assert confidence is not None
        truth, said = label.cpu().numpy().astype(np.uint16), prediction.cpu().numpy().astype(np.uint16)
        sure = np.nan_to_num(confidence.float().cpu().numpy())
        inside = inner(truth, self._margin) & (truth != self._ignored) & (truth < self._values)
        own = np.where(said == truth, sure, 1 - sure)[inside]
        counts = np.bincount(truth[inside], minlength=self._values)
        sums = np.bincount(truth[inside], weights=own, minlength=self._values)
        self._sums += torch.from_numpy(np.stack([sums, counts]).astype(np.float64))
        regions = sorted(self._regions(truth, said, sure, inside), key=lambda region: (-region.score, region.box))
        self._found += regions[:PER_IMAGE]
        self.labelled.append(int(inside.sum()))
        self.images += 1

    def _regions(self, truth: Map, said: Map, sure: Map, inside: Map) -> Iterator[Region]:
        differs = inside & (said != truth)
        codes = truth.astype(np.int64) * self._values + said
        kinds, counts = np.unique(codes[differs], return_counts=True)
        for kind in kinds[counts >= self._least]:
            mask = (differs & (codes == kind)).astype(np.uint8)
            count, parts, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            totals = np.bincount(parts.ravel(), weights=sure.ravel(), minlength=count)
            for part in range(1, count):
                left, top, width, height, area = (int(number) for number in stats[part])
                if area >= self._least:
                    yield Region(
                        self.images, int(kind) // self._values, int(kind) % self._values, area,
                        float(totals[part]) / area, (top, left, top + height, left + width),
                    )  # fmt: skip

    def thresholds(self) -> list[float]:
        """Of each class, the probability from which the model is sure of it; without labels of it, the mean of all."""
        sums, counts = self._sums.tolist()
        whole = sum(sums) / max(1.0, sum(counts))
        return [total / count if count else whole for total, count in zip(sums, counts, strict=True)]

    def regions(self) -> list[Region]:
        """Those that the model is sure of, the worst first."""
        least = self.thresholds()
        sure = [region for region in self._found if region.confidence >= least[region.predicted]]
        return sorted(sure, key=lambda region: (-region.score, region.image, region.box))

    # --- What a metric has, too -----------------------------------------------------------------------------------

    def state(self) -> Tensor:
        """(2, K) float64: sums of probabilities, and pixels."""
        return self._sums

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave; the regions stay."""
        self._sums = state.cpu().clone()

    def report(self) -> Report:
        """No scores."""
        return Report(summary={}, classes=(), absent=(), images=self.images)


class SetSuspectCounter:
    """The same where a pixel may have several classes: each class is a question of its own, with yes and no as labels.

    Values of regions are 2k where class k is not, and 2k + 1 where it is; thresholds are of each of them.
    """

    needs_probabilities = True

    def __init__(self, *, num_classes: int, ignore_index: int, margin: int, least_area: int) -> None:
        self._ignored = ignore_index
        self._questions = [
            SuspectCounter(values=2, ignore_index=_UNKNOWN, margin=margin, least_area=least_area)
            for _ in range(num_classes)
        ]

    @property
    def images(self) -> int:
        """Those that were looked at."""
        return self._questions[0].images

    def update(self, prediction: Tensor, label: Tensor, *, probabilities: Tensor | None = None) -> None:
        """Look at one image: sets (H, W), and the probability of each class (K, H, W)."""
        assert probabilities is not None
        known = label != self._ignored
        for k, question in enumerate(self._questions):
            said, truth = has(prediction, k), torch.where(known, has(label, k), _UNKNOWN)
            question.update(said, truth, torch.where(said > 0, probabilities[k], 1 - probabilities[k]))

    def thresholds(self) -> list[float]:
        """Of no and yes of each class, as `SuspectCounter.thresholds`."""
        return [threshold for question in self._questions for threshold in question.thresholds()]

    def regions(self) -> list[Region]:
        """Those of all classes that the model is sure of, the worst first."""
        found = [
            replace(region, labelled=2 * k + region.labelled, predicted=2 * k + region.predicted)
            for k, question in enumerate(self._questions)
            for region in question.regions()
        ]
        return sorted(found, key=lambda region: (-region.score, region.image, region.box, region.predicted))

    def state(self) -> Tensor:
        """(2, 2K) float64, as `SuspectCounter.state`."""
        return torch.cat([question.state() for question in self._questions], dim=1)

    def load_state(self, state: Tensor) -> None:
        """Go on from what `state` gave; the regions stay."""
        for question, part in zip(self._questions, state.split(2, dim=1), strict=True):
            question.load_state(part)

    def report(self) -> Report:
        """No scores."""
        return self._questions[0].report()


_UNKNOWN = 2
"""In place of no and yes, where a label is ignored."""


def inner(label: Map, margin: int) -> Map:
    """Where no other label value, an ignored one included, is within `margin` pixels in rows and columns: (H, W)."""
    if margin < 1:
        return np.ones(label.shape, bool)
    window = np.ones((2 * margin + 1, 2 * margin + 1), np.uint8)
    return np.asarray(cv2.erode(label, window) == cv2.dilate(label, window))
