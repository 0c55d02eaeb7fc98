"""The labels of scenes, from shapes or rasters of any kind, as rasters of class indices on the pixels of each scene."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np

from intarsia.contracts import Size
from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import JoinedSplit, Split, scene_rules
from intarsia.data.gdal import raster_library, without_place
from intarsia.data.labels import label_values, shown_values
from intarsia.data.scenes.dataset import SceneDataset
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.header import header_of
from intarsia.data.scenes.rule import SceneSplit, SceneWindow
from intarsia.inference.raster.files import Layer, describe_layer, profile_of
from intarsia.inference.raster.windows import BLOCK
from intarsia.io.whole_files import whole_file
from intarsia.label_sets import set_count
from intarsia.terminal import progress

_TYPES = (np.uint8, np.uint16, np.uint32)


def convert_scenes(description: DataDescription, names: Sequence[str], folder: Path) -> tuple[dict[str, Split], int]:
    """Write FOLDER/SCENE.tif for each scene of these splits; (the splits with these labels, how many there are).

    Where the image has no data or no label raster lies, the label is the ignored value. The whole of a scene is
    written, whatever part of it belongs to a split: areas, lists and shares stay in the description.

    Raises ValueError naming the file if something cannot be read, or if scenes have labels of their own in two splits.
    """
    places: dict[str, tuple[SceneDataset, SceneWindow]] = {}
    for split in names:
        dataset = description.own_dataset(split)
        assert isinstance(dataset, SceneDataset)
        for window in dataset.windows:
            _, known = places.setdefault(window.scene, (dataset, window))
            if _label_rule(known.rule, known.label) != _label_rule(window.rule, window.label):
                raise ValueError(
                    f"{description.root / window.scene}: expected the same labels of a scene in every split, found "
                    f"{known.label} and {window.label}; convert the splits one by one"
                )
    stems = {scene: window.unit.rsplit("/", 1)[0] for scene, (_, window) in places.items()}
    if len(set(stems.values())) < len(stems):
        twins = sorted(scene for scene, name in stems.items() if list(stems.values()).count(name) > 1)
        raise ValueError(f"the scenes {' and '.join(twins[:2])} would have the same label file; rename one of them")
    folder.mkdir(parents=True, exist_ok=True)
    with progress("writing labels of scenes") as tell:
        for done, (scene, (dataset, window)) in enumerate(places.items(), 1):
            _write(folder / f"{stems[scene]}.tif", dataset, window)
            tell(done, len(places))
    pattern = f"{below(description.root, folder)}/*.tif"
    return {name: _with_rasters(description.splits[name], pattern) for name in names}, len(places)


def _label_rule(rule: SceneSplit, label: str | None) -> tuple[Any, ...]:
    """What says which class a pixel of a scene has."""
    return label, rule.layer, rule.column, rule.classes


def _with_rasters(rule: Split, pattern: str) -> Split:
    if not scene_rules(rule):
        return rule
    changed = []
    for one in scene_rules(rule):
        areas = one.areas
        if one.where is not None and not areas:  # the shapes of the labels were the areas, too
            areas = one.labels or ""
            if "*" in areas or one.layer:
                raise ValueError(
                    f"`where` chooses shapes of {areas}, which are no labels any more once they are rasters; write the "
                    "areas of the split as a file of their own, `areas: FILE`"
                )
        changed.append(replace(one, labels=pattern, layer="", column="", classes=(), areas=areas))
    return changed[0] if len(changed) == 1 else JoinedSplit(tuple(changed))


def _write(path: Path, dataset: SceneDataset, window: SceneWindow) -> None:
    """The label raster of one scene, tiled and compressed, strip by strip."""
    header = header_of(Path(dataset.root, window.scene))
    layer = _layer(dataset)
    place = {"crs": header.crs, "transform": header.transform} if header.crs is not None else {}
    profile = profile_of(layer, header.size, place)
    names, palette = (dataset.classes, dataset.palette) if dataset.multi_label else shown_values(dataset)
    rectangle = raster_library("windows").Window
    with whole_file(path) as part, without_place(), raster_library().open(part, "w", **profile) as target:
        describe_layer(target, layer, names, palette, dataset.multi_label)
        for area in _strips(header.size):
            label = dataset.whole_label(window, area)
            target.write(label.astype(layer.dtype), 1, window=rectangle(0, area.top, area.width, area.height))


def _layer(dataset: SceneDataset) -> Layer:
    """How its file is written: with as many bits as the ignored value needs."""
    highest = (set_count if dataset.multi_label else label_values)(len(dataset.classes)) - 1
    kind = next(kind for kind in _TYPES if max(highest, dataset.ignore_index) <= np.iinfo(kind).max)
    return Layer("label", kind, dataset.ignore_index, ("label",))


def _strips(size: Size) -> Iterator[Area]:
    """Rows of blocks, over all of the width."""
    for top in range(0, size[0], BLOCK):
        yield Area(top, 0, min(BLOCK, size[0] - top), size[1])


def with_indices(description: DataDescription) -> DataDescription:
    """The same data where files hold class indices, or sets of classes."""
    return replace(description, labels=None, outside="error", tolerance=0, class_of=None, notes=())


def below(root: Path, path: Path) -> str:
    """A path as a description says it: relative to the root, where one disk has both."""
    try:
        return PurePath(os.path.relpath(os.path.abspath(path), os.path.abspath(root))).as_posix()
    except ValueError:
        return PurePath(os.path.abspath(path)).as_posix()
