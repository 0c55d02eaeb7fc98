"""Streams of images: files, folders, patterns, arrays, PIL images and tensors, one after the other.

A stream decodes ahead in threads and keeps the order. An image that cannot be read is set aside by name, and the stream
goes on. Several threads may take from one stream: each image goes to one of them.
"""

from __future__ import annotations

import functools
import threading
import warnings
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.data.image_reader import ImageReader
from intarsia.data.pages import count_pages
from intarsia.inference.inputs.arrays import ImageLike, as_array
from intarsia.inference.inputs.finding import (
    Failure,
    FoundImages,
    ImageFile,
    Pages,
    find_images,
    means_many,
    numbered,
)
from intarsia.inference.inputs.remote import on_disk
from intarsia.io.stores import public
from intarsia.terminal import Notice

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 2
"""Images decoded while the present one is worked on."""

FAR_AHEAD = 8
"""The same of images that are fetched: a store takes its time for each, and does not mind several at once."""

WARNINGS = 10
"""Files of several images that are warned of one by one."""

_Source: TypeAlias = "ImageLike | ImageFile | ValueError"
"""What is to be read, or why there is nothing."""


@dataclass(frozen=True, slots=True, eq=False)
class ReadImage:
    """name: of the image. shown: its name in messages. result: what it is, or why not. pages: of its file, whose path
    on this machine is `file`, "" without one.
    """

    name: str
    shown: str
    result: npt.NDArray[Any] | ValueError
    pages: int = 1
    file: str = ""

    @property
    def image(self) -> npt.NDArray[Any]:
        """What was read, where it was."""
        assert not isinstance(self.result, ValueError)
        return self.result


class ImageStream(Iterator[tuple[str, npt.NDArray[Any]]]):
    """(name, image) of many images, in order, decoded ahead in threads. Images that cannot be read go to `failures`.

    Paths stand for what `find_images` says, whether they come in a list or one after the other. pages: of files that
    hold several images; each of which only the first is given is warned of. `ImageFile`s that come one after the other
    are called as they say.

    total: how many images there are, None if unknown beforehand. skipped: suffix -> files passed over in folders.
    At its end it raises ValueError if there were images and not one could be used.
    """

    def __init__(
        self,
        images: PathLike | FoundImages | Iterable[ImageLike | ImageFile],
        *,
        reader: ImageReader | None = None,
        pages: Pages = "first",
    ) -> None:
        self.failures: list[Failure] = []
        self.skipped: Mapping[str, int] = {}
        self.total: int | None = None
        self.used = 0
        self._in_part = 0
        self._turn = threading.Lock()
        if isinstance(images, str | Path):
            images = find_images(images, pages=pages)
        elif isinstance(images, Sequence) and images and all(isinstance(image, str | Path) for image in images):
            images = find_images([image for image in images if isinstance(image, str | Path)], pages=pages)
        if isinstance(images, FoundImages):
            self.skipped, self.total = images.skipped, len(images.files) + len(images.failures)
            self.failures += images.failures
            named: Iterable[tuple[str, _Source]] = ((file.name, file) for file in images.files)
        else:
            self.total = _number(images)
            named = _in_turn(images, pages)
        reading = functools.partial(_read, reader or ImageReader())  # no method: it would keep the stream alive
        remote = isinstance(images, FoundImages) and any(file.address for file in images.files)
        self._results = ahead(named, reading, count=FAR_AHEAD if remote else AHEAD)

    def __next__(self) -> tuple[str, npt.NDArray[Any]]:
        read = self.take()
        return read.name, read.image

    def take(self) -> ReadImage:
        """The next image that could be read. Raises StopIteration, or ValueError as said above."""
        with self._turn:
            for read in self._results:
                if isinstance(read.result, ValueError):
                    self._note(read.shown, read.result)
                    continue
                self.used += 1
                if read.pages > 1:
                    self._warn_of_pages(read)
                return read
            if self._in_part > WARNINGS:
                warnings.warn(f"{self._in_part - WARNINGS} more files hold several images", Notice, stacklevel=2)
            if self.failures and not self.used:
                name, reason = self.failures[0]
                raise ValueError(f"not one of {len(self.failures)} images could be used; the first: {name}: {reason}")
            raise StopIteration

    def reject(self, read: ReadImage, reason: ValueError) -> None:
        """Set aside an image that was handed out but could not be worked on."""
        with self._turn:
            self.used -= 1
            self._note(read.shown, ValueError(str(reason).removeprefix(f"{read.name}: ")))

    def _note(self, name: str, reason: ValueError) -> None:
        text = str(reason).removeprefix(f"{name}: ").removeprefix(f"{public(name)}: ")
        self.failures.append((name, text))

    def _warn_of_pages(self, read: ReadImage) -> None:
        self._in_part += 1
        if self._in_part <= WARNINGS:
            warn_of_pages(read.shown, read.pages)

    def close(self) -> None:
        """Stop decoding ahead. Nothing comes after that."""
        with self._turn:
            self._results.close()


def warn_of_pages(shown: str, count: int) -> None:
    """Warn that a file was used in part."""
    warnings.warn(
        f"{shown} holds {count} pages or frames, of which the first was used; --pages all uses all, in Python "
        'predict(..., pages="all")',
        Notice,
        stacklevel=3,
    )


def _read(reader: ImageReader, named: tuple[str, _Source]) -> ReadImage:
    name, source = named
    image, page = (source.source, source.page) if isinstance(source, ImageFile) else (source, None)
    shown = str(image) if isinstance(image, str | Path) else name
    if isinstance(image, ValueError):
        return ReadImage(name, shown, image)
    try:
        if not isinstance(image, str | Path):
            return ReadImage(name, shown, as_array(image, reader))
        with on_disk(image) as file:
            array = as_array(file, reader, page=page or 0)
            return ReadImage(name, shown, array, count_pages(file) if page is None else 1, str(file))
    except ValueError as error:
        return ReadImage(name, shown, error)


def _number(images: Iterable[ImageLike | ImageFile]) -> int | None:
    """How many there are, if each stands for one."""
    if not isinstance(images, Sequence):
        return None
    is_plain = not any(isinstance(image, str | Path) and means_many(image) for image in images)
    return len(images) if is_plain else None


def _in_turn(images: Iterable[ImageLike | ImageFile], pages: Pages) -> Iterator[tuple[str, _Source]]:
    """Names for images of a stream, known one after the other: of paths as in a list, a number for the rest."""
    taken: Counter[str] = Counter()
    for index, image in enumerate(images):
        if isinstance(image, ImageFile):
            yield image.name, image
            continue
        if not isinstance(image, str | Path):
            yield numbered(f"image_{index:05d}", taken), image
            continue
        try:
            found = find_images(image, pages=pages).files
        except ValueError as error:
            yield str(image), error
            continue
        for file in found:
            yield numbered(file.name, taken), file


def ahead(items: Iterable[T], work: Callable[[T], R], *, count: int = AHEAD) -> Generator[R, None, None]:
    """The results of `work` in order, up to `count` items computed in threads while the caller uses the present one."""
    pool = ThreadPoolExecutor(max_workers=count, thread_name_prefix="intarsia-decode")
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > count:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
