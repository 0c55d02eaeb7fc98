"""Two samples in one: objects of another pasted in, half of its classes, or a rectangle of it.

The others are drawn from the whole data set by `data.pipeline` and come as they are at this place of it, so that these
belong behind the crop, where all have one size. An image of another size is taken as far as both reach, from the upper
left corner. Numbers are not mixed: every pixel comes with its own label, and none is invented.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Sample, Size
from intarsia.data.labels import value_counts
from intarsia.data.transforms.arguments import check_alike, check_chance, checked_range
from intarsia.data.transforms.resize import resized
from intarsia.data.transforms.warp import check_image

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

_MOST_OTHERS = 64


@dataclass(frozen=True)
class CopyPaste:
    """Paste regions of some classes, cut out of other samples, to random places (Ghiasi et al., arXiv:2012.07177).

    A region is a connected piece of one class, neighbours at corners included. Published for objects with masks of
    their own, and all objects of one other image; here the classes say what is worth pasting: the rare ones.

    classes: indices of the classes that are pasted; by default that which has the fewest pixels in the other image.
    prob: chance of doing it.
    max_regions: at most so many regions, drawn at random, from 1.
    min_area: pixels that a region has at least; smaller ones are rather mistakes of who drew the labels.
    scale: a region's size is multiplied by a factor between these two. flip: whether it is mirrored half of the time.
    others: how many other samples are looked at until one shows such a class. Each costs what a sample costs.
    ignore_index: the label value that counts as no class.
    """

    classes: Sequence[int] | None = None
    prob: float = 0.5
    max_regions: int = 3
    min_area: int = 16
    scale: tuple[float, float] = (0.8, 1.25)
    flip: bool = True
    others: int = 2
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("CopyPaste", prob=self.prob)
        if self.classes is not None:
            classes = tuple(self.classes)
            if not classes or not all(isinstance(one, int) and one >= 0 for one in classes):
                raise ValueError(f"CopyPaste: classes must be indices of classes, at least one, got {self.classes!r}")
            object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "scale", checked_range("CopyPaste", "scale", self.scale))
        for name in ("max_regions", "min_area", "others"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"CopyPaste: {name} must be a whole number of at least 1, got {value!r}")
        if self.others > _MOST_OTHERS:
            raise ValueError(f"CopyPaste: others must be at most {_MOST_OTHERS}, got {self.others!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        """The sample with what was pasted, or as it is: by chance, without labels, or if no other has the classes.

        Raises ValueError for fewer others than it asks for, and for others with other bands, types or maps.
        """
        _check_count("CopyPaste", self.others, others)
        check_image("CopyPaste", sample)
        if not rng.random() < self.prob or sample.label is None or sample.label.dtype.kind == "f":
            return sample
        for other in others:
            check_alike("CopyPaste", [sample, other])
            pieces = self._regions(other)
            if pieces:
                break
        else:
            return sample
        order = rng.permutation(len(pieces))[: int(rng.integers(1, self.max_regions, endpoint=True))]
        for number in order.tolist():
            piece = self._varied(pieces[number], rng)
            sample = _pasted(sample, piece, rng)
        return sample

    def _regions(self, other: Sample) -> list[Sample]:
        """Each region with the rectangle around it; its map "" says which pixels belong to it."""
        assert other.label is not None
        pieces = []
        for value in self._rarest(other.label) if self.classes is None else self.classes:
            mask = (other.label == value).astype(np.uint8)
            if not mask.any():
                continue
            count, numbers, boxes, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
            for number in range(1, count):
                left, top, width, height, area = (int(side) for side in boxes[number])
                if area >= self.min_area:
                    place = (slice(top, top + height), slice(left, left + width))
                    pieces.append(_cut(other, place, np.asarray(numbers)[place] == number))
        return pieces

    def _rarest(self, label: Array) -> list[int]:
        """The class with the fewest pixels; none where there is one class alone, which would cover everything."""
        counts = {value: count for value, count in value_counts(label).items() if value != self.ignore_index}
        return [min(counts, key=lambda value: counts[value])] if len(counts) > 1 else []

    def _varied(self, piece: Sample, rng: np.random.Generator) -> Sample:
        factor, mirrored = rng.uniform(*self.scale), self.flip and rng.random() < 0.5
        height, width = (max(round(side * factor), 1) for side in piece.image.shape[:2])
        piece = resized(piece, (height, width))
        if not mirrored:
            return piece
        return replace(
            piece,
            image=piece.image[:, ::-1],
            label=None if piece.label is None else piece.label[:, ::-1],
            maps={name: value[:, ::-1] for name, value in piece.maps.items()},
        )


@dataclass(frozen=True)
class ClassMix:
    """Cover the sample with half of the classes of another one, where they are there (Olsson et al., arXiv:2007.07936).

    Published for images without labels, with those that a network gives them; here with labels. Ignored pixels are in
    no class, and so stay behind.

    prob: chance of doing it. ignore_index: the label value that counts as no class.
    """

    others: ClassVar[int] = 1

    prob: float = 0.5
    ignore_index: int = IGNORE_INDEX

    def __post_init__(self) -> None:
        check_chance("ClassMix", prob=self.prob)

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        """The mixed sample, or, by chance or without labels, the sample as it is.

        Raises ValueError unless there is one other, with the bands, the type and the maps of the sample.
        """
        _check_count("ClassMix", self.others, others)
        check_image("ClassMix", sample)
        if not rng.random() < self.prob or sample.label is None or sample.label.dtype.kind == "f":
            return sample
        check_alike("ClassMix", [sample, others[0]])
        other = _overlap(sample, others[0])
        assert other.label is not None
        classes = [value for value in np.unique(other.label).tolist() if value != self.ignore_index]
        chosen = rng.permutation(classes)[: (len(classes) + 1) // 2]
        return _covered(_unpadded(sample), other, np.isin(other.label, chosen), (0, 0))


@dataclass(frozen=True)
class CutMix:
    """Cover a rectangle of the sample with the same rectangle of another one (Yun et al., arXiv:1905.04899).

    The rectangle has the proportions of the image, a share 1 - r of its area, where r is drawn from Beta(alpha, alpha),
    and a random middle; what reaches beyond the image is cut off.

    prob: chance of doing it. alpha: of the distribution; with 1, all shares are as likely. sides: instead, each side of
    the rectangle is drawn by itself, between these shares of the image's, and it lies in the image as a whole.
    """

    others: ClassVar[int] = 1

    prob: float = 0.5
    alpha: float = 1.0
    sides: tuple[float, float] | None = None

    def __post_init__(self) -> None:
        check_chance("CutMix", prob=self.prob)
        if self.sides is not None and not (len(self.sides) == 2 and 0 <= self.sides[0] <= self.sides[1] <= 1):
            raise ValueError(f"CutMix: sides must be two shares of a side, the smaller first, got {self.sides!r}")
        if not self.alpha > 0:
            raise ValueError(f"CutMix: alpha must be above 0, got {self.alpha!r}")

    def __call__(self, sample: Sample, rng: np.random.Generator, others: Sequence[Sample] = ()) -> Sample:
        """The mixed sample, or, by chance, the sample as it is.

        Raises ValueError unless there is one other, with the bands, the type, the labels and the maps of the sample.
        """
        _check_count("CutMix", self.others, others)
        check_image("CutMix", sample)
        if not rng.random() < self.prob:
            return sample
        check_alike("CutMix", [sample, others[0]])
        other = _overlap(sample, others[0])
        height, width = other.image.shape[:2]
        if self.sides is None:
            mask = random_rectangle((height, width), self.alpha, rng)
        else:
            mask = _rectangle_inside((height, width), self.sides, rng)
        return _covered(_unpadded(sample), other, mask, (0, 0))


def random_rectangle(size: Size, alpha: float, rng: np.random.Generator) -> Mask:
    """(H, W), true in a rectangle as `CutMix` draws it."""
    share = 1 - rng.beta(alpha, alpha)
    place = []
    for side in size:
        middle, length = rng.uniform(0, side), side * share**0.5
        ends = round(middle - length / 2), round(middle + length / 2)
        place.append(slice(max(ends[0], 0), min(ends[1], side)))
    mask = np.zeros(size, np.bool_)
    mask[tuple(place)] = True
    return mask


def _rectangle_inside(size: Size, sides: tuple[float, float], rng: np.random.Generator) -> Mask:
    """(H, W), true in a rectangle whose sides are drawn between shares of these."""
    place = []
    for side in size:
        length = round(side * rng.uniform(*sides))
        start = int(rng.integers(side - length + 1))
        place.append(slice(start, start + length))
    mask = np.zeros(size, np.bool_)
    mask[tuple(place)] = True
    return mask


_MASK = ""
"""The map of a piece that says which of its pixels belong to it."""


def _check_count(owner: str, expected: int, others: Sequence[Sample]) -> None:
    if len(others) != expected:
        raise ValueError(
            f"{owner}: expected {expected} further samples, found {len(others)}; the pipeline of a data set draws them"
        )


def _cut(sample: Sample, place: tuple[slice, slice], mask: Mask) -> Sample:
    return replace(
        sample,
        image=sample.image[place],
        label=None if sample.label is None else sample.label[place],
        maps={**{name: value[place] for name, value in sample.maps.items()}, _MASK: mask},
        meta=replace(sample.meta, valid=None),
    )


def _unpadded(sample: Sample) -> Sample:
    """What is padding is no longer known once something lies over it."""
    return replace(sample, meta=replace(sample.meta, valid=None))


def _overlap(sample: Sample, other: Sample) -> Sample:
    """What of the other lies within the sample's size."""
    height, width = (min(sides) for sides in zip(sample.image.shape[:2], other.image.shape[:2], strict=True))
    whole = (slice(0, height), slice(0, width))
    return replace(
        other,
        image=other.image[whole],
        label=None if other.label is None else other.label[whole],
        maps={name: value[whole] for name, value in other.maps.items()},
    )


