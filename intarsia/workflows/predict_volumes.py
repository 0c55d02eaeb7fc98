"""The part of ``intarsia predict`` that does volumes: slice by slice, and the labels in a volume that lies in the same
place.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import numpy.typing as npt

from intarsia.data.nifti import label_volume_bytes, nifti_header
from intarsia.data.orientation import Axis, plane_of
from intarsia.data.slices import is_volume, slice_paths, suffix_of
from intarsia.inference.inputs.finding import Failure, FoundImages, ImageFile
from intarsia.io.whole_files import write_bytes
from intarsia.terminal import progress, say, warn

if TYPE_CHECKING:
    from intarsia.inference.outputs.label_values import FileValues
    from intarsia.inference.prediction import Prediction
    from intarsia.inference.predictor import Predictor


@dataclass(frozen=True)
class VolumeJob:
    """predictor: of slices. axis: along which the training took them, "" if it had none. min_confidence: voxels of less
    have no class. values: what files hold in place of class indices or sets.
    """

    predictor: Predictor
    axis: str
    min_confidence: float | None = None
    values: FileValues | None = None


def volumes_of(found: FoundImages) -> list[ImageFile]:
    """Those of the files that are volumes."""
    return [file for file in found.files if is_volume(file.path)]


def predict_volumes(
    job: VolumeJob, targets: Sequence[tuple[ImageFile, Path]], *, found: FoundImages, skip_existing: bool = False
) -> bool:
    """Predict volumes and say how it went; whether all could be used.

    targets: each volume, and the file of its labels, which takes the header of the volume and so lies where that lies;
    none of a part without volumes. A volume of which a slice cannot be predicted is named and not written.

    Raises ValueError before anything is done if a volume would be overwritten.
    """
    sources = {file.path.resolve() for file, _ in targets}
    for _, target in targets:
        if target.resolve() in sources:
            raise ValueError(f"{target} would be overwritten, and it is one of the volumes: choose another --out")
    axis = cast("Axis", job.axis or "z")
    if targets and not job.axis:
        warn("the weights do not say along which axis slices were taken in training: z, the third, is taken")
    failures: list[Failure] = list(found.failures)
    todo = [
        (file, target) for file, target in targets if not (skip_existing and target.is_file() and target.stat().st_size)
    ]
    begun, written = time.monotonic(), 0
    for file, target in todo:
        try:
            labels = _labels(job, file.path, axis)
            write_bytes(
                target, label_volume_bytes(nifti_header(file.path), labels, packed=suffix_of(target) == ".nii.gz")
            )
            written += 1
        except (ValueError, OSError) as error:
            failures.append((str(file.path), str(error).removeprefix(f"{file.path}: ")))
    where = "" if not targets else targets[0][1] if len(targets) == 1 else targets[0][1].parent
    if todo:
        before = f" ({len(targets) - len(todo)} were done before)" if len(todo) < len(targets) else ""
        took = time.monotonic() - begun
        say(f"{written} of {len(targets)} volumes{before}, slices along {axis}, {took:.1f} s: {where}")
    elif targets:
        say(f"all {len(targets)} volumes were done before: {where}")
    for suffix, count in found.skipped.items():
        warn(f"{count} files {suffix or 'without suffix'} are no images and were passed over")
    for name, reason in failures:
        say(f"failed: {name}: {reason}", style="red")
    return not failures


def _labels(job: VolumeJob, path: Path, axis: Axis) -> npt.NDArray[np.uint8 | np.uint16]:
    """The labels (X, Y, Z) of a volume. Raises ValueError naming the first slice that could not be used, and why."""
    header = nifti_header(path)
    shape, plane = header.shape[:3], plane_of(axis, header.raw)
    along = plane.along.axis
    names = slice_paths(str(path), axis, shape[along])
    files = tuple(ImageFile(Path(name), f"{number}") for number, name in enumerate(names))
    labels: npt.NDArray[np.uint8 | np.uint16] | None = None
    predictions = job.predictor.predict(FoundImages(files), confidence=job.min_confidence is not None)
    try:
        with progress(f"predicting {path.name}") as bar:
            for done, prediction in enumerate(predictions, 1):
                label = _label(job, prediction)
                if labels is None:
                    labels = np.zeros(shape, label.dtype)
                index = plane.index(int(prediction.name), shape[along])
                labels[(slice(None),) * along + (index,)] = plane.stored(label)
                bar(done, len(files))
        if predictions.failures:
            raise ValueError("; ".join(f"{name}: {reason}" for name, reason in predictions.failures[:1]))
    finally:
        predictions.close()
    assert labels is not None
    return labels


def _label(job: VolumeJob, prediction: Prediction) -> npt.NDArray[np.uint8 | np.uint16]:
    """The labels (H, W) of a slice, in the values of files."""
    least = job.min_confidence
    if job.values is None:
        return prediction.label if least is None else prediction.label_with_uncertain(least)
    return job.values.applied(prediction.label, None if least is None else prediction.uncertain(least))
