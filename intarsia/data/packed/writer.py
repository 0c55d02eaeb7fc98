"""Writing packed files: what a sample becomes, and the one file into which they are put."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import FileBands
from intarsia.data.packed.layout import (
    ALIGNED,
    ARRAYS,
    BLOCK,
    BLOCK_BYTES,
    BLOCK_ROWS,
    DTYPES,
    END,
    MAGIC,
    NO_BANDS,
    PLANES,
    TAIL,
    Header,
    name_arrays,
)

_NUMBER = {np.dtype(name): number for number, name in enumerate(DTYPES)}


@dataclass(frozen=True, slots=True)
class EncodedPlane:
    """An array (H, W, B) in blocks of `rows` rows. raw: its bytes before they were compressed."""

    shape: tuple[int, int, int]
    dtype: int
    rows: int
    blocks: tuple[bytes, ...]
    checksums: tuple[int, ...]
    raw: int
    bands_of: FileBands | None = None

    @property
    def stored(self) -> int:
        """Bytes in the file."""
        return sum(map(len, self.blocks)) + BLOCK.itemsize * len(self.blocks)


@dataclass(frozen=True, slots=True)
class EncodedSample:
    """A sample as it is written."""

    name: str
    image: EncodedPlane
    label: EncodedPlane | None


def encoded(
    array: npt.NDArray[Any], compress: Callable[[bytes], bytes], bands_of: FileBands | None = None
) -> EncodedPlane:
    """An array (H, W) or (H, W, B) as blocks of rows. Raises ValueError for types that the format does not have."""
    array = array[:, :, None] if array.ndim == 2 else array
    if array.dtype.kind == "b":
        array = array.astype(np.uint8)
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NUMBER:
        raise ValueError(f"holds {array.dtype}, which packed files do not have; they have {', '.join(DTYPES)}")
    height, width, bands = array.shape
    row = width * bands * dtype.itemsize
    if not array.size or row >= 2**32:
        raise ValueError(f"is {height} x {width} with {bands} bands, which cannot be packed")
    rows = max(1, min(BLOCK_ROWS, BLOCK_BYTES // row))
    blocks = []
    for start in range(0, height, rows):
        raw = np.ascontiguousarray(array[start : start + rows], dtype).tobytes()
        made = compress(raw)
        blocks.append(made if len(made) < len(raw) else raw)
    checksums = tuple(map(zlib.crc32, blocks))
    return EncodedPlane(
        (height, width, bands), _NUMBER[dtype], rows, tuple(blocks), checksums, array.nbytes, bands_of
    )  # fmt: skip


class Contents:
    """What is in the index of a file that is being written."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.bands_of: dict[FileBands, int] = {}
        self.blocks = 0
        self._records: list[tuple[int, ...]] = []

    def add(self, plane: EncodedPlane | None, offset: int) -> None:
        """A plane that was written at `offset`."""
        if plane is None:
            self._records.append((0,) * len(PLANES.names or ()))
            return
        known = NO_BANDS
        if plane.bands_of is not None:
            known = self.bands_of.setdefault(plane.bands_of, len(self.bands_of))
            if known == NO_BANDS:
                raise ValueError(f"the images have more than {NO_BANDS:,} different kinds of bands")
        self._records.append((offset, self.blocks, *plane.shape, plane.rows, 0, plane.dtype, known))
        self.blocks += len(plane.blocks)

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The arrays of the index."""
        return {"planes": np.array(self._records, PLANES), **name_arrays(self.names)}


class PackWriter:
    """Puts samples into an open file, one behind another."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.written = 0
        self.contents = Contents()
        self._put(MAGIC)

    def add(self, sample: EncodedSample) -> None:
        """Write a sample."""
        self.contents.names.append(sample.name)
        for plane in (sample.image, sample.label):
            self.contents.add(plane, self.written)
            if plane is not None:
                table = np.zeros(len(plane.blocks), BLOCK)
                table["size"], table["crc"] = [len(block) for block in plane.blocks], plane.checksums
                self._put(table.tobytes())
                for block in plane.blocks:
                    self._put(block)

    def finish(self, **said: Any) -> None:
        """Write the index and what else `Header` has: description, parts, suffixes, compression, source."""
        known = self.contents
        self.finish_with(
            known.arrays(), bands_of=tuple(known.bands_of), blocks=known.blocks, shards=(), **said
        )  # fmt: skip

    def finish_with(self, arrays: Mapping[str, npt.NDArray[Any]], **said: Any) -> None:
        """The same with given arrays."""
        places, crc = {}, 0
        for name in ARRAYS:
            self._put(b"\0" * (-self.written % ALIGNED))
            data = np.ascontiguousarray(arrays[name], ARRAYS[name])
            places[name] = (self.written, len(data))
            raw = data.view(np.uint8).data
            crc = zlib.crc32(raw, crc)
            self._put(raw)
        header = Header(arrays=places, **said).to_bytes()
        start = self.written
        self._put(header)
        size = self.written + TAIL.size
        self._put(TAIL.pack(start, len(header), zlib.crc32(header), crc, size, END))

    def _put(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self.written += memoryview(data).nbytes


def joined(
    shards: Sequence[tuple[npt.NDArray[Any], Sequence[FileBands], int]],
) -> tuple[npt.NDArray[Any], list[FileBands], int]:
    """The planes of several files, each with the bands that it speaks of and its number of blocks, as those of one."""
    bands: dict[FileBands, int] = {}
    planes, blocks = [], 0
    for number, (own, known, count) in enumerate(shards):
        table = np.array([bands.setdefault(one, len(bands)) for one in known] or [0], np.uint16)
        moved = own.copy()
        moved["shard"] = number
        moved["block"] += np.uint64(blocks)
        has = moved["bands_of"] != NO_BANDS
        has &= moved["height"] > 0
        moved["bands_of"][has] = table[moved["bands_of"][has]]
        planes.append(moved)
        blocks += count
    return np.concatenate(planes), list(bands), blocks
