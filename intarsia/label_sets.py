"""Several classes in one pixel, as one number: bit k is set where the pixel is of class k, and 0 is no class.

Labels and label maps of such sets are arrays of integers like any others, so that whatever moves, mixes, cuts and
stores class indices does the same with sets. The largest number of 8 or 16 bits stands for ignored pixels, as 255 and
65535 do elsewhere; it has all bits, so that a set united with it is ignored, too.

Files of label maps have 16 bits at most, so that there are `MOST` classes at most. The functions take arrays of numpy
and tensors of torch alike, and import neither.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST = 15
"""Classes that a pixel can be told to have or not; the 16th bit is that of ignored pixels."""

JOINT = " + "
"""Between the names of a set."""

_LARGEST = 65535


@dataclass(frozen=True, slots=True)
class Regions:
    """Classes that lie within each other, in label files of one value a pixel: a class is a region of several values.

    So BraTS has them, and nnU-Net (`regions_class_order` of its dataset.json): the whole tumour is 1, 2 or 3, its core
    2 or 3, what enhances 3.

    values: of each class, the values of label files that it has. order: of each class, the value that a label map gets
    where the class is, class after class, so that a later one covers those before. ignored: values of ignored pixels.

    Raises ValueError for lists of different lengths, and values that are none from 1 to 65535.
    """

    values: tuple[tuple[int, ...], ...]
    order: tuple[int, ...]
    ignored: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.values or len(self.order) != len(self.values):
            raise ValueError(f"expected a value for each of {len(self.values)} regions, found {len(self.order)}")
        known = {value for region in self.values for value in region}
        wrong = [value for value in (*known, *self.ignored, *self.order) if not 0 < value <= _LARGEST]
        if wrong or not all(self.values):
            raise ValueError(f"expected values from 1 to {_LARGEST} for each region, found {self.values}")
        if both := sorted(known & set(self.ignored)):
            raise ValueError(f"{both[0]} is a value of a region, and ignored")

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Regions:
        """The inverse of `to_json`. Raises ValueError for anything else."""
        try:
            regions = tuple(tuple(map(int, region)) for region in values["values"])
            return cls(regions, tuple(map(int, values["order"])), tuple(map(int, values.get("ignored", ()))))
        except (KeyError, TypeError) as error:
            raise ValueError(f"expected values and order of regions, found {dict(values)!r} ({error})") from None

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        found: dict[str, Any] = {"values": [list(region) for region in self.values], "order": list(self.order)}
        return {**found, "ignored": list(self.ignored)} if self.ignored else found

    def sets(self, ignore_index: int) -> dict[int, int]:
        """Value of a label file -> the set of its classes, or `ignore_index`; 0 is none of them."""
        known = sorted({value for region in self.values for value in region})
        sets = {value: sum((value in region) << k for k, region in enumerate(self.values)) for value in known}
        return {0: 0, **sets, **dict.fromkeys(self.ignored, ignore_index)}

    def written(self) -> list[int]:
        """The value of label files for each set of classes, also those that no value stands for."""
        found = [0] * set_count(len(self.values))
        for one in range(len(found)):
            for k, value in enumerate(self.order):
                found[one] = value if one >> k & 1 else found[one]
        return found


def regions_of_nnunet(dataset: Mapping[str, Any]) -> tuple[tuple[str, ...], Regions] | None:
    """Names and values of the regions in a dataset.json of nnU-Net's second version; None if its classes are none.

    Its rule: there are regions where any label is a list of several values; what is 0 alone is the background and is
    left out, and `regions_class_order` has a value for each of the others.

    Raises ValueError for an order that is missing or of another length, and values that cannot be.
    """
    labels = dataset.get("labels")
    if not isinstance(labels, Mapping) or not any(
        isinstance(value, list) and len(value) > 1 for value in labels.values()
    ):
        return None
    listed = {str(name): value if isinstance(value, list) else [value] for name, value in labels.items()}
    if any(isinstance(one, bool) or not isinstance(one, int) for values in listed.values() for one in values):
        raise ValueError(f"dataset.json: labels: expected whole numbers and lists of them, found {str(labels)[:200]}")
    ignored = tuple(listed.pop("ignore", ()))
    regions = {name: tuple(values) for name, values in listed.items() if set(values) != {0}}
    order = dataset.get("regions_class_order")
    if not isinstance(order, list) or len(order) != len(regions) or not all(isinstance(one, int) for one in order):
        raise ValueError(
            "dataset.json: its labels are regions, so that regions_class_order has a value for each of "
            f"{len(regions)}; found {order!r}"
        )
    return tuple(regions), Regions(tuple(regions.values()), tuple(order), ignored)


def set_count(num_classes: int) -> int:
    """How many sets there are: they are the numbers from 0 to one less."""
    return 1 << num_classes


def ignored_value(num_classes: int) -> int:
    """The value of ignored pixels: 255 up to 7 classes, 65535 up to 15."""
    return 255 if num_classes < 8 else 65535


def has(sets: Any, k: int) -> Any:
    """1 where a set has class k, else 0: integers of any shape, none of them ignored -> the same shape and type."""
    return (sets >> k) & 1


def members(one: int, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the classes of one set, in their order."""
    return tuple(name for k, name in enumerate(names) if one >> k & 1)


def set_name(one: int, names: Sequence[str], *, nothing: str = "background") -> str:
    """One set in words: "leaf + spot"."""
    return JOINT.join(members(one, names)) or nothing


def pictured(
    classes: Sequence[str], palette: Sequence[Sequence[int]]
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """A name and a colour for each set of these classes, so that whatever draws class indices can draw sets."""
    sets = range(set_count(len(classes)))
    return tuple(set_name(one, classes) for one in sets), tuple(mixed_colour(one, palette) for one in sets)


def mixed_colour(one: int, palette: Sequence[Sequence[int]]) -> tuple[int, int, int]:
    """The mean colour of the classes of one set; black for no class."""
    colours = [colour for k, colour in enumerate(palette) if one >> k & 1]
    if not colours:
        return 0, 0, 0
    red, green, blue = (round(sum(colour[part] for colour in colours) / len(colours)) for part in range(3))
    return red, green, blue
