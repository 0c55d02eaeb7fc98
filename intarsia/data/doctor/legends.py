"""What label values are called: read from a legend file beside the data, or recognised from a known numbering.

A legend file is what annotation tools and benchmarks put there: `classes.txt`, `codes.txt`, `label_colors.txt`,
`class_dict.csv`, `labelmap.txt`, `objectInfo150.txt` and the like.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.datasets import ade20k, cityscapes, pascal_voc
from intarsia.data.description.model import IGNORE, LabelValue
from intarsia.data.description.pairing import Pair
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.labels import Colour

_FILE = re.compile(
    r"^(.*[_-])?(classes|class_?names|labels?|codes|names|label_?colou?rs|colou?rs|class_?dict|label_?map|categories)$"
    r"|^objectinfo150$|^dataset$",
    re.IGNORECASE,
)
_TEXT_SUFFIXES = (".txt", ".csv", ".tsv", ".names")
_VOID = ("ignore", "void", "unlabeled", "unlabelled", "unknown", "undefined", "dontcare", "unannotated")
_BORDER_VALUES = (255, 65535)
_LARGEST_LEGEND = 2**18

_CAMVID_CLASSES = (
    "Sky", "Building", "Pole", "Road", "Pavement", "Tree", "SignSymbol", "Fence", "Car", "Pedestrian", "Bicyclist",
)  # fmt: skip
_CAMVID_PALETTE: tuple[Colour, ...] = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0), (192, 128, 128),
    (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
_CITYSCAPES_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)


@dataclass(frozen=True)
class Legend:
    """Names of file values, "ignore" among them; `palette` by name; `source` says where they come from."""

    names: Mapping[LabelValue, str]
    source: str
    palette: Mapping[str, Colour] = field(default_factory=dict)


def find_legend(
    root: Path,
    values: Set[LabelValue],
    pairs: Sequence[Pair],
    *,
    size: Size | None = None,
    palette: Sequence[Colour] | None = None,
) -> Legend | None:
    """The legend that fits the label values found, if there is one.

    size: of all images, if they have one size. palette: of the label files, if they are palette files.
    """
    for path in _legend_files(root):
        legend = read_legend(path)
        fitted = _fitted(legend, values) if legend is not None else None
        if fitted is not None:
            return fitted
    return _by_strip(root, values) or _by_palette(values, palette) or _by_names(values, pairs, size)


# --- Legend files -------------------------------------------------------------------------------------------------


def _legend_files(root: Path) -> list[Path]:
    """Candidates in the folder itself and in its subfolders, the nearest first."""
    found = [path for pattern in ("*", "*/*") for path in sorted(root.glob(pattern)) if path.is_file()]
    suffixes = (*_TEXT_SUFFIXES, ".json")
    named = [path for path in found if path.suffix.lower() in suffixes and _FILE.match(path.stem)]
    return [path for path in named if path.stat().st_size <= _LARGEST_LEGEND]


def read_legend(path: Path) -> Legend | None:
    """The names in a legend file, or None if it is not one. A list without numbers counts from 0."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return None
    if path.suffix.lower() == ".json":
        return _from_json(text, path.name)
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith(("#", "//"))]
    if not lines:
        return None
    return _from_table(lines, path.name) or _from_lines(lines, path.name)


def _from_table(lines: Sequence[str], source: str) -> Legend | None:
    """A table whose first line names its columns."""
    delimiter = next((mark for mark in ("\t", ",", ";") if mark in lines[0]), None)
    if delimiter is None:
        return None
    rows = list(csv.reader(lines, delimiter=delimiter))
    header = [title.strip().lower() for title in rows[0]]
    columns = {title: index for index, title in enumerate(header)}
    name = next((columns[title] for title in ("name", "class", "label", "class_name") if title in columns), None)
    number = next((columns[title] for title in ("idx", "id", "index", "value", "code") if title in columns), None)
    channels = [columns[title] for title in ("r", "g", "b") if title in columns]
    if name is None or (number is None and len(channels) != 3):
        return None
    entries: list[tuple[LabelValue, str, Colour | None]] = []
    try:
        for row in rows[1:]:
            colour = _colour([row[index] for index in channels]) if len(channels) == 3 else None
            value: LabelValue | None = int(row[number]) if number is not None else colour
            if value is None:
                return None
            entries.append((value, row[name], colour))
    except (ValueError, IndexError):
        return None
    return _legend(entries, source)


