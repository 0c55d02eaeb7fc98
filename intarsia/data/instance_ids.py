"""Label files that hold objects besides classes: one number says both, as panoptic benchmarks store it.

``value // 1000``: the class is in front, 26003 is the third object of class 26. ``value // 1000 or value``: likewise,
but numbers below 1000 are classes without objects (Cityscapes). ``value % 256``: the class is in the lower bits, the
object in the upper. Colours are taken as the number R + 256 G + 65536 B (as panoptic files of COCO are written).
``value > 0``: the numbers are those of objects alone, which are all of one class, and 0 is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_ONE_CLASS = re.compile(r"\s*value\s*>\s*0\s*")
_RULE = re.compile(r"\s*value\s*(//|%)\s*(\d{1,9})(\s+or\s+value)?\s*")


@dataclass(frozen=True, slots=True)
class ClassOf:
    """How to take the class out of a number. divide: by `number`, else the rest. small: below it, the number is one.

    number 0: every number but 0 is an object of the class 1.
    """

    number: int
    divide: bool = True
    small: bool = False

    @classmethod
    def parse(cls, text: str) -> ClassOf:
        """From what a description says. Raises ValueError for anything but the four forms."""
        if _ONE_CLASS.fullmatch(text):
            return cls(0)
        match = _RULE.fullmatch(text)
        if match is None or int(match[2]) < 2 or (match[1] == "%" and match[3]):
            raise ValueError(
                "expected `value // 1000`, `value // 1000 or value` (numbers below are classes themselves), "
                f"`value % 256` or `value > 0` (objects of one class), found {text[:100]!r}"
            )
        return cls(int(match[2]), match[1] == "//", bool(match[3]))

    def __str__(self) -> str:
        if not self.number:
            return "value > 0"
        return f"value {'//' if self.divide else '%'} {self.number}{' or value' if self.small else ''}"

    def apply(self, stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Classes (H, W) of what a label file stores, numbers (H, W) or colours (H, W, 3)."""
        stored = as_numbers(stored)
        if stored.dtype.kind == "u":
            stored = stored.astype(np.int64)  # the divisor may have more bits than the file
        if not self.number:
            return np.asarray(stored > 0, np.uint8)
        if not self.divide:
            return np.asarray(stored % self.number)
        found = stored // self.number
        return np.where(stored < self.number, stored, found) if self.small else np.asarray(found)

    def of(self, value: int) -> int:
        """The class of one number."""
        return int(self.apply(np.array(value, np.int64)))

    def object_of(self, value: int) -> int | None:
        """The number of the object that a value stands for; None for a class without objects."""
        if not self.number:
            return value or None
        if self.small and value < self.number:
            return None
        return value % self.number if self.divide else value // self.number


def as_numbers(stored: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers (H, W) of what a label file stores: of colours (H, W, 3) R + 256 G + 65536 B; else as they are."""
    if stored.ndim == 3 and stored.shape[2] == 3:
        return np.asarray(stored.astype(np.int64) @ np.array([1, 256, 65536]))
    return stored
