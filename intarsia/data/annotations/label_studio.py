"""Label Studio: one JSON for many images (JSON or JSON-MIN), with brushes, polygons, rectangles and ellipses.

Places are hundredths of the image. Regions lie over each other in the order of the file. Of several annotations of a
task the one that is marked as ground truth counts, or else the last; cancelled ones do not. A task that nobody has
annotated has no label. Predictions of models are not looked at. A brush is where its mask is not transparent.

Format: https://labelstud.io/guide/export
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import numpy as np

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import JsonFile
from intarsia.data.annotations.rle_pack import unpacked
from intarsia.data.annotations.shapes import (
    Bitmap,
    Drawing,
    Outline,
    Shape,
    SizeOf,
    box,
    ellipse,
    number,
    ring_of,
    stated_size,
    turned,
)
from intarsia.data.image_io import IMAGE_SUFFIXES

_KEY = re.compile(r'"(\w+)"\s*:')
_UPLOADED = re.compile(r"^[0-9a-f]{8}-(?=.)")
"""What the tool puts before the names of files that are uploaded."""

_LABELS = ("brushlabels", "polygonlabels", "rectanglelabels", "ellipselabels", "labels")


class LabelStudio:
    """The format."""

    name = "label_studio"
    title = "Label Studio annotations"
    suffix = ".json"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether it is a list of tasks with results, or regions have labels of the tool."""
        keys = set(_KEY.findall(text))
        is_list = text.lstrip().startswith("[")
        return is_list and (
            keys >= {"annotations", "result"} or "completions" in keys or bool(keys & set(_LABELS[:-1]))
        )

    def look_through(self, path: Path, names: Path | None) -> LabelStudioFile:
        """Look through a file: where each task stands in it."""
        return LabelStudioFile(path)


class LabelStudioFile:
    """A file that has been looked through. Satisfies `source.Opened`."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self.faults: list[str] = []
        self.subsets: Mapping[str, str] = {}
        self.keys: dict[str, tuple[str, ...]] = {}
        self._places: dict[str, tuple[int, int]] = {}
        used: dict[str, None] = {}
        several: list[str] = []
        for position, (key, begin, end, _) in enumerate(self._file.parts(), 1):
            task = self._file.read(begin, end)
            if key or not isinstance(task, dict):
                raise ValueError(f"{path}: expected a list of tasks, as Label Studio exports it as JSON")
            names = _names(task)
            if not names:
                raise ValueError(f"{path}: task {position} names no image")
            results = _results(task)
            if results is None:
                continue
            if _count(task) > 1:
                several.append(names[0])
            if names[0] in self.keys:
                self.faults.append(f"the image {names[0]} has several tasks; the first counts")
                continue
            self.keys[names[0]], self._places[names[0]] = names, (begin, end)
            used |= {name: None for _, _, name in _regions(results) if name}
        if several:
            self.faults.append(f"{len(several)} images have several annotations, such as {several[0]}; one counts")
        self.used = frozenset(used)
        self.classes: Sequence[str] = sorted(used)

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image."""
        results = _results(self._file.read(*self._places[key])) or []
        stated: Size | None = None
        shapes: list[Shape] = []
        without: list[str] = []
        for position, (region, value, name) in enumerate(_regions(results), 1):
            where = f"region {position} ({key})"
            try:
                own = _size(region, where)
                if own is not None and stated is not None and own != stated:
                    raise ValueError(f"says that the image has {own}, another region says {stated} (height, width)")
                stated = own if stated is None else stated
                area = _area(value, stated if stated is not None else size(), where)
            except ValueError as error:
                text = str(error)
                raise ValueError(
                    f"{self._file.path}: {text if text.startswith(where) else f'{where}: {text}'}"
                ) from None
            if area is None:
                without.append(f"{where} has no area")
            elif not name:
                without.append(f"{where} has no label")
            else:
                shapes.append(Shape(name, area, where))
        return Drawing(stated, tuple(shapes), tuple(without))


# --- Tasks --------------------------------------------------------------------------------------------------------


