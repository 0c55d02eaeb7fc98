"""YOLO (Ultralytics, Roboflow): a text beside each image, a polygon a line, in fractions of the image.

A line is the number of the class and x and y of each corner; the names are in a `data.yaml` or `classes.txt`. Lines lie
over each other in their order. An image without a text has no objects, as YOLO has it. Lines of four numbers are boxes,
which say nothing of pixels.

Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from intarsia.data.annotations.per_image import FolderOfFiles
from intarsia.data.annotations.shapes import Drawing, Outline, Shape, SizeOf, ring_of
from intarsia.io.text import lines_of, read_lines, read_text

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_LINE = re.compile(rf"\d+(?:\.0)?(?:\s+{_NUMBER})+")
_MOST_CLASSES = 65_000
_FARTHEST = 2.0
_LISTS = ("classes.txt", "labels.txt", "train.txt", "val.txt", "valid.txt", "test.txt", "obj.names", "notes.txt")


class Yolo:
    """The format."""

    name = "yolo"
    title = "YOLO polygons"
    suffix = ".txt"
    per_image = True
    absent_is_empty = True

    def recognise(self, text: str) -> bool:
        """Whether lines are a whole number and fractions, and some line has three corners."""
        lines = [line for line in lines_of(text)[:20] if line][:10]
        if not lines or not all(_LINE.fullmatch(line) for line in lines):
            return False
        numbers = [[float(part) for part in line.split()[1:]] for line in lines[:-1] or lines]
        near = all(-0.5 <= part <= 1.5 for line in numbers for part in line)
        return near and any(len(line) >= 6 and len(line) % 2 == 0 for line in numbers)

    def look_through(self, path: Path, names: Path | None) -> FolderOfFiles:
        """List the files of a folder, and the names of the classes."""
        listed = () if names is None else read_names(names)

        def read(file: Path, size: SizeOf) -> Drawing:
            return _read(file, size, listed, names)

        return FolderOfFiles(path, self.suffix, read, listed=listed, passed_over=_LISTS)


def read_names(path: Path) -> tuple[str, ...]:
    """The names of the classes by their numbers, from a `data.yaml` or a text with one a line.

    Raises ValueError naming the file if there are none.
    """
    if path.suffix.lower() not in (".yaml", ".yml"):
        lines = read_lines(path)
        while lines and not lines[-1]:
            lines.pop()
        return tuple(line or f"class_{number}" for number, line in enumerate(lines))
    try:
        found = yaml.load(read_text(path, largest=2**22), Loader=_NoAliases)
    except (yaml.YAMLError, RecursionError) as error:
        raise ValueError(f"{path}: not valid YAML: {getattr(error, 'problem', None) or error}") from None
    names = found.get("names") if isinstance(found, dict) else None
    if isinstance(names, dict) and names and all(isinstance(key, int) and key >= 0 for key in names):
        most = max(names) + 1
        if most > _MOST_CLASSES:
            raise ValueError(f"{path}: a class has the number {most - 1}; at most {_MOST_CLASSES} are possible")
        names = [names.get(number, f"class_{number}") for number in range(most)]
    if not isinstance(names, list) or not names or not all(isinstance(name, str | int | float) for name in names):
        raise ValueError(f"{path}: has no list `names` of the classes")
    return tuple(str(name) for name in names)


class _NoAliases(yaml.SafeLoader):
    """Aliases in aliases make a short text a long list."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases are no part of a list of names")
        return super().compose_node(parent, index)


def _read(path: Path, size: SizeOf, names: tuple[str, ...], listed: Path | None) -> Drawing:
    shapes, without = [], []
    scale: Any = None
    for number, line in enumerate(lines_of(read_text(path)), 1):
        if not line:
            continue
        parts = line.split()
        where = f"line {number}"
        if not _LINE.fullmatch(line) or len(parts) % 2 == 0:
            raise ValueError(
                f"{path}:{number}: expected the number of a class and pairs of fractions, found {len(parts)} words: "
                f"{line[:60]!r}"
            )
        name = _name(int(float(parts[0])), names, listed, where)
        corners = ring_of([float(part) for part in parts[1:]], where)
        if len(corners) < 3:
            without.append(f"{where} ({name}) is a box" if len(corners) == 2 else f"{where} ({name}) is a point")
            continue
        if np.abs(corners).max() > _FARTHEST:
            raise ValueError(
                f"{where}: {np.abs(corners).max():g} is no fraction of an image; YOLO's corners lie between 0 and 1"
            )
        scale = scale if scale is not None else np.array(size()[::-1], np.float64)
        shapes.append(Shape(name, Outline(((corners * scale,),)), f"{where} ({name})"))
    return Drawing(None, tuple(shapes), tuple(without))


def _name(number: int, names: tuple[str, ...], listed: Path | None, where: str) -> str:
    if listed is None:
        return f"class_{number}"
    if number >= len(names):
        raise ValueError(f"{where}: the class {number} is not in {listed}, which names 0 to {len(names) - 1}")
    return names[number]
