"""Numberings of known benchmarks, recognised by what label files hold and by how files are called.

A folder's name alone says nothing: many tools write `SegmentationClass`, and many people `trainannot`. What is
recognised is still a guess, and told as one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence, Set
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from intarsia.data.datasets import ade20k, cityscapes, pascal_voc
from intarsia.data.description.model import IGNORE, LabelValue
from intarsia.data.description.pairing import Pair
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.legend import Legend
from intarsia.data.image_io import is_image_name
from intarsia.data.labels import Colour

_CAMVID_CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
_CAMVID_PALETTE: tuple[Colour, ...] = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
_CAMVID_NAMES = re.compile(r"(0001TP|0006R0|0016E5|Seq05VD)_f?\d+(_L)?$")
_KITTI_NAMES = re.compile(r"\d{6}_10$")
_VOC_NAMES = re.compile(r"20(0[7-9]|1[0-2])_\d{6}$")


def known_numbering(
    root: Path, values: Set[LabelValue], pairs: Sequence[Pair], palette: Sequence[Colour] | None
) -> Legend | None:
    """The benchmark whose values these are, if there is one. palette: that the label files share."""
    return _by_strip(root, values) or _by_colours(values, palette) or _by_file_names(values, pairs)


def _known(
    name: str,
    classes: Sequence[str],
    palette: Sequence[Colour],
    numbers: Iterable[LabelValue],
    ignored: Iterable[LabelValue],
    why: str,
    *,
    is_written: bool = False,
) -> Legend:
    names: dict[LabelValue, str] = dict.fromkeys(ignored, IGNORE)
    names.update(zip(numbers, classes, strict=True))
    guess = Finding(
        "names guessed",
        f"the names of the classes are those of {name}, recognised by {why}",
        "if they are others, put a classes.txt beside the data (a name a line, counting from 0)",
    )
    source = f"{name} ({why})"
    return Legend(names, source, dict(zip(classes, palette, strict=True)), () if is_written else (guess,))


def _by_strip(root: Path, values: Set[LabelValue]) -> Legend | None:
    """A picture of one row that shows the colour of each index, as CamVid's users pass around."""
    for path in sorted(root.iterdir()):
        if not is_image_name(path) or not path.is_file():
            continue
        try:
            with Image.open(path) as image:
                if min(image.size) != 1 or max(image.size) > 2**16:
                    continue
                colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
            continue
        table = [(int(r), int(g), int(b)) for r, g, b in colours]
        if tuple(table[: len(_CAMVID_PALETTE)]) == _CAMVID_PALETTE and values <= set(range(12)):
            why = f"the palette {path.name}"
            return _known("CamVid", _CAMVID_CLASSES, _CAMVID_PALETTE, range(11), (11,), why, is_written=True)
    return None


def _by_colours(values: Set[LabelValue], palette: Sequence[Colour] | None) -> Legend | None:
    """Colours of a known benchmark, either stored as such or as the palette of index files."""
    families = (
        ("Cityscapes", cityscapes.CLASSES, cityscapes.PALETTE),
        ("CamVid", _CAMVID_CLASSES, _CAMVID_PALETTE),
        ("ADE20K", ade20k.CLASSES, ade20k.PALETTE),
    )
    colours = {value for value in values if not isinstance(value, int)}
    telling = colours - {(0, 0, 0), (255, 255, 255)}
    for name, classes, known in families:
        if colours == values and len(telling) >= 3 and telling <= set(known):
            return _known(name, classes, known, known, sorted(colours - set(known)), "its colours")
        numbers = values - {255}
        fits = numbers <= set(range(len(classes))) and len(numbers) >= 3
        if palette is not None and fits and tuple(palette[: len(known)]) == tuple(known):
            return _known(name, classes, known, range(len(classes)), (255,), "the palette of the label files")
    return None


def _by_file_names(values: Set[LabelValue], pairs: Sequence[Pair]) -> Legend | None:
    """Files named as in a known benchmark, with values that it has."""
    stems = [PurePosixPath(pair.label).stem for pair in pairs if pair.label is not None]
    if not stems:
        return None
    why = "the names of its files"
    others = [value for value in range(34) if value not in _CITYSCAPES_IDS]
    city, ade, voc = cityscapes, ade20k, pascal_voc
    known: tuple[tuple[Callable[[str], object], Set[int], Callable[[], Legend]], ...] = (
        (
            _ends("_gtFine_labelTrainIds"),
            {*range(19), 255},
            lambda: _known("Cityscapes", city.CLASSES, city.PALETTE, range(19), (255,), why),
        ),
        (
            _ends("_gtFine_labelIds"),
            set(range(34)),
            lambda: _known("Cityscapes", city.CLASSES, city.PALETTE, _CITYSCAPES_IDS, others, why),
        ),
        (
            _KITTI_NAMES.match,
            set(range(34)) if any(isinstance(value, int) and value > 18 for value in values) else set(),
            lambda: _known("Cityscapes", city.CLASSES, city.PALETTE, _CITYSCAPES_IDS, others, f"{why}, those of KITTI"),
        ),
        (
            re.compile(r"ADE_(train|val)_\d+$").match,
            set(range(151)),
            lambda: _known("ADE20K", ade.CLASSES, ade.PALETTE, range(1, 151), (0,), why),
        ),
        (
            _VOC_NAMES.match,
            {*range(21), 255},
            lambda: _known("Pascal VOC", voc.CLASSES, voc.PALETTE, range(21), (255,), why),
        ),
        (
            _CAMVID_NAMES.match,
            set(range(12)),
            lambda: _known("CamVid", _CAMVID_CLASSES, _CAMVID_PALETTE, range(11), (11,), why),
        ),
    )
    return next((make() for is_named, allowed, make in known if values <= allowed and all(map(is_named, stems))), None)


def _ends(suffix: str) -> Callable[[str], bool]:
    return lambda stem: stem.endswith(suffix)
