"""The label table: from what a label file stores to class indices, explicitly and once.

Whatever a data set does with its labels (a shifted background, ids of another numbering, masks of 0 and 255, colours)
is a `LabelTable`. It is applied where the file is read; everything after it sees class indices only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.contracts import IGNORE_INDEX, Dataset
from intarsia.data.label_lookup import Labels, Lookup
from intarsia.label_sets import pictured, set_count

Colour = tuple[int, int, int]
_EXACT = 1 << 24  # integers up to here are exact in float32
_STEP = 16  # of the rows and columns that are looked at for a value in the middle


def label_values(num_classes: int) -> int:
    """How many class indices labels may hold: 0 .. n - 1.

    A data set with a single class is a foreground with an unnamed background, so its labels are 0 and 1.
    """
    return max(num_classes, 2)


def holds_sets(dataset: object) -> bool:
    """Whether the labels of a data set, or of those that it is made of, are sets of classes (`label_sets`)."""
    own = getattr(dataset, "multi_label", None)
    if own is not None:
        return bool(own)
    inside = (getattr(dataset, "dataset", None), *(getattr(dataset, "datasets", None) or ()))
    return any(holds_sets(part) for part in inside if part is not None and part is not dataset)


def value_count(dataset: Dataset) -> int:
    """How many values the labels of a data set can have, beside the ignored one: 0 .. n - 1."""
    count = len(dataset.classes)
    return set_count(count) if holds_sets(dataset) else label_values(count)


def shown_values(dataset: Dataset) -> tuple[tuple[str, ...], tuple[Colour, ...]]:
    """A name and a colour for each value of the labels of a data set, for pictures."""
    palette = tuple((int(red), int(green), int(blue)) for red, green, blue in dataset.palette)
    if holds_sets(dataset):
        return pictured(dataset.classes, palette)
    if len(dataset.classes) == 1:  # one foreground: its value is 1
        return ("background", *dataset.classes), ((0, 0, 0), *palette)
    return tuple(dataset.classes), palette


@dataclass(frozen=True)
class LabelTable:
    """What the values of a label file mean.

    values: file value -> class index or `ignore_index`.
    colours: (R, G, B) -> class index or `ignore_index`, for files that store colours. May be given beside `values`.
    ignore_index: the index of pixels that count for nothing.
    outside: what becomes of a value that the table does not list: an error that names it, ignored, or kept as it is.
    tolerance: values that differ by at most so much from a listed one (colours: in each channel) count as the nearest
        such, as the noise of JPEG needs it.

    Raises ValueError if the table is empty or holds something else than integers and colours.
    """

    values: Mapping[int, int] | None
    colours: Mapping[Colour, int] | None = None
    ignore_index: int = IGNORE_INDEX
    outside: Literal["error", "ignore", "keep"] = "error"
    tolerance: int = 0
    _by_value: Lookup | None = field(init=False, repr=False, compare=False, default=None)
    _by_colour: Lookup | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if not self.values and not self.colours:
            raise ValueError("a label table needs `values` (file value -> class) or `colours` ((R, G, B) -> class)")
        if self.outside not in ("error", "ignore", "keep"):
            raise ValueError(f"outside must be 'error', 'ignore' or 'keep', not {self.outside!r}")
        if self.ignore_index < 0:
            raise ValueError(f"ignore_index must not be negative, got {self.ignore_index}: labels are unsigned")
        if not 0 <= self.tolerance <= 255:
            raise ValueError(f"tolerance must be from 0 to 255, not {self.tolerance!r}")
        for target in self.targets():
            if target < 0:
                raise ValueError(f"label table: class index {target} is negative; use {self.ignore_index} to ignore")
        if self.values:
            object.__setattr__(self, "values", dict(self.values))
            object.__setattr__(self, "_by_value", Lookup.of(self.values, self.ignore_index))
        if self.colours:
            packed = {_pack(colour): target for colour, target in self.colours.items()}
            object.__setattr__(self, "colours", {_unpack(code): target for code, target in packed.items()})
            object.__setattr__(self, "_by_colour", Lookup.of(packed, self.ignore_index))

    @classmethod
    def identity(cls, num_classes: int, ignore_index: int = IGNORE_INDEX) -> LabelTable:
        """File values are class indices already; `ignore_index` stays ignored."""
        table = {value: value for value in range(label_values(num_classes))}
        return cls({ignore_index: ignore_index, **table}, ignore_index=ignore_index)

    @classmethod
    def reduce_zero(cls, num_classes: int, ignore_index: int = IGNORE_INDEX) -> LabelTable:
        """File value 0 means "nothing said" and classes count from 1 (ADE20K); 255 stays ignored."""
        table = {value + 1: value for value in range(num_classes)}
        return cls({IGNORE_INDEX: ignore_index, 0: ignore_index, **table}, ignore_index=ignore_index)

    def targets(self) -> frozenset[int]:
        """Everything the table maps to: class indices, and `ignore_index` if something is ignored."""
        return frozenset({*(self.values or {}).values(), *(self.colours or {}).values()})

    def select(self, classes: Sequence[int]) -> LabelTable:
        """The table for a choice of classes: `classes[i]` becomes i, every other class is ignored."""
        new = {old: index for index, old in enumerate(classes)}

        def renumbered(table: Mapping[Any, int] | None) -> dict[Any, int] | None:
            return {key: new.get(target, self.ignore_index) for key, target in table.items()} if table else None

        tables = renumbered(self.values), renumbered(self.colours)
        return LabelTable(*tables, self.ignore_index, self.outside, self.tolerance)

    def translated(self, meaning: Mapping[int, int], ignore_index: int) -> LabelTable:
        """The table for other class indices: what this one maps to i, the new one maps to `meaning[i]`.

        meaning: of every class index; what is ignored stays ignored, as `ignore_index`.
        """
        new = {**meaning, self.ignore_index: ignore_index}

        def renumbered(table: Mapping[Any, int] | None) -> dict[Any, int] | None:
            return {key: new[target] for key, target in table.items()} if table else None

        return LabelTable(renumbered(self.values), renumbered(self.colours), ignore_index, self.outside, self.tolerance)

    @property
    def dtype_of_greys(self) -> np.dtype[Any] | None:
        """The type of the class indices of a file of 8-bit greys; None where that depends on its values."""
        return None if self._by_value is None or self.outside == "keep" else self._by_value.targets.dtype

    def apply(self, array: npt.NDArray[Any], *, file: str) -> Labels:
        """Class indices (H, W) of a label file's content: (H, W) integers, or (H, W, 3) colours.

        The result is uint8 where its values fit and wider where not. A grey picture that is stored as colours is read
        as grey, and the other way round, when the table asks for it. `file` is named in errors.

        Raises ValueError for values outside the table (unless `outside` allows them) and for content that is no label.
        """
        if array.dtype.kind == "b":
            array = array.astype(np.uint8)  # not view(): Pillow stores True as the byte 255
        if array.dtype.kind not in "iu" or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
            raise ValueError(
                f"{file}: a label must be (H, W) integers or (H, W, 3) colours, "
                f"found shape {array.shape} of {array.dtype}"
            )
        coloured = array.ndim == 3
        if coloured and array.dtype != np.uint8:
            raise ValueError(f"{file}: colour labels must have 8 bits a channel, found {array.dtype}")
        if coloured and self._by_colour is None:
            array, coloured = self._as_grey(array, file), False
        elif not coloured and self._by_value is None:
            array, coloured = np.repeat(array[:, :, None], 3, axis=2), True
        codes = _pack_image(array) if coloured else array
        lookup = self._by_colour if coloured else self._by_value
        assert lookup is not None
        mapped, unknown = lookup.apply(codes)
        if unknown is not None and self.tolerance:
            unknown = lookup.apply_near(codes, mapped, unknown, self.tolerance, coloured)
        if unknown is None:
            return mapped
        if self.outside == "ignore":
            mapped[unknown] = self.ignore_index
            return mapped
        if self.outside == "error" or coloured:
            raise ValueError(self._complaint(codes[unknown], lookup, coloured, file))
        return _narrowed(np.where(unknown, codes.astype(np.int64), mapped))

    def _as_grey(self, array: npt.NDArray[Any], file: str) -> npt.NDArray[Any]:
        grey = array[:, :, 0]
        if not (np.array_equal(grey, array[:, :, 1]) and np.array_equal(grey, array[:, :, 2])):
            raise ValueError(
                f"{file}: holds colours, but the label table lists single values. "
                "Give the table `colours`: (R, G, B) -> class index; `intarsia data check` proposes one."
            )
        return np.ascontiguousarray(grey)

    def _complaint(self, unknown: Labels, lookup: Lookup, coloured: bool, file: str) -> str:
        found, counts = np.unique(unknown, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:8]
        shown = ", ".join(f"{_unpack(int(found[i])) if coloured else found[i]} ({counts[i]} pixels)" for i in order)
        more = f" and {len(found) - len(order)} more" if len(found) > len(order) else ""
        what = "colours" if coloured else "values"
        hint = ""
        if not coloured and lookup.keys[0] == 0 and found.tolist() == [_run_length(lookup.keys)]:
            hint = " If 0 stands for 'nothing' and classes count from 1, use reduce_zero_label=True."
        return (
            f"{file}: label {what} that are not in the table: {shown}{more}. The table lists {self.describe()}. "
            f"Fix the file or add the {what} to the table (as a class, or as {self.ignore_index} to ignore them); "
            f"`intarsia data check` proposes a complete table.{hint}"
        )

    def describe(self) -> str:
        """The file values of the table in short: "0-18, 255" or "4 colours"."""
        parts = []
        if self.values:
            parts.append(ranges(self.values))
        if self.colours:
            parts.append(f"{len(self.colours)} colours")
        return " and ".join(parts)


def nearest(value: int | Colour, listed: Iterable[int | Colour], tolerance: int) -> int | Colour | None:
    """The listed value that `LabelTable` takes an unlisted one for, or None if no one is near enough."""
    same = [known for known in listed if isinstance(known, int) == isinstance(value, int)]
    apart = {known: [abs(a - b) for a, b in zip(_parts(value), _parts(known), strict=True)] for known in same}
    best = min(apart, key=lambda known: (max(apart[known]), sum(apart[known]), known), default=None)
    return best if best is not None and max(apart[best]) <= tolerance else None


def value_counts(label: Labels) -> dict[int, int]:
    """The distinct values of a label, ascending, with their pixel counts. Quick for 8 bits: 1 ms a million pixels."""
    values, numbers = _counted(label)
    return {int(value): int(number) for value, number in zip(values, numbers, strict=True)}


def largest_share(label: Labels, *, ignored: int) -> float:
    """The share of its most frequent value in a label's pixels that are not ignored; 1 where there are none."""
    values, numbers = _counted(label)
    counts = numbers[values != ignored]
    return int(counts.max()) / int(counts.sum()) if counts.size else 1.0


