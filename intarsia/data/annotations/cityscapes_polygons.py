"""Polygons as Cityscapes and its kin store them: a JSON for each image, ``CITY_*_gtFine_polygons.json``.

Objects lie over each other in the order of the file. A group of objects (``cargroup``) is of their class. Corners are
places as everywhere; the benchmark's own script draws borders besides.

Format: https://github.com/mcordts/cityscapesScripts (README, annotation)
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import Drawing, Outline, Shape, SizeOf, ring_of, stated_size

_KEY = re.compile(r'"(\w+)"\s*:')
_END = re.compile(r"(_gt(Fine|Coarse))?_polygons$")
_GROUP = re.compile(r"(?<=[a-z])group$")


class CityscapesPolygons:
    """The format."""

    name = "cityscapes"
    title = "polygons of the kind of Cityscapes"
    suffix = ".json"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has objects with polygons beside the size of an image."""
        keys = set(_KEY.findall(text))
        return "objects" in keys and (
            keys >= {"imgHeight", "imgWidth"} or keys >= {"height", "width", "polygon", "label"}
        )

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder; an image may end in ``_leftImg8bit`` where its file does in ``_polygons``."""
        found = FolderOfFiles(path, self.suffix, _read)
        found.keys = {key: _names(stem) for key, (stem, *_) in found.keys.items()}
        return found


def _names(stem: str) -> tuple[str, ...]:
    base = _END.sub("", stem)
    return (stem,) if base == stem else (f"{base}_leftImg8bit", base, stem)


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    objects = found.get("objects") if isinstance(found, dict) else None
    if not isinstance(objects, list):
        raise ValueError("has no list of objects; expected polygons of the kind of Cityscapes")
    height, width = (found.get(f"img{side}", found.get(side.lower())) for side in ("Height", "Width"))
    stated = None if height is None or width is None else stated_size(height, width, str(path))
    shapes: list[Shape] = []
    without: list[str] = []
    for position, entry in enumerate(objects, 1):
        where = f"object {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str | int):
            raise ValueError(f"{where}: has no label")
        if entry.get("deleted"):
            continue
        where = f"{where} ({entry['label']})"
        area = _area(entry, where)
        if area is None:
            without.append(f"{where} has no polygon of three corners")
        else:
            shapes.append(Shape(_GROUP.sub("", str(entry["label"])), area, where))
    return Drawing(stated, tuple(shapes), tuple(without))


def _area(entry: dict[str, Any], where: str) -> Outline | None:
    points = entry.get("polygon")
    if not points:
        return None
    ring = ring_of(points, where)
    return Outline(((ring,),)) if len(ring) > 2 else None
