"""A small data set of painted street scenes, for the demo and for tests: a function of a seed, down to the pixel.

Nine classes, eight kinds of weather. Houses, cars and clothes come in all colours, so that colour alone tells little;
outlines are ignored, as careful annotators leave them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
from PIL import Image

from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit
from intarsia.demo.street import IGNORE_INDEX, draw
from intarsia.demo.view import CLASSES, PALETTE
from intarsia.io.cores import available_cores
from intarsia.io.whole_files import write_bytes, write_text

__all__ = ["CLASSES", "IGNORE_INDEX", "PALETTE", "draw", "write_scenes"]

VOID_COLOUR = (255, 255, 255)


def write_scenes(
    folder: Path, *, train: int = 64, val: int = 16, seed: int = 0, progress: Callable[[int, int], None] | None = None
) -> DataDescription:
    """Write ``images/SPLIT/NAME.jpg``, ``labels/SPLIT/NAME.png`` (index values with a palette) and ``classes.txt``.

    Returns the description of it all. progress: called with (scenes done, scenes in total).
    """
    names = [("train", number) for number in range(train)] + [("val", number) for number in range(train, train + val)]
    write_text(folder / "classes.txt", "\n".join(CLASSES) + "\n")

    def write(item: tuple[str, int]) -> None:
        split, number = item
        picture, truth = draw(number, seed)
        bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        _, photo = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 95])
        write_bytes(folder / "images" / split / f"street_{number:03d}.jpg", photo.tobytes())
        label = Image.fromarray(truth).convert("P")
        label.putpalette(_full_palette())
        encoded = io.BytesIO()
        label.save(encoded, "PNG")
        write_bytes(folder / "labels" / split / f"street_{number:03d}.png", encoded.getvalue())

    with ThreadPoolExecutor(min(4, available_cores())) as pool:
        for done, _ in enumerate(pool.map(write, names), 1):
            if progress is not None:
                progress(done, len(names))
    return DataDescription(
        root=folder,
        classes=CLASSES,
        splits={
            split: FolderSplit(Source(f"images/{split}", f"labels/{split}", (".jpg",), (".png",)))
            for split in ("train", "val")
        },
        labels={**dict(enumerate(CLASSES)), IGNORE_INDEX: "ignore"},
        palette=PALETTE,
        ignore_index=IGNORE_INDEX,
    )


def _full_palette() -> bytes:
    """Colours of all 256 values of a PNG: the classes', then grey, and white for what is ignored."""
    colours = [*PALETTE, *[(128, 128, 128)] * (255 - len(PALETTE)), VOID_COLOUR]
    return bytes(value for colour in colours for value in colour)
