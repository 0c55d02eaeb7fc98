"""A head, a loss, a data set, a transform and an observer of one's own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import Tensor, nn

from intarsia.catalog import register
from intarsia.contracts import Report, Sample, SampleMeta
from intarsia.engine.callbacks.base import Observer
from intarsia.engine.training.run import Run


@register("head")
class PlainHead(nn.Module):
    """One convolution on one level: the least that is a head."""

    def __init__(self, *, in_channels: int, num_classes: int, in_index: int = -1, align_corners: bool = False) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.in_index = in_index
        self.num_classes = num_classes
        self.align_corners = align_corners
        self.conv = nn.Conv2d(in_channels, num_classes, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        """Feature maps -> logits (N, K, h, w)."""
        logits: Tensor = self.conv(features[self.in_index])
        return logits


@register("loss")
class SquaredLoss(nn.Module):
    """Mean squared distance of probabilities and one-hot labels, ignored pixels left out (the Brier score)."""

    def __init__(self, *, ignore_index: int = 255) -> None:
        super().__init__()
        self.ignore_index = ignore_index

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Logits (N, K, H, W), target (N, H, W) -> scalar."""
        valid = target != self.ignore_index
        wanted = nn.functional.one_hot(target.clamp(max=logits.shape[1] - 1), logits.shape[1]).movedim(-1, 1)
        distance = (logits.softmax(1) - wanted).square().sum(1)
        return (distance * valid).sum() / valid.sum().clamp(min=1)


@register("dataset")
class Stripes:
    """Images drawn, not read: vertical stripes, whose brighter half is class 1."""

    classes = ("dark", "bright")
    palette = ((40, 40, 40), (240, 240, 120))
    ignore_index = 255

    def __init__(self, *, length: int = 8, size: int = 64) -> None:
        self.length = length
        self.size = size

    def __len__(self) -> int:
        return self.length

    def load(self, index: int) -> Sample:
        """The stripes of `index`, the same every time."""
        rng = np.random.default_rng(index)
        bright = np.broadcast_to(rng.random(self.size) > 0.5, (self.size, self.size))
        noise = rng.integers(0, 60, (self.size, self.size, 3))
        image = (bright[..., None] * 150 + noise).astype(np.uint8)
        meta = SampleMeta(name=f"stripes_{index}", original_size=(self.size, self.size))
        return Sample(image, bright.astype(np.uint8), meta=meta)


@register("transform")
@dataclass(frozen=True)
class Dim:
    """Darken the image by a random factor."""

    least: float = 0.5

    def __call__(self, sample: Sample, rng: np.random.Generator) -> Sample:
        """The sample with another image; labels stay."""
        factor = rng.uniform(self.least, 1.0)
        return replace(sample, image=(sample.image * factor).astype(sample.image.dtype))


@register("observer")
class Diary(Observer):
    """Writes a line for every evaluation."""

    def __init__(self, *, file: str = "diary.txt") -> None:
        self.file = file

    def evaluated(self, run: Run, step: int, report: Report) -> None:
        """One line: the step and the score."""
        with open(Path(run.folder.path) / self.file, "a", encoding="utf-8") as diary:
            diary.write(f"after {step} steps: {report.summary['mIoU']:.3f}\n")
