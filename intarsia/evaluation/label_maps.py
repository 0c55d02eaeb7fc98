"""Scores of label maps in files, whoever made them: no network, the same counting as in every other evaluation.

Which file belongs to an image, and what its values mean, is said by `LabelFiles`: class indices here, the format of a
benchmark's server in `submission.py`.
"""

from __future__ import annotations

import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import Dataset, Metric, Report, Sample, SampleMeta
from intarsia.data.datasets.instances import with_instances
from intarsia.data.image_io import read_label
from intarsia.data.labels import ranges, value_counts
from intarsia.data.tiff import peek_header
from intarsia.inference.inputs.images import ahead
from intarsia.io.folders import walk_files
from intarsia.metrics.several import count, needs_instances
from intarsia.terminal import Notice

SUFFIXES = (".png", ".tif", ".tiff")
"""Of label maps in a folder."""

SHOWN = 10
"""Problems that an error shows; of the others it gives the number."""


class LabelFiles(Protocol):
    """The label maps of a folder."""

    @property
    def folder(self) -> Path:
        """Where they are."""
        ...

    def of(self, meta: SampleMeta) -> Path:
        """The label map of an image. Raises ValueError if there is none, or there are several."""
        ...

    def read(self, file: Path, sample: Sample) -> tuple[Tensor, Tensor | None]:
        """Class indices (H, W), and the label to compare them with; None where the sample has none.

        Raises ValueError if the file does not hold what it should.
        """
        ...

    def left_over(self, used: Collection[Path]) -> Sequence[Path]:
        """Files that should not be there, if only `used` belong to images."""
        ...


def score_files(
    dataset: Dataset,
    files: LabelFiles,
    metric: Metric,
    *,
    progress: Callable[[int], None] | None = None,
) -> Report | None:
    """Compare the label maps in a folder with the labels of a data set, image by image.

    metric: is emptied first. progress: called with the number of images done. None where no image has a label: then
    the files were only looked through.

    Raises ValueError naming every image whose label map is missing, is meant for another image too, cannot be read,
    has another size, or holds values that are no class: nothing is left out silently. Files that belong to no image
    are told as a Notice where the folder should hold nothing else.
    """
    metric.load_state(torch.zeros_like(metric.state()))
    if needs_instances(metric):
        dataset = with_instances(dataset)

    def load(index: int) -> tuple[Sample, Path | None, tuple[Tensor, Tensor | None] | str]:
        sample, file = dataset.load(index), None
        try:
            file = files.of(sample.meta)
            return sample, file, files.read(file, sample)
        except ValueError as error:
            return sample, file, str(error)

    problems: list[str] = []
    unlabelled: list[str] = []
    labelled = 0
    images: dict[Path, list[str]] = defaultdict(list)  # that each file was taken for
    unpredicted = 0
    for done, (sample, file, found) in enumerate(ahead(range(len(dataset)), load), 1):
        labelled += sample.label is not None
        if file is not None:
            images[file].append(sample.meta.name)
        if isinstance(found, str):
            problems.append(f"{sample.meta.name}: {found}")
        elif found[1] is None:
            unlabelled.append(f"{sample.meta.name}: the image has no label to compare with")
        elif not problems:  # with one there will be no table
            unpredicted += int((found[1] != _label_of(sample)).sum())
            objects = None if sample.instances is None else as_tensor(sample.instances)
            count(metric, found[0], found[1], instances=objects)
        if progress is not None:
            progress(done)
    _complain(files, images, [*problems, *(unlabelled if labelled else ())])
    if not labelled:
        return None
    if unpredicted:
        warnings.warn(
            f"{unpredicted:,} labelled pixels have no prediction (nodata of the rasters) and do not count",
            Notice,
            stacklevel=2,
        )
    return metric.report()


def _complain(files: LabelFiles, images: Mapping[Path, Sequence[str]], problems: Sequence[str]) -> None:
    """Raises ValueError with everything that is wrong; tells what else lies in the folder."""
    shared = [
        f"{file} would count for {len(names)} images: {', '.join(names[:3])}; it needs subfolders"
        for file, names in images.items()
        if len(names) > 1
    ]
    left = files.left_over(images)
    if left:
        names = ", ".join(str(file.relative_to(files.folder)) for file in left[:SHOWN])
        more = f" and {len(left) - SHOWN} more" if len(left) > SHOWN else ""
        text = f"{len(left)} files in {files.folder} belong to no image: {names}{more}"
        warnings.warn(text, Notice, stacklevel=3)
    problems = [*problems, *shared]
    if problems:
        shown = "".join(f"\n  {problem}" for problem in problems[:SHOWN])
        more = f"\n  and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise ValueError(f"the label maps in {files.folder} cannot be scored:{shown}{more}")


class IndexFiles:
    """Label maps of class indices, or of sets of classes, PNG or TIFF, named like the images. Other files may lie among
    them. values: how many different ones there can be (`labels.value_count`).

    Raises ValueError as `label_files` does.
    """

    def __init__(self, folder: Path, *, values: int, ignore_index: int) -> None:
        self.folder = folder
        self._files = label_files(folder)
        self._values, self._ignore_index = values, ignore_index

    def of(self, meta: SampleMeta) -> Path:
        """As `file_of`."""
        return file_of(meta, self._files)

    def read(self, file: Path, sample: Sample) -> tuple[Tensor, Tensor | None]:
        """Class indices and the label, ignored where a raster has no data. Raises ValueError where it has none, too."""
        return _read(file, sample, self._values, self._ignore_index)

    def left_over(self, used: Collection[Path]) -> Sequence[Path]:
        """None: pictures and scores may be there."""
        return ()


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


def _read(file: Path, sample: Sample, values: int, ignore_index: int) -> tuple[Tensor, Tensor]:
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
        label, found = np.where(missing, np.int64(ignore_index), label), np.where(missing, 0, found)
    last = values - 1
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
