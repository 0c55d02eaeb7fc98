"""What is done with each of many images, in whichever process: it is predicted, and its files are written."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.inference.inputs.finding import FoundImages, ImageFile
from intarsia.inference.logits.scratch import Scratch
from intarsia.inference.outputs.coco import CocoImage
from intarsia.inference.outputs.image_files import ImageFiles, reason_of
from intarsia.inference.outputs.tables import ImageTable
from intarsia.inference.outputs.writer import OutputWriter
from intarsia.io.cores import available_cores

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor


@dataclass(frozen=True, slots=True)
class NumberedImage:
    """An image of many. number: its place among them, from 1; coco: what annotations call it."""

    file: ImageFile
    coco: CocoImage


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an image.

    path: of its file, or its address. name: None if it could not be predicted. reason: why it could not be used, or
    not all of its files could be written; None if they are. row: of the table, after the name. pixels, uncertain: how
    many it has.
    """

    path: str
    name: str | None = None
    reason: str | None = None
    row: Sequence[str] = ()
    pixels: int = 0
    uncertain: int = 0


class ImageWork:
    """Decodes, predicts and writes images, which overlap. tell: is given the outcome of each, by any thread.

    table: makes a row for each.
    """

    def __init__(
        self,
        predictor: Predictor,
        outputs: ImageFiles,
        table: ImageTable | None,
        tell: Callable[[Outcome], None],
    ) -> None:
        self._predictor, self._outputs, self._table, self._tell = predictor, outputs, table, tell
        self._known: dict[str, NumberedImage] = {}

    def found(self, found: FoundImages, numbered: Sequence[NumberedImage]) -> None:
        """All images of a search; what it could not use is among the outcomes."""
        self._known = {image.file.name: image for image in numbered}
        self._go(found)

    def stream(self, images: Iterator[NumberedImage]) -> None:
        """Images as they come; at the end, all are written."""

        def files() -> Iterator[ImageFile]:
            for image in images:
                self._known[image.file.name] = image
                yield image.file

        self._go(files())

    def _go(self, images: FoundImages | Iterator[ImageFile]) -> None:
        scratch, told = Scratch(self._outputs.folder), 0
        predictions: Any = self._predictor.predict(images, **self._outputs.fields, place=scratch)
        threads = max(2, min(4, available_cores() // 2))  # one waits for the disk while another encodes

        def tell_unused() -> None:
            nonlocal told
            unused = predictions.failures[told:]
            told += len(unused)
            for path, reason in unused:
                self._tell(Outcome(path, reason=reason))

        try:
            with OutputWriter(threads=threads, ahead=threads + 1) as writer:
                while True:
                    try:
                        prediction = next(predictions)
                    except StopIteration:
                        break
                    except ValueError:
                        if not predictions.failures:
                            raise
                        break  # not one could be used: each has said why
                    self._put(writer, prediction, scratch.take())
                    tell_unused()
        finally:
            predictions.close()
            scratch.close()
            tell_unused()

    def _put(self, writer: OutputWriter, prediction: Any, ready: Mapping[str, Path]) -> None:
        image, outputs = self._known.pop(prediction.name), self._outputs
        path = str(image.file.source)

        def write() -> None:
            reason = None
            try:
                outputs.write(prediction, ready, image=image.coco)
            except (OSError, ValueError) as error:
                reason = reason_of(error)
            least = outputs.least_confidence
            uncertain = 0 if least is None else int(prediction.uncertain(least).sum())
            pixels = 0 if least is None else prediction.label.size
            row = () if self._table is None else self._table.row(prediction)
            self._tell(Outcome(path, prediction.name, reason, row, pixels, uncertain))

        writer.put(path, write)