def is_varied(label: Labels, limit: float, *, ignored: int) -> bool:
    """``largest_share(label, ignored=ignored) < limit``, for a limit of at most 1.

    Where neither the pixels below a middle value, nor those of it, nor those above it are so many, no value is. To
    count these takes a fifth of the time of counting every value.
    """
    limits = np.iinfo(label.dtype)
    is_value = limits.min <= ignored <= limits.max  # NumPy 2.0 crashes where it compares other numbers with a window
    middle = _middle(label, ignored if is_value else None)
    if middle is not None:
        nothing = np.count_nonzero(label == ignored) if is_value else 0
        labelled = label.size - nothing
        below = np.count_nonzero(label < middle) - (nothing if ignored < middle else 0)
        equal = np.count_nonzero(label == middle)
        if equal / labelled >= limit:
            return False
        if max(below, equal, labelled - below - equal) / labelled < limit:
            return True
    return largest_share(label, ignored=ignored) < limit


def _middle(label: Labels, ignored: int | None) -> np.integer[Any] | None:
    """The median of some pixels that are not ignored; None if there are none."""
    some = label[::_STEP, ::_STEP]
    some = some.ravel() if ignored is None else some[some != ignored]
    return np.partition(some, some.size // 2)[some.size // 2] if some.size else None


def _counted(label: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """The distinct values, ascending, and their pixel counts."""
    if label.dtype == np.uint8 and 0 < label.size <= _EXACT:
        counts = _histogram(label)
        values = np.flatnonzero(counts)
        return values, counts[values]
    return np.unique(label, return_counts=True)


def ranges(values: Iterable[int]) -> str:
    """Integers in words: {0, 1, 2, 255} -> "0-2, 255"."""
    runs: list[list[int]] = []
    for value in sorted(values):
        if runs and value == runs[-1][1] + 1:
            runs[-1][1] = value
        else:
            runs.append([value, value])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def _histogram(codes: Labels) -> npt.NDArray[Any]:
    # Counts are float32: beyond `_EXACT` they stop growing but never fall back to zero, so that presence stays exact.
    return cv2.calcHist([np.ascontiguousarray(codes)], [0], None, [256], [0, 256]).ravel()


def _narrowed(label: npt.NDArray[np.int64]) -> Labels:
    return label if label.min() < 0 else label.astype(np.min_scalar_type(int(label.max())))


def _run_length(keys: npt.NDArray[np.int64]) -> int:
    """The first integer that is missing in 0, 1, 2 ..."""
    gaps = np.flatnonzero(keys != np.arange(len(keys)))
    return int(gaps[0]) if gaps.size else len(keys)


def _parts(value: int | Colour) -> tuple[int, ...]:
    return (value,) if isinstance(value, int) else value


def _pack(colour: Sequence[int]) -> int:
    if len(colour) != 3 or not all(isinstance(part, (int, np.integer)) and 0 <= part <= 255 for part in colour):
        raise ValueError(f"label table: {colour!r} is not a colour (R, G, B) with parts from 0 to 255")
    return int(colour[0]) << 16 | int(colour[1]) << 8 | int(colour[2])


def _unpack(code: int) -> Colour:
    return code >> 16 & 255, code >> 8 & 255, code & 255


def _pack_image(array: npt.NDArray[Any]) -> Labels:
    wide = array.astype(np.int32)
    return wide[:, :, 0] << 16 | wide[:, :, 1] << 8 | wide[:, :, 2]