def _from_lines(lines: Sequence[str], source: str) -> Legend | None:
    """Lines of one form: ``R G B name``, ``name R G B``, ``name:R,G,B:...``, ``number name``, or a bare name."""
    forms = (
        r"(?P<name>[^:]+):(?P<colour>\d+,\d+,\d+):.*",
        r"(?P<colour>\d+[\s,]+\d+[\s,]+\d+)[\s,:]+(?P<name>\D.*)",
        r"(?P<name>.*\S)[\s,;:]+(?P<colour>\d+[\s,]+\d+[\s,]+\d+)",
        r"(?P<value>\d+)[\s,:;.)]+(?P<name>\S.*)",
        r"(?P<name>.{1,60})",
    )
    for form in forms:
        matches = [re.fullmatch(form, line) for line in lines]
        if not all(matches):
            continue
        entries: list[tuple[LabelValue, str, Colour | None]] = []
        first = -1 if lines[0] == "__ignore__" else 0
        for position, match in enumerate(match for match in matches if match is not None):
            groups = match.groupdict()
            colour = _colour(re.split(r"[\s,]+", groups["colour"])) if groups.get("colour") else None
            if groups.get("colour") and colour is None:
                return None
            number = int(groups["value"]) if groups.get("value") else position + first
            if number >= 0:
                entries.append((colour or number, groups["name"], colour))
        return _legend(entries, source)
    return None


def _from_json(text: str, source: str) -> Legend | None:
    """A list of names, or a mapping of numbers to names in either direction, perhaps under "labels" or "classes"."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(data, dict):
        data = next((data[key] for key in ("labels", "classes") if isinstance(data.get(key), (dict, list))), data)
    if isinstance(data, list) and data and all(isinstance(name, str) for name in data):
        return _legend([(value, name, None) for value, name in enumerate(data)], source)
    if not isinstance(data, dict) or not data:
        return None
    pairs = list(data.items())
    if all(isinstance(name, str) and str(value).isdigit() for value, name in pairs):
        return _legend([(int(value), name, None) for value, name in pairs], source)
    if all(isinstance(value, int) and not isinstance(value, bool) for _, value in pairs):
        return _legend([(value, name, None) for name, value in pairs], source)
    return None


def _legend(entries: Iterable[tuple[LabelValue, str, Colour | None]], source: str) -> Legend | None:
    names: dict[LabelValue, str] = {}
    palette: dict[str, Colour] = {}
    for value, text, colour in entries:
        name = _clean(text)
        if not name or value in names or (name != IGNORE and name in names.values()):
            return None
        names[value] = name
        if colour is not None and name != IGNORE:
            palette[name] = colour
    return Legend(names, f"the legend {source}", palette) if set(names.values()) - {IGNORE} else None


def _clean(text: str) -> str:
    """The first of several synonyms; the field's words for "nothing said" become "ignore"."""
    name = re.split(r"[,;]", text)[0].strip().strip("\"'").strip()
    bare = name.strip("_").lower().replace(" ", "").replace("'", "")
    if bare in _VOID:
        return IGNORE
    return "background" if bare == "background" else name


def _colour(parts: Sequence[str]) -> Colour | None:
    numbers = [int(part) for part in parts if part.strip()]
    if len(numbers) != 3 or not all(0 <= number <= 255 for number in numbers):
        return None
    return numbers[0], numbers[1], numbers[2]


def _fitted(legend: Legend, values: Set[LabelValue]) -> Legend | None:
    """The legend if it names every value. 255, black, and 0 where it counts from 1 may lack a name: ignored then."""
    if legend.palette and all(isinstance(value, int) for value in values):
        by_number: dict[LabelValue, str] = dict(enumerate(legend.names.values()))
        legend = Legend(by_number, legend.source, legend.palette)
    missing = values - set(legend.names)
    if len(legend.names) == 2 and values == {0, 255} and set(legend.names) == {0, 1}:
        return Legend({0: legend.names[0], 255: legend.names[1]}, legend.source, legend.palette)
    silent: set[LabelValue] = {*_BORDER_VALUES, (0, 0, 0)}
    if 1 in legend.names and 0 not in legend.names:
        silent.add(0)
    if missing - silent or not values & set(legend.names):
        return None
    extra: dict[LabelValue, str] = dict.fromkeys(sorted(missing, key=str), IGNORE)
    return Legend({**extra, **legend.names}, legend.source, legend.palette)