def _names(task: Mapping[str, Any]) -> tuple[str, ...]:
    """What the image of a task may be called: its path, its file name, that without the tool's prefix."""
    data = task.get("data")
    fields = data if isinstance(data, dict) else task
    texts = [str(value) for value in fields.values() if isinstance(value, str) and _is_image(value)]
    wanted = [str(fields[key]) for key in ("image", "img") if isinstance(fields.get(key), str)]
    found: dict[str, None] = {}
    for text in (*wanted, *texts)[:1]:
        path = _path(text)
        pure = PurePosixPath(path)
        bare = _UPLOADED.sub("", pure.name)
        found |= {name: None for name in (path.lstrip("/"), pure.name, bare) if name}
    return tuple(found)


def _path(text: str) -> str:
    """The path of an address, or that which it asks for (local files)."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return text
    asked = parse_qs(parts.query).get("d")
    return asked[0] if asked else unquote(parts.path)


def _is_image(text: str) -> bool:
    return PurePosixPath(_path(text)).suffix.lower() in IMAGE_SUFFIXES


def _annotations(task: Mapping[str, Any]) -> list[dict[str, Any]]:
    found = task.get("annotations", task.get("completions"))
    entries = found if isinstance(found, list) else []
    return [
        entry
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("result"), list) and not entry.get("was_cancelled")
    ]


def _count(task: Mapping[str, Any]) -> int:
    return len(_annotations(task))


def _results(task: Mapping[str, Any]) -> list[Any] | None:
    """The regions of a task; None if nobody has annotated it."""
    if "annotations" in task or "completions" in task:
        entries = _annotations(task)
        chosen = [entry for entry in entries if entry.get("ground_truth")] or entries
        return list(chosen[-1]["result"]) if chosen else None
    lists = [value for value in task.values() if isinstance(value, list)]
    regions = [entry for value in lists for entry in value if isinstance(entry, dict)]
    return regions if lists else None  # JSON-MIN leaves out tasks without annotations


def _regions(results: Sequence[Any]) -> Iterator[tuple[Mapping[str, Any], Mapping[str, Any], str]]:
    """(region, its value, its label); the label may stand in another result of the same id."""
    by_id: dict[Any, str] = {}
    for result in results:
        value = _value(result)
        name = _label(value)
        if name and isinstance(result.get("id"), str | int):
            by_id[result["id"]] = name
    for result in results:
        value = _value(result)
        if value and any(key in value for key in ("rle", "points", "width", "radiusX", "x")):
            identity = result.get("id")
            yield result, value, _label(value) or (by_id.get(identity, "") if isinstance(identity, str | int) else "")


def _value(result: Any) -> Mapping[str, Any]:
    if not isinstance(result, dict):
        return {}
    value = result.get("value", result)
    return value if isinstance(value, dict) else {}


def _label(value: Mapping[str, Any]) -> str:
    for key in _LABELS:
        names = value.get(key)
        if isinstance(names, list) and names:
            return str(names[0])
    return ""


# --- Regions ------------------------------------------------------------------------------------------------------


def _size(region: Mapping[str, Any], where: str) -> Size | None:
    if region.get("image_rotation"):
        raise ValueError(
            f"the image was turned by {region['image_rotation']} degrees in the tool; turn the file itself"
        )
    height, width = region.get("original_height"), region.get("original_width")
    return None if not height or not width else stated_size(height, width, where)


def _area(value: Mapping[str, Any], size: Size, where: str) -> Outline | Bitmap | None:
    scale = np.array([size[1], size[0]], np.float64) / 100
    degrees = number(value.get("rotation") or 0, "rotation")
    if "rle" in value:
        return Bitmap(unpacked(value["rle"], size))
    if "points" in value:
        points = ring_of(value["points"], where) * scale
        return Outline(((points,),)) if len(points) > 2 else None
    if "radiusX" in value:
        x, y, across, down = (number(value.get(key), key) for key in ("x", "y", "radiusX", "radiusY"))
        (x, y), (across, down) = (scale * (x, y)).tolist(), (scale * (across, down)).tolist()
        return Outline(((ellipse(x, y, across, down, where, degrees),),))
    if "width" in value and "height" in value:
        left, top, width, height = (number(value.get(key), key) for key in ("x", "y", "width", "height"))
        (left, top), (width, height) = (scale * (left, top)).tolist(), (scale * (width, height)).tolist()
        corners = box(left, top, left + width, top + height, where)
        return Outline(((turned(corners, np.array([left, top]), degrees),),))
    return None
