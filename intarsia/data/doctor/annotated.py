"""Finds annotations of tools, where no image has a label file, and the images that they belong to."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.annotations.formats import FORMATS, open_annotations
from intarsia.data.annotations.source import AnnotationSource, Format, Opened
from intarsia.data.description.model import IGNORE
from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit, JoinedSplit, list_split, sources
from intarsia.data.dicom import DICOM_SUFFIXES, is_segmentation
from intarsia.data.doctor.class_names import cleaned
from intarsia.data.doctor.findings import Finding, some
from intarsia.data.doctor.folders import SPLITS, split_of
from intarsia.data.doctor.object_folders import find_object_folders, without_masks
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.scenes.georeference import is_placed
from intarsia.data.slices import suffix_of
from intarsia.io.text import decoded, same_name

_HEAD = 2**16
_SINGLE_FILES = 60
"""Files of a folder that are each looked at; of more, some, since they will be those of single images."""
_PLACED = 400
_MOSTLY = 0.9

_GEOJSON_ADVICE = (
    "each image needs a file of its name, in its pixels; one file for all is for images that lie on Earth (GeoTIFF)"
)

_SUFFIXES = frozenset(entry.suffix for entry in FORMATS.values() if entry.suffix)


@dataclass(frozen=True, slots=True)
class Annotated:
    """What was found. found: the rules of the splits. classes: names in the description, the tool's order kept."""

    found: SplitRules
    classes: tuple[str, ...]

    @property
    def class_values(self) -> ClassValues:
        """The value of each class in labels; 0 is what no shape covers."""
        names = [name for name in self.classes if name != IGNORE]
        ignored = IGNORE_INDEX if len(names) < IGNORE_INDEX else 65535
        return ClassValues({name: number for number, name in enumerate(names, 1)}, ignored, "ignore")


@dataclass(frozen=True, slots=True)
class _Found:
    """A file or folder of annotations with what is in it, and the folder of its images."""

    source: AnnotationSource
    opened: Opened
    split: str | None
    images: str
    keys: frozenset[str]


def find_annotated(root: Path, images: Sequence[str], others: Sequence[str]) -> tuple[Annotated | None, list[str]]:
    """The annotations of the tool that has most images, or None if there are none that belong to any; and what to say
    of those that belong to none.

    Raises:
        ValueError: a file that seems to hold annotations is damaged.
    """
    by_format: dict[str, list[_Found]] = defaultdict(list)
    own = frozenset(path for path in images if suffix_of(path) in DICOM_SUFFIXES and is_segmentation(root / path))
    everything, images = images, [path for path in images if path not in own]
    index = _Index(images)
    nowhere = _Index([path for path in images if not is_placed(root / path)])  # GeoJSON of others is of scenes
    hints: list[str] = []
    for source in (*_recognised(root, others), *find_object_folders(root, images), *_segmentations(own)):
        opened = open_annotations(root, source, fresh=True)
        known = nowhere if source.format == "geojson" else index
        folder = (known if "*" not in source.path else _Index(without_masks(images, source))).folder_of(opened, source)
        if folder is None and source.format == "geojson" and index.folder_of(opened, source) is not None:
            continue
        if folder is None:
            hints.append(_belong_nowhere(source, opened))
        else:
            by_format[source.format] += _by_subset(source, opened, folder)
    results = [_rules(root, entries) for entries in by_format.values()]
    usable = [entry for entry in results if entry.found.rules and set(entry.classes) - {IGNORE}]
    for entries in [] if usable else by_format.values():
        where = some([entry.source.path for entry in entries], 3)
        hints.append(f"Hint: {FORMATS[entries[0].source.format].title} ({where}) hold no shape that has an area.")
    best = max(usable, key=lambda entry: sum(len(one.pairs) for one in entry.found.listings.values()), default=None)
    if best is not None:
        best.found.told |= {*everything} - {*_pictures(root, best.found, images)}
        for entry in (entry for entry in usable if entry is not best):
            advice = "name the right ones in a description"
            best.found.warnings.append(Finding("annotations not used", f"not used: {entry.found.notes[0]}", advice))
    return best, hints


