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
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from intarsia.contracts import PathLike
from intarsia.data.image_io import IMAGE_SUFFIXES, Bands, read_image

if TYPE_CHECKING:
    from torch import Tensor

T = TypeVar("T")
R = TypeVar("R")

ImageLike: TypeAlias = "PathLike | npt.NDArray[Any] | Image.Image | Tensor"
"""A file, an array (H, W, C) or (H, W), a PIL image, or a tensor (C, H, W). Colours are RGB."""

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


# --- Anything to an array -----------------------------------------------------------------------------------------


def as_array(image: ImageLike, *, bands: Bands = "colour") -> npt.NDArray[Any]:
    """The image (H, W, C): under "colour" uint8 RGB, with grey repeated and alpha dropped; under "stored" as it is.

    Raises ValueError saying what was expected, what was found and how to convert it.
    """
    if isinstance(image, str | Path):
        is_array = Path(image).suffix.lower() == ".npy"
        array = read_image(image, bands="stored" if is_array else bands)
        try:
            return _checked(array, bands)
        except ValueError as error:
            raise ValueError(f"{image}: {error}") from None
    if isinstance(image, Image.Image):
        return _checked(_array_of_pil(image, bands), bands)
    if isinstance(image, np.ndarray):
        return _checked(image, bands)
    if hasattr(image, "detach"):
        return _checked(_array_of_tensor(image), bands)
    raise ValueError(f"expected a path, an array, a PIL image or a tensor as image, found {type(image).__name__}")


def _array_of_pil(image: Image.Image, bands: Bands) -> npt.NDArray[Any]:
    """A PIL image as its file would be read. Its pixels may still have to be, and Pillow raises what it trips over."""
    try:
        if bands == "colour":
            image = ImageOps.exif_transpose(image)
            return np.asarray(image if image.mode.startswith(("I", "F")) else image.convert("RGB"))
        if image.mode in ("P", "PA"):
            return np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return np.asarray(image.convert("L") if image.mode == "1" else image)
    except Exception as error:
        raise ValueError(f"the PIL image of mode {image.mode} cannot be read: {error}") from None


def _array_of_tensor(image: Tensor) -> npt.NDArray[Any]:
    if image.ndim not in (2, 3):
        raise ValueError(
            f"expected a tensor (C, H, W) or (H, W), found shape {tuple(image.shape)}"
            + ("; pass the images of a batch one by one: predict(list(batch))" if image.ndim == 4 else "")
        )
    try:
        array: npt.NDArray[Any] = image.detach().cpu().numpy()
    except TypeError:
        raise ValueError(f"expected a tensor of a type that NumPy has, found {image.dtype}; use .float()") from None
    return np.moveaxis(array, 0, 2) if array.ndim == 3 else array


def _checked(array: npt.NDArray[Any], bands: Bands) -> npt.NDArray[Any]:
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"expected an image array (H, W, C) or (H, W) with pixels in it, found shape {array.shape}")
    if array.dtype.kind not in "buif":
        raise ValueError(f"expected an image of integers or real numbers, found {array.dtype}")
    if bands == "stored":
        return _finite(array)
    if array.shape[2] not in (1, 3, 4):
        swapped = array.shape[0] in (1, 3, 4)
        hint = "; channels come last in arrays: array.transpose(1, 2, 0)" if swapped else ""
        raise ValueError(f"expected 1, 3 or 4 channels (grey, RGB, RGBA) in (H, W, C), found {array.shape}{hint}")
    if array.dtype != np.uint8:
        hint = "multiply by 255 if it is in [0, 1], and" if array.dtype.kind in "bf" else "scale it to 0..255 and"
        raise ValueError(
            f"expected a uint8 image, found {array.dtype} up to {array.max()}; {hint} use .astype('uint8')"
        )
    return np.repeat(array, 3, axis=2) if array.shape[2] == 1 else array[:, :, :3]


def _finite(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Numbers as networks calculate with them. One that is not finite would spread through the whole of it."""
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        bad = array.size - int(finite.sum())
        raise ValueError(
            f"expected finite numbers, found {bad} of {array.size} that are nan or infinite; "
            "fill them with what training saw there, such as numpy.nan_to_num(image)"
        )
    return array.astype(np.float32 if array.dtype.kind == "f" else array.dtype.newbyteorder("="), copy=False)


# --- Streams ------------------------------------------------------------------------------------------------------


class ImageStream(Iterator[tuple[str, npt.NDArray[Any]]]):
    """(name, image) of many images, in order, decoded ahead in threads. Images that cannot be read go to `failures`.

    total: how many there are, None if unknown beforehand. skipped: suffix -> files passed over in folders.
    At its end it raises ValueError if there were images and not one could be used.
    """

    def __init__(self, images: PathLike | FoundImages | Iterable[ImageLike], *, bands: Bands = "colour") -> None:
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
        self._results = ahead(named, functools.partial(_read, bands))  # no method: it would keep the stream alive

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


def _read(bands: Bands, named: tuple[str, ImageLike]) -> tuple[str, str, npt.NDArray[Any] | ValueError]:
    """Name of the image, name for messages, and what it is or why it cannot be used."""
    name, image = named
    shown = str(image) if isinstance(image, str | Path) else name
    try:
        return name, shown, as_array(image, bands=bands)
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
