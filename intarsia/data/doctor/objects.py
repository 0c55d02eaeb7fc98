"""Finds out whether the numbers of label files say objects besides classes, and by which rule.

Objects of a class are counted in each image, from 0 or 1 on: that is what a rule must make of the numbers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence

from intarsia.data.description.model import LabelValue
from intarsia.data.doctor.measure import Measured, Moments, combine, count_values
from intarsia.data.instance_ids import ClassOf

_RULES = (
    *(ClassOf(number) for number in (1000, 10_000, 256, 65_536)),
    *(ClassOf(number, divide=False) for number in (256, 1000)),
)
_COUNTED = 0.9
_MOST_CLASSES = 256
_FEWEST = 4
"""Values of objects in all files: of fewer, a rule may hold by chance."""


def find_rule(measured: Sequence[Measured]) -> ClassOf | None:
    """The rule by which numbers are classes and objects; None if they are classes alone."""
    values = count_values(measured)
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) < len(values) or max(numbers, default=0) < 256 or min(numbers) < 0:
        return None
    files = [
        sorted(v for v in entry.label.values if isinstance(v, int)) for entry in measured if entry.label is not None
    ]
    for rule in _RULES:
        small = rule.divide and any(0 < value < rule.number for value in numbers)
        rule = ClassOf(rule.number, rule.divide, small)
        if _counts_objects(rule, files, numbers):
            return rule
    return None


def _counts_objects(rule: ClassOf, files: Sequence[Sequence[int]], numbers: Sequence[int]) -> bool:
    objects = [value for value in numbers if rule.object_of(value)]
    classes = {rule.of(value) for value in numbers}
    most = min(_MOST_CLASSES, rule.number // 2)  # objects without classes leave every rest there is
    if len(objects) < _FEWEST or len(classes) > most or 2 * len(classes) > len(numbers):
        return False
    groups = [group for file in files for group in _groups(rule, file)]
    counted = [max(group) <= len(group) for group in groups]  # 0 or 1 to n, without holes
    several = any(len(group) > 1 for group in groups)
    return several and sum(counted) >= _COUNTED * len(counted)


def _groups(rule: ClassOf, file: Sequence[int]) -> list[list[int]]:
    """The numbers of the objects of each class of one file."""
    found: dict[int, list[int]] = defaultdict(list)
    for value in file:
        number = rule.object_of(value)
        if number is not None:
            found[rule.of(value)].append(number)
    return list(found.values())


def without_objects(measured: Sequence[Measured], rule: ClassOf) -> None:
    """Count pixels by classes instead of objects."""
    for entry in measured:
        if entry.label is None:
            continue
        counts: Counter[LabelValue] = Counter()
        for value, count in entry.label.values.items():
            counts[_class(rule, value)] += count
        entry.label.values = dict(sorted(counts.items(), key=lambda item: str(item[0])))
        moments: dict[LabelValue | None, list[Moments]] = defaultdict(list)
        for number, sums in entry.moments.items():
            moments[None if number is None else _class(rule, number)].append(sums)
        entry.moments = {number: both for number, found in moments.items() if (both := combine(found)) is not None}


def _class(rule: ClassOf, value: LabelValue) -> LabelValue:
    return rule.of(value) if isinstance(value, int) else value
