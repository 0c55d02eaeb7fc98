"""What label files hold instead of class indices: values of a benchmark's server, or those of the training's files.

    indices      class indices
    source       the values or colours that the training's label files had
    cityscapes   ids of the Cityscapes labels (road 7, sidewalk 8 ... bicycle 33), as its server wants them
    ade20k       1 .. 150, as the server of the scene parsing challenge wants them
    loveda       0 .. 6, as its server wants them, although its label files count from 1
    isaid        the colours of iSAID's own masks, in files that are named like those

iSAID's server and development kit take objects, as COCO JSON of tiles of 800 x 800; a format for label maps is not
written down anywhere. Here it is that of the masks which the benchmark publishes (P0003_instance_color_RGB.png).

Classes are told by their names, so that a model that knows them in another order, or only some of them, is right too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.datasets import ade20k, aerial, cityscapes
from intarsia.data.labels import Colour, LabelTable
from intarsia.label_sets import Regions
from intarsia.visual.files import grey_bytes, picture_bytes

FORMATS: Mapping[str, str] = {
    "indices": "class indices",
    "source": "the values of the training's label files",
    "cityscapes": "Cityscapes label ids",
    "ade20k": "class index + 1",
    "loveda": "class index",
    "isaid": "the colours of the benchmark's masks",
}
"""Name -> what label files hold."""

_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
CITYSCAPES_VALUES = 34
"""Files for Cityscapes' server may hold 0 to 33: also ids that are no class, which are wrong everywhere."""

# Name -> the value of each class, and the value that says nothing about a pixel.
_SERVERS: Mapping[str, tuple[Mapping[str, int | Colour], int | None]] = {
    "cityscapes": (dict(zip(cityscapes.CLASSES, _CITYSCAPES_IDS, strict=True)), 0),
    "ade20k": ({name: index + 1 for index, name in enumerate(ade20k.CLASSES)}, 0),
    "loveda": ({name: index for index, name in enumerate(aerial.LOVEDA_CLASSES)}, None),
    "isaid": (dict(zip(aerial.ISAID_CLASSES, aerial.ISAID_PALETTE, strict=True)), None),
}
SERVERS = tuple(_SERVERS)
"""Formats that are a benchmark's."""

ENDINGS: Mapping[str, str] = {"isaid": "_instance_color_RGB.png"}
"""Format -> what the names of its files end in, where that is not .png alone."""


@dataclass(frozen=True)
class FileValues:
    """The value, or the colour, of each class in label files, and that of a pixel about which nothing is said.

    table: (K,) or (K, 3). uncertain: None where the format has no such value. ending: of the files' names.
    """

    table: npt.NDArray[np.integer[Any]]
    uncertain: int | Colour | None
    ending: str = ".png"

    def applied(self, label: npt.NDArray[Any], uncertain: npt.NDArray[np.bool_] | None = None) -> npt.NDArray[Any]:
        """Class indices (H, W) -> values (H, W), uint8 or uint16, or colours (H, W, 3)."""
        values: npt.NDArray[Any] = self.table[label]
        if uncertain is not None:
            assert self.uncertain is not None, "the format was made for predictions that have uncertain pixels"
            values[uncertain] = self.uncertain
        return values

    def encoded(self, label: npt.NDArray[Any], uncertain: npt.NDArray[np.bool_] | None = None) -> bytes:
        """The values as PNG: grey of 8 or 16 bits, so that every reader finds the same numbers, or RGB."""
        values = self.applied(label, uncertain)
        return picture_bytes(values, ".png") if values.ndim == 3 else grey_bytes(values)


