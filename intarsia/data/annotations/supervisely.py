"""Supervisely: a JSON for each image in `ann/`, with polygons that may have holes, zlib bitmaps and rectangles.

Objects lie over each other in the order of the file. Corners in whole numbers are pixels, which belong to the object
(and those of a hole to the hole), as the tool itself draws them; numbers with fractions are places, as everywhere else.

Format: https://developer.supervisely.com/getting-started/supervisely-annotation-format
"""

from __future__ import annotations

import base64
import binascii
import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.labelme import mask_of_bytes
from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import (
    Bitmap,
    Drawing,
    Outline,
    Ring,
    Shape,
    SizeOf,
    box,
    number,
    ring_of,
    stated_size,
)

_KEY = re.compile(r'"(\w+)"\s*:')
_LARGEST = 2**28
_OTHER_FILES = ("meta.json", "key_id_map.json", "obj_class_to_machine_color.json", "project_meta.json")


class Supervisely:
    """The format."""

    name = "supervisely"
    title = "Supervisely annotations"
    suffix = ".json"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has objects with titles of classes, or none of them beside a size and tags."""
        keys = set(_KEY.findall(text))
        return "objects" in keys and ("classTitle" in keys or keys >= {"size", "tags"})

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder."""
        return FolderOfFiles(path, self.suffix, _read, passed_over=_OTHER_FILES)


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    objects = found.get("objects") if isinstance(found, dict) else None
    if not isinstance(objects, list):
        raise ValueError("has no list of objects; expected a file of Supervisely")
    own = found.get("size")
    stated = stated_size(own.get("height"), own.get("width"), str(path)) if isinstance(own, dict) else None
    shapes, without = [], []
    for position, entry in enumerate(objects, 1):
        where = f"object {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("classTitle"), str | int):
            raise ValueError(f"{where}: has no classTitle")
        where = f"{where} ({entry['classTitle']})"
        area = _area(entry, stated or size, where)
        if area is None:
            without.append(f"{where} is a {str(entry.get('geometryType'))[:40]}")
        else:
            shapes.append(Shape(str(entry["classTitle"]), area, where))
    return Drawing(stated, tuple(shapes), tuple(without))


def _area(entry: dict[str, Any], size: Size | SizeOf, where: str) -> Outline | Bitmap | None:
    kind = entry.get("geometryType") or ("bitmap" if entry.get("bitmap") else "polygon")
    if kind == "bitmap":
        return _bitmap(entry.get("bitmap"), where)
    if kind not in ("polygon", "rectangle"):
        return None
    points = entry.get("points")
    if not isinstance(points, dict):
        raise ValueError(f"{where}: has no points")
    holes = points.get("interior") or []
    if not isinstance(holes, list):
        raise ValueError(f"{where}: its interior is no list of polygons")
    rings = [ring_of(ring, where) for ring in (points.get("exterior"), *holes)]
    counts_pixels = all((ring == np.rint(ring)).all() for ring in rings)
    if kind == "rectangle" and len(rings[0]) == 2:
        (left, top), (right, bottom) = rings[0].min(axis=0).tolist(), rings[0].max(axis=0).tolist()
        return Outline(((box(left, top, right + counts_pixels, bottom + counts_pixels, where),),))
    if len(rings[0]) < 3:
        return None
    if counts_pixels:
        return _pixels(rings, size if isinstance(size, tuple) else size())
    return Outline((tuple(ring for ring in rings if len(ring) > 2),))


def _pixels(rings: Sequence[Ring], size: Size) -> Bitmap:
    """An outline of pixels, filled with its border, and its holes with theirs taken out."""
    low, high = rings[0].min(axis=0).astype(int), rings[0].max(axis=0).astype(int)
    left, top = (max(int(place), 0) for place in low)
    right, bottom = (min(int(place) + 1, side) for place, side in zip(high, (size[1], size[0]), strict=True))
    mask = np.zeros((max(bottom - top, 0), max(right - left, 0)), np.uint8)
    if mask.size:
        for position, ring in enumerate(rings):
            if len(ring):
                cv2.fillPoly(mask, [(ring - (left, top)).astype(np.int32)], 0 if position else 1)
    return Bitmap(mask > 0, top, left)


def _bitmap(found: Any, where: str) -> Bitmap:
    origin = found.get("origin") if isinstance(found, dict) else None
    if not isinstance(origin, list) or len(origin) != 2:
        raise ValueError(f"{where}: its bitmap has no origin and data")
    left, top = (int(number(part, f"{where}, its origin")) for part in origin)
    try:
        packed = base64.b64decode(found.get("data"), validate=True)
        stream = zlib.decompressobj()
        data = stream.decompress(packed, _LARGEST)
    except (binascii.Error, TypeError, ValueError, zlib.error):
        raise ValueError(f"{where}: its bitmap is no picture in base64 and zlib") from None
    if not stream.eof:
        raise ValueError(f"{where}: its bitmap is cut off, or larger than {_LARGEST:,} bytes")
    return Bitmap(mask_of_bytes(data, where), top, left)
