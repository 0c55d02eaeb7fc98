"""Label maps as COCO annotations: a mask of run lengths for each class that appears, in JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from intarsia.inference.outputs.polygons import Labels
from intarsia.io.text import encodable, read_text
from intarsia.io.whole_files import write_text, write_whole

LARGEST = 2**32
"""Bytes of a file of one image at most."""


@dataclass(frozen=True, slots=True)
class CocoImage:
    """What annotations call their image. file_name: with its suffix, below the input folder. id: from 1."""

    file_name: str
    id: int = 1


def write_coco(
    path: Path,
    labels: Labels,
    *,
    classes: Sequence[str],
    image: CocoImage,
    nothing: int | None,
    sets: bool = False,
) -> int:
    """Write a label map as COCO JSON: for each class that appears an annotation with its mask as compressed RLE.

    Categories are numbered by class index, annotations so that those of all images of a run differ. nothing: a value
    that is no class. sets: labels are sets of classes (`label_sets`), whose masks may overlap.

    Gives the number of annotations. Raises ValueError for more than 2^32 - 1 pixels, which the format cannot count.
    """
    height, width = labels.size
    if height * width > 2**32 - 1:
        raise ValueError(f"{width} x {height} pixels are more than COCO's run lengths of 32 bits can count")
    annotations: list[dict[str, Any]] = []
    for value, stop, length in _masks_of_sets(labels, len(classes), nothing) if sets else _masks(labels, nothing):
        annotations.append(
            {
                "id": (image.id - 1) * len(classes) + value + 1,
                "image_id": image.id,
                "category_id": value,
                "iscrowd": 1,  # a region of a class, not one thing
                "area": int(length.sum()),
                "bbox": _box(stop - length, stop, height),
                "segmentation": {"size": [height, width], "counts": _compressed(_counts(stop, length, height * width))},
            }
        )
    document = {
        "images": [{"id": image.id, "file_name": image.file_name, "height": height, "width": width}],
        "annotations": annotations,
        "categories": [{"id": index, "name": name} for index, name in enumerate(classes)],
    }
    write_text(path, json.dumps(document, ensure_ascii=False))
    return len(annotations)


_Mask = tuple[int, npt.NDArray[np.int64], npt.NDArray[np.int64]]
"""A class, and where its runs end and how long they are."""


def _masks(labels: Labels, nothing: int | None) -> Iterator[_Mask]:
    values, lengths = _runs(labels)
    stops = np.cumsum(lengths)
    for value in np.unique(values).tolist():
        if value != nothing:
            chosen = values == value
            yield value, stops[chosen], lengths[chosen]


def _masks_of_sets(labels: Labels, num_classes: int, nothing: int | None) -> Iterator[_Mask]:
    for k, plane in enumerate(labels.planes(num_classes, nothing=nothing)):
        yield from ((k, stop, length) for _, stop, length in _masks(plane, 0))


def join_coco(path: Path, files: Iterable[Path], *, classes: Sequence[str]) -> int:
    """Write the annotations of many images, in files that `write_coco` wrote, into one. Gives the number of images.

    Images and annotations are numbered anew, from 1. Raises ValueError for a file that holds something else.
    """
    images: list[dict[str, Any]] = []

    def write(out: IO[bytes]) -> None:
        count = 0
        out.write(b'{"annotations": [')
        for file in files:
            try:
                document = json.loads(read_text(file, largest=LARGEST))
                (image,) = document["images"]
                annotations = list(document["annotations"])
            except (ValueError, LookupError, TypeError) as error:
                raise ValueError(f"{file}: holds no annotations of one image: {error}") from None
            images.append({**image, "id": len(images) + 1})
            for annotation in annotations:
                numbered = {**annotation, "id": count + 1, "image_id": len(images)}
                out.write(_line(numbered, first=count == 0))
                count += 1
        out.write(b'\n],\n"images": [')
        for number, image in enumerate(images):
            out.write(_line(image, first=number == 0))
        categories = [{"id": index, "name": name} for index, name in enumerate(classes)]
        out.write(f'\n],\n"categories": {_text(categories)}}}\n'.encode())

    write_whole(path, write)
    return len(images)


def _line(value: dict[str, Any], *, first: bool) -> bytes:
    return f"{'' if first else ','}\n{_text(value)}".encode()


def _text(value: Any) -> str:
    return encodable(json.dumps(value, ensure_ascii=False))


def rle(mask: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """A mask (H, W) as COCO's compressed RLE: {"size": [H, W], "counts": "..."}."""
    values, lengths = _runs(Labels(mask))
    stop, length = np.cumsum(lengths)[values], lengths[values]
    return {"size": list(mask.shape), "counts": _compressed(_counts(stop, length, mask.size))}


def _runs(labels: Labels) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """The values of a label map down its columns, left to right, as runs: value and length of each."""
    every_value, every_length = [], []
    for part in labels.columns():
        flat = part.T.ravel()
        starts = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
        every_value.append(flat[starts])
        every_length.append(np.diff(starts, append=len(flat)))
    values, lengths = np.concatenate(every_value), np.concatenate(every_length)
    first = np.concatenate([[0], np.flatnonzero(values[1:] != values[:-1]) + 1])  # runs go on from part to part
    return values[first], np.add.reduceat(lengths, first)


def _counts(stop: npt.NDArray[np.int64], length: npt.NDArray[np.int64], total: int) -> npt.NDArray[np.int64]:
    """Lengths of background and mask in turn, from the runs of the mask; the first may be 0."""
    gaps = stop - length - np.concatenate([[0], stop[:-1]])
    counts = np.stack([gaps, length], axis=1).ravel()
    rest = total - (int(stop[-1]) if len(stop) else 0)
    return np.append(counts, rest) if rest else counts


def _compressed(counts: npt.NDArray[np.int64]) -> str:
    """COCO's text for run lengths: from the fourth on the difference to the last but one, in digits of five bits."""
    numbers = counts.copy()
    numbers[3:] -= counts[1:-2]
    digits = np.zeros((len(numbers), 8), np.uint8)
    used = np.zeros((len(numbers), 8), np.bool_)
    open_ = np.ones(len(numbers), np.bool_)
    for place in range(8):
        used[:, place] = open_
        digit = numbers & 0x1F
        numbers >>= 5  # arithmetic: -1 stays -1
        open_ = open_ & np.where(digit & 0x10, numbers != -1, numbers != 0)
        digits[:, place] = digit + 0x20 * open_ + 48
    return digits[used].tobytes().decode("ascii")


def _box(start: npt.NDArray[np.int64], stop: npt.NDArray[np.int64], height: int) -> list[int]:
    """x, y, width, height around runs down the columns."""
    left, right = int(start[0]) // height, int(stop[-1] - 1) // height + 1
    crosses = (start // height) != ((stop - 1) // height)  # ends in another column, so that it passes bottom and top
    top = 0 if crosses.any() else int((start % height).min())
    bottom = height if crosses.any() else int(((stop - 1) % height).max()) + 1
    return [left, top, right - left, bottom - top]
