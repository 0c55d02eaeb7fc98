"""Scores of each of several data sets beside those of all their images, in one pass.

The states of a metric add up, and the images of a data set follow each other. So what a metric had counted when the
data set changed is all that is kept: differences of it are what was counted in between.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

import torch
from torch import Tensor

from intarsia.contracts import Dataset, Metric, Report
from intarsia.data.datasets.mixed import mixed_in
from intarsia.distributed.device_processes import Link
from intarsia.distributed.runtime import FabricRuntime
from intarsia.metrics.best_threshold import BestThresholdMetric
from intarsia.metrics.multi_label import BestThresholdsMetric


class PartCounts:
    """What a metric counts of each part of a data set. Without parts it does nothing.

    Images come as `eval_loader` gives them: number n of a process is image rank + n * world_size.
    """

    def __init__(self, dataset: Dataset, metric: Metric, runtime: FabricRuntime | Link) -> None:
        mixed = mixed_in(dataset)
        self._ends: tuple[int, ...] = () if mixed is None else mixed.ends
        self._names: tuple[str, ...] = () if mixed is None else mixed.names
        self._metric, self._runtime = metric, runtime
        self._seen, self._part = 0, 0
        self._before = metric.state().clone() if self._names else torch.zeros(0)
        self._counts: list[Tensor | None] = [None] * len(self._names)

    def next_image(self) -> None:
        """Called before each image is counted."""
        if not self._names:
            return
        image = self._runtime.rank + self._seen * self._runtime.world_size
        self._seen += 1
        part = bisect_right(self._ends, image)
        if part != self._part:
            self._close()
            self._part = part

    def _close(self) -> None:
        now = self._metric.state().clone()
        self._counts[self._part] = now - self._before
        self._before = now

    def end(self) -> None:
        """Called when all images are counted, by this process alone."""
        if self._names:
            self._close()

    def reports(self, threshold: float | Sequence[float] | None) -> dict[str, Report]:
        """The scores of every part, over all processes; the metric holds those of the last part then.

        threshold: that of the foreground, or those of all classes, that all images together have, where the metric
            chooses them.
        """
        if not self._names:
            return {}
        empty = torch.zeros_like(self._before)
        reports = {}
        for name, counts in zip(self._names, self._counts, strict=True):
            self._metric.load_state(self._runtime.all_reduce_sum(empty.clone() if counts is None else counts))
            reports[name] = self._report(threshold)
        return reports

    def _report(self, threshold: float | Sequence[float] | None) -> Report:
        metric = self._metric
        if isinstance(metric, BestThresholdMetric) and isinstance(threshold, float):
            return metric.report_at(threshold)
        if isinstance(metric, BestThresholdsMetric) and isinstance(threshold, Sequence):
            return metric.report_at(threshold)
        return metric.report()
