"""How the blocks of a packed file are compressed. LZ4 and Zstandard come with an extra, zlib with Python."""

from __future__ import annotations

import importlib
import importlib.util
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

CODECS = ("none", "lz4", "zstd", "zlib")
_EXTRA = {"lz4": ("lz4.block", "lz4"), "zstd": ("zstandard", "zstandard")}
_ZSTD_LEVEL, _ZLIB_LEVEL = 1, 1


def best_installed() -> str:
    """LZ4, which is read fastest; else Zstandard; else what Python has."""
    return next((name for name in ("lz4", "zstd") if _is_installed(name)), "zlib")


def compressor(codec: str) -> Callable[[bytes], bytes]:
    """Bytes -> fewer bytes. Raises ValueError for an unknown name, and with the fix for one that is not installed."""
    _check(codec)
    if codec == "none":
        return lambda data: data
    if codec == "zlib":
        return lambda data: zlib.compress(data, _ZLIB_LEVEL)
    library = _library(codec)
    if codec == "lz4":
        return lambda data: library.compress(data, store_size=False)
    compress: Callable[[bytes], bytes] = library.ZstdCompressor(level=_ZSTD_LEVEL, write_content_size=False).compress
    return compress


def decompressor(codec: str) -> Callable[[Any, int], bytes]:
    """(bytes of a block, how many there are behind it) -> these. Raises ValueError as `compressor` does.

    What is damaged is an error of the library, or gives another number of bytes; nothing larger is ever made.
    """
    _check(codec)
    if codec == "none":
        return lambda data, size: bytes(data)
    if codec == "zlib":
        return lambda data, size: zlib.decompressobj().decompress(data, size)
    library = _library(codec)
    if codec == "lz4":
        return lambda data, size: bytes(library.decompress(data, uncompressed_size=size))
    unpack = library.ZstdDecompressor().decompress

    def bounded(data: Any, size: int) -> bytes:
        if library.frame_content_size(data) > size:  # what a frame promises is made, whatever the bound
            raise library.ZstdError("a block promises more than it may hold")
        return bytes(unpack(data, max_output_size=size))

    return bounded


@cache
def damage_errors(codec: str) -> tuple[type[Exception], ...]:
    """What a decompressor raises for bytes that are not what they should be."""
    if codec == "zstd":
        return (_library(codec).ZstdError,)
    errors: dict[str, tuple[type[Exception], ...]] = {"zlib": (zlib.error,), "lz4": (RuntimeError, ValueError)}
    return errors.get(codec, ())


def _check(codec: str) -> None:
    if codec not in CODECS:
        raise ValueError(f"compression {codec!r} is not known; there are {', '.join(CODECS)}")


def _is_installed(codec: str) -> bool:
    return importlib.util.find_spec(_EXTRA[codec][0].partition(".")[0]) is not None


@cache
def _library(codec: str) -> Any:
    module, package = _EXTRA[codec]
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ValueError(
            f'compression {codec} needs {package}: pip install "intarsia[pack]"; zlib and none need nothing'
        ) from None
