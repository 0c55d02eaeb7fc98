"""The part of ``intarsia predict`` that does images: a folder of them, or one into a file or a pipe."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from intarsia.config.build import build
from intarsia.data.labels import LabelTable
from intarsia.distributed.work_queue import AllLostError
from intarsia.inference.inputs.finding import Failure, FoundImages, ImageFile
from intarsia.inference.inputs.remote import shown
from intarsia.inference.outputs.coco import CocoImage, join_coco
from intarsia.inference.outputs.image_files import ImageFiles
from intarsia.inference.outputs.label_values import FileValues, region_values, server_values, source_values
from intarsia.inference.outputs.manifest import MANIFEST, Manifest, ResultFinder
from intarsia.inference.outputs.parts import Part, files_of_parts
from intarsia.inference.outputs.tables import ImageTable
from intarsia.inference.outputs.writer import Outputs
from intarsia.io.folders import walk_files
from intarsia.io.stores import public
from intarsia.io.whole_files import sweep
from intarsia.label_sets import Regions
from intarsia.terminal import progress, say, warn
from intarsia.workflows.image_work import ImageWork, NumberedImage, Outcome
from intarsia.workflows.label_words import label_words
from intarsia.workflows.predict_devices import Devices
from intarsia.workflows.trained_model import OpenModel, parse_value

if TYPE_CHECKING:
    from intarsia.inference.depth_prediction import DepthPrediction
    from intarsia.inference.prediction import Prediction
    from intarsia.inference.predictor import Predictor

LISTED = 20
"""Failures that are named; of the rest the number is."""

ANNOTATIONS = "annotations.json"
"""In the folder of results: the COCO annotations of all images."""


def predict_images(
    predictor: Predictor,
    found: FoundImages,
    outputs: ImageFiles,
    *,
    manifest: Manifest,
    table: ImageTable | None,
    skip_existing: bool,
    overwrite: bool = False,
    devices: Devices | None = None,
    part: Part | None = None,
) -> bool:
    """Predict many images and say how it went; whether all could be used.

    Decoding, the network and writing overlap. manifest: says which model this is; the folder keeps it. table: gets
    a row for each image. skip_existing: go on where an earlier run was interrupted. overwrite: in a folder with results
    of another model. devices: on which others predict and write, in place of this process. part: of the images, in
    whose name the by-products are; without, those of parts become part of the whole.

    Raises ValueError before anything is done if two images would be written into one file, an image would be
    overwritten, or results of another model are in the way.
    """
    _check_files(found.files, outputs)
    numbered = [NumberedImage(file, CocoImage(_file_name(file), n)) for n, file in enumerate(found.files, 1)]
    if part is not None:
        numbered = [image for image in numbered if part.has(image.file.name)]
        say(f"{part}: {len(numbered)} of {len(found.files)} images")
        failures = tuple(failure for failure in found.failures if part.has(failure[0]))
        found = replace(found, files=tuple(image.file for image in numbered), failures=failures)
        if not numbered:
            return _failures(failures)
    outputs.claim(manifest, overwrite=overwrite, resume=skip_existing)
    sweep(outputs.folder)
    todo = tuple(
        file
        for file in found.files
        if not (skip_existing and outputs.finished(file.name) and (table is None or file.name in table))
    )
    names = {file.name for file in todo}
    run = _Folder(replace(found, files=todo), [image for image in numbered if image.file.name in names], outputs, table)
    total, skipped, began = len(found.files) + len(found.failures), len(found.files) - len(todo), time.monotonic()
    if todo:
        try:
            run.go(predictor, devices)
        except (KeyboardInterrupt, AllLostError) as error:
            what = "interrupted" if isinstance(error, KeyboardInterrupt) else str(error)
            text = f"{what}: {skipped + run.written} of {total} images are written; --skip-existing goes on from there"
            raise type(error)(text) from None
        _summary(run, total, skipped, time.monotonic() - began)
    else:
        run.failures += found.failures
        say(f"all {len(found.files)} images were done before: {outputs.shown(outputs.folder)}")
    _join(run, found.files, predictor.classes, part)
    _notes(found, outputs, overwrite=overwrite)
    return _failures(run.failures)


class _Folder:
    """Images on their way to their files, and what became of them."""

    def __init__(
        self, found: FoundImages, images: Sequence[NumberedImage], outputs: ImageFiles, table: ImageTable | None
    ) -> None:
        self.found, self.images, self.outputs, self.table = found, images, outputs, table
        self.failures: list[Failure] = []
        self.written = self.pixels = self.uncertain = 0
        self._lock = threading.Lock()

    def go(self, predictor: Predictor, devices: Devices | None) -> None:
        """Predict and write: here, or on devices."""
        total = len(self.found.files)
        with progress("predicting") as bar:

            def note(outcome: Outcome) -> None:
                self._note(outcome)
                bar(self.written + len(self.failures), total)

            try:
                if devices is None:
                    ImageWork(predictor, self.outputs, self.table, note).found(self.found, self.images)
                else:
                    self.failures += self.found.failures
                    devices.predict(self.images, self.outputs, self.table, note)
            finally:
                place = {str(image.file.source): number for number, image in enumerate(self.images)}
                self.failures.sort(key=lambda failure: place.get(failure[0], -1))
                if self.table is not None and self.written:
                    self.by_product(self.table.path, self.save_table)

    def _note(self, outcome: Outcome) -> None:
        """Of any thread."""
        with self._lock:
            if outcome.reason is not None:
                self.failures.append((outcome.path, outcome.reason))
            else:
                self.written += 1
            self.pixels += outcome.pixels
            self.uncertain += outcome.uncertain
        if self.table is not None and outcome.name is not None:
            self.table.put(outcome.name, outcome.row)

    def save_table(self) -> None:
        """Bring the rows into their file."""
        assert self.table is not None
        self.table.save()
        self.outputs.publish(self.table.path)

    def by_product(self, file: Path, make: Callable[[], object]) -> None:
        """Make a file of what is there already; if that fails, it fails by name."""
        try:
            make()
        except (OSError, ValueError) as error:
            self.failures.append((self.outputs.shown(file), str(error)))


def _file_name(image: ImageFile) -> str:
    """What annotations call an image: its file, with the folders below the input."""
    return (PurePosixPath(image.name).parent / image.path.name).as_posix()


def _join(run: _Folder, files: Sequence[ImageFile], classes: Sequence[str], part: Part | None) -> None:
    """One annotation file of the images that have some, and one table: of a part, or of all with what parts have."""
    outputs, table = run.outputs, run.table
    whole = outputs.folder / ANNOTATIONS
    if "rle" in outputs.kinds:
        path = whole if part is None else part.of(whole)

        def write() -> None:
            single = [outputs.files(file.name)["rle"] for file in files]
            if outputs.remote is not None:
                outputs.remote.bring(single)
            count = join_coco(path, [file for file in single if file.is_file()], classes=classes)
            outputs.publish(path)
            say(f"annotations of {count} images: {outputs.shown(path)}")
            for file in files_of_parts(whole) if part is None else ():
                outputs.discard(file)

        run.by_product(path, write)
    if table is not None and table.parts:

        def save() -> None:
            run.save_table()
            for file in table.parts:
                outputs.discard(file)

        say(f"{table.title}, of {len(table.parts)} parts: {outputs.shown(table.path)}")
        run.by_product(table.path, save)


def _summary(run: _Folder, total: int, skipped: int, seconds: float) -> None:
    outputs = run.outputs
    names = [file.relative_to(outputs.folder).as_posix() for file in outputs.files("NAME").values()]
    rate = f", {run.written / seconds:.1f} images/s" if run.written else ""
    before = f" ({skipped} were done before)" if skipped else ""
    where = ", ".join([outputs.shown(outputs.folder / names[0]), *names[1:]])
    say(f"{run.written} of {total} images{before}{rate}: {where}")
    if outputs.least_confidence is not None and run.pixels:
        share = run.uncertain / run.pixels
        say(f"uncertain (confidence below {outputs.least_confidence:g}): {share:.1%} of the pixels")
    if run.table is not None and run.written:
        say(f"{run.table.title}: {outputs.shown(run.table.path)}")


def _notes(found: FoundImages, outputs: ImageFiles, *, overwrite: bool) -> None:
    """What was left out, and what lies in the folder besides."""
    for suffix, count in found.skipped.items():
        warn(f"{count} files {suffix or 'without suffix'} are no images and were passed over")
    if found.results:
        warn(f"{found.results} results of earlier predictions lie among the images and were passed over")
    if found.repeated:
        warn(f"{found.repeated} images were named more than once and done once")
    if overwrite and outputs.remote is None:
        ours = {file for image in found.files for file in outputs.files(image.name).values()}
        ours.add(outputs.folder / MANIFEST)
        finder, paths = ResultFinder(), (outputs.folder / path for path in walk_files(outputs.folder))
        others = sum(1 for path in paths if path not in ours and finder.is_result(path))
        if others:
            warn(f"{outputs.folder} holds {others} results of earlier runs besides, for other images or of other kinds")


def _failures(failures: Sequence[Failure]) -> bool:
    for name, reason in failures[:LISTED]:
        say(f"failed: {public(name)}: {reason}", style="red")
    if len(failures) > LISTED:
        say(f"failed: {len(failures) - LISTED} more", style="red")
    return not failures


def _check_files(files: Sequence[ImageFile], outputs: ImageFiles) -> None:
    """Raises ValueError if one file stood for two things."""
    folders = {folder: Path(os.path.realpath(folder)) for folder in {file.path.parent for file in files}}
    images = {file.address or os.path.normcase(folders[file.path.parent] / file.path.name) for file in files}
    outputs = outputs if outputs.remote is not None else replace(outputs, folder=Path(os.path.realpath(outputs.folder)))
    taken: dict[str, str] = {}
    for file in files:
        for target in map(outputs.shown, outputs.files(file.name).values()):
            name = target if outputs.remote is not None else os.path.normcase(target)
            if name in images:
                raise ValueError(f"{target} would be overwritten, and it is one of the images: choose another --out")
            if name in taken:
                raise ValueError(
                    f"{taken[name]} and {shown(file.source)} would both be written as {target}; predict them into two "
                    "folders"
                )
            taken[name] = shown(file.source)


# --- One image ----------------------------------------------------------------------------------------------------


def predict_one(predictor: Predictor, image: ImageFile, outputs: ImageFiles, out: Path | None) -> None:
    """Predict one image into a file, or for None into standard output. Raises ValueError if it cannot be used."""
    if out is not None and out.exists() and not image.address and out.samefile(image.path):
        raise ValueError(f"--out {out} is the image itself; give another name")
    (kind,) = outputs.kinds
    prediction: Prediction | DepthPrediction = predictor.predict(image.source, **outputs.fields)
    if out is not None:
        outputs.write_one(prediction, kind, out, image=CocoImage(image.path.name))
        say(f"{shown(image.source)}: {out}")
        return
    sys.stdout.buffer.write(outputs.encoded(prediction, kind))
    sys.stdout.buffer.flush()


# --- What results depend on ---------------------------------------------------------------------------------------


def manifest_of(model: OpenModel, predictor: Predictor, outputs: Outputs, file_format: str) -> Manifest:
    """What says of label maps which model wrote them, and how."""
    look, options = outputs.look, {"min_confidence": str(outputs.min_confidence), "format": file_format}
    if "overlay" in outputs.kinds:
        options["overlay"] = f"opacity {look.opacity:g}, contours {look.contours}, legend {look.legend}"
    return manifest_with(model, predictor, options)


def manifest_with(model: OpenModel, predictor: Predictor, options: Mapping[str, str]) -> Manifest:
    """What says of results which model wrote them, through which windows and views, and with which other options."""
    inference = predictor.inference
    left_out = {"augmented"} | {
        name for name in ("two_class_threshold", "class_thresholds") if not getattr(inference, name)
    }
    views = {name: value for name, value in asdict(inference).items() if name not in left_out}
    look = {
        "inference": ", ".join(f"{name} {value}" for name, value in views.items()),
        "augment": str(predictor.augmented),
        "precision": model.precision,
        **({"mean": model.mean} if model.others else {}),
    }
    names, hashes = (" + ".join(found) for found in zip(*model.digests, strict=True))
    return Manifest({"weights": names, "sha256": hashes}, {**look, **options})


# --- What label files hold ----------------------------------------------------------------------------------------


def file_values(model: OpenModel, name: str, classes: Sequence[str], *, with_uncertain: bool) -> FileValues | None:
    """What a format puts into label files; None for class indices. Raises ValueError if it does not suit the model."""
    if name == "indices":
        return None
    if name == "source" and model.meta.regions:
        return region_values(Regions.from_json(model.meta.regions))
    if model.spec.inference.answer == "classes":
        raise ValueError(
            f"--format {name} has one class for each pixel, and this model several: label files hold a bit for each "
            "class, and --save masks writes a file for each"
        )
    if name == "source":
        return source_values(_label_table(model, classes), classes, with_uncertain=with_uncertain)
    return server_values(name, classes, with_uncertain=with_uncertain)


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
