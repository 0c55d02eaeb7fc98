"""Darwin (V7): a JSON for each image, with polygons of several paths, ellipses and masks.

Annotations lie over each other in the order of the file. A pixel in an odd number of a polygon's paths belongs to it.
Masks are parts of one layer: runs along the rows, each a number and how often it comes, and which number each
annotation has. Boxes, lines, points and tags have no area. Annotations of frames, as of videos, are not read.

Format: https://docs.v7labs.com/docs/darwin-json-20 and, of before, version 1
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import (
    Bitmap,
    Drawing,
    Outline,
    Ring,
    Shape,
    SizeOf,
    ellipse,
    number,
    ring_of,
    stated_size,
)

_KEY = re.compile(r'"(\w+)"\s*:')
_LAYER = "raster_layer"
_LONGEST = 2**26


class Darwin:
    """The format."""

    name = "darwin"
    title = "V7 Darwin annotations"
    suffix = ".json"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether annotations stand beside an item with slots, or beside the image of version 1."""
        keys = set(_KEY.findall(text))
        return "annotations" in keys and (keys >= {"item", "slots"} or keys >= {"image", "original_filename"})

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder."""
        return FolderOfFiles(path, self.suffix, _read)


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    entries = found.get("annotations") if isinstance(found, dict) else None
    if not isinstance(entries, list):
        raise ValueError("has no list of annotations; expected a file of Darwin")
    stated = _stated(found, path)
    layers = [_layer(entry, stated or size()) for entry in entries if isinstance(entry, dict) and _LAYER in entry]
    shapes, without = [], []
    for position, entry in enumerate(entries, 1):
        where = f"annotation {position}"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise ValueError(f"{where}: has no name")
        if _LAYER in entry:
            continue
        where = f"{where} ({entry['name']})"
        area = _mask(entry, layers) if "mask" in entry else _area(entry, where)
        if area is None:
            kinds = [key for key in ("bounding_box", "line", "keypoint", "skeleton", "tag", "mask") if key in entry]
            without.append(f"{where} is a {(kinds or ['thing without an area'])[0]}")
        else:
            shapes.append(Shape(entry["name"], area, where))
    return Drawing(stated, tuple(shapes), tuple(without))


def _stated(found: Mapping[str, Any], path: Path) -> Size | None:
    """The size of the first slot, or of version 1's image."""
    item = found.get("item")
    slots = item.get("slots") if isinstance(item, dict) else None
    own = slots[0] if isinstance(slots, list) and slots else found.get("image")
    if not isinstance(own, dict) or own.get("width") is None or own.get("height") is None:
        return None
    return stated_size(own["height"], own["width"], str(path))


def _area(entry: Mapping[str, Any], where: str) -> Outline | None:
    if "frames" in entry:
        raise ValueError(
            f"{where}: is of the frames of a video or volume, which are not read; export single images, or masks"
        )
    kind = next((key for key in ("polygon", "complex_polygon", "ellipse") if isinstance(entry.get(key), dict)), "")
    said = entry.get(kind)
    if not isinstance(said, dict):
        return None
    if kind == "ellipse":
        (x, y), (across, down) = (_corner(said.get(key), where) for key in ("center", "radius"))
        turned = np.rad2deg(number(said.get("angle") or 0, f"{where}, its angle"))
        return Outline(((ellipse(x, y, across, down, where, float(turned)),),))
    rings = [ring for ring in (_ring(path, where) for path in _paths(said, where)) if len(ring) > 2]
    return Outline((tuple(rings),)) if rings else None


def _paths(said: Mapping[str, Any], where: str) -> list[Any]:
    """All paths of a polygon: listed, or the first apart from the others, or (complex_polygon) each in one list."""
    first, others = said.get("path"), said.get("additional_paths") or []
    if isinstance(first, list) and first and all(isinstance(part, list) for part in first):
        return first
    paths = said.get("paths", [first, *others] if isinstance(others, list) else None)
    if not isinstance(paths, list):
        raise ValueError(f"{where}: its paths are no list")
    return paths


def _ring(path: Any, where: str) -> Ring:
    if not isinstance(path, list):
        raise ValueError(f"{where}: expected a path of corners with x and y")
    return ring_of([_corner(corner, where) for corner in path] or [[0, 0]], where)


def _corner(said: Any, where: str) -> tuple[float, float]:
    if not isinstance(said, dict):
        raise ValueError(f"{where}: expected x and y, found {str(said)[:40]}")
    return number(said.get("x"), f"{where}, its x"), number(said.get("y"), f"{where}, its y")


# --- Masks --------------------------------------------------------------------------------------------------------

_Layer = tuple[npt.NDArray[np.int64], Mapping[str, Any]]
"""The number of each pixel (H, W); the number of each annotation by its id."""


def _layer(entry: Mapping[str, Any], size: Size) -> _Layer:
    said = entry[_LAYER]
    runs, numbers = (
        (said.get("dense_rle"), said.get("mask_annotation_ids_mapping")) if isinstance(said, dict) else ("", "")
    )
    if not isinstance(runs, list) or len(runs) % 2 or len(runs) > _LONGEST or not isinstance(numbers, dict):
        raise ValueError("its raster layer has no runs (dense_rle), or not the numbers of its masks")
    try:
        pairs = np.array(runs, np.int64).reshape(-1, 2)
    except (ValueError, TypeError, OverflowError):
        raise ValueError("the runs of its raster layer are no whole numbers") from None
    total = size[0] * size[1]
    if (pairs < 0).any() or (pairs[:, 1] > total).any() or int(pairs[:, 1].sum()) != total:
        raise ValueError(
            f"the runs of its raster layer make {int(pairs[:, 1].sum()):,} pixels, but {size[1]} x {size[0]} (width x "
            f"height) are {total:,}"
        )
    return np.repeat(pairs[:, 0], pairs[:, 1]).reshape(size), numbers


def _mask(entry: Mapping[str, Any], layers: list[_Layer]) -> Bitmap | None:
    """The pixels that have the annotation's number; None where no layer has one for it."""
    for layer, numbers in layers:
        own = numbers.get(str(entry.get("id")))
        if isinstance(own, int):
            return Bitmap(layer == own)
    return None
