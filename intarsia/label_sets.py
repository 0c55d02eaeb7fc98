"""Several classes in one pixel, as one number: bit k is set where the pixel is of class k, and 0 is no class.

Labels and label maps of such sets are arrays of integers like any others, so that whatever moves, mixes, cuts and
stores class indices does the same with sets. The largest number of 8 or 16 bits stands for ignored pixels, as 255 and
65535 do elsewhere; it has all bits, so that a set united with it is ignored, too.

Files of label maps have 16 bits at most, so that there are `MOST` classes at most. The functions take arrays of numpy
and tensors of torch alike, and import neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

MOST = 15
"""Classes that a pixel can be told to have or not; the 16th bit is that of ignored pixels."""

JOINT = " + "
"""Between the names of a set."""


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
