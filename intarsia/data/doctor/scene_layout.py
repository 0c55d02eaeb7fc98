"""Finds scenes in a folder: georeferenced images with a vector file of labels, with one raster of labels for all, or
with label rasters of their own that are too large to be read whole or lie on another grid.

Everything else is left to `layouts.py`, which is asked first.
"""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from intarsia.data.description.model import BACKGROUND, IGNORE
from intarsia.data.description.pairing import Listing
from intarsia.data.description.splits import FolderSplit, OwnSplit, list_split
from intarsia.data.doctor.annotated import Annotated
from intarsia.data.doctor.class_names import cleaned
from intarsia.data.doctor.columns import class_column, is_text, possible_columns, split_column, texts_of
from intarsia.data.doctor.findings import Finding, many, some
from intarsia.data.doctor.folders import SPLITS, role_of, split_of
from intarsia.data.doctor.layouts import Layout, LayoutError, find_layout
from intarsia.data.doctor.leftovers import by_extension
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.scenes.georeference import is_placed
from intarsia.data.scenes.grid import blocks
from intarsia.data.scenes.ground import share_ground
from intarsia.data.scenes.header import header_of
from intarsia.data.scenes.rule import BLOCK, SCENE_SUFFIXES, VECTOR_SUFFIXES, WINDOW, SceneSplit
from intarsia.data.scenes.vectors import Layer, read_layer, vector_library
from intarsia.io.folders import walk_files

LARGE = 2048
"""Pixels of the longer side beyond which georeferenced images are read in windows."""

_UNITS = 12
"""Blocks that a data set should have at least, so that a fifth of them is a fifth."""
_SMALLEST = 64
_LOOKED_AT = 50
_HEAD = 2**16


def find_layout_or_scenes(root: Path, *, labels: str | None = None) -> Layout:
    """Images with labels, or scenes: see `layouts.find_layout`.

    Raises ValueError as that does, if there are no scenes either, or their labels cannot be read.
    """
    try:
        found = find_layout(root, labels=labels)
    except LayoutError:
        scenes = None if labels is not None else _with_labels_for_all(root)
        if scenes is None:
            raise
        return scenes
    if importlib.util.find_spec("rasterio") is None:
        return found
    return _as_scenes(root, found) or found


# --- Images with label rasters, which become scenes ---------------------------------------------------------------


