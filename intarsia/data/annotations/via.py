"""VIA (VGG Image Annotator 2 and 3): a JSON or a CSV for many images, with polygons, rectangles, circles and ellipses.

Regions lie over each other in the order of the file. A region's class is one of its attributes: that which is called
like one (class, label, type, name ...), or else that which most regions have; without any, all are "object". Of boxes
to tick the first that is ticked counts. Points and lines have no area.

Format: https://www.robots.ox.ac.uk/~vgg/software/via/
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from intarsia.data.annotations.csv_rows import read_rows, titles_of
from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.shapes import Drawing, Outline, Shape, SizeOf, box, ellipse, number, ring_of

_KEY = re.compile(r'"(\w+)"\s*:')
_NAMES = (
    "class",
    "classname",
    "label",
    "labels",
    "category",
    "type",
    "name",
    "object",
    "objectname",
    "species",
    "kind",
)
"""What the attribute of the class may be called, in order of preference; letters alone are compared."""
_OBJECT = "object"
_COLUMNS = frozenset(("filename", "regionshapeattributes", "regionattributes"))


class Via:
    """The format, as JSON: a project, or its annotations alone."""

    name = "via"
    title = "VIA annotations"
    suffix = ".json"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has regions with attributes of their shape."""
        keys = set(_KEY.findall(text))
        return (
            "_via_img_metadata" in keys
            or keys >= {"metadata", "attribute", "fid_list"}
            or keys >= {"regions", "filename", "shape_attributes"}
        )

    def look_through(self, path: Path, names: Path | None) -> ViaFile:
        """Look through a file."""
        return ViaFile(path, _of_json(path))


class ViaCsv(Via):
    """The format, as CSV: a row for each region."""

    name = "via_csv"
    suffix = ".csv"

    def recognise(self, text: str) -> bool:
        """Whether it has the tool's columns."""
        return set(titles_of(text)) >= _COLUMNS

    def look_through(self, path: Path, names: Path | None) -> ViaFile:
        """Look through a file."""
        return ViaFile(path, _of_csv(path))


_Region = tuple[str, Mapping[str, Any], Mapping[str, Any]]
"""Its place in the file, in words; the attributes of its shape; those that say what it is."""


