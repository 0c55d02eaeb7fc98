"""One image, in whatever form a user has it, as the array that a model expects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from intarsia.contracts import PathLike
from intarsia.data.bands import ALPHA, GREY, RGB, FileBands
from intarsia.data.decoders import DecodedImage
from intarsia.data.image_io import decode_image, read_image
from intarsia.data.image_reader import ImageReader

if TYPE_CHECKING:
    from torch import Tensor

ImageLike: TypeAlias = "PathLike | npt.NDArray[Any] | Image.Image | Tensor"
"""A file, an array (H, W, C) or (H, W), a PIL image, or a tensor (C, H, W). Colours are RGB."""

_CHANNELS = {1: (GREY,), 3: RGB, 4: (*RGB, ALPHA)}


def as_array(image: ImageLike, reader: ImageReader | None = None, *, page: int = 0) -> npt.NDArray[Any]:
    """The image (H, W, C) as a reader's model expects it: by default uint8 RGB, with grey repeated and alpha dropped.

    Arrays hold what a file of the same numbers would hold: they are in the model's order, or chosen from, and their
    type and range are compared with those of the training. page: of a file that holds several images, counted from 0.

    Raises ValueError saying what was expected, what was found and how to convert it.
    """
    reader = reader or ImageReader()
    if isinstance(image, str | Path):
        if reader.stack is None and Path(image).suffix.lower() != ".npy":
            return reader.read(image, page=page) if reader.bands == "rgb" else _raw(image, reader, page)
        try:
            stored = read_image(image, bands="raw") if reader.stack is None else reader.stack.read(image, page=page)
            return _checked(stored, reader)
        except ValueError as error:
            raise ValueError(f"{image}: {str(error).removeprefix(f'{image}: ')}") from None
    if isinstance(image, Image.Image):
        return _checked(_array_of_pil(image, reader), reader)
    if isinstance(image, np.ndarray):
        return _checked(image, reader)
    if hasattr(image, "detach"):
        return _checked(_array_of_tensor(image), reader)
    raise ValueError(f"expected a path, an array, a PIL image or a tensor as image, found {type(image).__name__}")


def _raw(path: PathLike, reader: ImageReader, page: int) -> npt.NDArray[Any]:
    """A file as it is stored, if its numbers are finite."""
    decoded = decode_image(path, max_pixels=reader.max_pixels, page=page)
    try:
        return reader.convert(replace(decoded, samples=_finite(decoded.samples)))
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def _array_of_pil(image: Image.Image, reader: ImageReader) -> npt.NDArray[Any]:
    """A PIL image as its file would be read. Its pixels may still have to be, and Pillow raises what it trips over."""
    try:
        if reader.bands == "rgb":
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


def _checked(array: npt.NDArray[Any], reader: ImageReader) -> npt.NDArray[Any]:
    array = array[:, :, None] if array.ndim == 2 else array
    if array.ndim != 3 or array.size == 0:
        raise ValueError(f"expected an image array (H, W, C) or (H, W) with pixels in it, found shape {array.shape}")
    if array.dtype.kind not in "buif":
        raise ValueError(f"expected an image of integers or real numbers, found {array.dtype}")
    if reader.bands == "raw":
        return reader.convert(DecodedImage(_finite(array), FileBands(("",) * array.shape[2])))
    if array.shape[2] not in _CHANNELS and reader.chosen is None:
        swapped = array.shape[0] in _CHANNELS
        hint = "; channels come last in arrays: array.transpose(1, 2, 0)" if swapped else ""
        raise ValueError(f"expected 1, 3 or 4 channels (grey, RGB, RGBA) in (H, W, C), found {array.shape}{hint}")
    if array.dtype != np.uint8 and not reader.takes_any_number:
        hint = "multiply by 255 if it is in [0, 1], and" if array.dtype.kind in "bf" else "scale it to 0..255 and"
        raise ValueError(
            f"expected a uint8 image, found {array.dtype} up to {array.max()}; {hint} use .astype('uint8')"
        )
    roles = _CHANNELS.get(array.shape[2], ("",) * array.shape[2])
    return reader.convert(DecodedImage(_finite(array) if array.dtype != np.uint8 else array, FileBands(roles)))


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
