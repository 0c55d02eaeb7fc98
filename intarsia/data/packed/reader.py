"""Reading packed files: mapped into memory once in a process, rows decompressed when they are asked for.

A mapping outlives a fork, and a process that was spawned makes its own: nothing here goes from one process to another
but the path. The file itself is closed as soon as it is mapped. Checksums are compared when a process first reads a
block.
"""

from __future__ import annotations

import mmap
import os
import threading
import zlib
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.contracts import Size
from intarsia.data.bands import FileBands
from intarsia.data.headers import check_size
from intarsia.data.packed.codecs import damage_errors, decompressor
from intarsia.data.packed.layout import (
    ARRAYS,
    BLOCK,
    DTYPES,
    END,
    MAGIC,
    MOST_HEADER,
    NO_BANDS,
    TAIL,
    Header,
    Names,
)

_MOST_BANDS = 10_000
_CHECKED_AT_ONCE = 2**28
"""Bytes of the arrays of an index whose checksum is compared when the file is opened; of more, what is read of them is
held against the size of the file alone."""
_KEPT = 256
_Map = mmap.mmap | bytes


def is_packed_file(path: str | Path) -> bool:
    """Whether a file is one, by its first bytes."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


class PackFile:
    """An open packed file, or the index of several shards.

    Raises ValueError naming the file if it is none, was cut off, or its index is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self._map = _mapped(self.path)
        try:
            self.header, arrays = self._index()
        except ValueError as error:
            raise ValueError(f"{path}: {error}; copy it again, or pack the data again (intarsia data pack)") from None
        self.planes = arrays.pop("planes")
        self.names = Names(**arrays)
        self._decompress = decompressor(self.header.compression)
        self._damage = damage_errors(self.header.compression)
        self._checked = bytearray(self.header.blocks // 8 + 1)

    def __len__(self) -> int:
        return len(self.names)

    def part(self, name: str) -> tuple[int, int]:
        """The first sample of a split and the one behind its last. Raises ValueError if there is no such split."""
        if name not in self.header.parts:
            raise ValueError(f"{self.path}: there is no {name} split; it has {', '.join(self.header.parts)}")
        return self.header.parts[name]

    def find(self, member: str) -> int:
        """The number of the sample of a name. Raises ValueError if there is none."""
        number = self.names.find(member)
        if number is None:
            raise ValueError(f"{self.path}: there is no sample {member!r}; it begins with {self.names[0]!r}")
        return number

    def image(self, number: int) -> Plane:
        """The image of a sample."""
        return Plane(self, 2 * number)

    def label(self, number: int) -> Plane | None:
        """The label of a sample; None if it has none."""
        plane = Plane(self, 2 * number + 1)
        return plane if plane.size[0] else None

    def stored(self, shard: int) -> tuple[str, _Map]:
        """The file that has the planes of a shard."""
        if not self.header.shards:
            return self.path, self._map
        if shard >= len(self.header.shards):
            raise ValueError(f"{self.path}: speaks of shard {shard}, and names {len(self.header.shards)}")
        name = os.path.join(os.path.dirname(self.path), os.path.basename(self.header.shards[shard]))
        return name, self._kept(name)

    def _kept(self, shard: str) -> _Map:
        """The mapping of a shard, which must be of the same packing: one of another may well look as if it fitted."""
        file = opened(shard)
        if file.header.source != self.header.source:
            raise ValueError(
                f"{shard}: is a shard of another packing than {self.path}, which speaks of it; move them together, or "
                "pack the data again (intarsia data pack --overwrite)"
            )
        return file._map

    def block(self, plane: Plane, number: int, data: memoryview, crc: int, size: int) -> npt.NDArray[np.uint8]:
        """The bytes of a block. Raises ValueError naming file, sample and block if it is damaged."""
        place = plane.blocks_before + number
        if not 0 <= place < 8 * len(self._checked) or not self._checked[place >> 3] & 1 << (place & 7):
            found = zlib.crc32(data)
            if found != crc:
                raise plane.damaged(number, f"its checksum is {found:08x}, expected {crc:08x}")
            if 0 <= place < 8 * len(self._checked):
                self._checked[place >> 3] |= 1 << (place & 7)
        if len(data) == size:
            return np.frombuffer(data, np.uint8)
        try:
            made = self._decompress(data, size)
        except self._damage as error:
            raise plane.damaged(number, str(error)) from None
        if len(made) != size:
            raise plane.damaged(number, f"it holds {len(made):,} bytes, expected {size:,}")
        return np.frombuffer(made, np.uint8)

    def _index(self) -> tuple[Header, dict[str, npt.NDArray[Any]]]:
        whole = self._map
        if whole[: len(MAGIC)] != MAGIC:
            raise ValueError("is no packed data set")
        if len(whole) < len(MAGIC) + TAIL.size:
            raise ValueError(f"was cut off after {len(whole):,} bytes")
        start, length, crc, arrays_crc, size, end = TAIL.unpack(whole[-TAIL.size :])
        if end != END or size != len(whole):
            raise ValueError(f"was cut off: it has {len(whole):,} bytes, and not its end")
        if length > min(MOST_HEADER, size) or start > size - length:
            raise ValueError("says that its header lies outside of it")
        text = bytes(whole[start : start + length])
        if zlib.crc32(text) != crc:
            raise ValueError("its header is damaged")
        header = Header.of_bytes(text)
        arrays, total, found = {}, 0, 0
        for name, dtype in ARRAYS.items():
            begin, count = header.arrays.get(name, (0, -1))
            if begin < 0 or count < 0 or begin + count * dtype.itemsize > start:
                raise ValueError(f"says that the {name} of its index lie outside of it")
            arrays[name] = np.frombuffer(whole, dtype, count, begin) if count else np.empty(0, dtype)
            total += arrays[name].nbytes
        if total <= _CHECKED_AT_ONCE:
            for array in arrays.values():
                found = zlib.crc32(array.view(np.uint8).data, found)
            if found != arrays_crc:
                raise ValueError("its index is damaged")
        if len(arrays["planes"]) != 2 * len(arrays["ends"]) or header.blocks < 0 or header.blocks > size:
            raise ValueError("its index does not fit together")
        return header, arrays


class Plane:
    """An image or label (H, W, B) in a packed file."""

    __slots__ = (
        "_bands_of", "_dtype", "_offset", "bands", "block_rows", "blocks_before", "file", "number", "shard", "size",
    )  # fmt: skip

    def __init__(self, file: PackFile, number: int) -> None:
        self.file, self.number = file, number
        record = file.planes[number].item()
        self._offset, self.blocks_before, height, width = map(int, record[:4])
        self.bands, self.block_rows, self.shard, self._dtype, self._bands_of = map(int, record[4:])
        self.size: Size = (height, width)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its values. Raises ValueError for a number that stands for none."""
        if self._dtype >= len(DTYPES):
            raise ValueError(f"{self.words}: its type {self._dtype} is none")
        return np.dtype(DTYPES[self._dtype])

    @property
    def words(self) -> str:
        """It in a message."""
        what = "label" if self.number % 2 else "image"
        return f"{self.file.path}: the {what} of {self.file.names[self.number // 2]}"

    @property
    def bands_of(self) -> FileBands:
        """What the file said of its bands."""
        number, known = self._bands_of, self.file.header.bands_of
        if number == NO_BANDS or number >= len(known) or len(known[number].roles) != self.bands:
            raise ValueError(f"{self.words}: nothing is said of its bands")
        return known[number]

    def damaged(self, number: int, why: str) -> ValueError:
        """The error of a block."""
        return ValueError(
            f"{self.words} is damaged in block {number} (rows {number * self.block_rows} and the following): {why}. "
            "Copy the file again, or pack the data again"
        )

    def whole(self) -> npt.NDArray[Any]:
        """(H, W, B), an array of its own."""
        found = self.rows(0, self.size[0])
        return found if found.flags.writeable else found.copy()

    def rows(self, start: int, stop: int) -> npt.NDArray[Any]:
        """The rows from `start` to before `stop` (n, W, B), which may not be written to.

        Raises ValueError naming file, sample and block if they are damaged.
        """
        (height, width), bands, dtype, step = self.size, self.bands, self.dtype, self.block_rows
        if not 0 <= start < stop <= height or not step or not 1 <= bands <= _MOST_BANDS:
            raise ValueError(f"{self.words}: has no rows {start} to {stop}, or they make no sense")
        check_size(width, height)
        row = width * bands * dtype.itemsize
        first, last = start // step, (stop - 1) // step
        path, data = self.file.stored(self.shard)
        table, places = self._blocks(path, data, -(-height // step))
        parts = []
        for number in range(first, last + 1):
            begin, size = int(places[number]), int(table["size"][number])
            held = (min((number + 1) * step, height) - number * step) * row
            if begin + size > len(data) or size > held:
                raise self.damaged(number, "it lies outside of the file")
            stored = memoryview(data)[begin : begin + size]
            parts.append(self.file.block(self, number, stored, int(table["crc"][number]), held))
        skipped, wanted = (start - first * step) * row, (stop - start) * row
        if all(int(size) == len(part) for size, part in zip(table["size"][first : last + 1], parts, strict=True)):
            begin = int(places[first]) + skipped  # nothing is compressed, and so the rows lie one behind another
            found = np.frombuffer(data, np.uint8, wanted, begin)
        elif len(parts) == 1:
            found = parts[0][skipped : skipped + wanted]
        else:
            found = np.concatenate(parts)[skipped : skipped + wanted]
        return found.view(dtype).reshape(stop - start, width, bands)

    def _blocks(self, path: str, data: _Map, count: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """(sizes and checksums, places in the file) of all blocks."""
        offset = self._offset
        begin = offset + count * BLOCK.itemsize
        if begin > len(data):
            raise ValueError(f"{self.words}: lies outside of {path}: was that file cut off, or is it another one?")
        table = np.frombuffer(data, BLOCK, count, offset)
        return table, begin + np.cumsum(table["size"], dtype=np.int64) - table["size"]


# --- Files of a process -------------------------------------------------------------------------------------------

_LOCK = threading.Lock()
_OPEN: OrderedDict[tuple[str, int, int], PackFile] = OrderedDict()


def opened(path: str | Path) -> PackFile:
    """The packed file, opened once in a process, and again if it was written again."""
    key = _stamp(str(path))
    with _LOCK:
        found = _OPEN.get(key)
    if found is None:
        found = PackFile(path)
        with _LOCK:
            _OPEN[key] = found
            while len(_OPEN) > _KEPT:
                _OPEN.popitem(last=False)
    return found


def _stamp(path: str) -> tuple[str, int, int]:
    try:
        found = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    return path, found.st_size, found.st_mtime_ns


def _mapped(path: str) -> _Map:
    try:
        with open(path, "rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if os.fstat(file.fileno()).st_size else b""
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from None
