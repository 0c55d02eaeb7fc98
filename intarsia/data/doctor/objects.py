"""Finds out whether the numbers of label files say objects besides classes, and by which rule.

Objects of a class are counted in each image, from 0 or 1 on: that is what a rule must make of the numbers. Numbers of
objects alone, as tools of microscopy write them (Cellpose, StarDist), are counted likewise, and each is one region.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from intarsia.data.description.model import LabelValue
from intarsia.data.doctor.findings import Alternative, Finding
from intarsia.data.doctor.measure import Measured, Moments, combine, count_values
from intarsia.data.image_io import read_label
from intarsia.data.instance_ids import ClassOf

_RULES = (
    *(ClassOf(number) for number in (1000, 10_000, 256, 65_536)),
    *(ClassOf(number, divide=False) for number in (256, 1000)),
)
_COUNTED = 0.9
_MOST_CLASSES = 256
_FEWEST = 4
"""Values of objects in all files: of fewer, a rule may hold by chance."""
_SURE = 8
"""Numbers of objects in one file from which on they are hardly classes."""
_LOOKED_AT, _LOOKED_FOR = 6, 30
_WHOLE = 0.8
"""Part of an object's pixels that its largest region has, at least."""


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


def numbers_of_objects(
    root: Path, measured: Sequence[Measured], others: Sequence[Alternative]
) -> tuple[ClassOf | None, list[Finding]]:
    """Whether numbers without names are those of objects of one class: the rule, and what to say of it.

    others: folders of labels that would pair, too.

    In every image they go from 1 up without holes, each is one region, and how many there are differs between images.
    Where all images have as many, or few, they may as well be classes: they stay so, with a warning.
    """
    labels = [(entry.pair.label, entry.label.values) for entry in measured if entry.label and entry.pair.label]
    found = [(file, [v for v in values if v]) for file, values in labels if any(values)]
    if len(found) < 2 or not all(isinstance(v, int) and v >= 0 for _, values in labels for v in values):
        return None, []
    numbers = [(file, [v for v in values if isinstance(v, int)]) for file, values in found]
    most = max(len(values) for _, values in numbers)
    counted = sum(max(values) == len(values) for _, values in numbers)
    if most < _FEWEST or counted < _COUNTED * len(numbers) or not _are_regions(root, numbers):
        return None, []
    rule = ClassOf(0)
    differs = len({len(values) for _, values in numbers}) > 1
    if most < _SURE or not differs:
        text = (
            f"the values 1 to {most} are one region each in every image: if they are the numbers of objects and no "
            "classes, training on them teaches nothing"
        )
        advice = f'for objects of one class write `class_of: "{rule}"` and `labels: {{0: background, 1: object}}`'
        return None, [Finding("instance numbers", text, advice + " in the description")]
    text = (
        f"the label files count objects (up to {most} in an image, each one region): all are of one class, "
        f'`class_of: "{rule}"`'
    )
    masks = [entry.labels for entry in others if entry.role == "label"]
    advice = "if the numbers are classes, drop `class_of` and list them in `labels`"
    return rule, [Finding("instance numbers", text, f"{masks[0]} has label files, too; {advice}" if masks else advice)]


def _are_regions(root: Path, numbers: Sequence[tuple[str, Sequence[int]]]) -> bool:
    """Whether, of some files, nearly every number is one region."""
    chosen = sorted(numbers, key=lambda entry: -len(entry[1]))[:_LOOKED_AT]
    whole = [found for file, values in chosen for found in _wholes(root / file, values)]
    return sum(whole) >= _COUNTED * len(whole)


def _wholes(path: Path, values: Sequence[int]) -> Iterable[bool]:
    label = read_label(path)
    if label.ndim != 2:
        return [False]
    return [_is_region(label == value) for value in values[:: max(1, len(values) // _LOOKED_FOR)]]


def _is_region(mask: npt.NDArray[np.bool_]) -> bool:
    statistics = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)[2]
    areas = statistics[1:, cv2.CC_STAT_AREA]
    return len(areas) > 0 and areas.max() >= _WHOLE * areas.sum()


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
