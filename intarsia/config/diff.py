"""What differs between two resolved configs."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING, Any

from intarsia.config.language.paths import join_path
from intarsia.spec import Origin

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config


class Missing(Enum):
    """The side of a difference that has no value at all."""

    MISSING = "(nothing)"

    def __repr__(self) -> str:
        return self.value


MISSING = Missing.MISSING


@dataclass(frozen=True, slots=True)
class Difference:
    """One place where two configs differ. left, right: the values, or MISSING.

    left_origin, right_origin: where they were written; of a missing value, where its container was.
    """

    path: str
    left: Any
    right: Any
    left_origin: Origin | None = None
    right_origin: Origin | None = None

    def __str__(self) -> str:
        sides = [
            f"{value!r} ({origin})" if origin and value is not MISSING else repr(value)
            for value, origin in ((self.left, self.left_origin), (self.right, self.right_origin))
        ]
        return f"{self.path}: {sides[0]} -> {sides[1]}"


def diff(a: Config, b: Config) -> list[Difference]:
    """All differences, in the order of `a`, then what only `b` has.

    Dicts are compared key by key, lists and tuples item by item; a list equals a tuple of the same items, since models
    and transforms take either. True differs from 1.
    """
    return [
        replace(found, left_origin=a.origin(found.path), right_origin=b.origin(found.path))
        for found in differences(a.values, b.values)
    ]


def differences(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[Difference]:
    """As `diff`, of plain values, which do not know where they were written."""
    return [Difference(*found) for found in _differences("", left, right)]


def _differences(path: str, left: Any, right: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(left, dict) and isinstance(right, dict):
        for key in [*left, *(key for key in right if key not in left)]:
            yield from _differences(join_path(path, key), left.get(key, MISSING), right.get(key, MISSING))
    elif isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        for index in range(max(len(left), len(right))):
            sides = [side[index] if index < len(side) else MISSING for side in (left, right)]
            yield from _differences(join_path(path, index), *sides)
    elif not _equal(left, right):
        yield path, left, right


def _equal(left: Any, right: Any) -> bool:
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, float) and isinstance(right, float) and math.isnan(left) and math.isnan(right):
        return True
    return bool(left == right)