def _as_scenes(root: Path, layout: Layout) -> Layout | None:
    """The same pairs as scenes, if they are georeferenced and large, or image and label lie on different grids."""
    pairs = [pair for listing in layout.listings.values() for pair in listing.pairs]
    if layout.masks is not None or layout.annotated is not None or any(pair.label is None for pair in pairs):
        return None
    looked = pairs[:: max(1, len(pairs) // _LOOKED_AT)]
    if not all(is_placed(root / pair.image) for pair in looked):
        return None
    try:
        sizes = [(header_of(root / pair.image).size, header_of(root / (pair.label or "")).size) for pair in looked]
    except ValueError:  # the doctor will name the file
        return None
    longer = sorted(max(image) for image, _ in sizes)
    apart = [image for image, label in sizes if image != label]
    if longer[len(longer) // 2] <= LARGE and not apart:
        return None
    window = _window(image for image, _ in sizes)
    rules: dict[str, OwnSplit] = {}
    for split, rule in layout.splits.items():
        scene_rule = _scene_rule(rule, window)
        if scene_rule is None:
            return None
        rules[split] = scene_rule
    block = _block([header_of(root / pair.image).size for pair in layout.listings["train"].pairs], window)
    rules = {split: replace(rule, block=block) for split, rule in rules.items() if isinstance(rule, SceneSplit)}
    try:
        listings = {split: list_split(root, rule) for split, rule in rules.items()}
    except ValueError:
        return None
    found = {(p.window.scene, p.window.label) for listing in listings.values() for p in listing.pairs if p.window}
    if found != {(pair.image, pair.label) for pair in pairs}:
        return None  # folders below folders, or lists, which scenes do not know
    why = f"{many(len(apart), 'label')} on another grid than the image" if apart else f"larger than {LARGE} pixels"
    notes = (f"the images lie on Earth ({why}): they are read in windows of {window} pixels", *layout.notes)
    count = sum(len(listing.pairs) for listing in listings.values())
    return replace(layout, splits=rules, listings=listings, pairs=count, notes=notes)


def _scene_rule(rule: OwnSplit, window: int) -> SceneSplit | None:
    """A rule of folders, or of affixes, as one of scenes."""
    if not isinstance(rule, FolderSplit) or rule.names is not None or rule.source.labels is None:
        return None
    source = rule.source
    assert source.labels is not None
    images = _pattern(source.images, source.image_prefix, source.image_suffix)
    labels = _pattern(source.labels, source.label_prefix, source.label_suffix)
    if "*" in source.images or images is None or labels is None:
        return None
    return SceneSplit((images,), labels, exclude=rule.exclude, window=window, margin=window // 8, missing=rule.missing)


def _pattern(folder: str, prefix: str, suffixes: Sequence[str]) -> str | None:
    """The folder, where names have nothing in common; else a pattern; None if one is not enough."""
    if not prefix and (tuple(suffixes) == IMAGE_SUFFIXES or set(suffixes) <= set(SCENE_SUFFIXES)):
        return folder
    if len(suffixes) != 1 or "." not in suffixes[0]:
        return None
    return PurePosixPath(folder, f"{prefix}*{suffixes[0]}").as_posix()


# --- Scenes with one file of labels -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Labels:
    """file: of the labels, or a pattern. layer: named where there are several. shapes: None for a raster."""

    file: str
    layer: str
    shapes: Layer | None
    areas: tuple[str, str, Mapping[str, str]] | None = None


def _with_labels_for_all(root: Path) -> Layout | None:
    files = list(walk_files(root))
    rasters = [file for file in files if _is_scene(root, file)]
    vectors = [file for file in files if _is_vector(root, file)]
    if not rasters or (not vectors and len(rasters) < 2):
        return None
    found = SplitRules()
    labels = _vector_labels(root, vectors, rasters, found) if vectors else _raster_labels(rasters)
    if labels is None:
        return None
    scenes = [file for file in rasters if file != labels.file]
    sizes = [header_of(root / file).size for file in scenes]
    window = _window(sizes)
    rule = SceneSplit((), labels.file, layer=labels.layer, window=window, margin=window // 8, missing="error")
    rule = replace(rule, block=_block(sizes, window))
    annotated = _add_classes(labels, found) if labels.shapes is not None else None
    if annotated is not None and labels.shapes is not None:
        column = class_column(labels.shapes)
        stand = {text: cleaned(text) or IGNORE for text in texts_of(labels.shapes.column(column))} if column else {}
        rule = replace(rule, column=column, classes=tuple((a, b) for a, b in stand.items() if a != b))
    elif labels.shapes is not None:
        rule = replace(rule, column=class_column(labels.shapes))
    _add_splits(root, found, scenes, rule, labels)
    others = [file for file in files if PurePosixPath(file).suffix.lower() not in IMAGE_SUFFIXES]
    kind = f"{many(len(scenes), 'scene')} on Earth, read in windows of {window} pixels"
    found.notes.insert(0, f"{kind}; their labels are {labels.file}{f', layer {labels.layer}' if labels.layer else ''}")
    return Layout(
        root=root,
        splits=found.rules,
        pairs=sum(len(listing.pairs) for listing in found.listings.values()),
        alternatives=(),
        skipped=by_extension([file for file in others if file not in vectors]),
        others=tuple(others),
        notes=tuple(found.notes),
        problems=(),
        warnings=tuple(found.warnings),
        masks=None,
        annotated=replace(annotated, found=found) if annotated is not None else None,
        listings=found.listings,
    )


def _is_scene(root: Path, file: str) -> bool:
    suffix = PurePosixPath(file).suffix.lower()
    return suffix == ".vrt" or (suffix in SCENE_SUFFIXES and is_placed(root / file))


def _is_vector(root: Path, file: str) -> bool:
    suffix = PurePosixPath(file).suffix.lower()
    if suffix != ".json":
        return suffix in VECTOR_SUFFIXES
    with open(root / file, "rb") as stream:
        return b"FeatureCollection" in stream.read(_HEAD)


def _raster_labels(rasters: Sequence[str]) -> _Labels | None:
    """The one raster whose name, or folder, says that it holds labels."""
    named = [
        file
        for file in rasters
        if any(role_of(part)[0] == "label" for part in PurePosixPath(file).with_suffix("").parts)
    ]
    return _Labels(named[0], "", None) if len(named) == 1 else None


def _vector_labels(root: Path, vectors: Sequence[str], rasters: Sequence[str], found: SplitRules) -> _Labels | None:
    """The shapes with classes, and beside them those of areas, if a column of some says which split they are."""
    layers: list[tuple[str, str, Layer]] = []
    for file in vectors:
        names = [str(name) for name, _ in vector_library("pyogrio").list_layers(root / file)]
        for name in names:
            try:
                layers.append((file, name if len(names) > 1 else "", read_layer(root / file, name)))
            except ValueError as error:
                found.warnings.append(Finding("vector file not used", str(error)))
    areas = [(file, name, layer) for file, name, layer in layers if _says_splits(layer)]
    rest = [entry for entry in layers if entry not in areas] or layers
    own = _one_for_each(rest, rasters)
    if own is not None:
        return own
    if not rest:
        return None
    best = max(rest, key=lambda entry: (bool(class_column(entry[2])), len(entry[2].shapes)))
    left = [f"{file}{f', layer {name}' if name else ''}" for file, name, _ in rest if (file, name) != best[:2]]
    if left:
        advice = "name the right ones in a description (`--write data.yaml`)"
        found.warnings.append(Finding("annotations not used", f"not used: {some(left)}", advice))
    usable = [(file, layer) for file, name, layer in areas if not name and file != best[0]]
    if not usable:
        return _Labels(best[0], best[1], best[2])
    file, layer = usable[0]
    column = split_column(layer)
    words = {split: text for text in texts_of(layer.column(column)) if (split := split_of(text)) is not None}
    return _Labels(best[0], best[1], best[2], (file, column, words))


def _says_splits(layer: Layer) -> bool:
    return bool(split_column(layer)) and not class_column(layer)


def _one_for_each(layers: Sequence[tuple[str, str, Layer]], rasters: Sequence[str]) -> _Labels | None:
    """A pattern, if each scene has a vector file of its name."""
    stems = {PurePosixPath(file).stem for file in rasters}
    own = [
        (PurePosixPath(file), layer) for file, name, layer in layers if not name and PurePosixPath(file).stem in stems
    ]
    places = {(path.parent, path.suffix) for path, _ in own}
    if len(own) < 2 or len(own) != len(stems) or len(places) != 1:
        return None
    parent, suffix = places.pop()
    return _Labels((parent / f"*{suffix}").as_posix(), "", _joined([layer for _, layer in own]))


def _joined(layers: Sequence[Layer]) -> Layer:
    """The shapes of several files, with the columns that all of them have, and of one kind."""
    first = layers[0]
    columns = {}
    for name in first.columns:
        own = [layer.columns[name] for layer in layers if name in layer.columns]
        if len(own) == len(layers) and len({is_text(column) for column in own}) == 1:
            columns[name] = np.concatenate(own)
    shapes, rows = (np.concatenate([getattr(layer, what) for layer in layers]) for what in ("shapes", "rows"))
    return replace(first, shapes=shapes, rows=rows, columns=columns)


def _add_classes(labels: _Labels, found: SplitRules) -> Annotated | None:
    """The classes that shapes name; None where a column holds numbers, which are values themselves."""
    assert labels.shapes is not None
    column = class_column(labels.shapes)
    if column and not is_text(labels.shapes.column(column)):
        found.notes.append(f"the column {column} has the class of each shape as a number")
        return None
    if column:
        found.notes.append(
            f"the column {column} names the class of each shape; `column` in the description says another"
        )
        names = [cleaned(text) or IGNORE for text in texts_of(labels.shapes.column(column))]
        return Annotated(found, tuple(dict.fromkeys(names)))
    stem = cleaned(PurePosixPath(labels.file).stem.replace("*", "").strip("_- ")) or "foreground"
    stem = stem if stem not in (BACKGROUND, IGNORE) else "foreground"
    text = f"no column of the shapes is known to name classes: all are of one, {stem}"
    possible = possible_columns(labels.shapes)
    if possible:
        advice = f"if {some(possible)} does, write `column: NAME` in the description (`--write data.yaml`)"
        found.warnings.append(Finding("names guessed", text, advice))
    else:
        found.notes.append(f"{text}; `column: NAME` in the description says it")
    return Annotated(found, (stem,))


def _add_splits(root: Path, found: SplitRules, scenes: Sequence[str], rule: SceneSplit, labels: _Labels) -> None:
    if labels.areas is not None:
        file, column, words = labels.areas
        found.notes.append(f"the column {column} of {file} says which areas belong to which split")
        for split in (name for name in SPLITS if name in words):
            own = replace(rule, scenes=_entries(scenes), areas=file, where=(column, words[split]))
            _add(root, found, split, own)
        return
    folders: dict[str, list[str]] = defaultdict(list)
    for file in scenes:
        named = [word for part in PurePosixPath(file).parts[:-1] if (word := split_of(part)) is not None]
        folders[named[-1] if named else "train"].append(file)
    if "train" not in folders:
        folders["train"] = folders.pop(next(iter(folders)))
    for split in (name for name in SPLITS if name in folders):
        _add(root, found, split, replace(rule, scenes=_entries(folders[split])))


def _add(root: Path, found: SplitRules, split: str, rule: SceneSplit) -> None:
    listing: Listing = list_split(root, rule)
    found.rules[split], found.listings[split] = rule, listing


def _entries(files: Sequence[str]) -> tuple[str, ...]:
    """The folders that hold the scenes, where they hold no others; else the scenes."""
    parents = dict.fromkeys(PurePosixPath(file).parent.as_posix() for file in files)
    return tuple(files) if "." in parents else tuple(parents)


# --- Sizes --------------------------------------------------------------------------------------------------------


def _window(sizes: Iterable[tuple[int, int]]) -> int:
    """Half of the shorter side of the smallest scene, in multiples of 32, up to the usual window."""
    shortest = min(min(size) for size in sizes)
    return min(WINDOW, max(_SMALLEST, shortest // 2 // 32 * 32))


def _block(sizes: Sequence[tuple[int, int]], window: int) -> int:
    """The largest blocks, up to the usual ones, of which there are enough to be divided."""
    side = BLOCK
    while side > window and sum(1 for size in sizes for _ in blocks(size, side)) < _UNITS:
        side //= 2
    return max(side, window)


def ground_overlaps(root: Path, listings: Mapping[str, Listing]) -> Iterable[Finding]:
    """Scenes that show the same ground, which may then be in training and in validation."""
    files = dict.fromkeys(
        p.window.scene for listing in listings.values() for p in listing.pairs if p.window is not None
    )
    headers = [(file, header_of(root / file)) for file in list(files)[:_MOST_COMPARED]]
    placed: dict[Any, list[tuple[str, Sequence[float]]]] = defaultdict(list)
    for file, header in headers:
        if header.is_placed:
            placed[header.crs.to_string()].append((file, header.bounds_in(header.crs)))
    shared = []
    for entries in placed.values():
        for number, (file, mine) in enumerate(entries):
            shared += [f"{file} ~ {other}" for other, theirs in entries[:number] if share_ground(mine, theirs)]
    if shared:
        text = (
            f"{many(len(shared), 'pair')} of scenes show the same ground: scores are too good where one is validated on"
        )
        yield Finding("leak", text, "make one scene of them (gdalbuildvrt), or list one under `exclude`", tuple(shared))


_MOST_COMPARED = 500
