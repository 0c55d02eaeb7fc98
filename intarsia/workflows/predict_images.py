"""The part of ``intarsia predict`` that does images: a folder of them, or one into a file or a pipe."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.config.build import build
from intarsia.data.labels import LabelTable
from intarsia.inference.inputs.images import FoundImages, ImageFile
from intarsia.inference.logits.scratch import Scratch
from intarsia.inference.outputs.areas import AreaTable
from intarsia.inference.outputs.label_values import FileValues, server_values, source_values
from intarsia.inference.outputs.writer import KINDS, Outputs, OutputWriter
from intarsia.terminal import progress, say, warn
from intarsia.visual.files import sweep, write_encoded
from intarsia.workflows.label_words import label_words
from intarsia.workflows.trained_model import OpenModel, parse_value

if TYPE_CHECKING:
    from intarsia.inference.prediction import Prediction
    from intarsia.inference.predictor import Predictor

LISTED = 20
"""Failures that are named; of the rest the number is."""


@dataclass
class _Tally:
    """What was written so far; shared by the threads that write."""

    pixels: int = 0
    unsure: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()

    def add(self, prediction: Prediction, threshold: float | None) -> None:
        unsure = 0 if threshold is None else int(prediction.unsure(threshold).sum())
        with self._lock:
            self.pixels += prediction.label.size
            self.unsure += unsure


def predict_images(
    predictor: Predictor, found: FoundImages, outputs: Outputs, *, areas: Path | None, skip_existing: bool
) -> bool:
    """Predict many images and say how it went; whether all could be used.

    Decoding, the network and writing overlap. Raises ValueError before anything is done if two images would be written
    into one file, or an image would be overwritten.
    """
    _check_files(found.files, outputs)
    table = None
    if areas is not None:
        table = AreaTable(areas, predictor.classes, unsure=outputs.unsure, resume=skip_existing)
    outputs.folder.mkdir(parents=True, exist_ok=True)
    sweep(outputs.folder)
    todo = tuple(
        file
        for file in found.files
        if not (skip_existing and outputs.finished(file.name) and (table is None or file.name in table))
    )
    skipped = len(found.files) - len(todo)
    if not todo:
        say(f"all {len(found.files)} images were done before: {outputs.folder}")
        return True
    run = _Folder(predictor, replace(found, files=todo), outputs, table)
    began = time.monotonic()
    try:
        run.go()
    except KeyboardInterrupt:
        done = skipped + run.written
        text = f"interrupted: {done} of {len(found.files)} images are written; --skip-existing goes on from there"
        raise KeyboardInterrupt(text) from None
    _summary(run, len(found.files), skipped, time.monotonic() - began)
    for suffix, count in found.skipped.items():
        warn(f"{count} files {suffix or 'without suffix'} are no images and were passed over")
    return _failures(run.failures)


class _Folder:
    """Images on their way through the network to their files."""

    def __init__(self, predictor: Predictor, found: FoundImages, outputs: Outputs, table: AreaTable | None) -> None:
        self.predictor, self.found, self.outputs, self.table = predictor, found, outputs, table
        self.paths = {file.name: str(file.path) for file in found.files}
        self.failures: list[tuple[str, str]] = []
        self.tally = _Tally()
        self.written = 0

    def go(self) -> None:
        total = len(self.found.files)
        scratch = Scratch(self.outputs.folder)
        predictions = self.predictor.predict(self.found, **self.outputs.fields, place=scratch)
        threads = max(1, min(4, (os.cpu_count() or 2) // 2))
        writer = OutputWriter(threads=threads, ahead=threads + 1)
        try:
            with writer, progress("predicting") as bar:
                while True:
                    try:
                        prediction = next(predictions)
                    except StopIteration:
                        break
                    except ValueError:
                        if len(predictions.failures) < total:
                            raise
                        break  # not one could be used: each has said why
                    self._put(writer, prediction, scratch.take())
                    bar(writer.done + len(predictions.failures), total)
        finally:
            predictions.close()
            scratch.close()
            self.written = writer.done
            self.failures = [*predictions.failures, *writer.failures]
            if self.table is not None and self.written:
                self.table.save()

    def _put(self, writer: OutputWriter, prediction: Prediction, ready: Mapping[str, Path]) -> None:
        def write() -> None:
            self.outputs.write(prediction, ready)
            self.tally.add(prediction, self.outputs.unsure)
            if self.table is not None:
                self.table.add(prediction)

        writer.put(self.paths[prediction.name], write)


def _summary(run: _Folder, total: int, skipped: int, seconds: float) -> None:
    outputs = run.outputs
    names = [f"NAME{ending}" for kind, ending in KINDS.items() if kind in outputs.kinds]
    rate = f", {run.written / seconds:.1f} images/s" if run.written else ""
    before = f" ({skipped} were done before)" if skipped else ""
    where = ", ".join([str(outputs.folder / names[0]), *names[1:]])
    say(f"{run.written} of {total} images{before}{rate}: {where}")
    if outputs.unsure is not None and run.tally.pixels:
        say(f"unsure (confidence below {outputs.unsure:g}): {run.tally.unsure / run.tally.pixels:.1%} of the pixels")
    if run.table is not None and run.written:
        say(f"areas of the classes: {run.table.path}")


def _failures(failures: Sequence[tuple[str, str]]) -> bool:
    for name, reason in failures[:LISTED]:
        say(f"failed: {name}: {reason}", style="red")
    if len(failures) > LISTED:
        say(f"failed: {len(failures) - LISTED} more", style="red")
    return not failures


def _check_files(files: Sequence[ImageFile], outputs: Outputs) -> None:
    """Raises ValueError if one file stood for two things."""
    folders = {folder: Path(os.path.realpath(folder)) for folder in {file.path.parent for file in files}}
    images = {folders[file.path.parent] / file.path.name for file in files}
    folder = Path(os.path.realpath(outputs.folder))
    taken: dict[Path, str] = {}
    for file in files:
        for target in replace(outputs, folder=folder).files(file.name).values():
            if target in images:
                raise ValueError(f"{target} would be overwritten, and it is one of the images: choose another --out")
            if target in taken:
                raise ValueError(
                    f"{taken[target]} and {file.path} would both be written as {target}; predict them into two folders"
                )
            taken[target] = str(file.path)


# --- One image ----------------------------------------------------------------------------------------------------


def predict_one(predictor: Predictor, image: ImageFile, outputs: Outputs, out: Path | None) -> None:
    """Predict one image into a file, or for None into standard output. Raises ValueError if it cannot be used."""
    if out is not None and out.exists() and out.samefile(image.path):
        raise ValueError(f"--out {out} is the image itself; give another name")
    (kind,) = outputs.kinds
    prediction: Prediction = predictor.predict(image.path, **outputs.fields)
    data = outputs.encoded(prediction, kind)
    if out is not None:
        write_encoded(out, data)
        say(f"{image.path}: {out}")
        return
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


# --- What label files hold ----------------------------------------------------------------------------------------


def file_values(model: OpenModel, name: str, classes: Sequence[str], *, with_unsure: bool) -> FileValues | None:
    """What a format puts into label files; None for class indices. Raises ValueError if it does not suit the model."""
    if name == "indices":
        return None
    if name == "source":
        return source_values(_label_table(model, classes), classes, with_unsure=with_unsure)
    return server_values(name, classes, with_unsure=with_unsure)


def _label_table(model: OpenModel, classes: Sequence[str]) -> LabelTable:
    """How the training read its label files: by its description, by the benchmark's numbering, or as class indices."""
    ignore = model.meta.ignore_index
    words = {parse_value(text): name for text, name in model.meta.labels.items()}
    data = model.spec.train or model.spec.val or model.spec.test
    if not words and data is not None:
        if data.dataset.args.get("label_table") is not None:
            table: LabelTable = build(data.dataset.args["label_table"])
            return table
        words = {parse_value(text): name for text, name in label_words(data.dataset, classes, ignore).items()}
    if not words:
        return LabelTable.identity(len(classes), ignore)
    position = {name: index for index, name in enumerate(classes)}
    indices = {value: position.get(name, ignore) for value, name in words.items()}
    return LabelTable(
        {value: index for value, index in indices.items() if isinstance(value, int)} or None,
        {value: index for value, index in indices.items() if not isinstance(value, int)} or None,
        ignore,
    )
