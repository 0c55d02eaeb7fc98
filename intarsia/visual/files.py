"""Pictures on the disk: written whole or not at all, with folders made as needed."""

from __future__ import annotations

import io
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import PathLike

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


def save_picture(path: PathLike, picture: npt.NDArray[np.uint8]) -> Path:
    """Write a picture (H, W, 3) RGB. The suffix decides the format; JPEG and WebP are written at a quality of 92.

    Raises ValueError for a suffix outside `PICTURE_SUFFIXES`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in PICTURE_SUFFIXES:
        raise ValueError(
            f"{path}: expected a picture's suffix, {', '.join(PICTURE_SUFFIXES)}, found {suffix or 'none'!r}"
        )
    options: dict[str, Any] = {"compress_level": 6} if suffix == ".png" else {"quality": 92}
    if suffix in (".jpg", ".jpeg"):
        options["subsampling"] = 0  # thin contours and text keep their colour
    return _write(path, Image.fromarray(picture), **options)


def save_label(path: PathLike, label: npt.NDArray[np.integer[Any]], palette: Sequence[Sequence[int]]) -> Path:
    """Write class indices (H, W) as PNG: 8 bits with a palette up to 256 classes, 16-bit grey beyond.

    The values in the file are the class indices; the palette only makes viewers show colours. Read it with Pillow,
    which keeps indices (`np.array(Image.open(path))`); OpenCV turns palettes into colours.

    Raises ValueError for a suffix other than .png, since the others lose or change values.
    """
    path = Path(path)
    if path.suffix.lower() != ".png":
        raise ValueError(
            f"{path}: label maps are written as .png, which keeps every value; found {path.suffix or 'no suffix'!r}"
        )
    if len(palette) > 256:
        return _write(path, Image.fromarray(label.astype(np.uint16)))
    image = Image.fromarray(label.astype(np.uint8), mode="P")
    image.putpalette([int(value) for colour in palette for value in colour])
    return _write(path, image)


def _write(path: Path, image: Image.Image, **options: Any) -> Path:
    encoded = io.BytesIO()
    image.save(encoded, format=Image.registered_extensions()[path.suffix.lower()], **options)
    return write_encoded(path, encoded.getvalue())


def write_encoded(path: PathLike, data: bytes) -> Path:
    """Write a file aside, then rename it: a reader never sees half of it, and a full disk leaves none."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    try:
        aside.write_bytes(data)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)
    return path
