"""Tars of the WebDataset form as data: an index beside each says where its members lie, so that any is read by a seek.

A tar is a list of members one behind another, of which nobody knows where the thousandth begins. The index does: it is
made once by a walk through the headers, and kept as ``NAME.tar.index`` where the folder may be written to. Members are
read from it and never unpacked, links are not followed, and sizes are held against that of the file.

Source of the form: webdataset's documentation: the members of a sample have the same path up to the first dot of the
file name (``0001.jpg``, ``0001.seg.png``, ``0001.cls``).
"""

from __future__ import annotations

import io
import os
import tarfile
import threading
import warnings
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from intarsia.data.packed.layout import Names, name_arrays
from intarsia.io.whole_files import write_whole
from intarsia.terminal import Notice

INDEX_SUFFIX = ".index"
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "Zstandard"}
_LONGEST_NAME = 4096
_MOST_MEMBERS = 50_000_000
_KEPT = 512
_SHOWN = 5


@dataclass(frozen=True, eq=False)
class TarIndex:
    """Where the members of a tar lie. places: (n, 2) int64, offset and size of each."""

    path: str
    names: Names
    places: npt.NDArray[np.int64]

    def read(self, member: str) -> bytes:
        """The bytes of a member. Raises ValueError, FileNotFoundError or OSError naming the tar."""
        number = self.names.find(member)
        if number is None:
            raise FileNotFoundError(f"{self.path} has no member {member}")
        offset, size = map(int, self.places[number])
        with open(self.path, "rb") as file:
            file.seek(offset)
            data = file.read(size)
        if len(data) < size:
            raise ValueError(f"{self.path}: was cut off: the member {member} has {len(data):,} of {size:,} bytes")
        return data


def tar_index(path: str | Path) -> TarIndex:
    """The index of a tar: the one beside it if it is of this tar, else a new one, which is kept there if it may be.

    Raises ValueError naming the file if it is no tar, compressed as a whole, cut off, or if names lead out of it.
    """
    path = str(path)
    try:
        found = os.stat(path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    key = (path, found.st_size, found.st_mtime_ns)
    with _LOCK:
        if key in _KNOWN:
            return _KNOWN[key]
    index = _of_sidecar(path, key[1:]) or _scanned(path, key[1:])
    with _LOCK:
        _KNOWN[key] = index
        while len(_KNOWN) > _KEPT:
            _KNOWN.popitem(last=False)
    return index


_LOCK = threading.Lock()
_KNOWN: OrderedDict[tuple[str, int, int], TarIndex] = OrderedDict()


def _of_sidecar(path: str, stamp: tuple[int, int]) -> TarIndex | None:
    """None if there is none, it is of another state of the tar, or no index at all: then a new one is made."""
    try:
        with np.load(path + INDEX_SUFFIX, allow_pickle=False) as kept:
            if tuple(kept["stamp"].tolist()) != stamp:
                return None
            names = Names(kept["names"], kept["ends"], kept["hashes"], kept["order"])
            places = kept["places"]
    except (OSError, ValueError, KeyError, EOFError, tarfile.TarError):
        return None
    except Exception as error:  # zipfile and NumPy raise what damaged files make them trip over
        warnings.warn(f"{path}{INDEX_SUFFIX} is no index ({error}): it is made again", Notice, stacklevel=4)
        return None
    fits = places.shape == (len(names), 2) and places.dtype == np.int64 and len(names.hashes) == len(names)
    if not fits or (len(places) and (places.min() < 0 or int(places.sum(1).max()) > stamp[0])):
        return None
    return TarIndex(path, names, places)


def _scanned(path: str, stamp: tuple[int, int]) -> TarIndex:
    names, places, links = [], [], 0
    try:
        with open(path, "rb") as file:
            head = file.read(8)
            for magic, name in _COMPRESSED.items():
                if head.startswith(magic):
                    raise ValueError(
                        f"{path}: is compressed as a whole ({name}), so that no member can be read without all before "
                        "it; unpack it to a plain .tar (images are compressed themselves)"
                    )
            file.seek(0)
            with tarfile.open(fileobj=file, mode="r:", errorlevel=2) as archive:
                for member in iter(archive.next, None):
                    archive.members = []  # type: ignore[attr-defined]  # tarfile keeps all that it has seen
                    if not member.isreg() or member.issparse():
                        links += not member.isdir()
                        continue
                    _check(path, member, stamp[0])
                    names.append(member.name.removeprefix("./"))
                    places.append((member.offset_data, member.size))
                    if len(names) > _MOST_MEMBERS:
                        raise ValueError(f"{path}: has more than {_MOST_MEMBERS:,} members; divide it")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{path}: cannot be read as a tar: {error}") from None
    if links:
        text = f"{path}: {links} links, devices or sparse files in it are left out: a tar is read, not unpacked"
        warnings.warn(text, Notice, stacklevel=4)
    if not names:
        raise ValueError(f"{path}: there is no file in the tar")
    found = {name: number for number, name in enumerate(names)}  # of two of one name the later counts, as in tar
    kept = sorted(found.values())
    arrays = name_arrays([names[number] for number in kept])
    index = TarIndex(path, Names(**arrays), np.array(places, np.int64)[kept])
    _keep(index, arrays, stamp)
    return index


def _check(path: str, member: tarfile.TarInfo, size: int) -> None:
    """Raises ValueError for a member that lies outside of the file, or whose name leads out of a folder."""
    parts = PurePosixPath(member.name).parts
    if len(member.name) > _LONGEST_NAME or member.name.startswith("/") or ".." in parts or "\0" in member.name:
        raise ValueError(f"{path}: refused: the member {member.name[:100]!r} has a name that leads out of a folder")
    if member.size < 0 or member.offset_data + member.size > size:
        raise ValueError(
            f"{path}: was cut off, or is no tar to believe: {member.name} has {member.size:,} bytes from byte "
            f"{member.offset_data:,} on, the file {size:,}"
        )


def _keep(index: TarIndex, arrays: Mapping[str, Any], stamp: tuple[int, int]) -> None:
    def write(file: object) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, stamp=np.array(stamp, np.int64), places=index.places, **arrays)
        file.write(buffer.getbuffer())  # type: ignore[attr-defined]

    with suppress(OSError, ValueError):  # a folder that may not be written to, or a full disk: made again next time
        write_whole(index.path + INDEX_SUFFIX, write)


# --- Samples ------------------------------------------------------------------------------------------------------


def is_tar_name(path: str | Path) -> bool:
    """Whether a file is a tar by its name, also one that is compressed, which is refused when it is read."""
    return str(path).lower().endswith((".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst"))


def grouped(members: Sequence[str]) -> dict[str, dict[str, str]]:
    """Key of a sample -> what follows the first dot of the file name, in lower case -> member; in order."""
    found: dict[str, dict[str, str]] = {}
    for member in members:
        folder, slash, name = member.rpartition("/")
        stem, _, ending = name.partition(".")
        if stem:
            found.setdefault(folder + slash + stem, {})[ending.lower()] = member
    return found


def shown_endings(counts: Mapping[str, int]) -> str:
    """Endings with their numbers, for a message."""
    most = sorted(counts.items(), key=lambda item: -item[1])
    more = f" and {len(most) - _SHOWN} more" if len(most) > _SHOWN else ""
    return (
        ", ".join(f"{f'.{ending}' if ending else 'without an ending'} ({count:,})" for ending, count in most[:_SHOWN])
        + more
    )
