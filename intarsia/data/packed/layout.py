"""The format of packed files, version 1. Everything is little-endian.

    magic                  8 bytes
    planes, one behind another: of each sample the image, then the label if there is one
        sizes of the blocks, (stored bytes, CRC-32 of these) as two uint32 each
        blocks: `PLANES.rows` rows of the array (H, W, B), compressed, or as they are where that is no smaller
    arrays of the index, each aligned to 64 bytes: planes, names, where these end, their hashes, in which order
    header                 JSON: `Header`
    tail                   40 bytes: `TAIL`

The arrays are mapped into memory and not parsed, so that a million samples are there at once. A file of shards has no
planes of its own: its arrays are those of all shards, with the number of the shard for each plane.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.bands import FileBands

MAGIC, END = b"INTPACK\x01", b"INTPEND\x01"
TAIL = struct.Struct("<QQIIQ8s")
"""Where the header begins, its length, its CRC-32, that of the arrays, the size of the whole file, `END`."""

VERSION = 1
ALIGNED = 64
NO_BANDS = 65535
"""`PLANES.bands_of` of labels."""

BLOCK = np.dtype([("size", "<u4"), ("crc", "<u4")])
PLANES = np.dtype(
    [
        ("offset", "<u8"), ("block", "<u8"), ("height", "<u4"), ("width", "<u4"), ("bands", "<u4"), ("rows", "<u2"),
        ("shard", "<u2"), ("dtype", "<u2"), ("bands_of", "<u2"),
    ]
)  # fmt: skip
"""Two for each sample, image and label; height 0 where there is no label.

block: how many blocks lie before. rows: of a block. dtype: number in `DTYPES`. bands_of: number in `Header.bands_of`.
"""

ARRAYS = {"planes": PLANES, "names": np.dtype("u1"), "ends": np.dtype("<u8"), "hashes": np.dtype("<u8"), "order": np.dtype("<u4")}  # fmt: skip  # noqa: E501
DTYPES = ("u1", "<u2", "<u4", "<u8", "i1", "<i2", "<i4", "<i8", "<f2", "<f4", "<f8")

BLOCK_ROWS, BLOCK_BYTES = 64, 2**20
"""The most that a block holds."""

MOST_HEADER = 2**28


@dataclass(frozen=True)
class Header:
    """What a packed file says of itself.

    description: of the data, as YAML. parts: of each split the first sample and the one behind the last.
    suffixes: what the names of the images of each split end in. bands_of: the distinct `FileBands`. compression: of the
    blocks. blocks: how many there are. shards: names of the files that have the planes, beside this one; none where it
    has them itself. arrays: where each array begins, and how many entries it has. pixels: of each split, how many there
    are of each label value. source: a digest of what was packed and how, by which a broken-off packing finds its shards
    again.
    """

    description: str
    parts: Mapping[str, tuple[int, int]]
    suffixes: Mapping[str, tuple[str, ...]]
    bands_of: tuple[FileBands, ...]
    compression: str
    blocks: int
    shards: tuple[str, ...]
    arrays: Mapping[str, tuple[int, int]]
    pixels: Mapping[str, Mapping[int, int]]
    source: str

    def to_bytes(self) -> bytes:
        """As the file has it."""
        return json.dumps({"version": VERSION, **asdict(self)}, ensure_ascii=False, separators=(",", ":")).encode()

    @classmethod
    def of_bytes(cls, data: bytes) -> Header:
        """The inverse. Raises ValueError for another version, and for what is no header."""
        try:
            found = json.loads(data)
            if found["version"] != VERSION:
                raise ValueError(f"is of version {found['version']} of the format; this Intarsia reads {VERSION}")
            return cls(
                description=str(found["description"]),
                parts={str(name): (int(a), int(b)) for name, (a, b) in found["parts"].items()},
                suffixes={str(name): tuple(map(str, ends)) for name, ends in found["suffixes"].items()},
                bands_of=tuple(_file_bands(entry) for entry in found["bands_of"]),
                compression=str(found["compression"]),
                blocks=int(found["blocks"]),
                shards=tuple(map(str, found["shards"])),
                arrays={str(name): (int(a), int(b)) for name, (a, b) in found["arrays"].items()},
                pixels={
                    str(name): {int(value): int(count) for value, count in counts.items()}
                    for name, counts in found["pixels"].items()
                },
                source=str(found["source"]),
            )
        except (KeyError, TypeError, OverflowError, AttributeError, RecursionError) as error:
            raise ValueError(f"has a header that makes no sense ({type(error).__name__}: {error})") from None
        except ValueError as error:  # of JSON, of UTF-8, of numbers, of the version
            raise ValueError(f"has a header that makes no sense: {error}") from None


def _file_bands(entry: Mapping[str, Any]) -> FileBands:
    return FileBands(
        tuple(map(str, entry["roles"])), tuple(map(str, entry["descriptions"])), int(entry["bits"]),
        bool(entry["inverted"]), str(entry["space"]), int(entry["orientation"]),
    )  # fmt: skip


def name_hash(name: str) -> int:
    """64 bits of a name."""
    return int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest(), "little")


def name_arrays(names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The arrays by which a name is found, and the name of a number."""
    encoded = [name.encode("utf-8", "surrogateescape") for name in names]
    hashes = np.array([name_hash(name) for name in names], ARRAYS["hashes"])
    order = np.argsort(hashes, kind="stable")
    return {
        "names": np.frombuffer(b"".join(encoded), np.uint8),
        "ends": np.cumsum([len(name) for name in encoded], dtype=ARRAYS["ends"]),
        "hashes": hashes[order],
        "order": order.astype(ARRAYS["order"]),
    }


@dataclass(frozen=True, eq=False)
class Names:
    """Names by their number and numbers by their name, in arrays that may lie in a file."""

    names: npt.NDArray[np.uint8]
    ends: npt.NDArray[np.uint64]
    hashes: npt.NDArray[np.uint64]
    order: npt.NDArray[np.uint32]

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, number: int) -> str:
        start = int(self.ends[number - 1]) if number else 0
        return bytes(self.names[start : int(self.ends[number])]).decode("utf-8", "surrogateescape")

    def of(self, start: int, stop: int) -> list[str]:
        """The names of some numbers in a row."""
        if start >= stop:
            return []
        first = int(self.ends[start - 1]) if start else 0
        data, ends = bytes(self.names[first : int(self.ends[stop - 1])]), (self.ends[start:stop] - first).tolist()
        return [
            data[begin:end].decode("utf-8", "surrogateescape") for begin, end in zip([0, *ends], ends, strict=False)
        ]

    def find(self, name: str) -> int | None:
        """The number of a name; None if there is none."""
        wanted = np.uint64(name_hash(name))
        place = int(np.searchsorted(self.hashes, wanted))
        while place < len(self.hashes) and self.hashes[place] == wanted:
            number = int(self.order[place])
            if number < len(self) and self[number] == name:
                return number
            place += 1
        return None
