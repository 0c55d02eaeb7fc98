"""The part of ``intarsia predict`` that writes DICOM segmentations: of each series, from label files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from intarsia.data.dicom import DICOM_SUFFIXES, dicom_header
from intarsia.data.slices import suffix_of
from intarsia.inference.inputs.finding import ImageFile
from intarsia.inference.outputs.dicom_seg import Mask, SegmentedImage, write_dicom_seg
from intarsia.label_sets import has, ignored_value
from intarsia.terminal import progress, say, warn

if TYPE_CHECKING:
    from intarsia.inference.outputs.writer import Outputs
    from intarsia.inference.predictor import Predictor

DICOM_SEG = "dicom_seg"
"""What `--save` calls it."""

FILE = "segmentation.dcm"


def without_dicom_seg(save: str | None) -> tuple[str | None, bool]:
    """The other kinds of `--save`, label files among them, and whether segmentations are wanted."""
    words = [word.strip() for word in (save or "").split(",") if word.strip()]
    if DICOM_SEG not in words:
        return save, False
    rest = [word for word in words if word != DICOM_SEG]
    return ",".join(rest if "label" in rest else ["label", *rest]), True


def check_dicom(files: Sequence[ImageFile]) -> None:
    """Raises ValueError naming an image that is no DICOM file."""
    other = next((file.path for file in files if suffix_of(file.path) not in DICOM_SUFFIXES), None)
    if other is not None:
        raise ValueError(
            f"--save {DICOM_SEG} is for DICOM images, and {other} is none; the labels of NIfTI volumes are volumes "
            "anyhow, those of other images are PNG"
        )


@dataclass(frozen=True)
class _Predicted:
    """An image with its label file."""

    file: ImageFile
    header: Any
    label: Path


def write_segmentations(files: Sequence[ImageFile], outputs: Outputs, predictor: Predictor) -> bool:
    """Write a segmentation for each series of which label files are there; whether all could be.

    It lies beside the label files, in the folder of them all.
    """
    found = [_Predicted(file, dicom_header(file.path), label) for file in files if (label := _label(outputs, file))]
    series: dict[tuple[Any, ...], list[_Predicted]] = {}
    for one in found:
        size = int(one.header.Rows), int(one.header.Columns)
        own = one.header.get("SeriesInstanceUID") or one.file.path.parent
        series.setdefault((str(own), size), []).append(one)
    targets = _targets(outputs.folder, list(series.values()))
    names, palette, numbers = _segments(predictor)
    whole = True
    with progress("writing DICOM segmentations") as tell:
        for done, (target, group) in enumerate(targets.items(), 1):
            images = [
                SegmentedImage(one.header, None if one.file.page is None else one.file.page + 1, masks)
                for one in sorted(group, key=_order)
                for masks in [partial(_masks, one.label, numbers, predictor)]
            ]
            try:
                frames = write_dicom_seg(target, images, segments=names, palette=palette, algorithm="Intarsia")
            except (ValueError, OSError) as error:
                whole = False
                warn(f"{target}: {error}")
            else:
                nothing = f"not written: no image shows {' or '.join(names)}"
                say(f"{target}: " + (f"{frames} frames of {len(images)} images" if frames else nothing))
            tell(done, len(targets))
    return whole


def _label(outputs: Outputs, file: ImageFile) -> Path | None:
    """The label file of an image, None where it could not be predicted."""
    label = outputs.files(file.name)["label"]
    return label if label.is_file() else None


def _segments(predictor: Predictor) -> tuple[list[str], list[Sequence[int]], list[int]]:
    """(name, colour, number) of the classes that become segments: all but a background."""
    names, palette = (
        (predictor.classes, predictor.palette) if predictor.multi_label else predictor.shown_values
    )  # fmt: skip
    chosen = [number for number, name in enumerate(names) if name != "background"]
    return [names[number] for number in chosen], [palette[number] for number in chosen], chosen


def _masks(label: Path, numbers: Sequence[int], predictor: Predictor) -> list[Mask]:
    """Where each of some classes is, by a label file."""
    with Image.open(label) as image:
        values = np.asarray(image).astype(np.int64)
    if predictor.multi_label:
        known = values != ignored_value(len(predictor.classes))
        return [(has(values, number) == 1) & known for number in numbers]
    return [values == number for number in numbers]


def _targets(folder: Path, groups: Sequence[Sequence[_Predicted]]) -> Mapping[Path, Sequence[_Predicted]]:
    """The file of each series: in the folder of its images, numbered where that has several."""
    found: dict[Path, Sequence[_Predicted]] = {}
    for group in groups:
        parents = {PurePosixPath(one.file.name).parent for one in group}
        place = folder / (parents.pop() if len(parents) == 1 else PurePosixPath())
        target, number = place / FILE, 2
        while target in found:
            target, number = place / f"{PurePosixPath(FILE).stem}_{number}.dcm", number + 1
        found[target] = group
    return found


def _order(one: _Predicted) -> tuple[float, int, str]:
    """Along the normal of the slices where they say their place; else by number, and name."""
    position, turned = one.header.get("ImagePositionPatient"), one.header.get("ImageOrientationPatient")
    along = 0.0
    if position and turned and len(turned) == 6 and len(position) == 3:
        normal = np.cross([float(x) for x in turned[:3]], [float(x) for x in turned[3:]])
        along = float(np.dot(normal, [float(x) for x in position]))
    number = one.header.get("InstanceNumber")
    return along, int(number) if number not in (None, "") else 0, f"{one.file.name}:{one.file.page or 0:09}"