def server_values(name: str, classes: Sequence[str], *, with_uncertain: bool = False) -> FileValues:
    """The values that a benchmark's server wants.

    Raises ValueError if the model's classes are not those of the benchmark, or `with_uncertain` if it has no value for
    such pixels.
    """
    values, uncertain = _SERVERS[name]
    known = {_plain(one): value for one, value in values.items()}
    if with_uncertain and uncertain is None:
        raise ValueError(f"--format {name} has no value for uncertain pixels: leave out --min-confidence")
    ending = ENDINGS.get(name, ".png")
    if len(classes) == len(values) and classes[0] == "class 0":  # weights that do not name their classes
        return FileValues(np.array(list(values.values()), np.uint8), uncertain, ending)
    foreign = [one for one in classes if _plain(one) not in known]
    if foreign:
        raise ValueError(
            f"--format {name} has no class {', '.join(map(repr, foreign[:3]))}{' ...' * (len(foreign) > 3)}; its "
            f"{len(values)} classes are {', '.join(one.strip() for one in list(values)[:5])} ... "
            "The values of your own label files are --format source"
        )
    return FileValues(np.array([known[_plain(one)] for one in classes], np.uint8), uncertain, ending)


def source_values(table: LabelTable, classes: Sequence[str], *, with_uncertain: bool = False) -> FileValues:
    """The values that label files had, by the table that read them; of several for one class, the smallest.

    Raises ValueError if no value stands for a class, or `with_uncertain` if none is left for such pixels.
    """
    inverse, ignored = _inverse(table.values or {}, table.ignore_index)
    if any(index not in inverse for index in range(len(classes))) and table.colours:
        return _source_colours(table, classes, with_uncertain=with_uncertain)
    missing = [name for index, name in enumerate(classes) if index not in inverse]
    if missing:
        raise ValueError(f"--format source: no value of the label files stands for {', '.join(missing[:5])}")
    used = {inverse[index] for index in range(len(classes))}
    largest = 255 if max(used) <= 255 and len(used) < 256 else 65535
    uncertain = ignored if ignored is not None else largest if largest not in used else None
    if with_uncertain and uncertain is None:
        raise ValueError(
            f"--format source: the label files have no value for uncertain pixels, and {largest} is a class"
        )
    return FileValues(_table([inverse[index] for index in range(len(classes))], also=uncertain), uncertain)


def region_values(regions: Regions) -> FileValues:
    """The values that label files have of sets of regions: those of the later region over those before."""
    written = regions.written()
    largest = 255 if max(written) < 255 else 65535
    dtype = np.uint8 if largest == 255 else np.uint16
    return FileValues(np.array(written, dtype), largest)


def _source_colours(table: LabelTable, classes: Sequence[str], *, with_uncertain: bool) -> FileValues:
    inverse, ignored = _inverse(table.colours or {}, table.ignore_index)
    missing = [name for index, name in enumerate(classes) if index not in inverse]
    if missing:
        raise ValueError(f"--format source: no colour of the label files stands for {', '.join(missing[:5])}")
    if with_uncertain and ignored is None:
        raise ValueError(
            "--format source: no colour of the label files says that nothing is known; leave out --min-confidence"
        )
    return FileValues(np.array([inverse[index] for index in range(len(classes))], np.uint8), ignored)


def _inverse(table: Mapping[Any, int], ignore_index: int) -> tuple[dict[int, Any], Any]:
    """Class index -> its smallest key, and the largest key that is ignored, which is 255 wherever that is one."""
    inverse: dict[int, Any] = {}
    for key, index in sorted(table.items(), reverse=True):
        inverse[index] = key
    ignored = [key for key, index in table.items() if index == ignore_index]
    inverse.pop(ignore_index, None)
    return inverse, max(ignored, default=None)


def _table(values: Sequence[int], *, also: int | None = None) -> npt.NDArray[np.integer[Any]]:
    largest = max(*values, also or 0, 0)
    if largest > 65535 or min(values) < 0:
        raise ValueError(f"--format source: label files of 16 bits hold 0 to 65535, not {min(values)} or {largest}")
    return np.array(values, np.uint8 if largest <= 255 else np.uint16)


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ").replace("-", " ")