# --- Known numberings ---------------------------------------------------------------------------------------------


def _known(
    name: str,
    classes: Sequence[str],
    palette: Sequence[Colour],
    values: Iterable[int],
    ignored: Iterable[int],
    why: str,
) -> Legend:
    names: dict[LabelValue, str] = dict.fromkeys(ignored, IGNORE)
    names.update(zip(values, classes, strict=True))
    ordered = dict(sorted(names.items(), key=lambda item: str(item[0]).zfill(5)))
    return Legend(ordered, f"{name} ({why})", dict(zip(classes, palette, strict=True)))


def _by_strip(root: Path, values: Set[LabelValue]) -> Legend | None:
    """A picture of one row that shows the colour of each index, as CamVid's users pass around."""
    for path in sorted(root.iterdir()):
        if path.suffix.lower() not in IMAGE_SUFFIXES or not path.is_file():
            continue
        try:
            with Image.open(path) as image:
                if min(image.size) != 1:
                    continue
                colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
        except (OSError, SyntaxError, ValueError):
            continue
        table = [(int(r), int(g), int(b)) for r, g, b in colours]
        if tuple(table[: len(_CAMVID_PALETTE)]) == _CAMVID_PALETTE and values <= set(range(12)):
            why = f"the palette {path.name}"
            return _known("CamVid", _CAMVID_CLASSES, _CAMVID_PALETTE, range(11), (11,), why)
    return None


def _by_palette(values: Set[LabelValue], palette: Sequence[Colour] | None) -> Legend | None:
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
            names: dict[LabelValue, str] = dict(zip(known, classes, strict=True))
            names.update(dict.fromkeys(colours - set(known), IGNORE))
            return Legend(names, f"{name} (its colours)", dict(zip(classes, known, strict=True)))
        numbers = values - {255}
        fits = numbers <= set(range(len(classes))) and len(numbers) >= 3
        if palette is not None and fits and tuple(palette[: len(known)]) == tuple(known):
            return _known(name, classes, known, range(len(classes)), (255,), "the palette of the label files")
    return None


def _by_names(values: Set[LabelValue], pairs: Sequence[Pair], size: Size | None) -> Legend | None:
    """Files and folders named as in a known benchmark, with values that it has."""
    labels = [PurePosixPath(pair.label) for pair in pairs if pair.label is not None]
    stems = [path.stem for path in labels]
    folders = {part for path in labels for part in path.parent.parts}
    if not stems:
        return None
    if all(stem.endswith("_gtFine_labelTrainIds") for stem in stems) and values <= {*range(19), 255}:
        known = cityscapes.CLASSES, cityscapes.PALETTE, range(19), (255,)
        return _known("Cityscapes", *known, "file names")
    if all(stem.endswith("_gtFine_labelIds") for stem in stems) and values <= set(range(34)):
        others = [value for value in range(34) if value not in _CITYSCAPES_IDS]
        return _known("Cityscapes", cityscapes.CLASSES, cityscapes.PALETTE, _CITYSCAPES_IDS, others, "file names")
    if all(re.match(r"ADE_(train|val)_\d+$", stem) for stem in stems) and values <= set(range(151)):
        return _known("ADE20K", ade20k.CLASSES, ade20k.PALETTE, range(1, 151), (0,), "file names")
    if folders & {"SegmentationClass", "SegmentationClassAug"} and values <= {*range(21), 255}:
        return _known("Pascal VOC", pascal_voc.CLASSES, pascal_voc.PALETTE, range(21), (255,), "its folder names")
    if folders & {"trainannot", "valannot", "testannot"} and size == (360, 480) and values <= set(range(12)):
        return _known("CamVid", _CAMVID_CLASSES, _CAMVID_PALETTE, range(11), (11,), "folder names and image size")
    return None
