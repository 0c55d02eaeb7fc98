"""PNG files of 8 bits, grey or RGB, by pyspng (extra `fast`), to the same bits as OpenCV's and Pillow's.

Which decoder runs is chosen at run time: pyspng where it is installed, unless the variable INTARSIA_DECODERS is
"usual". That a file is whole and the checksums of its chunks hold has been looked at before (`data/headers.py`); the
further checksum inside the compressed stream is one that pyspng does not look at.
"""

from __future__ import annotations

import os
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.headers import PNG

VARIABLE = "INTARSIA_DECODERS"
_CHOICES = ("fast", "usual")
_GREY, _RGB = 0, 2


def is_simple(data: bytes, *colours: int) -> bool:
    """Whether a file is a PNG of 8 bits in one of the colour types of PNG, rows in order, no colour transparent."""
    if not data.startswith(PNG) or data[24] != 8 or data[25] not in colours or data[28]:
        return False
    return data.find(b"tRNS", 33, data.find(b"IDAT")) < 0


def fast_rgb(data: bytes) -> npt.NDArray[np.uint8] | None:
    """(H, W, 3) of a grey or coloured PNG; None where the usual decoder is to say."""
    return _loaded(data, "RGB") if is_simple(data, _GREY, _RGB) else None


def fast_stored(data: bytes) -> npt.NDArray[np.uint8] | None:
    """(H, W) of a grey PNG, (H, W, 3) of a coloured one; None where the usual decoder is to say."""
    return _loaded(data, "L" if data[25] == _GREY else "RGB") if is_simple(data, _GREY, _RGB) else None


def is_grey(data: bytes) -> bool:
    """Whether a file is a PNG of 8-bit greys and nothing else: what most labels are."""
    return is_simple(data, _GREY)


def _loaded(data: bytes, form: str) -> npt.NDArray[np.uint8] | None:
    library = _library()
    if library is None:
        return None
    try:
        found: npt.NDArray[Any] = library.load(data, format=form)
    except (RuntimeError, ValueError):  # damaged: the usual decoder has the words for it
        return None
    return found[:, :, 0] if form == "L" and found.ndim == 3 else found


@cache
def _library() -> ModuleType | None:
    """Pyspng, if it is to be used and is there. Raises ValueError for a choice that there is not."""
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", *_CHOICES):
        raise ValueError(f"{VARIABLE} must be {' or '.join(_CHOICES)}, found {chosen!r}")
    if chosen == "usual":
        return None
    try:
        import pyspng
    except ImportError:
        if chosen == "fast":
            raise ValueError(f'{VARIABLE}=fast needs pyspng: pip install "intarsia[fast]"') from None
        return None
    return pyspng  # type: ignore[no-any-return]
