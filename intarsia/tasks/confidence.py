"""From which probability on a teacher's class is a pseudo label: a number, or what the teacher's own answers say.

One number for all classes lets through whatever the network learns first: sky and road, or the background around the
few things that it is to find. FreeMatch (Wang et al. 2023, arXiv:2205.07246) has thresholds follow the confidence of
the network itself, one for each class.

Shape letters: N images, K classes, H, W height and width; Q questions about a pixel: 1, or K where it may have several
classes, and the answers of an image are then K rows, of no and yes to each class.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

LEAST = 0.5
"""A class that is less likely than all others together is no label."""


class FixedConfidence:
    """The same for all classes and steps."""

    def __init__(self, least: float) -> None:
        self._least = least

    def sure(self, probability: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """Where the class counts, (N, H, W) bool; see `OwnConfidence.sure`."""
        return probability >= self._least

    def end_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """Nothing is learned of a step."""

    def state(self) -> dict[str, Tensor]:
        """Nothing."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """As it is."""


class OwnConfidence:
    """For each class the mean probability of the pixels that the teacher gave it, as a running average over steps.

    So of a rare or hard class as large a part counts as of others: the pixels of which the teacher is surer than usual.
    The average is that of all steps in the beginning, and has a memory of 1 / `share` steps later. A class without
    pixels in a step keeps its threshold; none is below `LEAST`.

    questions, classes: Q, and the answers to each. share: of a step in the average.

    The thresholds of a step are those that the steps before have left. So they are the same for all micro-batches and
    processes, which are added up when the step is over.
    """

    def __init__(self, questions: int, classes: int, *, share: float = 0.01) -> None:
        self._share = share
        self._steps = torch.zeros(questions, classes)  # in which a class had pixels
        self._means = torch.zeros(questions, classes)
        self._sums = torch.zeros(2, questions, classes)  # of the step so far: pixels, and what is sure of them

    @property
    def thresholds(self) -> Tensor:
        """(Q, K)."""
        return self._means.clamp(min=LEAST)

    def sure(self, probability: Tensor, labels: Tensor, valid: Tensor) -> Tensor:
        """Where the class of a pixel counts, (N, H, W) bool; what is seen will move the thresholds.

        probability, labels: (N, H, W), the likeliest class and how likely it is. valid: (N, H, W) bool, pixels of
        images. Row n is about question n modulo Q.
        """
        self._to(probability.device)
        questions, classes = self._means.shape
        every = torch.arange(classes, device=labels.device).view(-1, 1, 1)
        chosen = (labels.unsqueeze(1) == every) & valid.unsqueeze(1)
        chosen = chosen.unflatten(0, (-1, questions))  # (N, Q, K, H, W); sums of it come out the same in every run
        probabilities = probability.float().unsqueeze(1).unflatten(0, (-1, questions)).where(chosen, 0.0)
        self._sums += torch.stack([of_pixels.sum((0, 3, 4)).float() for of_pixels in (chosen, probabilities)])
        thresholds = self.thresholds.repeat(len(labels) // questions, 1)  # (N, K)
        return probability >= thresholds.gather(1, labels.flatten(1)).view_as(labels)

    def end_step(self, total: Callable[[Tensor], Tensor]) -> None:
        """The step is over: what was seen in it moves the thresholds. total: the sum over all processes."""
        pixels, probabilities = total(self._sums)
        found = (pixels > 0) & probabilities.isfinite()
        self._steps += found
        share = self._steps.clamp(min=1).reciprocal().clamp(min=self._share)
        means = probabilities / pixels.clamp(min=1)
        self._means = torch.where(found, self._means.lerp(means, share), self._means)
        self._sums = torch.zeros_like(self._sums)

    def state(self) -> dict[str, Tensor]:
        """What is left after a step."""
        return {"steps": self._steps, "means": self._means}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave; without anything, from the beginning."""
        if not state:
            return
        self._steps, self._means = state["steps"].clone(), state["means"].clone()

    def _to(self, device: torch.device) -> None:
        if self._means.device != device:
            self._steps, self._means, self._sums = (
                tensor.to(device) for tensor in (self._steps, self._means, self._sums)
            )
