"""A data set with what is done to each sample, and the check that its labels make sense afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from intarsia.contracts import Dataset, Sample, Transform
from intarsia.data.labels import label_values, ranges, value_counts
from intarsia.data.sample_errors import with_text
from intarsia.data.transforms.geometry import RandomCrop, ResizeThenCrop
from intarsia.data.transforms.resize import Resizing


class Pipeline:
    """Samples of `dataset`, transformed and checked.

    transforms: applied in order. A resizing transform right before a crop is done together with it, with equal result.
    label_size: "input": the label goes through the transforms with the image. "original": it keeps the size of its
        file, as evaluation must have it, and only the image is transformed.
    """

    def __init__(
        self,
        dataset: Dataset,
        transforms: Sequence[Transform],
        *,
        label_size: Literal["input", "original"] = "input",
    ) -> None:
        if label_size not in ("input", "original"):
            raise ValueError(f"label_size must be 'input' or 'original', not {label_size!r}")
        self.dataset = dataset
        self.transforms = tuple(transforms)
        self.label_size = label_size
        self._steps = _joined(self.transforms)

    def __len__(self) -> int:
        return len(self.dataset)

    def get(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample at `index`, with everything random taken from `rng`.

        Raises ValueError naming the file, and the transform where one is to blame, if the sample cannot be read or
        transformed, or if its label holds anything but class indices and the ignore index. Any other error of a data
        set or a transform keeps its type, and says the same.
        """
        try:
            sample = self.dataset.load(index)
        except ValueError:  # the data set's own word, which names the file
            raise
        except Exception as error:
            raise with_text(error, f"sample {index}: {error} (loading, by {type(self.dataset).__name__})") from error
        label = sample.label
        if self.label_size == "original":
            sample = replace(sample, label=None)
        last = "loading"
        for step in self._steps:
            last = type(step).__name__
            try:
                sample = step(sample, rng)
            except Exception as error:
                raise with_text(error, f"{_name(sample)}: {error} (transform {last})") from error
        if self.label_size == "original":
            sample = replace(sample, label=label)
        elif sample.label is not None and sample.label.shape != sample.image.shape[:2]:
            raise ValueError(
                f"{_name(sample)}: after {last}, the image has {sample.image.shape[:2]} pixels and the label "
                f"{sample.label.shape}; a transform must move both"
            )
        self._check_values(sample, last)
        return sample

    def _check_values(self, sample: Sample, last: str) -> None:
        label, ignore = sample.label, self.dataset.ignore_index
        count = label_values(len(self.dataset.classes))
        if label is None or not label.size:
            return
        if label.dtype.kind == "f":
            if not np.isfinite(label).all() or label.min() < 0:
                path = sample.meta.label_path or _name(sample)
                raise ValueError(
                    f"{path}: after {last}, the depths hold {label.min()} to {label.max()}; expected 0 or more"
                )
            return
        if label.dtype == np.uint8 and ignore == 255 and int((label + np.uint8(1)).max()) <= count:
            return  # the usual case, in one pass: 255 wraps around to 0
        wrong = [value for value in value_counts(label) if not 0 <= value < count and value != ignore]
        if wrong:
            raise ValueError(
                f"{sample.meta.label_path or _name(sample)}: after {last}, the label holds {ranges(wrong)}, but "
                f"{len(self.dataset.classes)} classes have the indices 0-{count - 1}, and {ignore} is ignored. "
                "Correct the data set's label table or class list; `intarsia data check` shows what the files hold"
            )


def _joined(transforms: Sequence[Transform]) -> tuple[Transform, ...]:
    steps: list[Transform] = []
    for transform in transforms:
        if isinstance(transform, RandomCrop) and steps and isinstance(steps[-1], Resizing):
            steps[-1] = ResizeThenCrop(steps[-1], transform)
        else:
            steps.append(transform)
    return tuple(steps)


def _name(sample: Sample) -> str:
    return sample.meta.image_path or sample.meta.name or "sample without a name"
