"""Images without labels beside those of a training, each in two views: one as it is, one hard to recognise.

FixMatch (Sohn et al. 2020, arXiv:2001.07685) and, for segmentation, UniMatch (Yang et al. 2023, arXiv:2208.09910): what
a network says of the weak view is what it should say of the strong one. Both views show the same pixels in the same
places; the strong one has other colours, is blurred, and gets a rectangle of another image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from intarsia.contracts import AnyTransform, Dataset, DrawingDataset, Sample, Size, Transform, Views
from intarsia.data.collate import collate
from intarsia.data.pipeline import Pipeline
from intarsia.data.sampling import Order, other_seed, sample_rng
from intarsia.data.transforms.mixing import random_rectangle

_IMAGE = 0
"""The label of every pixel of an image; what transforms bring in from outside is ignored as in any label."""


@dataclass(frozen=True)
class Unlabelled:
    """A stream of images without labels: a function of the seed and the step, as that of the labelled ones.

    pipeline: the images with what the weak view is made by (`weak_views`). strong: what makes the strong view of it.
    seed: of the training. ratio: images for each labelled one. cut_mix: chance that one gets a rectangle of the next.
    ramp_up: steps in which the amount rises to 1, by exp(-5 (1 - t)^2) of their share t (Tarvainen & Valpola 2017,
    arXiv:1703.01780, appendix B). accumulation_steps: micro-batches of a step.
    """

    pipeline: Pipeline
    strong: tuple[Transform, ...]
    seed: int
    ratio: float = 1.0
    cut_mix: float = 0.5
    ramp_up: int = 0
    accumulation_steps: int = 1

    def __len__(self) -> int:
        return len(self.pipeline)

    def count(self, labelled: int) -> int:
        """Images beside so many labelled ones. Raises ValueError where that is no whole number of at least 1."""
        wanted = self.ratio * labelled
        count = round(wanted)
        if count < 1 or abs(wanted - count) > 1e-6:
            raise ValueError(
                f"intarsia.unlabelled.ratio is {self.ratio:g}: beside the {labelled} labelled images that a process "
                f"sees at once, {wanted:g} would be without labels; expected a whole number of at least 1. Take "
                f"--set intarsia.unlabelled.ratio={max(1, math.ceil(wanted)) / labelled:g}, or another --batch"
            )
        return count

    def views(self, labelled: range, micro_batch: int) -> Views:
        """The images beside the labelled ones of these positions, in the `micro_batch`-th micro-batch of the run."""
        count = self.count(len(labelled))
        first = labelled.start // len(labelled) * count
        order = Order(len(self.pipeline), seed=other_seed(self.seed), shuffle=True)
        weak, strong, streams = [], [], []
        for position in range(first, first + count):
            rng = sample_rng(order.seed, position)
            sample = self.pipeline.get(order.index(position), rng)
            weak.append(sample)
            strong.append(self._strong(sample, rng))
            streams.append(rng)
        ignore_index = self.pipeline.dataset.ignore_index
        batch = collate(weak, ignore_index=ignore_index)
        images = collate(strong, ignore_index=ignore_index).images
        assert isinstance(batch.labels, Tensor)
        mixed = self._rectangles(streams, batch.sizes, (images.shape[2], images.shape[3]))
        return Views(
            weak=batch.images,
            strong=torch.where(mixed[:, None], images.roll(-1, 0), images),
            sizes=batch.sizes,
            valid=batch.labels == _IMAGE,
            mixed=mixed,
            amount=self.amount(micro_batch // self.accumulation_steps),
        )

    def amount(self, step: int) -> float:
        """How much the images count in the step after `step` ones."""
        if step >= self.ramp_up:
            return 1.0
        return math.exp(-5.0 * (1.0 - step / self.ramp_up) ** 2)

    def _strong(self, sample: Sample, rng: np.random.Generator) -> Sample:
        changed = sample
        for transform in self.strong:
            changed = transform(changed, rng)
        if changed.image.shape != sample.image.shape:
            raise ValueError(
                f"{sample.meta.image_path}: the transforms of the strong view make {changed.image.shape} of "
                f"{sample.image.shape}; they must leave every pixel where it is"
            )
        return changed

    def _rectangles(self, streams: Sequence[np.random.Generator], sizes: Sequence[Size], size: Size) -> Tensor:
        """(M, *size), where each image shows the next one; a single image has no other."""
        masks = np.zeros((len(streams), *size), np.bool_)
        for mask, (height, width), rng in zip(masks, sizes, streams, strict=True):
            if len(streams) > 1 and rng.random() < self.cut_mix:
                mask[:height, :width] = random_rectangle((height, width), 1.0, rng)
        return torch.from_numpy(masks)


def weak_views(dataset: Dataset, transforms: Sequence[AnyTransform]) -> Pipeline:
    """Images of `dataset` after some transforms, with a label that says which of their pixels are no padding."""
    return Pipeline(_Covered(dataset), transforms)


class _Covered:
    """A data set with the label "a pixel of the image" everywhere."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self.classes = tuple(dataset.classes)
        self.palette = tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index

    def __len__(self) -> int:
        return len(self.dataset)

    def load(self, index: int) -> Sample:
        """The sample at `index`."""
        return _covered(self.dataset.load(index))

    def draw(self, index: int, rng: np.random.Generator) -> Sample | None:
        """One of the samples at `index`, where the data set has several."""
        sample = self.dataset.draw(index, rng) if isinstance(self.dataset, DrawingDataset) else None
        return None if sample is None else _covered(sample)


def _covered(sample: Sample) -> Sample:
    if sample.label is not None:  # a scene says itself where it has no data
        return sample
    return replace(sample, label=np.full(sample.image.shape[:2], _IMAGE, np.uint8))
