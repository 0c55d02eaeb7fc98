"""Scores of label maps in files, whoever made them: no network, the same counting as in every other evaluation."""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import Dataset, Metric, Report, Sample, SampleMeta
from intarsia.data.image_io import read_label
from intarsia.data.labels import label_values, ranges, value_counts
from intarsia.data.tiff import peek_header
from intarsia.inference.inputs.images import ahead
from intarsia.io.folders import walk_files
from intarsia.terminal import Notice

SUFFIXES = (".png", ".tif", ".tiff")
"""Of label maps in a folder."""

SHOWN = 10
"""Problems that an error shows; of the others it gives the number."""


def score_files(
    dataset: Dataset,
    folder: Path,
    metric: Metric,
    *,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """Compare the label maps (PNG, class indices) in a folder with the labels of a data set, image by image.

    metric: is emptied first. progress: called with the number of images done.

    Raises ValueError naming every image whose label map is missing, is meant for another image too, cannot be read,
    has another size, or holds values that are no class: nothing is left out silently.
    """
    files = label_files(folder)
    metric.load_state(torch.zeros_like(metric.state()))

    def load(index: int) -> tuple[Sample, Path | None, tuple[Tensor, Tensor] | str]:
        sample, file = dataset.load(index), None
        try:
            file = file_of(sample.meta, files)
            return sample, file, _read(file, sample, len(dataset.classes), dataset.ignore_index)
        except ValueError as error:
            return sample, file, str(error)

    problems: list[str] = []
    images: dict[Path, list[str]] = defaultdict(list)  # that each file was taken for
    unpredicted = 0
    for done, (sample, file, found) in enumerate(ahead(range(len(dataset)), load), 1):
        if file is not None:
            images[file].append(sample.meta.name)
        if isinstance(found, str):
            problems.append(f"{sample.meta.name}: {found}")
        elif not problems:  # with one there will be no table
            unpredicted += int((found[1] != _label_of(sample)).sum())
            metric.update(*found)
        if progress is not None:
            progress(done)
    for file, names in images.items():
        if len(names) > 1:
            problems.append(f"{file} would count for {len(names)} images: {', '.join(names[:3])}; it needs subfolders")
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(f"the label maps in {folder} cannot be scored:{shown}{more}")
    if unpredicted:
        warnings.warn(
            f"{unpredicted:,} labelled pixels have no prediction (nodata of the rasters) and do not count",
            Notice,
            stacklevel=2,
        )
    return metric.report()


def label_files(folder: Path) -> dict[str, Path]:
    """The PNG and TIFF files below a folder by their names: "val/0001" for FOLDER/val/0001.png.

    Raises ValueError if there is no such folder, or none in it, or two of one name.
    """
    if not folder.is_dir():
        raise ValueError(f"{folder}: there is no such folder; expected one with a label map (PNG) for each image")
    found: dict[str, Path] = {}
    for path in sorted(walk_files(folder)):
        name, suffix = os.path.splitext(path)
        if suffix.lower() not in SUFFIXES:
            continue
        if name in found:
            raise ValueError(f"{folder}: {found[name].name} and {os.path.basename(path)} are of one name; keep one")
        found[name] = folder / path
    if not found:
        raise ValueError(f"{folder}: there is no .png in it, and no .tif; expected a label map for each image")
    return found


def file_of(meta: SampleMeta, files: Mapping[str, Path]) -> Path:
    """The label map of an image: named like it, below as many of its folders as the predictions have.

    Raises ValueError if there is none.
    """
    for name in _names(meta):
        if name in files:
            return files[name]
    raise ValueError(f"there is no {PurePath(meta.image_path).stem or meta.name}.png, and no .tif")


def _names(meta: SampleMeta) -> Iterator[str]:
    """What the label map may be called, without .png, most of the path first: what `predict` was given decides.

    With the image's suffix too, by which `predict` tells a.jpg from a.png.
    """
    path = PurePath(meta.image_path).parts
    for start in range(len(path)):
        tail = PurePath(*path[start:])
        yield tail.as_posix()
        yield tail.with_suffix("").as_posix()
    name = PurePath(meta.name).parts
    for start in range(len(name)):
        yield PurePath(*name[start:]).as_posix()


def _read(file: Path, sample: Sample, classes: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """A label map (H, W), and the sample's label, ignored where a raster has no data.

    Raises ValueError if it is none.
    """
    if sample.label is None:
        raise ValueError("the image has no label to compare with")
    found = read_label(file)
    if found.ndim != 2 or found.dtype.kind not in "bui":
        raise ValueError(f"{file} holds colours; expected class indices, one number a pixel")
    if found.shape != sample.label.shape:
        (height, width), (h, w) = found.shape, sample.label.shape
        raise ValueError(f"{file} has {height} x {width} pixels (height x width), the label has {h} x {w}")
    found = found.astype(np.uint8) if found.dtype.kind == "b" else found
    label = sample.label
    missing = _without_data(file, found)
    if missing is not None:
        label, found = np.where(missing, ignore_index, label), np.where(missing, 0, found)
    last = label_values(classes) - 1
    wrong = [value for value in value_counts(found) if not 0 <= value <= last]
    if wrong:
        hint = "; pixels that were left uncertain have no class" if wrong in ([255], [65535]) else ""
        raise ValueError(f"{file} holds {ranges(wrong)}; expected class indices, 0 to {last}{hint}")
    return as_tensor(found), as_tensor(label)


def _label_of(sample: Sample) -> Tensor:
    assert sample.label is not None
    return as_tensor(sample.label)


def _without_data(file: Path, values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """Where a TIFF has the value that it calls nodata; None for other files."""
    header = peek_header(file) if file.suffix.lower() != ".png" else None
    if header is None or header.nodata is None:
        return None
    missing: npt.NDArray[np.bool_] = values == header.nodata
    return missing


def as_tensor(label: npt.NDArray[np.integer[Any]]) -> Tensor:
    """Class indices (H, W) as metrics take them."""
    return torch.from_numpy(np.ascontiguousarray(label if label.dtype == np.uint8 else label.astype(np.int64)))
