"""Finds label files in which each class has a band of 0 and 1 (one-hot), as networks give and some tools store them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from intarsia.data.description.model import BACKGROUND, LabelValue
from intarsia.data.description.pairing import MaskRule, Source
from intarsia.data.description.splits import FolderSplit, JoinedSplit, OwnSplit, list_split
from intarsia.data.doctor.class_masks import ClassMasks
from intarsia.data.doctor.class_names import cleaned
from intarsia.data.doctor.findings import some
from intarsia.data.doctor.legends import find_legend
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.image_io import decode_image
from intarsia.data.slices import suffix_of

_LOOKED_AT = 6
_SUFFIXES = (".tif", ".tiff", ".npy")
_PICTURES = (1, 3, 4)
"""Bands of pictures, of which only 0 and 1 tell that they are none: colours of so little could not be seen."""


def with_bands(root: Path, found: SplitRules, others: Sequence[str]) -> ClassMasks | None:
    """The classes, where the label files of all splits have a band for each; the rules are changed to say so.

    Where bands overlap, the later counts, and a note says it, unless pixels have several classes (`several_labels`).
    """
    labels = [pair.label for listing in found.listings.values() for pair in listing.pairs if pair.label is not None]
    some_labels = labels[:: max(1, len(labels) // _LOOKED_AT)][:_LOOKED_AT]
    if not some_labels or any(suffix_of(label) not in _SUFFIXES for label in labels):
        return None
    if not all(isinstance(rule, FolderSplit | JoinedSplit) for rule in found.rules.values()):
        return None
    looked: list[npt.NDArray[np.bool_]] = []
    for label in some_labels:
        is_set = _bands(root / label)
        if is_set is None or is_set.shape[2] != (looked[0] if looked else is_set).shape[2]:
            return None
        looked.append(is_set)
    counts = [is_set.sum(axis=2) for is_set in looked]
    overlaps, covered = any((count > 1).any() for count in counts), all((count > 0).all() for count in counts)
    names = _names(root, some_labels[0], looked, others, is_partition=covered and not overlaps)
    for split, rule in found.rules.items():
        found.rules[split] = _by_band(rule, names, overlaps=overlaps)
        found.listings[split] = list_split(root, found.rules[split])
    found.notes.append(
        f"the label files have a band for each class ({some(names)}), merged into one label; rename the classes"
        + ("; where bands overlap, the later counts (`overlap: last`)" if overlaps else "")
    )
    images = frozenset(pair.name for listing in found.listings.values() for pair in listing.pairs)
    return ClassMasks(images, tuple(names), {}, covered=covered)


def _bands(path: Path) -> npt.NDArray[np.bool_] | None:
    """Where each band (H, W, B) of a label is set, if all are of 0 and one other value, and there are several."""
    try:
        samples = decode_image(path).samples
    except ValueError:
        return None
    if samples.shape[2] < 2 or samples.dtype.kind not in "biuf":
        return None
    values = np.unique(samples)
    if len(values) > 2 or values[0] != 0 or values[-1] not in (0, 1, 255):
        return None
    return None if samples.shape[2] in _PICTURES and values[-1] == 255 else np.asarray(samples != 0)


def _names(
    root: Path, label: str, looked: Sequence[npt.NDArray[np.bool_]], others: Sequence[str], *, is_partition: bool
) -> list[str]:
    """What the file calls its bands, or a class list that has as many lines; else numbers, the largest first band of a
    partition being the background.
    """
    count = looked[0].shape[2]
    said = decode_image(root / label).file.descriptions
    if len({cleaned(name) for name in said if name}) == count:
        return [cleaned(name) for name in said]
    values: Counter[LabelValue] = Counter(dict.fromkeys(range(count), 1))
    legend, _ = find_legend(root, others, values)
    if legend is not None and len({legend.names.get(number) for number in range(count)} - {None, "ignore"}) == count:
        return [legend.names[number] for number in range(count)]
    names = [f"class_{number}" for number in range(1, count + 1)]
    shares = np.sum([is_set.sum(axis=(0, 1)) for is_set in looked], axis=0)
    if is_partition and int(np.argmax(shares)) == 0:
        names[0] = BACKGROUND
    return names


def _by_band(rule: OwnSplit, names: Sequence[str], *, overlaps: bool) -> OwnSplit:
    if isinstance(rule, JoinedSplit):
        return rule.with_folders(lambda part: _of_folder(part, names, overlaps))
    assert isinstance(rule, FolderSplit)
    return _of_folder(rule, names, overlaps)


def _of_folder(rule: FolderSplit, names: Sequence[str], overlaps: bool) -> FolderSplit:
    source = rule.source
    masks = tuple(
        MaskRule(name, source.labels or ".", source.label_prefix, suffix, number)
        for number, name in enumerate(names, 1)
        for suffix in source.label_suffix
    )
    bare = Source(
        source.images, None, source.image_suffix, image_prefix=source.image_prefix, recursive=source.recursive
    )
    return replace(rule, source=replace(bare, masks=masks, overlap="last" if overlaps else "error"))