def _pasted(sample: Sample, piece: Sample, rng: np.random.Generator) -> Sample:
    """The sample with a piece at a random place, wholly inside as far as it fits, and not on padding."""
    height, width = sample.meta.valid or sample.image.shape[:2]
    rows, columns = (min(sides) for sides in zip((height, width), piece.image.shape[:2], strict=True))
    piece = _overlap(replace(sample, image=sample.image[:rows, :columns]), piece)
    corner = (int(rng.integers(height - rows, endpoint=True)), int(rng.integers(width - columns, endpoint=True)))
    return _covered(sample, piece, piece.maps[_MASK], corner)


def _covered(sample: Sample, other: Sample, mask: Mask, corner: tuple[int, int]) -> Sample:
    """The sample with the pixels of `mask` (h, w) from the other (h, w), whose upper left one comes to `corner`."""
    place = tuple(slice(start, start + side) for start, side in zip(corner, mask.shape, strict=True))

    def put(array: Array, new: Array) -> Array:
        result = array.astype(np.result_type(array, new))
        result[place][mask] = new[mask]
        return result

    label = sample.label
    if label is not None:
        assert other.label is not None
        label = put(label, other.label)
    maps = {name: put(value, other.maps[name]) for name, value in sample.maps.items()}
    return replace(sample, image=put(sample.image, other.image), label=label, maps=maps)
