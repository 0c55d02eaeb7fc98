"""The proof of an exported file: how it is compared with its original."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from intarsia import catalog
from intarsia.config.build import first_metric_of
from intarsia.contracts import Metric, Size
from intarsia.export.certificate import Certificate, Field, Sample, compare
from intarsia.export.contract import ExportMeta
from intarsia.export.task import runtime_name
from intarsia.inference.predictor import Predictor
from intarsia.inference.tta import without_resizing
from intarsia.io.digest import file_hash
from intarsia.io.whole_files import write_text
from intarsia.version import versions_of
from intarsia.workflows.export_request import Exported
from intarsia.workflows.export_samples import Samples
from intarsia.workflows.trained_model import OpenModel

CERTIFICATE = "certificate.json"

AT_LEAST = {"fp32": 0.999, "fp16": 0.995, "int8": 0.98}
"""Precision -> share of pixels with the same label below which a file is no copy. Ties, and rounding, change a few."""

SAME_DEPTH = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}
"""Precision -> how far from the original's a depth may be to be called the same, as a part of it."""


def check_share(at_least: float | None) -> None:
    """Raises ValueError for what is no share of pixels that a file could be asked for."""
    if at_least is not None and not 0 < at_least <= 1:
        raise ValueError(f"--at-least is a share of pixels above 0 and up to 1, found {at_least:g}")


def certify(
    model: OpenModel, ours: Predictor, meta: ExportMeta, samples: Samples, *, at_least: float | None
) -> Certificate:
    """Compare the predictor of an exported file with the model that it was made of.

    A file of one size is shown parts of that size, not resized, and so is the original: of several windows the file's
    labels would be those of most windows, and the original's of their mean, which says nothing about the file.
    Images that ranges of int8 were measured on are left out, unless there are no others.
    """
    contract, what = meta.contract, samples.what
    seen = model.spec.inference
    if contract.size is not None:
        seen = replace(seen, mode="whole", crop_size=None, stride=None)
        what = f"{what}, in parts of {contract.size[0]} x {contract.size[1]} pixels"
    elif contract.output not in ("logits", "depth"):
        windows = ours.inference
        seen = replace(seen, mode=windows.mode, crop_size=windows.crop_size, stride=windows.stride)
    original = replace(model, spec=replace(model.spec, inference=seen)).predictor(ours.classes, ours.palette)
    if contract.size is not None:
        original, ours = _without_resizing(original), _without_resizing(ours)
    ignore_index: int = first_metric_of(model.spec).args.get("ignore_index", 255)
    shown = samples.compared(meta.calibration)
    if contract.size is not None:
        shown = _parts(shown, contract.size, ignore_index)
    fields: dict[str, Field] = {"logits": "logits", "probs": "probabilities", "depth": "depth"}
    found = compare(
        original, ours, shown,
        what=what, runtime=runtime_name(ours.task),
        at_least=AT_LEAST[contract.precision] if at_least is None else at_least,
        compared=fields.get(contract.output), metric=_counter(model, ours),
        same_within=SAME_DEPTH[contract.precision] if contract.answer == "depth" else None,
    )  # fmt: skip
    names, calibrated = tuple(samples.names), len(meta.calibration)
    return replace(
        found, names=names, calibrated=calibrated, calibrated_on_these=samples.were_seen,
        versions=versions_of(["intarsia", "torch", *_RUN_BY.get(found.runtime, ())]), weights_hash=hash_of(model.file),
    )  # fmt: skip


def hash_of(file: Path) -> str:
    """SHA-256 of a weights file; "" where the model is no file."""
    return file_hash(file) if file.is_file() else ""


_RUN_BY = {
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"), "OpenVINO": ("openvino",), "TensorRT": ("tensorrt",),
    "ExecuTorch": ("executorch",), "LiteRT": ("ai-edge-litert",), "Core ML": ("coremltools",),
}  # fmt: skip
"""Name of a runtime -> its packages."""


def _without_resizing(predictor: Predictor) -> Predictor:
    found = copy.copy(predictor)
    found.transforms = tuple(without_resizing(predictor.transforms))
    return found


def _counter(model: OpenModel, ours: Predictor) -> Callable[[], Metric]:
    """Makes counters of what the model answers with."""
    of_run = first_metric_of(model.spec)
    name = {"class": "IoUMetric", "classes": "MultiLabelMetric", "depth": "DepthMetric"}[model.spec.inference.answer]
    settings: dict[str, Any] = {"num_classes": len(ours.classes), "classes": tuple(ours.classes),
                                "ignore_index": of_run.args.get("ignore_index", 255)}  # fmt: skip
    if name == "DepthMetric":
        settings = {**(of_run.args if of_run.type == name else {}), "depth_metrics": ("rmse",)}

    def counter() -> Metric:
        make: Callable[..., Metric] = catalog.resolve("metric", name)
        return make(**settings)

    return counter


def _parts(samples: Iterable[Sample], size: Size, ignore_index: int) -> Iterator[Sample]:
    """Parts of images that are as large as a file's one size and lie beside each other; what is over is left out.

    Of images that are smaller, the whole, mirrored at its ends: what the file would be shown in the place of the rest
    is not what the original would be shown, which is no fault of it.
    """
    for sample in samples:
        image, label = sample.image, sample.label
        lacking = [(0, max(0, side - length)) for side, length in zip(size, image.shape[:2], strict=True)]
        if any(after for _, after in lacking):
            image = np.pad(image, [*lacking, (0, 0)], mode="symmetric")
            label = None if label is None else np.pad(label, lacking, constant_values=ignore_index)
        (height, width), (rows, columns) = size, (image.shape[axis] // size[axis] for axis in (0, 1))
        for row, column in np.ndindex(rows, columns):
            part = np.s_[row * height : (row + 1) * height, column * width : (column + 1) * width]
            name = sample.name if rows * columns == 1 else f"{sample.name} (part {row}, {column})"
            yield Sample(name, np.ascontiguousarray(image[part]), None if label is None else label[part])


def write_certificates(done: Sequence[Exported], out: Path) -> None:
    """Write certificate.json, by file: of those that were written now, and of earlier ones that are still there."""
    try:
        before = dict(json.loads((out / CERTIFICATE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):  # none yet, or not ours: it is made anew
        before = {}
    found = {name: values for name, values in before.items() if (out / name).exists()}
    for one in done:
        found[one.file.relative_to(out).as_posix()] = one.certificate and one.certificate.to_json()
    write_text(out / CERTIFICATE, json.dumps(found, indent=2, ensure_ascii=False) + "\n")


@contextlib.contextmanager
def kept_if_proven(path: Path) -> Iterator[None]:
    """Where a file is written and compared: if this ends before its time, what was written is removed, since a file
    without its proof could be taken for one with it. What an earlier export left there stays until it is replaced.
    """
    before = _state(path)
    try:
        yield
    except BaseException:
        if _state(path) not in (None, before):
            _remove(path)
        raise


def _state(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def _remove(path: Path) -> None:
    """A file of any format, and what belongs to it."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        return
    beside = [path.with_name(path.name + suffix) for suffix in (".data", ".json")]
    for file in (path, *beside, *([path.with_suffix(".bin")] if path.suffix == ".xml" else [])):
        file.unlink(missing_ok=True)
