"""LabelMe (wkentaro) and X-AnyLabeling: a JSON beside each image, with polygons, rectangles, circles and masks.

Shapes lie over each other in the order of the file. Turned rectangles are stored by their four corners, others by two
opposite ones or by all. A mask is a PNG whose first pixel is at the first of the two points. Lines and points have no
area. `flags` and `group_id` are not looked at.

Formats: https://github.com/wkentaro/labelme, https://github.com/CVHub520/X-AnyLabeling
"""

from __future__ import annotations

import base64
import binascii
import io
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.data.annotations.json_parts import read_json
from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import (
    Bitmap,
    Drawing,
    Outline,
    Ring,
    Shape,
    SizeOf,
    box,
    ellipse,
    ring_of,
    stated_size,
)
from intarsia.data.headers import check_size

_OUTLINES = ("polygon", "oriented_rectangle", "rotation", "quadrilateral")
"""Kinds of shapes that are stored by all their corners."""
_KEY = re.compile(r'"(\w+)"\s*:')


class LabelMe:
    """The format."""

    name = "labelme"
    title = "LabelMe annotations"
    suffix = ".json"
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it has shapes, and points or an image."""
        keys = set(_KEY.findall(text))
        return "shapes" in keys and bool(keys & {"imagePath", "points", "imageData", "imageHeight"})

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder."""
        return FolderOfFiles(path, self.suffix, _read)


def _read(path: Path, size: SizeOf) -> Drawing:
    found = read_json(path)
    shapes = found.get("shapes") if isinstance(found, dict) else None
    if not isinstance(shapes, list):
        raise ValueError("has no list of shapes; expected a file of LabelMe")
    height, width = found.get("imageHeight"), found.get("imageWidth")
    stated = None if height is None or width is None else stated_size(height, width, str(path))
    drawn, without = [], []
    for number, entry in enumerate(shapes, 1):
        where = f"shape {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("label"), str | int):
            raise ValueError(f"{where}: has no label")
        where = f"{where} ({entry['label']})"
        area = _area(entry, where)
        if area is None:
            without.append(f"{where} is a {entry.get('shape_type') or 'polygon of two corners'}")
        else:
            drawn.append(Shape(str(entry["label"]), area, where))
    return Drawing(stated, tuple(drawn), tuple(without))


def _area(entry: dict[str, Any], where: str) -> Outline | Bitmap | None:
    kind = entry.get("shape_type") or "polygon"
    if kind in ("point", "points", "line", "linestrip"):
        return None
    points = ring_of(entry.get("points"), where)
    if kind in _OUTLINES:
        return Outline(((points,),)) if len(points) > 2 else None
    if kind == "rectangle" and len(points) > 1:
        (left, top), (right, bottom) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        return Outline(((box(left, top, right, bottom, where),),))
    if kind == "circle" and len(points) == 2:
        radius = math.dist(points[0], points[1])
        x, y = points[0].tolist()
        return Outline(((ellipse(x, y, radius, radius, where),),))
    if kind == "mask" and len(points):
        return _bitmap(entry.get("mask"), points, where)
    raise ValueError(
        f"{where}: {len(points)} points make no shape of type {str(kind)[:40]!r}; expected a polygon, rectangle, "
        "circle or mask"
    )


def _bitmap(encoded: Any, points: Ring, where: str) -> Bitmap:
    left, top = np.rint(points[0]).astype(int).tolist()
    return Bitmap(mask_of_png(encoded, where), top, left)


def mask_of_png(encoded: Any, where: str) -> npt.NDArray[np.bool_]:
    """A mask (H, W) from a picture in base64: where it is not 0, or not transparent if it has nothing else to say.

    Raises ValueError, naming the shape, if it is no picture.
    """
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise ValueError(f"{where}: its mask is no picture in base64") from None
    return mask_of_bytes(data, where)


def mask_of_bytes(data: bytes, where: str) -> npt.NDArray[np.bool_]:
    """A mask (H, W) from a PNG. Raises ValueError, naming the shape, if it is none."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
            check_size(*image.size)
            if image.mode in ("RGBA", "LA", "PA"):
                return np.asarray(image.getchannel("A")) > 0
            pixels = np.asarray(image)
    except Exception as error:  # Pillow raises what its readers trip over: OSError, SyntaxError, struct.error
        raise ValueError(f"{where}: its mask cannot be read as a PNG: {error}") from None
    return np.asarray(pixels != 0 if pixels.ndim == 2 else pixels.any(axis=2))
