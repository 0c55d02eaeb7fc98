"""Which image belongs to which label: as given, or listed below two folders and paired by name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from intarsia.data.annotations.drawn import Drawn, drawn_from
from intarsia.data.containers import files_on_disk
from intarsia.data.lists import choose, path_ends, spellings
from intarsia.data.masks import Masks
from intarsia.io.folders import existing_above, folders_of, walk_files
from intarsia.io.text import same_name

Label = str | Masks | Drawn | None
"""A file below the root, masks or annotations from which a label is made, or no ground truth."""


def given_pairs(root: str, pairs: Sequence[tuple[str, Label]]) -> list[tuple[str, Label]]:
    """The pairs, of which all files below the root are there. Raises ValueError naming those that are not."""
    if not pairs:
        raise ValueError(f"{root}: the list of (image, label) pairs is empty")
    files = [image for image, _ in pairs]
    for _, label in pairs:
        if isinstance(label, Masks):
            files += [file for _, file in label.files]
        elif isinstance(label, str):  # annotations have been opened, to find their images
            files.append(label)
    needed = files_on_disk(root, files)
    there = {file: os.path.isfile(file) for file in dict.fromkeys(needed.values())}
    missing = [name for name in files if not there[needed[name]]]
    if missing:
        raise ValueError(f"{root}: {len(missing)} of the files listed do not exist: {_some(missing)}")
    return [(image, label) for image, label in pairs]


def files_of_label(root: str, label: Label) -> list[str]:
    """The paths of all files that a label is made of. Raises ValueError for annotations that cannot be opened."""
    if label is None:
        return []
    if isinstance(label, Drawn):
        return [str(path) for path in drawn_from(Path(root), label)]
    names = [file for _, file in label.files] if isinstance(label, Masks) else [label]
    return [os.path.join(root, name) for name in names]


def listed_pairs(
    image_root: str, label_root: str, suffixes: tuple[str, ...], label_suffix: str, split_file: str | None
) -> list[tuple[str, Label]]:
    """Images below a folder by path, or in the order of a split file, with the labels of their names.

    label_root: "" where there is no ground truth. split_file: as for `FolderDataset`, the whole path; a folder chooses
    nothing.

    Raises ValueError if there are no images, an image lacks its label, or a line of the split file names no image.
    """
    names = sorted(walk_files(image_root))
    shared = label_root == image_root
    images = [
        name
        for name in names
        if name.endswith(suffixes) and not (shared and name.endswith(label_suffix) and label_suffix not in suffixes)
    ]
    if not images:
        patterns = " or ".join(f"**/*{suffix}" for suffix in suffixes)
        raise ValueError(f"{image_root}: no images: nothing matches {patterns}. {_what_is_there(names)}")
    if split_file is not None and not os.path.isdir(split_file):
        images = _in_split(images, image_root, suffixes, split_file)
    if not label_root:
        return [(image, None) for image in images]
    there = set(names if shared else walk_files(label_root))
    pairs = [(image, without_image_suffix(image, suffixes) + label_suffix) for image in images]
    missing = [label for _, label in pairs if label not in there]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(images)} images in {image_root} have no label. "
            f"Not found in {label_root}: {_some(missing)}. {_what_is_there(there)} "
            f"Check label_suffix ({label_suffix!r}), or give labels=None if there is no ground truth."
        )
    return [(image, label) for image, label in pairs]


def _in_split(images: list[str], image_root: str, suffixes: tuple[str, ...], split_path: str) -> list[str]:
    by_name: dict[str, str | None] = {}
    for image in images:
        for name in {*path_ends(image), *path_ends(without_image_suffix(image, suffixes))}:
            by_name[name] = None if by_name.setdefault(name, image) != image else image
    whole = {without_image_suffix(image, suffixes): image for image in images} | {name: name for name in images}
    by_name |= {same_name(name): image for name, image in whole.items()}

    def find(line: str) -> str | None:
        return next((found for text in spellings(line) if (found := by_name.get(text)) is not None), None)

    found, missing = choose(Path(split_path), find)
    if not found and not missing:
        raise ValueError(f"{split_path}: the split file lists no images")
    if missing:
        raise ValueError(
            f"{split_path}: {len(missing)} of {len(missing) + len(found)} lines name no image in "
            f"{image_root} with suffix {' or '.join(suffixes)}: "
            f"{_some([f'{text} (line {number})' for number, text in missing])}. "
            f"Images there look like {images[0]!r}."
        )
    return found


def chosen_pairs(pairs: list[tuple[str, Label]], indices: int | Sequence[int]) -> list[tuple[str, Label]]:
    """So many first ones, of a negative number last ones, or these. Raises ValueError if that leaves none."""
    if isinstance(indices, int):
        chosen = pairs[:indices] if indices >= 0 else pairs[indices:]
    else:
        beyond = [index for index in indices if not -len(pairs) <= index < len(pairs)]
        if beyond:
            raise ValueError(f"indices: there are {len(pairs)} images, found {beyond[0]}; they count from 0")
        chosen = [pairs[index] for index in indices]
    if not chosen:
        raise ValueError(f"indices={indices!r} leaves none of {len(pairs)} images")
    return chosen


def existing_folder(root: str, below: str, what: str) -> str:
    """The path of a folder below the root. Raises ValueError, naming the folders beside it, if it is not there."""
    path = os.path.normpath(os.path.join(root, below))
    if os.path.isdir(path):
        return path
    parent = existing_above(path)
    beside = folders_of(parent)
    there = f"{parent} holds the folders {_some(beside)}" if beside else f"{parent} holds no folders"
    raise ValueError(f"{path}: the {what} folder does not exist; {there}")


def without_image_suffix(name: str, suffixes: tuple[str, ...]) -> str:
    """The name without the first of the suffixes that it ends in, or else without its extension."""
    for suffix in suffixes:
        if name.endswith(suffix):
            return name[: len(name) - len(suffix)]
    return os.path.splitext(name)[0]


def _what_is_there(names: Sequence[str] | set[str]) -> str:
    endings = Counter(os.path.splitext(name)[1] or "no extension" for name in names)
    if not endings:
        return "The folder is empty."
    counts = ", ".join(f"{count} x {ending}" for ending, count in endings.most_common(5))
    return f"Files there: {counts}, for example {min(names)!r}."


def _some(names: Sequence[str], limit: int = 5) -> str:
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more