def _belong_nowhere(source: AnnotationSource, opened: Opened) -> str:
    """What to say of annotations that belong to no image."""
    what, keys = f"Hint: {FORMATS[source.format].title} ({source.path}) belong to no image that is here", [*opened.keys]
    if not keys and opened.faults:
        return f"{what}: {some(list(opened.faults), 2)}; export them with references to their images."
    advice = _GEOJSON_ADVICE if source.format == "geojson" else "put the images beside them"
    return f"{what}: they name {some(keys, 3) if keys else 'none'}; {advice}."


def _pictures(root: Path, found: SplitRules, images: Sequence[str]) -> Sequence[str]:
    """The images that are no masks of objects, nor maps of segments."""
    for source in (source for rule in found.rules.values() for source in sources(rule)):
        if source.annotations is not None and "*" in source.annotations.path:
            images = without_masks(images, source.annotations)
        masks = getattr(source.annotations and open_annotations(root, source.annotations), "masks", None)
        if masks is not None and masks != root / source.images:
            images = [image for image in images if (root / image).parent != masks]
    return images


def annotation_files(root: Path, found: SplitRules) -> set[str]:
    """The files that hold the annotations of the rules, which are no lists of the splits."""
    files = set()
    for source in (source.annotations for rule in found.rules.values() for source in sources(rule)):
        if source is not None:
            opened = open_annotations(root, source)
            is_folder = FORMATS[source.format].per_image
            files |= {PurePosixPath(source.path, key).as_posix() for key in opened.keys} if is_folder else {source.path}
    return files


# --- Which files --------------------------------------------------------------------------------------------------


