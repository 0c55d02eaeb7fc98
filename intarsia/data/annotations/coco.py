"""COCO: one JSON for many images; polygons, run lengths as numbers or text, crowds.

Several polygons of an annotation are united (the format has no holes). Annotations lie over each other in the order
of the file. Crowds (`iscrowd`) are ignored, beneath everything else: objects drawn one by one inside of a crowd count.
Where *every* annotation of a file is a crowd, as in label maps that were written as COCO (our own predictions among
them), the mark says nothing and the areas are those of their classes.

Format: https://cocodataset.org/#format-data
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.annotations.json_parts import JsonFile
from intarsia.data.annotations.rle import counts_of_text, mask_of_counts
from intarsia.data.annotations.shapes import Bitmap, Drawing, Outline, Shape, SizeOf, ring_of, stated_size

_KEY = re.compile(r'"(\w+)"\s*:')


class Coco:
    """The format."""

    name = "coco"
    title = "COCO annotations"
    suffix = ".json"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether images stand beside annotations or categories; but no segments of panoptic files."""
        keys = set(_KEY.findall(text))
        known = keys >= {"images", "annotations"} or keys >= {"images", "categories"}
        known = known or keys >= {"annotations", "image_id", "category_id"}  # of which the images stand at the end
        return known and "segments_info" not in keys

    def look_through(self, path: Path, names: Path | None) -> CocoFile:
        """Look through a file: where the annotations of each image stand in it."""
        return CocoFile(path)


