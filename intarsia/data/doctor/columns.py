"""Which column of a vector file names classes, and which splits."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.doctor.folders import split_of
from intarsia.data.scenes.vectors import Layer

_CLASS_NAMES = (
    *("class", "class_name", "classname", "label", "category", "kind", "type", "landcover", "land_cover", "landuse"),
    *("land_use", "lulc", "lc", "species", "crop", "name", "code", "class_id", "classid", "label_id", "value", "dn"),
    *("mc_info", "mc_id"),  # of the classification plugin of QGIS
)
"""In order of preference, in lower case."""
_PLAIN = frozenset(("class", "class_name", "classname", "label", "category", "landcover", "land_cover", "landuse",
                    "land_use", "lulc", "mc_info"))  # fmt: skip
"""Columns of classes whatever they hold, also where few shapes have many of them."""
_FOR_NUMBERS = frozenset(("class", "label", "category", "landcover", "land_cover", "landuse", "land_use", "lulc", "lc",
                          "code", "class_id", "classid", "label_id", "value", "dn", "mc_id"))  # fmt: skip
_MOST_CLASSES, _MOST_VALUES = 60, 1000


def is_text(column: npt.NDArray[Any]) -> bool:
    """Whether a column holds words, and not numbers."""
    return column.dtype.kind in "OUS"


def texts_of(column: npt.NDArray[Any]) -> list[str]:
    """The different texts of a column, in the order of their first shape; "" where it says nothing."""
    return list(dict.fromkeys("" if text is None else str(text).strip() for text in column))


def class_column(layer: Layer) -> str:
    """The column that seems to name the class of each shape; "" if there is none."""
    found = [name for name in layer.columns if _may_name_classes(name, layer.columns[name])]
    order = {name: _CLASS_NAMES.index(name.lower()) for name in found if name.lower() in _CLASS_NAMES}
    if order:  # what says the same of all shapes tells least
        return min(order, key=lambda name: (len(set(layer.columns[name].tolist())) < 2, order[name]))
    words = [name for name in found if is_text(layer.columns[name]) and len(texts_of(layer.columns[name])) >= 2]
    return words[0] if len(words) == 1 else ""


def possible_columns(layer: Layer) -> list[str]:
    """The columns that might name classes, though they are not called so: a few words or whole numbers, often."""
    counts = {name: len(set(column.tolist())) for name, column in layer.columns.items() if column.dtype.kind in "OUSiu"}
    return [name for name, count in counts.items() if 2 <= count <= _MOST_CLASSES and 2 * count <= len(layer.shapes)]


def _may_name_classes(name: str, column: npt.NDArray[Any]) -> bool:
    if is_text(column):
        texts = [text for text in texts_of(column) if text]
        most = _MOST_CLASSES if name.lower() in _PLAIN else min(_MOST_CLASSES, max(2, len(column) // 2))
        few = len(texts) <= most
        return bool(texts) and few and not all(split_of(text) is not None for text in texts)
    if name.lower() not in _FOR_NUMBERS or column.dtype.kind not in "iu":
        return False
    return int(column.min()) >= 0 and int(column.max()) < 65536 and len(np.unique(column)) <= _MOST_VALUES


def split_column(layer: Layer) -> str:
    """The column in which every shape names a split; "" if there is none."""
    for name, column in layer.columns.items():
        if is_text(column) and all(split_of(text) is not None for text in texts_of(column)):
            return name
    return ""