def _recognised(root: Path, others: Sequence[str]) -> Iterable[AnnotationSource]:
    """Files of annotations, and folders of them, by a look at their beginnings; no examples of a submission."""
    folders: dict[tuple[str, str], list[str]] = defaultdict(list)
    for path in others:
        pure = PurePosixPath(path)
        if pure.suffix.lower() in _SUFFIXES and "submission" not in pure.stem.lower():
            folders[pure.parent.as_posix(), pure.suffix.lower()].append(path)
    for (folder, suffix), paths in folders.items():
        looked = paths if len(paths) <= _SINGLE_FILES else paths[:: max(1, len(paths) // _SINGLE_FILES)]
        seen: Counter[str] = Counter()
        for path in looked:
            found = _format_of(root / path, suffix)
            if found is None:
                continue
            seen[found.name] += 1
            if not found.per_image:
                yield AnnotationSource(found.name, path)
            elif seen[found.name] == 1:
                yield AnnotationSource(found.name, folder, _names(root, folder, others) if found.name == "yolo" else "")


def _segmentations(paths: Iterable[str]) -> Iterable[AnnotationSource]:
    """DICOM segmentations: the folder of all, or of those of each split."""
    by_split: dict[str | None, list[str]] = defaultdict(list)
    for path in sorted(paths):
        folders = PurePosixPath(path).parts[:-1]
        by_split[next((split for part in reversed(folders) if (split := split_of(part))), None)].append(path)
    for found in by_split.values():
        folder = _common(PurePosixPath(path).parent.as_posix() for path in found)
        yield AnnotationSource("dicom_seg", found[0] if len(found) == 1 else folder)


def _names(root: Path, folder: str, others: Sequence[str]) -> str:
    """The list of class names nearest to a folder of numbered classes, "" without one."""
    places = [PurePosixPath(path) for path in others]
    lists = [place for place in places if place.name.lower() in ("classes.txt", "obj.names", "classes.names")]
    for place in places:
        if place.suffix.lower() in (".yaml", ".yml") and _lists_names(root / place):
            lists.append(place)
    parents = {parent: number for number, parent in enumerate([PurePosixPath(folder), *PurePosixPath(folder).parents])}
    near = [
        (parents[place.parent], place.suffix != ".yaml", place.as_posix()) for place in lists if place.parent in parents
    ]
    far = [place.as_posix() for place in lists]
    return min(near)[2] if near else far[0] if len(far) == 1 else ""


def _lists_names(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return re.search(r"^names\s*:", decoded(stream.read(_HEAD)), re.MULTILINE) is not None
    except (OSError, ValueError):
        return False


def format_of(path: Path) -> Format | None:
    """The format of a file by its beginning; None if it is none that is read."""
    return _format_of(path, path.suffix.lower())


def _format_of(path: Path, suffix: str) -> Format | None:
    try:
        with open(path, "rb") as stream:
            text = decoded(stream.read(_HEAD))
            if suffix == ".json" and path.stat().st_size > _HEAD:  # a list of many images stands before all else
                stream.seek(max(_HEAD, path.stat().st_size - _HEAD))
                text += stream.read(_HEAD).decode("utf-8", "replace")
    except (OSError, ValueError):
        return None
    return next((one for one in FORMATS.values() if one.suffix == suffix and one.recognise(text)), None)


def _split_of(source: AnnotationSource, images: str) -> str | None:
    """What the file's own name says, then its folders, then the images' folders; the innermost counts."""
    own = PurePosixPath(source.path)
    parts = [*reversed([*own.parts[:-1], own.stem]), *reversed(PurePosixPath(images).parts)]
    return next((split for part in parts if (split := split_of(part)) is not None), None)


def _by_subset(source: AnnotationSource, opened: Opened, folder: str) -> Iterable[_Found]:
    """What a file has, apart by the subsets that the tool tells and that are splits."""
    subsets: dict[str, set[str]] = defaultdict(set)
    for key in opened.keys:
        subsets[opened.subsets.get(key, "")].add(key)
    if len(subsets) > 1 and all(split_of(name) is not None for name in subsets):
        for name, keys in subsets.items():
            yield _Found(replace(source, subset=name), opened, split_of(name), folder, frozenset(keys))
    else:
        yield _Found(source, opened, _split_of(source, folder), folder, frozenset(opened.keys))


# --- Which images -------------------------------------------------------------------------------------------------


class _Index:
    """Finds the folder to which the names of a tool are relative."""

    def __init__(self, images: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in images:
            pure = PurePosixPath(path)
            for name in {pure.name, pure.stem}:
                self._by_name[same_name(name).lower()].append(path)

    def folder_of(self, opened: Opened, source: AnnotationSource) -> str | None:
        """The folder in which most of the images are found, or that above them all; None if there are none."""
        votes: Counter[str] = Counter()
        keys = list(opened.keys)
        asked = keys[:: max(1, len(keys) // _PLACED)]
        for key in asked:
            for folder in dict.fromkeys(self._folders(opened.keys[key])):
                votes[folder] += 1
        if not votes:
            return None
        own = PurePosixPath(source.path)
        split = split_of(own.stem)
        best = max(votes, key=lambda folder: (votes[folder], _likeness(folder, own, split), -len(folder), folder))
        if votes[best] >= _MOSTLY * sum(any(self._folders(opened.keys[key])) for key in asked):
            return best
        return _common(votes)

    def _folders(self, names: Sequence[str]) -> list[str]:
        """Folders in which a file is called like that, without what the name itself has of them."""
        for name in names:
            parts = [part for part in name.replace("\\", "/").split("/") if part not in ("", ".", "..")]
            if not parts:
                continue
            found = self._by_name.get(same_name(parts[-1]).lower(), [])
            if found:
                return [_without(path, parts) for path in found]
        return []


def _without(path: str, name: Sequence[str]) -> str:
    """The folder of a path, less the folders that a name has, too."""
    folders, own = list(PurePosixPath(path).parts[:-1]), list(name[:-1])
    while folders and own and same_name(folders[-1]) == same_name(own[-1]):
        folders.pop()
        own.pop()
    return PurePosixPath(*folders).as_posix() if folders else "."


def _likeness(folder: str, source: PurePosixPath, split: str | None) -> tuple[bool, int]:
    """Folders of the same split, and near to the annotations, come first."""
    parts = PurePosixPath(folder).parts
    shared = next((n for n, (a, b) in enumerate(zip(parts, source.parts, strict=False)) if a != b), len(parts))
    return split is not None and split in {split_of(part) for part in parts}, shared


def _common(folders: Iterable[str]) -> str:
    parts = [PurePosixPath(folder).parts for folder in folders]
    shared: list[str] = []
    for level in zip(*parts, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return PurePosixPath(*shared).as_posix() if shared else "."


# --- Splits and classes -------------------------------------------------------------------------------------------


def _rules(root: Path, entries: Sequence[_Found]) -> Annotated:
    kept, left_out = _without_doubles(entries)
    stand = {name: cleaned(name) for entry in kept for name in entry.opened.classes}
    used = frozenset().union(*(entry.opened.used for entry in kept))
    classes = tuple(dict.fromkeys(stand[name] for name in stand if name in used))
    found = SplitRules()
    by_split: dict[str, list[FolderSplit]] = defaultdict(list)
    for entry in kept:
        source = replace(entry.source, classes=tuple(_renamed(entry.opened, stand, used)))
        by_split[entry.split or "train"].append(FolderSplit(Source(entry.images, None, annotations=source)))
    for split in SPLITS:
        parts = by_split.get(split)
        if parts:
            rule = parts[0] if len(parts) == 1 else JoinedSplit(tuple(parts))
            listing = list_split(root, rule)
            if listing.pairs:
                found.rules[split], found.listings[split] = rule, listing
    if found.rules and "train" not in found.rules:
        only = next(iter(found.rules))
        found.notes.append(f"there are no annotations for training; those of {only} are taken for it")
        found.rules["train"], found.listings["train"] = found.rules.pop(only), found.listings.pop(only)
    _say(found, kept, left_out, stand, used)
    return Annotated(found, classes)


def _renamed(opened: Opened, stand: Mapping[str, str], used: frozenset[str]) -> Iterable[tuple[str, str]]:
    return ((name, stand[name]) for name in opened.classes if stand[name] != name and name in used)


def _without_doubles(entries: Sequence[_Found]) -> tuple[list[_Found], list[_Found]]:
    """Files with areas; of several that have the same images, that with most classes (captions, keypoints, boxes)."""
    kept: list[_Found] = []
    left_out = [entry for entry in entries if not entry.opened.used]
    taken: set[tuple[str, str]] = set()
    for entry in sorted(
        (entry for entry in entries if entry.opened.used),
        key=lambda entry: (-len(entry.opened.used), entry.source.path),
    ):
        own = {(entry.images, name) for name in entry.keys}
        (left_out if own & taken else kept).append(entry)
        taken |= own
    return sorted(kept, key=lambda entry: entry.source.path), left_out


def _paths(entries: Sequence[_Found]) -> list[str]:
    """The files and folders, each once, also where its subsets are several entries."""
    return list(dict.fromkeys(entry.source.path for entry in entries))


def _say(
    found: SplitRules,
    kept: Sequence[_Found],
    left_out: Sequence[_Found],
    stand: Mapping[str, str],
    used: frozenset[str],
) -> None:
    titles = sorted({FORMATS[entry.source.format].title for entry in kept})
    found.notes.append(f"the labels are drawn from {', '.join(titles)}: {some(_paths(kept))}")
    if any(entry.source.format == "rle_csv" for entry in kept):
        found.notes.append(
            "runs are counted down the columns or along the rows, as the runs of images that are not square say; in "
            "square ones down the columns: look at them (intarsia data show), and write `format: rle_csv_rows` if that "
            "is wrong"
        )
    unused = [name for name in stand if name not in used]
    if unused:
        found.notes.append(f"no shape has the classes {some(unused)}; they are left out")
    renamed = [f"{name} is {meant}" for name, meant in stand.items() if name in used and name != meant]
    if renamed:
        found.notes.append(f"names that mean something: {some(renamed)}")
    if left_out:
        text = f"{some(_paths(left_out))}: other annotations of the same images, or without areas"
        found.warnings.append(Finding("annotations not used", text, "name the right ones in a description"))
    for entry in {entry.source.path: entry for entry in kept}.values():
        for text in entry.opened.faults:
            found.warnings.append(Finding("faulty annotations", f"{entry.source.path}: {text}", "correct the file"))
