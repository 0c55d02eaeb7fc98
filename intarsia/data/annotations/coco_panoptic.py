"""COCO panoptic: a PNG of segment ids for each image, and one JSON that says the category of each segment.

The id of a pixel is R + 256 G + 65536 B. Pixels of the id 0 are void and ignored; crowds have the class of their
category, since what a pixel is was said of them as well. Pixels of an id that the JSON does not list are an error.

The PNGs lie where COCO puts them, in a folder beside the JSON that is called like it, or in the JSON's own folder, or
in another folder beside it.

Format: https://cocodataset.org/#format-data (4, Panoptic Segmentation)
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.annotations.json_parts import JsonFile
from intarsia.data.annotations.shapes import Bitmap, Drawing, Shape, SizeOf
from intarsia.data.image_io import read_label
from intarsia.io.folders import folders_of

_KEY = re.compile(r'"(\w+)"\s*:')
_VOID = 0


class CocoPanoptic:
    """The format."""

    name = "coco_panoptic"
    title = "COCO panoptic annotations"
    suffix = ".json"
    per_image = False
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Whether segments stand in it, beside something else that COCO's files have."""
        keys = set(_KEY.findall(text))
        return "segments_info" in keys and bool(keys & {"annotations", "categories", "images"})

    def look_through(self, path: Path, names: Path | None) -> PanopticFile:
        """Look through a file: where the segments of each image stand in it."""
        return PanopticFile(path)


class PanopticFile:
    """A file that has been looked through. Satisfies `source.Opened`."""

    subsets: Mapping[str, str] = MappingProxyType({})

    def __init__(self, path: Path) -> None:
        self._file = JsonFile(path)
        self.faults: list[str] = []
        self._names: dict[Any, str] = {}
        self._places: dict[str, tuple[int, int, str]] = {}
        used = self._scan(path)
        self.classes: tuple[str, ...] = tuple(dict.fromkeys(self._names.values()))
        self.used = frozenset(self._names[number] for number in used if number in self._names)
        self.keys: Mapping[str, tuple[str, ...]] = {
            key: (key, PurePosixPath(key).stem) if key != png else (PurePosixPath(key).stem,)
            for key, (_, _, png) in self._places.items()
        }
        self.masks = _folder_of(path, [png for _, _, png in self._places.values()])

    def _scan(self, path: Path) -> Counter[Any]:
        """Categories of all segments; fills in names, places and faults."""
        images: dict[Any, str] = {}
        found: list[tuple[Any, int, int, str]] = []
        used: Counter[Any] = Counter()
        for key, begin, end, value in self._file.parts():
            if key == "annotations":
                segments = value.get("segments_info") if isinstance(value, dict) else None
                if not isinstance(segments, list) or not isinstance(value.get("file_name"), str):
                    raise ValueError(f"{path}: annotation {len(found) + 1} has no file_name and segments_info")
                found.append((value.get("image_id"), begin, end, value["file_name"]))
                used.update(part.get("category_id") for part in segments if isinstance(part, dict))
            elif key in ("images", "categories"):
                entry = self._file.read(begin, end)
                name = entry.get("file_name" if key == "images" else "name") if isinstance(entry, dict) else None
                if not isinstance(name, str) or "id" not in entry:
                    raise ValueError(f"{path}: one of its {key} has no id and name: {str(entry)[:80]}")
                (images if key == "images" else self._names)[entry["id"]] = name
        if not found or not self._names:
            raise ValueError(f"{path}: expected annotations with segments_info, and categories; one of them is missing")
        for image, begin, end, png in found:
            self._places.setdefault(images.get(image, png), (begin, end, png))
        if len(self._places) < len(found):
            self.faults.append(f"{len(found) - len(self._places)} annotations are of images that have one already")
        return used

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The segments of an image; what is void is ignored."""
        begin, end, png = self._places[key]
        ids = self._ids(png)
        listed: dict[int, str] = {}
        for number, segment in enumerate(self._file.read(begin, end)["segments_info"], 1):
            where = f"{self._file.path}: segment {number} of {key}"
            identity, category = (
                (segment.get("id"), segment.get("category_id")) if isinstance(segment, dict) else (None, None)
            )
            if isinstance(identity, bool) or not isinstance(identity, int) or not 0 < identity < 2**24:
                raise ValueError(f"{where}: expected an id from 1 to 16777215, found {identity!r}")
            if category not in self._names:
                raise ValueError(f"{where}: category_id {category!r} is none of the file's categories")
            listed[identity] = self._names[category]
        there = set(np.unique(ids).tolist()) - {_VOID}
        if strange := sorted(there - set(listed)):
            raise ValueError(
                f"{self.masks / png}: {len(strange)} ids, such as {strange[0]}, are none of the segments that "
                f"{self._file.path} lists for {key}; do the files belong together?"
            )
        shapes = [Shape("void", Bitmap(ids == _VOID), f"void ({key})", ignored=True)]
        shapes += [
            Shape(name, Bitmap(ids == identity), f"segment {identity} ({key})")
            for identity, name in listed.items()
            if identity in there
        ]
        missing = tuple(f"segment {identity} ({key}) has no pixel" for identity in listed if identity not in there)
        return Drawing((ids.shape[0], ids.shape[1]), tuple(shapes), missing)

    def drawn_from(self, key: str) -> tuple[Path, ...]:
        """The PNG with the segments of an image."""
        return (self.masks / self._places[key][2],)

    def _ids(self, png: str) -> npt.NDArray[np.int32]:
        """(H, W). Raises ValueError naming the file if it cannot be read or holds no colours."""
        stored = read_label(self.masks / png)
        wide: npt.NDArray[np.int32] = stored.astype(np.int32)
        if stored.ndim == 2:
            return wide
        if stored.dtype != np.uint8 or stored.shape[2] != 3:
            raise ValueError(f"{self.masks / png}: expected colours of 8 bits, found {stored.dtype} {stored.shape}")
        return wide[:, :, 0] + 256 * wide[:, :, 1] + 65536 * wide[:, :, 2]


def _folder_of(path: Path, names: list[str]) -> Path:
    """The folder of the PNGs. Raises ValueError if none beside the file has the first of them."""
    near = [path.with_suffix(""), path.parent, *(path.parent / name for name in folders_of(path.parent))]
    near += [path.parent.parent / path.stem, *(path.parent.parent / name for name in folders_of(path.parent.parent))]
    for folder in near:
        if any((folder / name).is_file() for name in names[:8]):
            return folder
    raise ValueError(
        f"{path}: the PNG files of its segments, such as {names[0]}, are in no folder beside it; put them into "
        f"{path.with_suffix('')}"
    )
