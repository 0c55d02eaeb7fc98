"""Which image belongs to which entry of an annotation tool."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath

from intarsia.data.annotations.formats import FORMATS, open_annotations
from intarsia.data.annotations.object_masks import folder_of_image, is_below
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.description.pairing import Listing, Pair, Source
from intarsia.data.image_io import is_image_name
from intarsia.data.lists import FileIndex
from intarsia.io.folders import walk_files


def list_annotated(root: Path, source: Source) -> Listing:
    """The images of a source with the annotations that it names.

    An image that the tool lists has a label, also if it has no shapes. One that it does not list is unlabelled, but of
    tools that write nothing where there is nothing (YOLO).

    Raises:
        ValueError: the folder of the images or the annotations cannot be read.
    """
    annotations = source.annotations
    assert annotations is not None
    opened = open_annotations(root, annotations, fresh=True)
    images = _images(root, source)
    own = {os.path.abspath(file) for file in getattr(opened, "files", ())}  # DICOM has images and labels in .dcm
    images = {name: path for name, path in images.items() if not own or os.path.abspath(root / path) not in own}
    index = FileIndex(images)
    per_image = FORMATS[annotations.format].per_image
    found: dict[str, list[str]] = {}
    lost: list[str] = []
    for key, names in opened.keys.items():
        image = next((image for name in names if (image := index.find(name)) is not None), None)
        if image is None:
            lost.append(key)
        else:
            found.setdefault(image, []).append(key)
    pairs: dict[str, Pair] = {}
    for image, keys in found.items():
        meant = keys if len(keys) == 1 else [key for key in keys if _ends_in(image, key)]
        lost += [key for key in keys if key not in meant[:1]]
        if len(meant) == 1:  # train/1.jpg and val/1.jpg of the tool may both look like the 1.jpg that is there
            pairs[images[image]] = _pair(image, images[image], annotations, meant[0], meant[0] if per_image else "")
    if annotations.subset:
        others = {path for path, pair in pairs.items() if opened.subsets.get(pair.key) != annotations.subset}
        images = {name: path for name, path in images.items() if path not in others}
        pairs = {path: pair for path, pair in pairs.items() if path not in others}
        lost = [key for key in lost if opened.subsets.get(key) == annotations.subset]
    rest = {path: name for name, path in images.items() if path not in pairs}
    if FORMATS[annotations.format].absent_is_empty:
        for path, name in rest.items():
            missing = PurePosixPath(name).with_suffix(FORMATS[annotations.format].suffix).as_posix()
            pairs[path] = _pair(name, path, annotations, "", missing)
        rest = {}
    return Listing(
        pairs=tuple(pairs[path] for path in sorted(pairs)),
        unlabelled=tuple(sorted(rest)),
        unused=tuple(_file(annotations, key, key) for key in sorted(lost)) if per_image else (),
        lost=() if per_image else tuple(sorted(lost)),
    )


def _pair(name: str, image: str, annotations: AnnotationSource, key: str, below: str) -> Pair:
    file = _file(annotations, key, below)
    return Pair(PurePosixPath(name).with_suffix("").as_posix(), image, file, annotations=annotations, key=key)


def _file(annotations: AnnotationSource, key: str, below: str) -> str:
    """The file of all images, that of one, or the folder of its masks."""
    if "*" in annotations.path:
        return folder_of_image(annotations.path, key)
    return PurePosixPath(annotations.path, below).as_posix()


def _ends_in(path: str, name: str) -> bool:
    parts, wanted = PurePosixPath(path).parts, PurePosixPath(name.replace("\\", "/")).parts
    return parts[len(parts) - len(wanted) :] == wanted


def _images(root: Path, source: Source) -> dict[str, str]:
    """Path below the folder of the images -> path below the root."""
    folder = root / source.images
    masks = source.annotations.path if source.annotations is not None else ""
    return {
        path: PurePosixPath(source.images, path).as_posix()
        for path in walk_files(folder, recursive=source.recursive)
        if is_image_name(path)
        and path.lower().endswith(_endings(source))
        and not ("*" in masks and is_below(PurePosixPath(source.images, path), PurePosixPath(masks)))
    }


def _endings(source: Source) -> tuple[str, ...]:
    return tuple(suffix.lower() for suffix in source.image_suffix)
