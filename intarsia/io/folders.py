"""The one walk through folders, for data sets, their doctor and prediction alike.

* Hidden files and folders are left out, and what systems put beside files (`PASSED_OVER`).
* Symbolic links are followed. A folder inside itself is not entered again, so that loops end.
* A folder's files come before those of its subfolders, each sorted by its name's code points.
* Names are relative to the folder, with "/" between folders, however the system writes them.

Whatever needs another order sorts what it gets: data sets by path, since the order decides what a training sees at
which step, and lists for people in `natural_order`.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path, PurePath

from intarsia.contracts import PathLike

PASSED_OVER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information")
"""Folders with copies, thumbnails and waste that archives, network storages and systems add."""

AGAIN = 10_000
"""Times that links may lead to one folder. Links that cross multiply: eight folders with links to each other are a
hundred thousand paths."""

Identity = tuple[int, int]


def walk_files(folder: PathLike, *, recursive: bool = True) -> Iterator[str]:
    """The path, relative to `folder`, of every file below it: see the rules at the top.

    Raises ValueError if a folder does not exist or may not be listed, or if links cross without end.
    """
    root = os.fspath(folder)
    visits: Counter[Identity] = Counter()
    waiting = [(root, "", frozenset({_identity(root)}))]
    while waiting:
        here, below, above = waiting.pop()
        inner = []
        for entry in _entries(here):
            if not _is_folder(entry):
                yield below + entry.name
            elif recursive and not is_passed_over(entry.name):
                path = os.path.join(here, entry.name)
                identity = _identity(path)
                if identity not in above:
                    visits[identity] += 1
                    inner.append((path, f"{below}{entry.name}/", above | {identity}))
                    if visits[identity] > AGAIN:
                        raise ValueError(f"{path}: symbolic links lead to this folder {AGAIN:,} times; remove some")
        waiting += reversed(inner)


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not entry.name.startswith(".")), key=lambda entry: entry.name)
    except OSError as error:
        raise ValueError(f"cannot list the folder {folder}: {error.strerror or error}") from None


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(folder: str) -> Identity:
    try:
        found = os.stat(folder)
    except OSError as error:
        raise ValueError(f"cannot list the folder {folder}: {error.strerror or error}") from None
    return found.st_dev, found.st_ino


def natural_order(path: PathLike) -> list[tuple[int, int, str]]:
    """Sort key under which frame2 comes before frame10, folder by folder."""
    pieces = re.split(r"(\d+)", "\0".join(PurePath(path).parts))
    return [(0, int(piece), piece) if piece.isdecimal() else (1, 0, piece) for piece in pieces if piece]


def folders_of(folder: PathLike) -> list[str]:
    """Names of the folders in a folder, sorted, hidden ones left out; for messages. Empty if it cannot be listed."""
    try:
        return [entry.name for entry in _entries(os.fspath(folder)) if _is_folder(entry)]
    except ValueError:
        return []


def existing_above(path: PathLike) -> Path:
    """The folder of this name, or the nearest above it that exists; for messages."""
    found = Path(path)
    while not found.is_dir() and found.parent != found:
        found = found.parent
    return found


def is_passed_over(name: str) -> bool:
    """Whether a folder of this name is left out."""
    return name.startswith(".") or name in PASSED_OVER


def loops(root: PathLike, below: PathLike) -> bool:
    """Whether a path from a folder to one below it leads through a folder twice, by symbolic links."""
    here = Path(root)
    seen = {_identity(os.fspath(here))} if os.path.isdir(here) else set()
    for part in Path(below).parts:
        here /= part
        identity = _identity(os.fspath(here))
        if identity in seen:
            return True
        seen.add(identity)
    return False
