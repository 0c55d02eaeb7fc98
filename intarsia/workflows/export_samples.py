"""The images that an exported file is compared with its original on, and those that ranges of int8 are measured on."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.export.certificate import Sample, drawn, of_several_shapes
from intarsia.inference.inputs.finding import find_images
from intarsia.inference.inputs.images import ImageStream
from intarsia.terminal import say
from intarsia.workflows.trained_model import OpenModel, labelled_images

DESCRIPTION = "data.yaml"

DRAWN = 8
"""Images that are drawn where there are no others."""

CALIBRATION = 32
"""Images on which ranges are measured for int8, at most."""

ALL, FIRST, SECOND = slice(None), slice(0, None, 2), slice(1, None, 2)
"""Of the images in their order: all, and of int8 those that are compared first, and those that calibrate."""


class Samples:
    """The images that files are compared with.

    given: files, folders or patterns, or the folder of a data set with its data.yaml, or this, whose validation images
    have labels; None: the run's validation images, or drawn ones, which `note` says. Files that are no images are
    said when they are met, once.

    names: of the images that were compared last; were_seen: whether the file was calibrated on them.
    """

    def __init__(self, model: OpenModel, given: PathLike | None, count: int) -> None:
        self.note, self.names, self.were_seen = "", list[str](), False
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

    def calibrating(self, seen: list[str]) -> Iterator[npt.NDArray[Any]]:
        """Those that ranges of int8 are measured on: every second, or the first where it is the only one.

        seen: gets the fingerprints of those that were taken.
        """
        found = islice(self._of(SECOND, CALIBRATION), CALIBRATION)
        one = next(found, None)
        for sample in islice(self._of(ALL, CALIBRATION), CALIBRATION) if one is None else chain([one], found):
            seen.append(sample.fingerprint)
            yield sample.image

    def compared(self, calibrated: Collection[str] = ()) -> Iterator[Sample]:
        """Those that are compared, in several shapes.

        calibrated: fingerprints of images that the file was calibrated on; they are compared if there are no others.
        """
        self.names, self.were_seen = [], False
        return of_several_shapes(islice(self._named(calibrated), self._count))

    def _named(self, calibrated: Collection[str]) -> Iterator[Sample]:
        parts = (FIRST, SECOND) if calibrated else (ALL,)
        for sample in chain.from_iterable(self._of(part, self._count) for part in parts):
            if not calibrated or sample.fingerprint not in calibrated:
                self.names.append(sample.name)
                yield sample
        if calibrated and not self.names:
            self.were_seen = True
            yield from self._named(())

    def _of(self, part: slice, count: int) -> Iterator[Sample]:
        """So many of a part of them, or a few more, evenly, as they are."""
        if self._pipeline is not None:
            dataset = self._pipeline.dataset
            places = range(len(dataset))[part]
            for index in places[:: max(1, len(places) // count)]:
                sample = dataset.load(index)
                yield Sample(sample.meta.name or f"image {index}", sample.image, sample.label)
            return
        if self._given is not None:
            found = find_images(self._given)
            files = found.files[part]
            stream = ImageStream(replace(found, files=files[:: max(1, len(files) // count)]), reader=self._model.reader)
            try:
                yield from (Sample(name, image) for name, image in stream)
            except ValueError:  # not one could be used, which of a part is no error
                if part == ALL:
                    raise
            self._say(stream.failures)
            return
        values = self._model.reader.spec.values
        ends = (0.0, 255.0) if values is None else (float(values.low), float(values.high))
        dtype = "uint8" if values is None else values.dtype
        bands, seed = len(self._model.spec.preprocess.mean), int(part == SECOND)
        yield from drawn(min(count, DRAWN), bands, dtype, ends, seed=seed)

    def _say(self, failures: Sequence[tuple[str, str]]) -> None:
        for name, reason in failures:
            if name not in self._said:
                self._said.add(name)
                say(f"note: {name} is not compared: {reason}")


def _description(given: Path) -> Path | None:
    """The description of a labelled data set, where that is what was named."""
    file = given / DESCRIPTION if given.is_dir() else given
    return file if file.suffix in (".yaml", ".yml") and file.is_file() else None
