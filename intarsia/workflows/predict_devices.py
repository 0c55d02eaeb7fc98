"""The part of ``intarsia predict`` that shares images or scenes out among several devices, a process for each."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from intarsia.distributed.work_queue import WorkQueue, rounds
from intarsia.io.whole_files import sweep
from intarsia.terminal import Notice, notices_shown
from intarsia.workflows.image_work import ImageWork, NumberedImage, Outcome

if TYPE_CHECKING:
    from intarsia.distributed.device_processes import Link
    from intarsia.inference.outputs.image_files import ImageFiles
    from intarsia.inference.outputs.tables import ImageTable
    from intarsia.inference.predictor import Predictor

T = TypeVar("T")


@dataclass(frozen=True)
class Devices:
    """names: as `named_devices` gives them. opened: gives the predictor on "cuda" or "cpu"; it can be pickled."""

    names: tuple[str, ...]
    opened: Callable[[str], Predictor]

    def predict(
        self,
        images: Sequence[NumberedImage],
        outputs: ImageFiles,
        table: ImageTable | None,
        note: Callable[[Outcome], None],
    ) -> None:
        """Predict images and write their files. note: is told of each; an image at which two processes end is one that
        could not be used.

        Raises ValueError if no process is left.
        """
        by_name = {image.file.name: number for number, image in enumerate(images)}
        by_path = {str(image.file.source): number for number, image in enumerate(images)}

        def finished(outcome: Outcome) -> int | None:
            return by_path.get(outcome.path) if outcome.name is None else by_name.get(outcome.name)

        queue = WorkQueue(
            images,
            named=lambda image: str(image.file.source),
            finished=finished,
            tell=note,
            set_aside=lambda image, reason: note(Outcome(str(image.file.source), reason=reason)),
        )
        try:
            queue.go(self.names, partial(_predict_images, self.opened, outputs, table))
        finally:
            if queue.lost:
                sweep(outputs.folder)  # files that the ended processes had begun


def _predict_images(
    opened: Callable[[str], Predictor], outputs: ImageFiles, table: ImageTable | None, link: Link
) -> None:
    """What a process does."""
    predictor = quietly(opened, link.device)
    with notices_shown():
        for images in rounds(link):
            ImageWork(predictor, outputs, table, link.tell).stream(images)


def quietly(opened: Callable[[str], T], device: str) -> T:
    """What `opened` gives; what there is to be said of it, the first process has said."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Notice)
        return opened(device)
