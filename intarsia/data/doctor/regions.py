"""Tells labels whose values say several classes at once: the regions of nnU-Net's dataset.json."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from intarsia.data.description.model import DataDescription, default_colours
from intarsia.data.doctor.layouts import Layout
from intarsia.data.doctor.several_labels import LabelSets
from intarsia.io.text import read_text
from intarsia.label_sets import MOST, Regions, ignored_value, regions_of_nnunet

FILE = "dataset.json"
_LARGEST = 100_000_000


def with_regions(root: Path, description: DataDescription, layout: Layout, *, wish: bool | None) -> LabelSets | None:
    """The data with the regions that its dataset.json names as classes; None where it names none.

    wish: whether the user wants several classes a pixel; None lets the data decide.

    Raises ValueError for regions that cannot be.
    """
    if wish is False or layout.masks is not None or layout.annotated is not None:
        return None
    found = _found(root, layout.others)
    if found is None or not 2 <= len(found[0]) <= MOST:
        return None
    classes, regions = found
    values = sorted({value for region in regions.values for value in region})
    described = replace(
        description,
        classes=classes,
        labels=None,
        palette=default_colours(classes),
        ignore_index=ignored_value(len(classes)),
        multi_label=True,
        regions=regions,
        notes=(),
    )
    note = (
        f"{FILE} has regions: the label values {', '.join(map(str, values))} belong to several of the classes "
        f"{', '.join(classes)}; read as several labels per pixel (`regions`, `region_order`)"
    )
    return LabelSets(described, (*(one for one in description.notes if "names of their own" not in one), note))


def _found(root: Path, others: Iterable[str]) -> tuple[tuple[str, ...], Regions] | None:
    if FILE not in others:
        return None
    try:
        content = json.loads(read_text(root / FILE, largest=_LARGEST))
    except (ValueError, RecursionError):
        return None  # said where class lists are read
    return regions_of_nnunet(content) if isinstance(content, dict) else None
