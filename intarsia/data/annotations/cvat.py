"""CVAT for images: one XML for many images, with polygons, masks, boxes and ellipses.

Shapes lie over each other by `z_order`, those of the same in the order of the file. The run lengths of a mask go along
the rows of its own box. Lines, points, cuboids and skeletons have no area.

Format: https://docs.cvat.ai/docs/dataset_management/formats/xml_format/
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import LARGEST, file_bytes
from intarsia.data.annotations.rle import mask_of_counts
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
)

_AREAS = ("polygon", "mask", "box", "ellipse")
_OTHERS = ("polyline", "points", "cuboid", "skeleton")
_MARK = b"\xef\xbb\xbf"


class Cvat:
    """The format."""

    name = "cvat"
    title = "CVAT annotations"
    suffix = ".xml"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether the outermost element is called so."""
        return re.search(r"<annotations[\s>]", text) is not None

    def look_through(self, path: Path, names: Path | None) -> CvatFile:
        """Look through a file: where each image stands in it."""
        return CvatFile(path)


class CvatFile:
    """A file that has been looked through. Satisfies `source.Opened`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.faults: list[str] = []
        data = file_bytes(path, LARGEST)
        self._shift = len(_MARK) if data.startswith(_MARK) else 0
        scan = _Scan(path)
        scan.run(data[self._shift :])
        self._places = scan.places
        self._sizes = scan.sizes
        self.subsets: Mapping[str, str] = scan.subsets
        self.used = frozenset(scan.used)
        self.classes: tuple[str, ...] = tuple(dict.fromkeys((*scan.labels, *sorted(scan.used))))
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in self._places}
        if scan.twice:
            self.faults.append(f"{len(scan.twice)} names stand for several images, such as {scan.twice[0]}")

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image, by their z_order."""
        begin, end = self._places[key]
        try:
            with open(self.path, "rb") as file:
                file.seek(begin + self._shift)
                element = ElementTree.fromstring(file.read(end - begin))
        except OSError as error:
            raise ValueError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        except ElementTree.ParseError:
            raise ValueError(f"{self.path}: has changed while it was in use; start again") from None
        height, width = self._sizes[key]
        stated = None if not height or not width else stated_size(height, width, f"{self.path}: image {key}")
        ordered: list[tuple[int, Shape]] = []
        without: list[str] = []
        for position, found in enumerate(element, 1):
            where = f"{found.tag} {position} ({key})"
            if found.tag in _OTHERS:
                without.append(f"{where} has no area")
            if found.tag not in _AREAS:
                continue
            try:
                ordered.append((int(found.get("z_order") or 0), _shape(found, where, stated, size)))
            except ValueError as error:
                text = str(error)
                raise ValueError(f"{self.path}: {text if text.startswith(where) else f'{where}: {text}'}") from None
        ordered.sort(key=lambda entry: entry[0])
        return Drawing(stated, tuple(shape for _, shape in ordered), tuple(without))


class _Scan:
    """Goes through a file once, and notes where its images stand."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.places: dict[str, tuple[int, int]] = {}
        self.sizes: dict[str, tuple[str | None, str | None]] = {}
        self.subsets: dict[str, str] = {}
        self.labels: list[str] = []
        self.used: set[str] = set()
        self.twice: list[str] = []
        self._above: list[str] = []
        self._image: tuple[str, int] | None = None
        self._text: list[str] = []
        self._parser = expat.ParserCreate()
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._letters
        self._parser.StartDoctypeDeclHandler = self._refuse
        self._data = b""

    def run(self, data: bytes) -> None:
        """Raises ValueError naming file and line if it is no XML of CVAT for images."""
        self._data = data
        try:
            self._parser.Parse(data, True)
        except expat.ExpatError as error:
            raise ValueError(f"{self.path}:{error.lineno}: no valid XML: {expat.ErrorString(error.code)}") from None
        self._data = b""
        if not self.places:
            hint = ": export it as 'CVAT for images', not for video" if "track" in self.used else ""
            raise ValueError(f"{self.path}: has no images of CVAT{hint}")

    def _refuse(self, *_: Any) -> None:
        raise ValueError(f"{self.path}: declares a document type, which annotations of CVAT do not")

    def _start(self, tag: str, attributes: dict[str, str]) -> None:
        depth = len(self._above)
        if depth > 50:
            raise ValueError(f"{self.path}:{self._parser.CurrentLineNumber}: nested too deeply for annotations of CVAT")
        if tag == "image" and depth == 1:
            if "name" not in attributes:
                raise ValueError(f"{self.path}:{self._parser.CurrentLineNumber}: an image has no name")
            self._image = attributes["name"], self._parser.CurrentByteIndex
            if attributes.get("subset"):
                self.subsets.setdefault(attributes["name"], attributes["subset"])
            self.sizes.setdefault(attributes["name"], (attributes.get("height"), attributes.get("width")))
        elif self._image is not None and tag in _AREAS and depth == 2:
            self.used.add(attributes.get("label", ""))
        elif tag == "track" and depth == 1:
            self.used.add(tag)
        self._above.append(tag)
        self._text = []

    def _end(self, tag: str) -> None:
        self._above.pop()
        if tag == "image" and len(self._above) == 1 and self._image is not None:
            name, begin = self._image
            end = self._parser.CurrentByteIndex  # of the closing tag, or behind an element that has none
            if self._data[end : end + 2] == b"</":
                end = self._data.index(b">", end) + 1
            if name in self.places:
                self.twice.append(name)
            self.places.setdefault(name, (begin, end))
            self._image = None
        elif tag == "name" and self._above[-1:] == ["label"]:
            self.labels.append("".join(self._text).strip())

    def _letters(self, text: str) -> None:
        if self._above[-1:] == ["name"]:
            self._text.append(text)


def _shape(found: ElementTree.Element, where: str, stated: Size | None, size: SizeOf) -> Shape:
    name = found.get("label")
    if not name:
        raise ValueError("has no label")
    degrees = number(found.get("rotation") or 0, "rotation")
    if found.tag == "polygon":
        corners = [pair.split(",") for pair in (found.get("points") or "").split(";") if pair]
        return Shape(name, Outline(((ring_of(corners, where),),)), where)
    if found.tag == "box":
        left, top, right, bottom = _numbers(found, "xtl", "ytl", "xbr", "ybr")
        return Shape(name, Outline(((box(left, top, right, bottom, where, degrees),),)), where)
    if found.tag == "ellipse":
        x, y, across, down = _numbers(found, "cx", "cy", "rx", "ry")
        return Shape(name, Outline(((ellipse(x, y, across, down, where, degrees),),)), where)
    left, top = _numbers(found, "left", "top")
    own = stated_size(found.get("height"), found.get("width"), "mask")
    whole = stated if stated is not None else size()
    if own[0] > 2 * whole[0] or own[1] > 2 * whole[1]:
        raise ValueError(f"its mask of {own[1]} x {own[0]} is larger than the image")
    return Shape(name, Bitmap(mask_of_counts(_counts(found, own), own, by_column=False), int(top), int(left)), where)


def _counts(found: ElementTree.Element, size: Size) -> list[int]:
    """Run lengths, with the background behind the last run, which may be left out."""
    try:
        counts = [int(part) for part in (found.get("rle") or "").split(",")]
    except ValueError:
        raise ValueError("expected run lengths as whole numbers with commas") from None
    rest = size[0] * size[1] - sum(counts)
    if rest > 0:
        counts += [rest] if len(counts) % 2 == 0 else [0, rest]
    return counts


def _numbers(found: ElementTree.Element, *names: str) -> Sequence[float]:
    return [number(found.get(name), name) for name in names]
