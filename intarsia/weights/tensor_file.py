"""A safetensors file, whoever wrote it: its header, checked before anything believes it, and its tensors."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.terminal import printable

if TYPE_CHECKING:
    from torch import Tensor

HEADER = 32 * 2**20
"""Bytes; that of a network of a hundred thousand tensors has ten million. Reading it takes many times as much."""

DIMENSIONS, LARGEST = 16, 2**60


def must_exist(path: Path) -> None:
    """Raises ValueError unless this is a file."""
    if not path.is_file():
        what = "is a folder, not a weights file" if path.is_dir() else "does not exist"
        raise ValueError(f"{path} {what}")


def read_header(path: Path) -> dict[str, Any]:
    """The JSON object at the front of a safetensors file: an entry for each tensor, and texts under "__metadata__".

    Raises ValueError for what is no such object, or does not fit the file's size.
    """
    must_exist(path)
    size = path.stat().st_size
    with open(path, "rb") as file:
        front = file.read(8)
        length = struct.unpack("<Q", front)[0] if len(front) == 8 else 0
        if not 0 < length <= size - 8:
            raise ValueError(f"{path} is no safetensors file, or the beginning of one ({size} bytes)")
        if length > HEADER:
            raise ValueError(f"{path} has a header of {length:,} bytes; that of a network has at most {HEADER:,}")
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError) as error:
            reason = printable(str(error), 200)
            raise ValueError(f"{path} is no safetensors file: its header is not JSON ({reason})") from error
    if not isinstance(header, dict):
        raise ValueError(f"{path} is no safetensors file: its header is a {type(header).__name__}, not an object")
    described = header.get("__metadata__", {})
    if not isinstance(described, dict) or not all(isinstance(text, str) for text in described.values()):
        raise ValueError(f"{path} is no safetensors file: its __metadata__ is no object of texts")
    needed = 0
    for name, entry in header.items():
        if name != "__metadata__":
            needed = max(needed, _end(path, name, entry))
    if size < 8 + length + needed:
        raise ValueError(f"{path} is incomplete: {size} bytes of {8 + length + needed}; copy or download it again")
    return header


def _end(path: Path, name: str, entry: Any) -> int:
    """Where the numbers of a tensor end. Raises ValueError for an entry that describes none."""
    values: dict[str, Any] = entry if isinstance(entry, dict) else {}
    shape: Any = values.get("shape")
    offsets: Any = values.get("data_offsets")
    whole = isinstance(shape, list) and len(shape) <= DIMENSIONS and all(map(_is_size, shape))
    placed = isinstance(offsets, list) and len(offsets) == 2 and all(map(_is_size, offsets))
    if isinstance(values.get("dtype"), str) and whole and placed and offsets[0] <= offsets[1]:
        return int(offsets[1])
    shown = f"{printable(name, 100)!r}: {printable(repr(entry), 200)}"
    raise ValueError(f"{path} is no safetensors file: its header has no type, shape and place for {shown}")


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def load_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors under the names in the file, on the CPU. Raises ValueError for a file that is damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    read_header(path)
    try:
        return load_file(path)
    except (SafetensorError, KeyError, RuntimeError) as error:
        raise ValueError(f"{path} is a damaged safetensors file: {printable(str(error), 300)}") from error
