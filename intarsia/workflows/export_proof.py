"""The proof of an exported file: which images it is compared with its original on, and how."""

from __future__ import annotations

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from intarsia import catalog
from intarsia.config.build import metric_of
from intarsia.contracts import Metric, PathLike, Size
from intarsia.export.certificate import Certificate, Field, Sample, compare, drawn, of_several_shapes
from intarsia.export.contract import ExportMeta
from intarsia.export.task import runtime_name
from intarsia.inference.inputs.finding import find_images
from intarsia.inference.inputs.images import ImageStream
from intarsia.inference.predictor import Predictor
from intarsia.inference.tta import without_resizing
from intarsia.io.whole_files import write_text
from intarsia.terminal import say
from intarsia.workflows.export_request import Exported
from intarsia.workflows.trained_model import OpenModel, labelled_images

CERTIFICATE = "certificate.json"
DESCRIPTION = "data.yaml"

DRAWN = 8
"""Images that are drawn where there are no others."""

AT_LEAST = {"fp32": 0.999, "fp16": 0.995, "int8": 0.98}
"""Precision -> share of pixels with the same label below which a file is no copy. Ties, and rounding, change a few."""

SAME_DEPTH = {"fp32": 0.001, "fp16": 0.01, "int8": 0.05}
"""Precision -> how far from the original's a depth may be to be called the same, as a part of it."""


def check_share(at_least: float | None) -> None:
    """Raises ValueError for what is no share of pixels that a file could be asked for."""
    if at_least is not None and not 0 < at_least <= 1:
        raise ValueError(f"--at-least is a share of pixels above 0 and up to 1, found {at_least:g}")


class Samples:
    """The images that files are compared with.

    given: files, folders or patterns, or the folder of a data set with its data.yaml, or this, whose validation images
    have labels; None: the run's validation images, or drawn ones, which `note` says. Files that are no images are
    said when they are met, once.
    """

    def __init__(self, model: OpenModel, given: PathLike | None, count: int) -> None:
        self.note = ""
        self._model, self._given, self._count = model, given, count
        self._pipeline = None
        self._said: set[str] = set()
        if given is not None and (description := _description(Path(given))) is not None:
            self._pipeline = labelled_images(model, description, "val")
        elif given is None:
            try:
                self._pipeline = labelled_images(model, None, "val")
            except (ValueError, OSError) as error:
                reason = str(error).splitlines()[0]
                self.note = (
                    f"there are no validation images ({reason}): the file is compared on drawn images. --samples "
                    "DIR takes real ones"
                )
        self.what = str(given) if given is not None else "validation images" if self._pipeline else "drawn images"

    def __iter__(self) -> Iterator[Sample]:
        return of_several_shapes(islice(self.plain(self._count), self._count))

    def plain(self, count: int) -> Iterator[Sample]:
        """So many of them or a few more, evenly from all, as they are."""
        if self._pipeline is not None:
            dataset = self._pipeline.dataset
            step = max(1, len(dataset) // count)
            for index in range(0, len(dataset), step):
                sample = dataset.load(index)
                yield Sample(sample.meta.name or f"image {index}", sample.image, sample.label)
            return
        if self._given is not None:
            found = find_images(self._given)
            step = max(1, len(found.files) // count)
            stream = ImageStream(replace(found, files=found.files[::step]), reader=self._model.reader)
            for name, image in stream:
                yield Sample(name, image)
            self._say(stream.failures)
            return
        values = self._model.reader.spec.values
        ends = (0.0, 255.0) if values is None else (float(values.low), float(values.high))
        dtype = "uint8" if values is None else values.dtype
        yield from drawn(min(count, DRAWN), len(self._model.spec.preprocess.mean), dtype, ends)

    def _say(self, failures: Sequence[tuple[str, str]]) -> None:
        for name, reason in failures:
            if name not in self._said:
                self._said.add(name)
                say(f"note: {name} is not compared: {reason}")


def _description(given: Path) -> Path | None:
    """The description of a labelled data set, where that is what was named."""
    file = given / DESCRIPTION if given.is_dir() else given
    return file if file.suffix in (".yaml", ".yml") and file.is_file() else None


def certify(
    model: OpenModel, ours: Predictor, meta: ExportMeta, samples: Samples, *, at_least: float | None
) -> Certificate:
    """Compare the predictor of an exported file with the model that it was made of.

    A file of one size is shown parts of that size, not resized, and so is the original: of several windows the file's
    labels would be those of most windows, and the original's of their mean, which says nothing about the file.
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
    ignore_index: int = metric_of(model.spec).args.get("ignore_index", 255)
    shown: Iterable[Sample] = samples if contract.size is None else _parts(samples, contract.size, ignore_index)
    fields: dict[str, Field] = {"logits": "logits", "probs": "probabilities", "depth": "depth"}
    return compare(
        original, ours, shown,
        what=what, runtime=runtime_name(ours.task),
        at_least=AT_LEAST[contract.precision] if at_least is None else at_least,
        compared=fields.get(contract.output), metric=_counter(model, ours),
        same_within=SAME_DEPTH[contract.precision] if contract.answer == "depth" else None,
    )  # fmt: skip


def _without_resizing(predictor: Predictor) -> Predictor:
    found = copy.copy(predictor)
    found.transforms = tuple(without_resizing(predictor.transforms))
    return found


def _counter(model: OpenModel, ours: Predictor) -> Callable[[], Metric]:
    """Makes counters of what the model answers with."""
    of_run = metric_of(model.spec)
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
