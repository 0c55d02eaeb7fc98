"""Finds folders with a mask for each object: one folder for each image, whose name it has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath

from intarsia.data.annotations.object_masks import ObjectMasks, is_below
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.doctor.folders import role_of
from intarsia.data.masks import read_mask

_LOOKED_AT = 6


def find_object_folders(root: Path, images: Sequence[str]) -> Iterable[AnnotationSource]:
    """Folders such as masks/IMAGE or IMAGE/masks that hold masks, each pattern once."""
    stems: dict[str, set[str]] = defaultdict(set)
    folders: dict[str, list[str]] = defaultdict(list)
    for path in images:
        pure = PurePosixPath(path)
        stems[pure.stem].add(pure.parent.as_posix())
        folders[pure.parent.as_posix()].append(path)
    found: dict[str, list[str]] = defaultdict(list)
    for folder in folders:
        pattern = _pattern(PurePosixPath(folder), stems)
        if pattern is not None:
            found[pattern].append(folder)
    for pattern, places in found.items():
        several = any(len(folders[place]) > 1 for place in places)
        if len(places) > 1 and several and _are_masks(root, [path for place in places for path in folders[place]]):
            yield AnnotationSource(ObjectMasks.name, pattern)


def without_masks(images: Sequence[str], source: AnnotationSource) -> list[str]:
    """The images that lie in no folder of masks."""
    pattern = PurePosixPath(source.path)
    return [path for path in images if not is_below(PurePosixPath(path), pattern)]


def _pattern(folder: PurePosixPath, stems: dict[str, set[str]]) -> str | None:
    """The folder with "*" for the image that it belongs to; None if it is not called like one, or not like masks."""
    parts = folder.parts
    for place in (len(parts) - 1, len(parts) - 2):
        around = parts[max(place - 1, 0) : place] + parts[place + 1 :] if place >= 0 else ()
        is_label = any(role_of(part)[0] == "label" for part in around)
        if is_label and stems.get(parts[place], set()) - {folder.as_posix()}:
            return PurePosixPath(*parts[:place], "*", *parts[place + 1 :]).as_posix()
    return None


def _are_masks(root: Path, paths: Sequence[str]) -> bool:
    try:
        for path in paths[:: max(1, len(paths) // _LOOKED_AT)]:
            read_mask(root / path)
    except ValueError:
        return False
    return True
