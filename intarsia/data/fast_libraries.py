"""Faster decoders (extra `fast`), which give the bits of the usual ones: whether they are to be used, and are there.

pyspng decodes PNG, with isal inflating what it decodes and computing checksums; simplejpeg decodes JPEG. The variable
INTARSIA_DECODERS turns them off by "usual", and insists on them by "fast".
"""

from __future__ import annotations

import importlib
import os
import warnings
import zlib
from functools import cache
from types import ModuleType

from intarsia.terminal import Notice

VARIABLE = "INTARSIA_DECODERS"
_CHOICES = ("fast", "usual")


@cache
def fast_library(module: str) -> ModuleType | None:
    """A decoder's module, if it is to be used and is there. One that cannot be loaded, as a package that was built for
    another NumPy, is as none, with a notice.

    Raises ValueError for a choice that there is not, and for a library that is insisted on and lacks or cannot be
    loaded.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen not in ("", *_CHOICES):
        raise ValueError(f"{VARIABLE} must be {' or '.join(_CHOICES)}, found {chosen!r}")
    if chosen == "usual":
        return None
    try:
        return importlib.import_module(module)
    except Exception as error:  # what was built for another NumPy raises SystemError or AttributeError
        name = module.partition(".")[0]
        lacks = isinstance(error, ModuleNotFoundError) and error.name == name
        said = "" if lacks else f" ({type(error).__name__}: {error})"
        if chosen == "fast":
            raise ValueError(f'{VARIABLE}=fast needs {name}: pip install -U "intarsia[fast]"{said}') from None
        if not lacks:
            text = f'{name} cannot be loaded, and samples are made without it: pip install -U "intarsia[fast]"{said}'
            warnings.warn(text, Notice, stacklevel=2)
        return None


def crc32(data: bytes | memoryview) -> int:
    """The checksum of zlib, by isal where it is there: a third of the time."""
    library = fast_library("isal.isal_zlib")
    found: int = zlib.crc32(data) if library is None else library.crc32(data)
    return found
