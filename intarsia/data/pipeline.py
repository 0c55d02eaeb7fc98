"""A data set with what is done to each sample, and the check that its labels make sense afterwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Literal, cast, overload

import numpy as np

from intarsia.contracts import AnyTransform, Dataset, DrawingDataset, MixingTransform, Sample
from intarsia.data.datasets.mixed import MixedDataset, order_of
from intarsia.data.labels import holds_sets, ranges, value_count, value_counts
from intarsia.data.rare_classes import images_showing
from intarsia.data.rows import RowArray, load_rows
from intarsia.data.sample_errors import with_text
from intarsia.data.sampling import Order, RareClassOrder, WeightedOrder
from intarsia.data.stage_times import READING, StageTimes
from intarsia.data.transforms.by_dataset import by_member
from intarsia.data.transforms.geometry import RandomCrop, ResizeThenCrop
from intarsia.data.transforms.on_device import Deferred, deferred
from intarsia.data.transforms.redraw import RedrawUnlabelled
from intarsia.data.transforms.resize import Resizing
from intarsia.data.transforms.scale import SegRescale
from intarsia.spec import RareSpec


class Pipeline:
    """Samples of `dataset`, transformed and checked.

    transforms: applied in order. A resizing transform right before a crop is done together with it, with equal result.
    A transform that states `others` is given so many further samples, drawn from the whole data set, after the
        transforms before it.
    Labels of another size than their image are the last transform's: `SegRescale`.
    `RedrawUnlabelled` among them has a sample transformed again as long as nothing in it is labelled.
    In the place of `ByDataset` are the transforms of the sample's own data set.
    rare: classes that training draws samples for, with a crop that shows them.
    label_size: "input": the label goes through the transforms with the image. "original": it keeps the size of its
        file, as evaluation must have it, and only the image is transformed.
    """

    def __init__(
        self,
        dataset: Dataset,
        transforms: Sequence[AnyTransform],
        *,
        label_size: Literal["input", "original"] = "input",
        rare: RareSpec | None = None,
    ) -> None:
        if label_size not in ("input", "original"):
            raise ValueError(f"label_size must be 'input' or 'original', not {label_size!r}")
        self.dataset = dataset
        self.transforms = tuple(transforms)
        self.label_size = label_size
        self.rare = rare
        self._steps = tuple(_joined(steps) for steps in by_member(self.transforms))
        self._rescale = tuple(map(_last_of, self._steps))
        self.times = StageTimes()
        self._drawing = dataset if label_size == "input" and isinstance(dataset, DrawingDataset) else None
        self._reads_rows = label_size == "input" and all(
            bool(steps) and getattr(steps[0], "reads_rows", False) for steps in self._steps
        )

    def on_device(self) -> Pipeline:
        """The same, with the transforms left to the device that it can do. Raises ValueError if there are none."""
        return Pipeline(self.dataset, deferred(self.transforms), label_size=self.label_size, rare=self.rare)

    def prepare(self) -> None:
        """Load what the transforms have compiled: once for all workers that are forked from this process, and outside
        of the time of any sample. What was not compiled yet on this machine takes seconds.
        """
        for steps in self._steps:
            for step in steps:
                if hasattr(step, "prepare"):
                    step.prepare()

    def __len__(self) -> int:
        return len(self.dataset)

    def order(self, *, seed: int, shuffle: bool) -> Order | WeightedOrder | RareClassOrder:
        """The order of the samples in training. Raises ValueError for data that cannot be drawn as they shall be."""
        if self.rare is None:
            return order_of(self.dataset, seed=seed, shuffle=shuffle)
        return RareClassOrder(len(self), self._images_of_rare, self.rare.every, seed=seed, shuffle=shuffle)

    @cached_property
    def _images_of_rare(self) -> Mapping[int, tuple[int, ...]]:
        assert self.rare is not None
        return images_showing(self.dataset, self.rare.classes)

    def get(self, index: int, rng: np.random.Generator, *, wanted: int = -1, place: tuple[int, int] = (0, 0)) -> Sample:
        """The sample at `index`, with everything random taken from `rng`.

        wanted: the class that it is drawn for; place: which sample of its step it is, see `SampleMeta`.

        Raises ValueError naming the file, and the transform where one is to blame, if the sample cannot be read or
        transformed, or if its label holds anything but class indices and the ignore index. Any other error of a data
        set or a transform keeps its type, and says the same.
        """
        sample = self._load(index, rng)
        if wanted >= 0 or place != (0, 0):
            sample = replace(sample, meta=replace(sample.meta, wanted=wanted, place=place))
        label = sample.label
        if self.label_size == "original":
            sample = replace(sample, label=None)
        steps = self._steps[sample.meta.member]
        sample = self._accepted(sample, rng, steps)
        last = type(steps[-1]).__name__ if steps else "loading"
        if self.label_size == "original":
            sample = replace(sample, label=label)
        elif sample.label is not None:
            self._check_size(sample, sample.label.shape, last)
        self._check_values(sample, last)
        return sample

    @property
    def movable_stages(self) -> frozenset[str]:
        """The stages of loading that a device could do instead."""
        try:
            moved = deferred(self.transforms)
        except ValueError:
            return frozenset()
        return frozenset(stage_of(step.step) for step in moved if isinstance(step, Deferred))

    def _accepted(self, loaded: Sample, rng: np.random.Generator, steps: Sequence[AnyTransform]) -> Sample:
        """The loaded sample after all steps, drawn again where one of them asks for it."""
        redraw = next((step for step in steps if isinstance(step, RedrawUnlabelled)), None)
        sample = self._transformed(loaded, rng, len(steps))
        attempts = 1
        while redraw is not None and attempts < redraw.attempts and not redraw.accepts(sample):
            sample = self._transformed(loaded, rng, len(steps))
            attempts += 1
        return sample

    def _load(self, index: int, rng: np.random.Generator, *, whole: bool = False) -> Sample:
        """whole: also for a first step that reads no more than the rows it needs."""
        try:
            with self.times.measure(READING):
                sample = self._draw(index, rng)
                if sample is None:
                    sample = load_rows(self.dataset, index) if self._reads_rows and not whole else None
                    if sample is None:
                        sample = self.dataset.load(index)
                    elif isinstance(sample.image, RowArray):
                        if not sample.image.decodes:  # read by the first step, and not worth a cache
                            return sample
                        both: tuple[object, ...] = sample.image, sample.label
                        for rows in both:
                            if isinstance(rows, RowArray):
                                rows.measured = lambda: self.times.measure(READING)
            self.times.count(sample.image.nbytes + (0 if sample.label is None else sample.label.nbytes))
            return sample
        except ValueError:  # the data set's own word, which names the file
            raise
        except Exception as error:
            raise with_text(error, f"sample {index}: {error} (loading, by {type(self.dataset).__name__})") from error

    def _draw(self, index: int, rng: np.random.Generator) -> Sample | None:
        """One of the samples that training may see at an index; None where there is but that of `load`."""
        return None if self._drawing is None else self._drawing.draw(index, rng)

    def _transformed(self, sample: Sample, rng: np.random.Generator, count: int) -> Sample:
        """The sample after the first `count` steps of its data set."""
        steps = self._steps[sample.meta.member]
        for place, step in enumerate(steps[:count]):
            try:
                with self.times.measure(stage_of(step)):
                    if hasattr(step, "others"):
                        mixing = cast("MixingTransform", step)
                        sample = mixing(sample, rng, self._drawn(mixing.others, rng, len(steps) - place))
                    else:
                        sample = step(sample, rng)
            except Exception as error:
                raise with_text(error, f"{_name(sample)}: {error} (transform {type(step).__name__})") from error
        return sample

    def _drawn(self, count: int, rng: np.random.Generator, left: int) -> Sequence[Sample]:
        """So many samples after all steps but the last `left`, which are the same for all data sets.

        What is drawn does not depend on which of them are used.
        """
        if isinstance(self.dataset, MixedDataset):
            indices = self.dataset.draw_indices(rng, count)
        else:
            indices = rng.integers(len(self.dataset), size=count).tolist()
        seeds = rng.integers(2**63, size=count).tolist()

        def load(number: int) -> Sample:
            rng = np.random.default_rng(seeds[number])
            sample = self._load(indices[number], rng, whole=any(len(steps) == left for steps in self._steps))
            if self.label_size == "original":
                sample = replace(sample, label=None)
            return self._transformed(sample, rng, len(self._steps[sample.meta.member]) - left)

        return _Loaded(load, count)

    def _check_size(self, sample: Sample, found: tuple[int, ...], last: str) -> None:
        size, rescale = sample.image.shape[:-1], self._rescale[sample.meta.member]
        if rescale is not None and sample.maps:
            raise ValueError(
                f"{_name(sample)}: SegRescale gives labels another size, but this network also learns "
                f"{', '.join(sample.maps)}, of the image's size: leave SegRescale out"
            )
        if found != (size if rescale is None else rescale.size_of(size)):
            raise ValueError(
                f"{_name(sample)}: after {last}, the image has {size} pixels and the label {found}; a transform must "
                "move both"
            )

    def _check_values(self, sample: Sample, last: str) -> None:
        label, ignore = sample.label, self.dataset.ignore_index
        count = value_count(self.dataset)
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
            kind = "the sets" if holds_sets(self.dataset) else "the indices"
            raise ValueError(
                f"{sample.meta.label_path or _name(sample)}: after {last}, the label holds {ranges(wrong)}, but "
                f"{len(self.dataset.classes)} classes have {kind} 0-{count - 1}, and {ignore} is ignored. "
                "Correct the data set's label table or class list; `intarsia data check` shows what the files hold"
            )


class _Loaded(Sequence[Sample]):
    """Samples that are loaded when they are looked at, since a transform may decide by chance to use none."""

    def __init__(self, load: Callable[[int], Sample], count: int) -> None:
        self._load, self._found = load, dict[int, Sample]()
        self._numbers = range(count)

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[number] for number in self._numbers[index]]
        number = self._numbers[index]
        if number not in self._found:
            self._found[number] = self._load(number)
        return self._found[number]


def stage_of(step: AnyTransform) -> str:
    """What a step is called where its time is told."""
    if isinstance(step, Deferred):
        return f"drawing {type(step.step).__name__}"
    if isinstance(step, ResizeThenCrop):
        return f"{type(step.resize).__name__}+{type(step.crop).__name__}"
    return type(step).__name__


def _joined(transforms: Sequence[AnyTransform]) -> tuple[AnyTransform, ...]:
    steps: list[AnyTransform] = []
    for transform in transforms:
        if isinstance(transform, RandomCrop) and steps and isinstance(steps[-1], Resizing):
            steps[-1] = ResizeThenCrop(steps[-1], transform)
        else:
            steps.append(transform)
    return tuple(steps)


def _last_of(steps: Sequence[AnyTransform]) -> SegRescale | None:
    """What gives labels another size. Raises ValueError if that is not the last step, since no other would know."""
    for place, step in enumerate(steps, 1):
        if isinstance(step, SegRescale) and step.changes:
            if place < len(steps):
                behind = type(steps[place]).__name__
                raise ValueError(
                    f"SegRescale gives labels another size than their images, which {behind} behind it would not know: "
                    "make it the last transform"
                )
            return step
    return None


def _name(sample: Sample) -> str:
    return sample.meta.image_path or sample.meta.name or "sample without a name"
