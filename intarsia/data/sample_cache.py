"""Decoded samples in a folder, shared by all workers, processes and trainings that look into it.

An entry holds the image and the label of one sample as they came from their files, bit by bit, before any transform. It
is found by the path of the image and by how its files are read, and counts only as long as these have the size and the
time that they had, and none has come or gone: a file that was changed is read anew and its entry replaced. Entries are
whole or not there. One that is damaged, which a process finds out by a checksum when it first meets it, is as none.
The folder may hold other files: they are not looked at, and do not count.

Samples are kept as they are first read. When the limit is reached the rest is read from files, whoever asks.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from filelock import FileLock

from intarsia.io.folders import folders_of, walk_files
from intarsia.io.whole_files import DiskFullError, put_in_place, sweep, write_aside
from intarsia.version import __version__

Arrays = Mapping[str, npt.NDArray[Any] | None]

_MAGIC = b"INTARSIA"
_ALIGNED = 64
_KINDS = "biuf"
_LONGEST_HEADER = 2**20
_SHELF, _ENTRY = re.compile("[0-9a-f]{2}"), re.compile("[0-9a-f]{32}")
_LEDGER, _LOCK = "ledger.json", ".lock"


@dataclass(frozen=True)
class Ledger:
    """What a folder holds. full: whether a sample found no room any more."""

    bytes: int = 0
    samples: int = 0
    full: bool = False


@dataclass(frozen=True)
class SampleCache:
    """A folder of decoded samples. limit: bytes that it may hold. Several processes may have it at once."""

    folder: Path
    limit: int
    _seen: set[str] = field(default_factory=set, repr=False, compare=False)

    @classmethod
    def opened(cls, folder: Path, limit: int) -> SampleCache:
        """The cache in a folder, which is made; what it holds already is counted. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        sweep(folder, recursive=False)
        cache = cls(folder, limit)
        with cache._locked():
            sizes = []
            for shelf in (folder / name for name in folders_of(folder) if _SHELF.fullmatch(name)):
                sweep(shelf)
                sizes += [_size(shelf / name) for name in walk_files(shelf) if _ENTRY.fullmatch(name)]
            cache._write_ledger(Ledger(sum(sizes), len(sizes)))
        return cache

    def load(self, files: Sequence[str], policy: str, read: Callable[[], Arrays]) -> Arrays:
        """Arrays of some files: from the cache, or else from `read`, which are then kept.

        files: an entry is found by the path of the first one and the policy, and counts as long as all have the names,
        sizes and times that they had; a file that is missing is a part of that. policy: all that the arrays depend on
        besides. Arrays from the cache may be written to, as any.
        """
        identity = _identity(files)
        path = self._path(files[0], policy)
        found = self._kept(path, identity)
        if found is not None:
            return found
        arrays = read()
        self._keep(path, identity, arrays)
        return arrays

    def ledger(self) -> Ledger:
        """What the folder holds."""
        try:
            return Ledger(**json.loads((self.folder / _LEDGER).read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError):
            return Ledger()

    # --- Entries ----------------------------------------------------------------------------------------------------

    def _path(self, file: str, policy: str) -> Path:
        said = json.dumps([__version__, cv2.__version__, policy, os.path.abspath(file)])
        name = sha256(said.encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return self.folder / name[:2] / name

    def _kept(self, path: Path, identity: str) -> Arrays | None:
        try:
            with open(path, "rb") as file:
                content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        except (OSError, ValueError):  # there is none, or it is empty
            return None
        try:
            return self._parsed(content, path.name, identity)
        except (ValueError, TypeError, KeyError, AttributeError):
            return None

    def _parsed(self, content: mmap.mmap, name: str, identity: str) -> Arrays | None:
        """The arrays of an entry; None for one of other files, or a damaged one; so does any of the usual errors."""
        length = int.from_bytes(content[8:16], "little")
        if content[:8] != _MAGIC or length > _LONGEST_HEADER:
            return None
        header = json.loads(content[16 : 16 + length])
        start = _aligned(16 + length)
        if header["identity"] != identity or header["size"] != len(content):
            return None
        if name not in self._seen:
            with memoryview(content) as view, view[start:] as arrays:
                if zlib.crc32(arrays, _checksum(header["arrays"])) != header["checksum"]:
                    return None
            self._seen.add(name)
        found: dict[str, npt.NDArray[Any] | None] = {}
        for key, said in header["arrays"].items():
            if said is None:
                found[key] = None
                continue
            dtype, shape = np.dtype(said["dtype"]), tuple(said["shape"])
            if dtype.kind not in _KINDS:
                return None
            found[key] = np.frombuffer(content, dtype, math.prod(shape), start).reshape(shape)
            start = _aligned(start + dtype.itemsize * math.prod(shape))
        return found

    def _keep(self, path: Path, identity: str, arrays: Arrays) -> None:
        """Add an entry, if there is room. What a disk says against it is no error of a training."""
        if any(array is not None and array.dtype.kind not in _KINDS for array in arrays.values()):
            return
        parts = _parts(identity, arrays)
        size = sum(map(len, parts))
        ledger = self.ledger()
        if ledger.bytes + size > self.limit and (ledger.full or not path.exists()):
            self._note_full()
            return
        try:
            aside = write_aside(path, parts)
            try:
                with self._locked():
                    self._enter(aside, path, size)
            finally:
                aside.unlink(missing_ok=True)
        except (OSError, DiskFullError):
            self._note_full()
        self._seen.discard(path.name)

    def _enter(self, aside: Path, path: Path, size: int) -> None:
        """Give a finished entry its name, in the place of one that is no longer right."""
        ledger, before = self.ledger(), _size(path)
        total = ledger.bytes - before + size
        if total > self.limit:
            self._write_ledger(Ledger(ledger.bytes, ledger.samples, full=True))
            return
        put_in_place(aside, path, durable=False)  # a checksum tells what a crash of the machine has left
        self._write_ledger(Ledger(total, ledger.samples + (not before), ledger.full))

    # --- The ledger -------------------------------------------------------------------------------------------------

    def _locked(self) -> FileLock:
        return FileLock(self.folder / _LOCK, mode=0o600)

    def _note_full(self) -> None:
        try:
            with self._locked():
                ledger = self.ledger()
                if not ledger.full:
                    self._write_ledger(Ledger(ledger.bytes, ledger.samples, full=True))
        except (OSError, DiskFullError):  # a disk without room for a line
            return

    def _write_ledger(self, ledger: Ledger) -> None:
        path = self.folder / _LEDGER
        said = {"bytes": ledger.bytes, "samples": ledger.samples, "full": ledger.full}
        put_in_place(write_aside(path, [json.dumps(said).encode()]), path, durable=False)


def use_cache(dataset: Any, cache: SampleCache) -> int:
    """Have the data sets of files that one is made of read through a cache. Gives how many do."""
    return sum(bool(part.use_cache(cache)) for part in _readers(dataset))


def can_use_cache(dataset: Any) -> bool:
    """Whether `use_cache` would have something of a data set read through a cache."""
    return any(part.can_use_cache() for part in _readers(dataset))


def _readers(dataset: Any) -> Iterator[Any]:
    """The data sets of files that one is made of."""
    if hasattr(dataset, "use_cache"):
        yield dataset
        return
    for part in getattr(dataset, "datasets", None) or [getattr(dataset, "dataset", None)]:
        if part is not None and part is not dataset:
            yield from _readers(part)


def _identity(files: Sequence[str]) -> str:
    """A digest, since a sample may have thousands of files: a mask for each of its objects."""
    said = json.dumps([(os.path.abspath(file), _state(file)) for file in files])
    return sha256(said.encode("utf-8")).hexdigest()


def _state(file: str) -> tuple[int, int] | None:
    try:
        stat = os.stat(file)
    except OSError:
        return None
    return stat.st_size, stat.st_mtime_ns


def _parts(identity: str, arrays: Arrays) -> list[bytes | memoryview]:
    """The bytes of an entry, one after the other."""
    said = {
        key: None if array is None else {"dtype": array.dtype.str, "shape": list(array.shape)}
        for key, array in arrays.items()
    }
    checksum = _checksum(said)
    blocks: list[bytes | memoryview] = []
    for array in arrays.values():
        if array is None:
            continue
        content = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
        for block in (content, bytes(_aligned(len(content)) - len(content))):
            checksum = zlib.crc32(block, checksum)
            blocks.append(block)
    size = sum(map(len, blocks))

    def header(total: int) -> bytes:
        values = {"identity": identity, "size": total, "checksum": checksum, "arrays": said}
        text = json.dumps(values).encode()
        return (_MAGIC + len(text).to_bytes(8, "little") + text).ljust(_aligned(16 + len(text)), b"\0")

    total = size + len(header(size))
    while len(header(total)) + size != total:  # the number of its own digits may carry it over a border
        total = size + len(header(total))
    return [header(total), *blocks]


def _checksum(said: Any) -> int:
    """Of what is said of the arrays, which that of their content goes on from."""
    return zlib.crc32(json.dumps(said).encode())


def _aligned(length: int) -> int:
    return -(-length // _ALIGNED) * _ALIGNED


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