class CocoFile:
    """A file that has been looked through. Satisfies `source.Opened`."""

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self.faults: list[str] = []
        self.subsets: Mapping[str, str] = {}
        self._names: dict[Any, str] = {}
        self._sizes: dict[str, tuple[Any, Any]] = {}
        numbers = self._scan(path)
        self.classes: tuple[str, ...] = tuple(dict.fromkeys(self._names.values()))
        self._numbers: Mapping[str, tuple[int, ...]] = numbers
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in numbers}

    def _scan(self, path: Path) -> dict[str, tuple[int, ...]]:
        """Image name -> positions of its annotations in `_begins`; fills in names, sizes and faults."""
        images: dict[Any, list[str]] = {}
        of_image: list[Any] = []
        begins: list[int] = []
        ends: list[int] = []
        used: Counter[Any] = Counter()
        crowds = 0
        keys = set()
        for key, begin, end, value in self._file.parts():
            keys.add(key)
            if key == "images":
                self._image(self._file.read(begin, end), images)
            elif key == "categories":
                self._category(self._file.read(begin, end))
            elif key == "annotations":
                if not isinstance(value, dict) or not _is_id(value.get("image_id")):
                    raise ValueError(f"{path}: annotation {len(begins) + 1} has no image_id")
                of_image.append(_id(value["image_id"]))
                begins.append(begin)
                ends.append(end)
                used[_id(value.get("category_id"))] += 1
                crowds += value.get("iscrowd") in (1, True)
        if not images:
            raise ValueError(f"{path}: lists no images; expected a COCO file with images, annotations and categories")
        self._begins, self._ends = np.array(begins, np.int64), np.array(ends, np.int64)
        self._all_crowds = bool(begins) and crowds == len(begins)
        self.used = frozenset(self._names[number] for number in used if number in self._names)
        return self._by_name(images, of_image)

    def _image(self, entry: Any, images: dict[Any, list[str]]) -> None:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("file_name"), str):
            raise ValueError(f"{self._file.path}: image {len(images) + 1} has no id and file_name: {str(entry)[:80]}")
        images.setdefault(_id(entry["id"]), []).append(entry["file_name"])
        self._sizes[entry["file_name"]] = entry.get("height"), entry.get("width")

    def _category(self, entry: Any) -> None:
        if not isinstance(entry, dict) or not _is_id(entry.get("id")) or not isinstance(entry.get("name"), str | int):
            raise ValueError(f"{self._file.path}: a category has no id and name: {str(entry)[:80]}")
        self._names[_id(entry["id"])] = str(entry["name"])

    def _by_name(self, images: Mapping[Any, list[str]], of_image: list[Any]) -> dict[str, tuple[int, ...]]:
        twice = [number for number, names in images.items() if len(set(names)) > 1]
        if twice:
            names = ", ".join(images[twice[0]][:3])
            raise ValueError(f"{self._file.path}: {len(twice)} ids stand for several images: {twice[0]} for {names}")
        positions: dict[str, list[int]] = {names[0]: [] for names in images.values()}
        lost: list[int] = []
        for position, number in enumerate(of_image):
            if number in images:
                positions[images[number][0]].append(position)
            else:
                lost.append(position)
        if lost:
            self.faults.append(
                f"{len(lost)} annotations belong to no image of the file, such as to image_id {of_image[lost[0]]}"
            )
        return {name: tuple(found) for name, found in positions.items()}

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image, crowds first."""
        height, width = self._sizes[key]
        stated = None if height is None or width is None else self._stated(key, height, width)
        whole = stated if stated is not None else size()
        shapes: list[Shape] = []
        without: list[str] = []
        for position in self._numbers[key]:
            entry = self._file.read(int(self._begins[position]), int(self._ends[position]))
            where = f"annotation {entry.get('id', position + 1)} ({key})"
            try:
                shape = self._shape(entry, where, whole)
            except ValueError as error:
                text = str(error)
                text = text if text.startswith(where) else f"{where}: {text}"
                raise ValueError(f"{self._file.path}: {text}") from None
            if shape is None:
                without.append(f"{where} has no area: neither polygons of three corners nor run lengths")
            else:
                shapes.append(shape)
        shapes.sort(key=lambda shape: not shape.ignored)
        return Drawing(stated, tuple(shapes), tuple(without))

    def _stated(self, key: str, height: Any, width: Any) -> Size:
        return stated_size(height, width, f"{self._file.path}: image {key}")

    def _shape(self, entry: dict[str, Any], where: str, size: Size) -> Shape | None:
        number = _id(entry.get("category_id"))
        if number not in self._names:
            raise ValueError(
                f"{where}: category_id {json.dumps(entry.get('category_id'))[:40]} is none of the file's categories"
            )
        area = _area(entry.get("segmentation"), where, size)
        ignored = not self._all_crowds and entry.get("iscrowd") in (1, True)
        return None if area is None else Shape(self._names[number], area, where, ignored)


def _area(found: Any, where: str, size: Size) -> Outline | Bitmap | None:
    """None where there is no area: nothing, an empty list, polygons of two corners."""
    if isinstance(found, dict):
        return Bitmap(_mask(found, where, size))
    if found is None or found == []:
        return None
    if not isinstance(found, list):
        raise ValueError(f"{where}: its segmentation is neither polygons nor run lengths")
    flat = [found] if all(isinstance(part, int | float) for part in found) else found  # one polygon without a list
    rings = [ring_of(part, where) for part in flat if part != []]
    rings = [ring for ring in rings if len(ring) > 2]
    return Outline(tuple((ring,) for ring in rings)) if rings else None


def _mask(found: dict[str, Any], where: str, size: Size) -> npt.NDArray[np.bool_]:
    counts, stated = found.get("counts"), found.get("size")
    if not isinstance(stated, list) or len(stated) != 2 or counts is None:
        raise ValueError(f"{where}: run lengths need size and counts")
    own = stated_size(stated[0], stated[1], where)
    if own != size:
        raise ValueError(
            f"{where}: its mask has {own[0]} x {own[1]} pixels (height x width), its image {size[0]} x {size[1]}"
        )
    return mask_of_counts(counts_of_text(counts) if isinstance(counts, str) else counts, own, by_column=True)


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str)


def _id(value: Any) -> int | str | None:
    """An id as it is compared: some tools write the same number here as text and there as number."""
    if isinstance(value, str):
        return int(value) if value.isdecimal() and len(value) < 19 else value
    return value if isinstance(value, int) else None
