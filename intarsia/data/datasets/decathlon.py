"""Data sets in the layout of the Medical Segmentation Decathlon (Antonelli et al., 2022, arXiv:2106.05735).

One `dataset.json` names the classes and lists the images with their labels. The tasks of the Decathlon itself are
volumes, which are not read here; the layout serves images as well.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from intarsia.colours import distinct_colours
from intarsia.contracts import IGNORE_INDEX
from intarsia.data.datasets.family import Family
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.labels import LabelTable
from intarsia.io.text import read_text

_LARGEST = 100_000_000


def DecathlonDataset(  # noqa: N802  (the name that configurations use for this data set)
    *,
    root: str = "",
    split_file: str = "dataset.json",
    images: str = "",
    labels: str | None = "",
    test_mode: bool = False,
    classes: Sequence[str] | None = None,
    palette: Sequence[Sequence[int]] | None = None,
    label_table: LabelTable | None = None,
    ignore_index: int = IGNORE_INDEX,
    reduce_zero_label: bool = False,
    bands: str = "rgb",
) -> FolderDataset:
    """The samples that one `dataset.json` lists, in its order.

    root: folder to which all paths are relative. split_file: the list (JSON). images, labels: folders below `root` to
    which its paths are relative; labels=None: ground truth is not read. test_mode: the images of its list "test", which
    has no labels, instead of "training".
    classes: some of those of the file, in an order of one's own (pixels of the others are ignored); or as many other
    names, in the order of the file's label values. By default, all of the file. With reduce_zero_label, the file's
    classes count from 1.

    Raises ValueError, naming the file, if something is missing or is not in this layout.
    """
    file = Path(os.path.expanduser(root), split_file)
    content = _read(file)
    key = "test" if test_mode else "training"
    listed = content.get(key)
    if not isinstance(listed, list) or not listed:
        raise ValueError(f"{file}: expected a list {key!r} that is not empty; its keys are {', '.join(content)}")
    pairs = [_pair(item, images, labels, f"{file}: {key}[{number}]") for number, item in enumerate(listed)]
    family = _family(content, file)
    if classes is not None and len(classes) == len(family.classes) and set(classes) - set(family.classes):
        family = replace(family, classes=tuple(classes))  # other names for the same values
    if label_table is None:
        label_table = family.table(classes, ignore_index=ignore_index, reduce_zero_label=reduce_zero_label)
    return FolderDataset(
        root=root,
        image_suffix=tuple({os.path.splitext(image)[1] for image, _ in pairs}),
        classes=family.classes if classes is None else classes,
        palette=family.colours(classes, palette),
        label_table=label_table,
        bands=bands,
        pairs=pairs,
    )


def _read(file: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_text(file, largest=_LARGEST))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ValueError(f"{file}: not valid JSON: {error}") from None
    if not isinstance(content, Mapping):
        raise ValueError(f"{file}: expected an object with 'labels' and 'training', found {type(content).__name__}")
    return content


def _family(content: Mapping[str, Any], file: Path) -> Family:
    """The classes of the file, in the order of their values, which must count from 0."""
    labels = content.get("labels")
    if not isinstance(labels, Mapping) or not labels:
        raise ValueError(f"{file}: expected 'labels', a name for each label value; its keys are {', '.join(content)}")
    try:
        pairs = sorted((int(value), str(name)) for value, name in labels.items())
    except ValueError:  # nnU-Net's second version writes them the other way round
        pairs = sorted((value, str(name)) for name, value in labels.items() if isinstance(value, int))
    if [value for value, _ in pairs] != list(range(len(labels))):
        raise ValueError(
            f"{file}: labels: expected one number for each class, counting from 0, found {str(labels)[:200]}"
        )
    names = tuple(name for _, name in pairs)
    return Family(name=str(file), classes=names, palette=distinct_colours(len(names)), root="", images="", labels="")


def _pair(item: Any, images: str, labels: str | None, where: str) -> tuple[str, str | None]:
    """Image and label of an entry: a path, or both under their names."""
    image, label = (item.get("image"), item.get("label")) if isinstance(item, Mapping) else (item, None)
    if not isinstance(image, str) or not (label is None or isinstance(label, str)):
        raise ValueError(f"{where}: expected a path, or an image and a label, found {item!r}")
    # The original cuts two characters off, "./" or not, and in its list of tests off the root as well.
    image_path = os.path.join(images, os.path.normpath(image))
    if labels is None or label is None:
        return image_path, None
    return image_path, os.path.join(labels, os.path.normpath(label))
