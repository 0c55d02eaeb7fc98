"""Which scenes a rule means, which labels they have, and the windows of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

from intarsia.data.lists import choose
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.grid import blocks, cells, grown, overlap
from intarsia.data.scenes.header import Stamp, header_of, stamp_of
from intarsia.data.scenes.label_rasters import check_raster_overlap, same_grid
from intarsia.data.scenes.labels import areas_of, is_vector
from intarsia.data.scenes.rule import SCENE_SUFFIXES, VECTOR_SUFFIXES, SceneSplit, SceneWindow
from intarsia.data.scenes.vectors import ApartError, check_overlap, read_layer
from intarsia.io.folders import walk_files


@dataclass(frozen=True, slots=True)
class FoundScenes:
    """windows: the samples, scene by scene. unlabelled: scenes without labels, as paths relative to the root.

    lost: what the list of blocks names, and no scene has.
    """

    windows: tuple[SceneWindow, ...]
    unlabelled: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()


def find_windows(root: Path, rule: SceneSplit) -> FoundScenes:
    """The samples of a rule.

    Raises ValueError naming the file if there is no scene, or one cannot be read, or its labels lie elsewhere.
    """
    found: list[SceneWindow] = []
    unlabelled = []
    files = scene_files(root, rule)
    listed, lost = _listed(root, rule, files)
    for name, scene in files:
        label = label_file(root, rule, name)
        if rule.labels is not None and (label is None or not _meet(root, rule, scene, label)):
            unlabelled.append(scene)
            continue
        stamps = (stamp_of(root / scene), None if not rule.where else stamp_of(root / (rule.areas or label or "")))
        found += _windows(root, rule, name, scene, label, listed, stamps)
    return FoundScenes(tuple(found), tuple(unlabelled), lost)


def _listed(
    root: Path, rule: SceneSplit, files: Sequence[tuple[str, str]]
) -> tuple[frozenset[str] | None, tuple[str, ...]]:
    """The names of the blocks that belong to the split, None for all; and what else its list names."""
    if rule.names is None:
        return None, ()
    known = {
        f"{name}/{number}"
        for name, scene in files
        for number, _ in blocks(header_of(root / scene).size, rule.block)
    }  # fmt: skip
    found, lost = choose(root / rule.names, lambda text: text if text in known else None)
    return frozenset(found), tuple(text for _, text in lost)


@lru_cache(maxsize=1024)
def _windows(
    root: Path,
    rule: SceneSplit,
    name: str,
    scene: str,
    label: str | None,
    listed: frozenset[str] | None,
    stamps: tuple[Stamp | None, ...],
) -> tuple[SceneWindow, ...]:
    del stamps  # files that have changed are looked at again
    header = header_of(root / scene)
    areas = areas_of(root, rule, label, scene)
    tiles = [(f"{name}/{number}", block) for number, block in blocks(header.size, rule.block)]
    own = [(unit, block) for unit, block in tiles if listed is None or unit in listed]
    others = [grown(block, rule.gap) for unit, block in tiles if listed is not None and unit not in listed]
    found: list[SceneWindow] = []
    for unit, block in own:
        avoided = tuple(area for area in others if rule.gap and overlap(area, block) is not None)
        found += (
            SceneWindow(rule, scene, label, unit, cell, block, header.size, avoided)
            for cell in cells(block, rule.core)
            if (areas is None or areas.read(cell)[0].any()) and not _is_inside(cell, avoided)
        )
    return tuple(found)


def _is_inside(cell: Area, avoided: Sequence[Area]) -> bool:
    """Whether nothing of a cell is left beside one of these areas."""
    return any(overlap(cell, area) == cell for area in avoided)


def _meet(root: Path, rule: SceneSplit, scene: str, label: str) -> bool:
    """Whether labels lie on a scene. Raises ValueError if not, unless the rule leaves such scenes out."""
    try:
        if is_vector(label):
            check_overlap(read_layer(root / label, rule.layer), header_of(root / scene))
        elif not same_grid(header_of(root / label), header_of(root / scene)):
            check_raster_overlap(header_of(root / label), header_of(root / scene))
    except ApartError:
        if rule.missing == "error":
            raise
        return False
    return True


# --- Files --------------------------------------------------------------------------------------------------------


def scene_files(root: Path, rule: SceneSplit) -> list[tuple[str, str]]:
    """(name, path relative to the root) of the scenes, by path. The name is what a "*" stands for, else the stem.

    Raises ValueError if an entry of the rule finds none, or two scenes have one name.
    """
    found: dict[str, str] = {}
    for entry in rule.scenes:
        here = [(path, name) for path, name in _entries(root, entry, rule) if not _is_excluded(path, rule)]
        if not here:
            raise ValueError(
                f"{root / entry}: expected scenes ({', '.join(SCENE_SUFFIXES)}), found none; correct `scenes` in the "
                "description"
            )
        found.update(here)
    names: dict[str, str] = {}
    for path, name in found.items():
        if names.setdefault(name, path) != path:
            raise ValueError(f"{root}: the scenes {names[name]} and {path} have one name, {name!r}; rename one")
    return [(name, path) for path, name in sorted(found.items())]


def _entries(root: Path, entry: str, rule: SceneSplit) -> Iterator[tuple[str, str]]:
    """(path, name) of the scenes of one entry: a file, a pattern or a folder."""
    if "*" in entry:
        yield from _matching(root, entry)
    elif (root / entry).is_dir():
        labels = {path for path, _ in _matching(root, rule.labels)} if "*" in (rule.labels or "") else {rule.labels}
        for file in walk_files(root / entry, recursive=False):
            path = PurePosixPath(entry, file)
            if path.suffix.lower() in SCENE_SUFFIXES and path.as_posix() not in labels:
                yield path.as_posix(), path.stem
    elif (root / entry).is_file():
        yield PurePosixPath(entry).as_posix(), PurePosixPath(entry).stem


def _is_excluded(path: str, rule: SceneSplit) -> bool:
    pure = PurePosixPath(path)
    return bool({path, pure.name, pure.stem} & set(rule.exclude))


def _matching(root: Path, pattern: str | None) -> Iterator[tuple[str, str]]:
    """(path, what the "*" stands for) of the files of a pattern."""
    pure = PurePosixPath(pattern or "")
    before, _, behind = pure.name.partition("*")
    if not (root / pure.parent).is_dir():
        return
    rule = re.compile(f"{re.escape(before)}(.+){re.escape(behind)}")
    for file in walk_files(root / pure.parent, recursive=False):
        match = rule.fullmatch(file)
        if match is not None and PurePosixPath(file).suffix.lower() in SCENE_SUFFIXES + VECTOR_SUFFIXES:
            yield (pure.parent / file).as_posix(), match[1] if "." in behind else PurePosixPath(match[1]).stem


def label_file(root: Path, rule: SceneSplit, name: str) -> str | None:
    """The labels of the scene of a name, relative to the root; None if it has none.

    Raises ValueError if the one file of labels does not exist.
    """
    if rule.labels is None:
        return None
    if "*" in rule.labels:
        path = rule.labels.replace("*", name)
        return path if (root / path).is_file() else None
    if (root / rule.labels).is_dir():
        paths = (PurePosixPath(rule.labels, name + suffix) for suffix in SCENE_SUFFIXES + VECTOR_SUFFIXES)
        return next((path.as_posix() for path in paths if (root / path).is_file()), None)
    if not (root / rule.labels).is_file():
        raise ValueError(f"{root / rule.labels}: expected labels, a file or a folder; found nothing there")
    return PurePosixPath(rule.labels).as_posix()
