"""SuperAnnotate: a JSON for each image of a vector project, with polygons that may have holes, and ellipses.

Instances lie over each other in the order of the file. Boxes, points, lines and tags have no area. The files are called
`photo.jpg.json`, in exports of before `photo.jpg___objects.json`.

Format: https://doc.superannotate.com/docs/vector-json
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import Drawing, Outline, Shape, SizeOf, ellipse, number, ring_of, stated_size

_KEY = re.compile(r'"(\w+)"\s*:')
_OTHER_FILES = ("classes.json", "config.json")


class SuperAnnotate:
    """The format."""

    name = "superannotate"
    title = "SuperAnnotate annotations"
    suffix = ".json"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has instances of classes, or none of them beside what it says of the image."""
        keys = set(_KEY.findall(text))
        return "instances" in keys and ("className" in keys or keys >= {"metadata", "tags", "comments"})

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder."""
        return FolderOfFiles(path, self.suffix, _read, passed_over=_OTHER_FILES, marks=("___objects",))


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    instances = found.get("instances") if isinstance(found, dict) else None
    if not isinstance(instances, list):
        raise ValueError("has no list of instances; expected a file of SuperAnnotate")
    about = found.get("metadata")
    height, width = (about.get("height"), about.get("width")) if isinstance(about, dict) else (None, None)
    stated = None if height is None or width is None else stated_size(height, width, str(path))
    shapes, without = [], []
    for position, entry in enumerate(instances, 1):
        where = f"instance {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("className"), str):
            raise ValueError(f"{where}: has no className")
        where = f"{where} ({entry['className']})"
        area = _area(entry, where)
        if area is None:
            without.append(f"{where} is a {str(entry.get('type'))[:40]}")
        else:
            shapes.append(Shape(entry["className"], area, where))
    return Drawing(stated, tuple(shapes), tuple(without))


def _area(entry: dict[str, Any], where: str) -> Outline | None:
    kind = entry.get("type")
    if kind == "ellipse":
        x, y, across, down = (number(entry.get(key), f"{where}, its {key}") for key in ("cx", "cy", "rx", "ry"))
        return Outline(((ellipse(x, y, across, down, where, number(entry.get("angle") or 0, f"{where}, its angle")),),))
    if "parts" in entry:
        raise ValueError(f"{where}: is of a pixel project, whose masks are not read; export it as COCO")
    if kind != "polygon":
        return None
    holes = entry.get("exclude") or []
    if not isinstance(holes, list):
        raise ValueError(f"{where}: its exclude is no list of polygons")
    outline, *inner = [ring_of(ring, where) for ring in (entry.get("points"), *holes)]
    return Outline(((outline, *(ring for ring in inner if len(ring) > 2)),)) if len(outline) > 2 else None