class ViaFile:
    """A file that has been looked through. Satisfies `source.Opened`."""

    def __init__(self, path: Path, images: Mapping[str, Sequence[_Region]]) -> None:
        self._path, self._regions = path, images
        self.faults: Sequence[str] = ()
        self.subsets: Mapping[str, str] = {}
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in images}
        counts = Counter(key for regions in images.values() for _, _, what in regions for key in what)
        order = {name: position for position, name in enumerate(_NAMES)}
        self._attribute = min(counts, key=lambda key: (order.get(_letters(key), len(order)), -counts[key]), default="")
        shapes = ((shape, what) for regions in images.values() for _, shape, what in regions)
        self.used = frozenset(self._name(what) for shape, what in shapes if shape.get("name") not in _WITHOUT_AREA)
        self.classes: Sequence[str] = sorted(self.used)

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image."""
        drawn: list[Shape] = []
        without: list[str] = []
        for where, shape, what in self._regions[key]:
            try:
                area = _area(shape, f"{where} ({key})")
            except ValueError as error:
                raise ValueError(f"{self._path}: {error}") from None
            if area is None:
                without.append(f"{where} ({key}) is a {str(shape.get('name'))[:40]}")
            else:
                drawn.append(Shape(self._name(what), area, f"{where} ({key})"))
        return Drawing(None, tuple(drawn), tuple(without))

    def _name(self, what: Mapping[str, Any]) -> str:
        said = what.get(self._attribute)
        if isinstance(said, dict):  # boxes to tick
            said = next((name for name, ticked in said.items() if ticked), None)
        text = "" if said is None else str(said).strip()
        return text or _OBJECT


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalpha())


def _of_json(path: Path) -> dict[str, list[_Region]]:
    found = read_json(path)
    if isinstance(found, dict) and isinstance(found.get("metadata"), dict) and isinstance(found.get("view"), dict):
        return _of_version_3(path, found)
    entries = found.get("_via_img_metadata", found) if isinstance(found, dict) else None
    if not isinstance(entries, dict):
        raise ValueError(f"{path}: expected the images of VIA by their keys")
    images: dict[str, list[_Region]] = {}
    for key, entry in entries.items():
        if not isinstance(entry, dict) or not isinstance(entry.get("filename"), str):
            raise ValueError(f"{path}: the entry {key[:60]!r} names no file")
        regions = entry.get("regions") or []
        listed = list(regions.values()) if isinstance(regions, dict) else regions  # of version 1
        if not isinstance(listed, list):
            raise ValueError(f"{path}: the regions of {entry['filename']} are no list")
        images.setdefault(entry["filename"], []).extend(_regions(path, listed))
    return images


_SHAPES = {1: "point", 2: "rect", 3: "circle", 4: "ellipse", 5: "line", 6: "polyline", 7: "polygon"}
_NUMBERS = {"rect": ("x", "y", "width", "height"), "circle": ("cx", "cy", "r"), "ellipse": ("cx", "cy", "rx", "ry")}


def _of_version_3(path: Path, found: Mapping[str, Any]) -> dict[str, list[_Region]]:
    """Regions of views, with the number of their kind before their numbers; what they say, by numbered attributes."""
    files, attributes = _parts(found.get("file")), _parts(found.get("attribute"))
    names = {view: str(_parts(files.get(str(fid))).get("fname", "")) for view, fid in _views(found["view"])}
    images: dict[str, list[_Region]] = {name: [] for name in names.values() if name}
    for position, entry in enumerate(found["metadata"].values(), 1):
        numbers = entry.get("xy") if isinstance(entry, dict) else None
        name = names.get(str(entry.get("vid"))) if isinstance(entry, dict) else None
        if not isinstance(numbers, list) or not name:
            raise ValueError(f"{path}: region {position} has no xy, or belongs to no view of a file")
        if numbers:
            said = dict(_meaning(attributes, _parts(entry.get("av"))))
            images[name].append((f"region {position}", _shape_of(numbers), said))
    return images


def _parts(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, dict) else {}


def _views(views: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """(view, number of its file) of those that show one file."""
    for view, entry in views.items():
        listed = entry.get("fid_list") if isinstance(entry, dict) else None
        if isinstance(listed, list) and len(listed) == 1:
            yield str(view), listed[0]


def _shape_of(numbers: list[Any]) -> dict[str, Any]:
    """As version 2 has it."""
    kind = _SHAPES.get(numbers[0], str(numbers[0])) if isinstance(numbers[0], int) else str(numbers[0])
    if kind == "polygon":
        return {"name": kind, "all_points_x": numbers[1::2], "all_points_y": numbers[2::2]}
    return {"name": kind, **dict(zip(_NUMBERS.get(kind, ()), numbers[1:], strict=False))}


def _meaning(attributes: Mapping[str, Any], said: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
    """(name of an attribute, what is said) with the words of options in the place of their keys."""
    for key, value in said.items():
        attribute = _parts(attributes.get(key))
        yield str(attribute.get("aname", key)), _parts(attribute.get("options")).get(str(value), value)


def _regions(path: Path, listed: Iterable[Any]) -> Iterable[_Region]:
    for position, region in enumerate(listed, 1):
        shape = region.get("shape_attributes") if isinstance(region, dict) else None
        if not isinstance(shape, dict):
            raise ValueError(f"{path}: region {position} has no shape_attributes")
        what = region.get("region_attributes")
        yield f"region {position}", shape, what if isinstance(what, dict) else {}


def _of_csv(path: Path) -> dict[str, list[_Region]]:
    titles, rows = read_rows(path)
    if missing := sorted(_COLUMNS - set(titles)):
        raise ValueError(f"{path}: expected the columns of VIA; there is no {', '.join(missing)}")
    images: dict[str, list[_Region]] = {}
    for line, row in enumerate(rows, 2):
        if row["filename"].startswith("#"):
            continue
        regions = images.setdefault(row["filename"], [])
        try:
            shape, what = (json.loads(row[name] or "{}") for name in ("regionshapeattributes", "regionattributes"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{path}:{line}: no valid JSON in the attributes: {error}") from None
        if not isinstance(shape, dict) or not isinstance(what, dict):
            raise ValueError(f"{path}:{line}: expected attributes by name, found {row['regionshapeattributes'][:60]}")
        if shape:
            regions.append((f"row {line}", shape, what))
    return images


_WITHOUT_AREA = ("point", "polyline", "line")


def _area(shape: Mapping[str, Any], where: str) -> Outline | None:
    kind = shape.get("name")
    if kind in _WITHOUT_AREA:
        return None

    def of(key: str) -> float:
        return number(shape.get(key), f"{where}, its {key}")

    if kind in ("polygon", "polygons"):
        x, y = shape.get("all_points_x"), shape.get("all_points_y")
        if not isinstance(x, list) or not isinstance(y, list) or len(x) != len(y):
            raise ValueError(f"{where}: expected as many all_points_x as all_points_y")
        points = ring_of([list(pair) for pair in zip(x, y, strict=True)] or [[0, 0]], where)
        return Outline(((points,),)) if len(points) > 2 else None
    if kind == "rect":
        left, top = of("x"), of("y")
        return Outline(((box(left, top, left + of("width"), top + of("height"), where),),))
    if kind == "circle":
        return Outline(((ellipse(of("cx"), of("cy"), of("r"), of("r"), where),),))
    if kind == "ellipse":
        turned = math.degrees(of("theta")) if shape.get("theta") is not None else 0.0
        return Outline(((ellipse(of("cx"), of("cy"), of("rx"), of("ry"), where, turned),),))
    raise ValueError(f"{where}: expected a polygon, rect, circle or ellipse, found {str(kind)[:40]!r}")
