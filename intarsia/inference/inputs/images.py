"""Images from wherever a user has them: files, folders, globs, arrays, PIL images, tensors, and streams of these.

A stream decodes ahead in threads and keeps the order. An image that cannot be read is set aside by name, and the stream
goes on. Several threads may take from one stream: each image goes to one of them.
"""

from __future__ import annotations

import functools
import glob
import itertools
import os
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import numpy.typing as npt

from intarsia.contracts import PathLike
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.image_reader import ImageReader
from intarsia.inference.inputs.arrays import ImageLike, as_array

T = TypeVar("T")
R = TypeVar("R")

Failure = tuple[str, str]
"""What could not be read, and why."""

AHEAD = 2
"""Images decoded while the present one is worked on."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A file and the name of what is made of it: folder below the input and stem, unique in its list ("day/0001")."""

    path: Path
    name: str


@dataclass(frozen=True, slots=True)
class FoundImages:
    """files: in natural order within each input. skipped: how many files of each other suffix lay beside them."""

    files: tuple[ImageFile, ...]
    skipped: Mapping[str, int]


def find_images(inputs: PathLike | Sequence[PathLike]) -> FoundImages:
    """The image files that files, folders (searched recursively) and globs stand for.

    A file is taken whatever its suffix; folders and globs give the suffixes of `IMAGE_SUFFIXES`, and no hidden files.

    Raises ValueError naming the input that does not exist or holds no image, and what was looked for.
    """
    listed = [inputs] if isinstance(inputs, str | Path) else list(inputs)
    if not listed:
        raise ValueError("expected at least one image file, folder or glob, found an empty list")
    skipped: Counter[str] = Counter()
    found: dict[Path, Path] = {}  # file -> name relative to its input
    for given in listed:
        found.update(_expanded(given, skipped))
    return FoundImages(tuple(_named(found)), dict(skipped))


def means_many(given: PathLike) -> bool:
    """Whether a path stands for the images of a folder or of a pattern, and not for one."""
    path = Path(given).expanduser()
    return os.path.isdir(path) or (glob.has_magic(str(given)) and not os.path.exists(path))


def _expanded(given: PathLike, skipped: Counter[str]) -> dict[Path, Path]:
    path = Path(given).expanduser()
    if os.path.isdir(path):
        root, candidates = path, _walk(path)
    elif os.path.exists(path):
        return {path: Path(path.name)}
    elif glob.has_magic(str(path)):
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
        matches = [Path(match) for match in glob.glob(str(path), recursive=True)]
        candidates = sorted((match for match in matches if match.is_file()), key=natural_order)
        if not candidates:
            raise ValueError(f"{given}: the pattern matches no file (in {Path.cwd()})")
    else:
        raise ValueError(f"{given}: no such file or folder (in {Path.cwd()})")
    others = Counter(file.suffix.lower() for file in candidates if file.suffix.lower() not in IMAGE_SUFFIXES)
    images = {file: file.relative_to(root) for file in candidates if file.suffix.lower() in IMAGE_SUFFIXES}
    if not images:
        beside = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in others.most_common(5))
        raise ValueError(
            f"{given}: no image; looked for {' '.join(IMAGE_SUFFIXES)}, found {beside or 'no file at all'}"
        )
    skipped.update(others)
    return images


def _walk(root: Path) -> list[Path]:
    found = []
    for folder, folders, files in os.walk(root, onerror=_refuse_folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(folder, name) for name in files if not name.startswith(".")]
    return sorted(found, key=natural_order)


def _refuse_folder(error: OSError) -> NoReturn:
    raise ValueError(f"{error.filename}: the folder cannot be read: {error.strerror}") from None


def natural_order(path: PathLike) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 comes before frame10, folder by folder."""
    pieces = re.split(r"(\d+)", "\0".join(Path(path).parts))
    return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]


def _named(found: Mapping[Path, Path]) -> Iterator[ImageFile]:
    """Unique names: relative to the inputs, or where that collides, to the folder that holds all; suffixes last."""
    names = [relative.with_suffix("") for relative in found.values()]
    if len(set(names)) < len(names):
        absolute = [path.absolute() for path in found]
        common = os.path.commonpath([path.parent for path in absolute])
        names = [path.relative_to(common).with_suffix("") for path in absolute]
    count = Counter(names)
    for path, name in zip(found, names, strict=True):
        unique = name if count[name] == 1 else name.with_name(path.name)  # only the suffix tells a.jpg from a.png
        yield ImageFile(path, unique.as_posix())


# --- Streams ------------------------------------------------------------------------------------------------------


class ImageStream(Iterator[tuple[str, npt.NDArray[Any]]]):
    """(name, image) of many images, in order, decoded ahead in threads. Images that cannot be read go to `failures`.

    total: how many there are, None if unknown beforehand. skipped: suffix -> files passed over in folders.
    At its end it raises ValueError if there were images and not one could be used.
    """

    def __init__(
        self, images: PathLike | FoundImages | Iterable[ImageLike], *, reader: ImageReader | None = None
    ) -> None:
        self.failures: list[Failure] = []
        self.skipped: Mapping[str, int] = {}
        self.total: int | None = None
        self.used = 0
        self._turn = threading.Lock()
        if isinstance(images, str | Path):
            images = find_images(images)
        elif isinstance(images, Sequence) and images and all(isinstance(image, str | Path) for image in images):
            images = find_images([image for image in images if isinstance(image, str | Path)])
        if isinstance(images, FoundImages):
            self.skipped, self.total = images.skipped, len(images.files)
            named: Iterable[tuple[str, ImageLike]] = ((file.name, file.path) for file in images.files)
        else:
            self.total = len(images) if isinstance(images, Sequence) else None
            named = _numbered(images)
        self._results = ahead(
            named, functools.partial(_read, reader or ImageReader())
        )  # no method: it would keep the stream alive

    def __next__(self) -> tuple[str, npt.NDArray[Any]]:
        with self._turn:
            for name, shown, result in self._results:
                if isinstance(result, ValueError):
                    self._note(shown, result)
                else:
                    self.used += 1
                    return name, result
            if self.failures and not self.used:
                name, reason = self.failures[0]
                raise ValueError(f"not one of {len(self.failures)} images could be used; the first: {name}: {reason}")
            raise StopIteration

    def reject(self, name: str, reason: ValueError) -> None:
        """Set aside an image that was handed out but could not be worked on."""
        with self._turn:
            self.used -= 1
            self._note(name, reason)

    def _note(self, name: str, reason: ValueError) -> None:
        self.failures.append((name, str(reason).removeprefix(f"{name}: ")))

    def close(self) -> None:
        """Stop decoding ahead. Nothing comes after that."""
        with self._turn:
            self._results.close()


def _read(reader: ImageReader, named: tuple[str, ImageLike]) -> tuple[str, str, npt.NDArray[Any] | ValueError]:
    """Name of the image, name for messages, and what it is or why it cannot be used."""
    name, image = named
    shown = str(image) if isinstance(image, str | Path) else name
    try:
        return name, shown, as_array(image, reader)
    except ValueError as error:
        return name, shown, error


def _numbered(images: Iterable[ImageLike]) -> Iterator[tuple[str, ImageLike]]:
    """Names for images of a stream: the stem of a path, a number for the rest; repeated stems get a number too."""
    used: Counter[str] = Counter()
    for index, image in enumerate(images):
        if not isinstance(image, str | Path):
            yield f"image_{index:05d}", image
            continue
        stem = Path(image).stem
        used[stem] += 1
        yield (stem if used[stem] == 1 else f"{stem}_{used[stem]}"), image


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
