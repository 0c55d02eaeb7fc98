"""What to say about a folder in which no image has a label."""

from __future__ import annotations

import re
import shlex
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from intarsia.data.dicom import DICOM_SUFFIXES, is_dicom, is_structure_set
from intarsia.data.doctor.findings import some
from intarsia.data.doctor.folders import group_files, role_of
from intarsia.data.doctor.foreign import foreign_annotations
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.slices import is_volume, suffix_of

_LOOKED_AT = 10
_FEW = 2
_EXAMPLE = """    DIR/images/a.jpg  DIR/masks/a.png                       (a share is then taken out for validation)
    DIR/images/train/a.jpg  DIR/masks/train/a.png  DIR/images/val/b.jpg  DIR/masks/val/b.png
    DIR/train/a.png  DIR/trainannot/a.png  DIR/val/b.png  DIR/valannot/b.png
    DIR/a.jpg  DIR/a_mask.png"""


def explain_nothing(
    root: Path, images: Sequence[str], others: Sequence[str], labels: str | None, hints: Sequence[str]
) -> str:
    """What was looked for, what is there, and what would work. hints: of annotations that belong to no image."""
    if not images and not others:
        return f"the folder {root} is empty. Expected images with their label files, for example\n{_EXAMPLE}"
    folders: dict[str, Counter[str]] = defaultdict(Counter)
    for path in [*images, *others]:
        pure = PurePosixPath(path)
        folders[pure.parent.as_posix()][suffix_of(path) or "no extension"] += 1
    rows = [
        f"    {folder}: " + ", ".join(f"{count} x {ext}" for ext, count in kinds.most_common(4))
        for folder, kinds in sorted(folders.items(), key=lambda item: -sum(item[1].values()))
    ]
    more = [f"    ... and {len(rows) - 12} more folders"] if len(rows) > 12 else []
    wanted = f" whose label folder is {labels!r}" if labels is not None else ""
    return "\n".join(
        [
            f"no image in {root} has a label file{wanted}.",
            "Looked for image files whose names, but for a common prefix, suffix or extension, equal those of label "
            f"files in a folder beside them or in the same one; extensions {' '.join(IMAGE_SUFFIXES)}.",
            "Found:",
            *rows[:12],
            *more,
            *_dicom_without_ending(root, others),
            *_contours(root, images),
            *(hints[:4] or _hints(root, images, others)),
            "What would be found, for example:",
            _EXAMPLE,
            "Anything else can be described in a file, given instead of the folder: classes: [a, b], and",
            "splits: {train: {images: FOLDER, labels: FOLDER, image_suffix: .jpg, label_suffix: _x.png}, val: ...}.",
        ]
    )


def _dicom_without_ending(root: Path, others: Sequence[str]) -> list[str]:
    """Files of medical devices and archives, which often have names like IM0001 or 1.2.840.113619.2.1."""
    bare = [path for path in others if not re.search(r"\.[A-Za-z]\w*$", PurePosixPath(path).name)]
    if not bare or not all(_is_dicom(root / path) for path in bare[:: max(1, len(bare) // _LOOKED_AT)]):
        return []
    command = f"find {shlex.quote(str(root))} -type f ! -name '*.[A-Za-z]*' -exec mv {{}} {{}}.dcm \\;"
    return [
        f"Hint: {len(bare)} files such as {bare[0]} are DICOM by what they hold, and images are known by their names: "
        f"let them end in .dcm, with  {command}"
    ]


def _contours(root: Path, images: Sequence[str]) -> list[str]:
    """Structure sets of radiotherapy, which are DICOM files without pixels."""
    found = [path for path in images if suffix_of(path) in DICOM_SUFFIXES and is_structure_set(root / path)]
    if not found:
        return []
    return [
        f"Hint: {len(found)} files such as {found[0]} are contours of radiotherapy (DICOM RTSTRUCT), which are not "
        "read: make DICOM segmentations (SEG) or NIfTI label volumes of them, as 3D Slicer and plastimatch do."
    ]


def _is_dicom(path: Path) -> bool:
    try:
        with open(path, "rb") as stream:
            return is_dicom(stream.read(256))
    except OSError:
        return False


def _hints(root: Path, images: Sequence[str], others: Sequence[str]) -> list[str]:
    hints = [f"Hint: {sentence}." for sentence in foreign_annotations(root, others)]
    kinds = Counter(PurePosixPath(path).suffix.lower() for path in others)
    for suffix, what in ((".json", "JSON polygons"), (".xml", "XML polygons or boxes"), (".yaml", "YAML polygons")):
        if not hints and kinds[suffix] >= max(1, len(images) // 2):
            hints.append(f"Hint: {kinds[suffix]} {suffix} files may be {what}; convert them to label images first.")
    groups = group_files(images)
    hints += [*_label_studio(images), *_volumes_of_classes(images)]
    pairs = [(one, two) for one in groups for two in groups if one.template < two.template and one.count > 1]
    for one, two in pairs:
        if one.count == two.count and (one.role != two.role or one.role == "none"):
            first, second = (next(iter(group.files.values()))[0] for group in (one, two))
            if first[1] == second[1]:
                hints.append(
                    f"Hint: {one.shown()} and {two.shown()} hold {one.count} images each by the same names, but "
                    "neither looks like labels of the other; if one is, call its folder labels."
                )
                continue
            hints.append(
                f"Hint: {one.shown()} and {two.shown()} hold {one.count} images each, but their names share "
                f"nothing ({first[1]}{first[2]}, {second[1]}{second[2]}); rename them alike."
            )
    return hints[:4]


def _volumes_of_classes(images: Sequence[str]) -> list[str]:
    """A folder of label volumes for each scan, with one for each class, as TotalSegmentator writes them."""
    folders: dict[PurePosixPath, set[str]] = defaultdict(set)
    for path in images:
        place = PurePosixPath(path)
        if is_volume(path) and role_of(place.parent.name)[0] == "label":
            folders[place.parent].add(place.name)
    shared = set.intersection(*folders.values()) if len(folders) > 1 else set()
    if len(shared) < _FEW:
        return []
    return [
        f"Hint: {len(folders)} folders such as {next(iter(folders))} hold a label volume for each class "
        f"({some(sorted(shared), 3)}); combine those of a scan into one volume with a number for each class, "
        "beside the scan (TotalSegmentator: --ml)."
    ]


def _label_studio(images: Sequence[str]) -> list[str]:
    """Masks that Label Studio names by task and annotation, not by image."""
    named = [path for path in images if re.match(r"task-\d+-annotation-\d+.*-tag-", PurePosixPath(path).name)]
    if not named:
        return []
    return [
        f"Hint: {len(named)} files such as {PurePosixPath(named[0]).name} are masks of Label Studio, named by task and "
        "not by image; its JSON export says which image a task is: rename them to IMAGE_TAG.png."
    ]
