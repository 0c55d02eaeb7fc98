"""Files that are either written whole or not at all: the only place where a file gets its name.

What is begun lies beside its goal under a name of its own (`aside_name`), is brought to the disk, and is renamed. A
crash at any moment leaves the old file or the new one; what a killed process had begun is removed by `sweep`.
"""

from __future__ import annotations

import errno
import itertools
import os
import platform
import re
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import IO

from intarsia.contracts import PathLike
from intarsia.io.stores import refuse_output
from intarsia.io.text import encodable

ABANDONED = 7 * 24 * 3600.0
"""Seconds after which what nobody has written to since is left over, whoever began it."""

_HOST = re.sub(r"[^A-Za-z0-9]+", "_", platform.node()) or "here"
_SERIAL = itertools.count()
_ASIDE = re.compile(r"\.intarsia-(\w+)-(\d{1,9})-\d+\.part(\.\w+)?", re.ASCII)
_NO_ROOM = {
    errno.ENOSPC: "no room on the disk for",
    errno.EDQUOT: "no room within your quota for",
    errno.EFBIG: "files of this disk may not be as large as",
}


class DiskFullError(ValueError):
    """No room for a file. What was there before is intact."""


def write_whole(path: PathLike, write: Callable[[IO[bytes]], object]) -> Path:
    """Let `write` fill a file that takes the name `path` once it is on the disk. Folders are made. Gives `path`.

    A file that was there keeps its permissions, a symbolic link keeps pointing where it does, and a pipe or device is
    written into.

    Raises DiskFullError if there is no room, ValueError if `path` is a folder, OSError; each names `path`.
    """
    path = Path(path)
    if _is_special(path):
        with open(path, "wb") as stream:
            write(stream)
        return path
    with whole_file(path) as aside, open(aside, "wb") as file:
        guarded = _Patient(file)
        try:
            write(guarded)  # type: ignore[arg-type]
        finally:
            if guarded.error is not None:
                raise guarded.error
    return path


def write_bytes(path: PathLike, data: bytes) -> Path:
    """Write a file as `write_whole` does."""
    return write_whole(path, lambda file: file.write(data))


def write_text(path: PathLike, text: str) -> Path:
    """Write a file as `write_whole` does: UTF-8 on every machine, lines as `text` has them.

    Names of files that are no UTF-8 are written as `encodable` reads them.
    """
    return write_bytes(path, encodable(text).encode("utf-8"))


@contextmanager
def whole_file(path: Path, *, keep_on: tuple[type[BaseException], ...] = ()) -> Iterator[Path]:
    """The path of a file to be filled by the block, for libraries that open files by themselves; then as `write_whole`.

    It ends in the suffix of `path`. It is removed if the block raises, unless with an exception of `keep_on`: then it
    takes its name all the same.
    """
    with _errors_about(path):
        goal = _goal(path)
        goal.parent.mkdir(parents=True, exist_ok=True)
        aside = goal.with_name(aside_name(goal.suffix))
        try:
            try:
                yield aside
            except keep_on:
                if aside.exists():
                    put_in_place(aside, goal)
                raise
            put_in_place(aside, goal)
        finally:
            aside.unlink(missing_ok=True)


def write_aside(path: Path, parts: Iterable[bytes | memoryview]) -> Path:
    """Write a file beside `path` for `put_in_place`, and give its name. Folders are made.

    Raises DiskFullError, OSError; nothing of it is left then.
    """
    with _errors_about(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        aside = path.with_name(aside_name(path.suffix))
        try:
            with open(aside, "wb") as file:
                file.writelines(parts)
        except BaseException:
            aside.unlink(missing_ok=True)
            raise
    return aside


def put_in_place(finished: Path, path: Path, *, durable: bool = True) -> Path:
    """Bring a finished file to the disk and give it the name `path` in the same file system, as `write_whole` does.

    durable: without it, the system brings it to the disk in its own time: for what can be made again and tells by
    itself whether it is whole.
    """
    with _errors_about(path):
        goal = _goal(path)
        goal.parent.mkdir(parents=True, exist_ok=True)
        if goal.exists():
            shutil.copymode(goal, finished)
        if durable:
            _sync(finished)
        os.replace(finished, goal)
        if durable:
            _sync_folder(goal.parent)
    return path


# --- Leftovers ----------------------------------------------------------------------------------------------------


def aside_name(suffix: str = "") -> str:
    """A name for a file until it is whole, never given twice. Says which process of which machine writes."""
    return f".intarsia-{_machine()}-{os.getpid()}-{next(_SERIAL)}.part{suffix}"


@cache
def _machine() -> str:
    """Where numbers of processes are those of this process. Containers, and machines that nobody has named, may share a
    name; a kernel since its start, and a namespace of processes in it, have numbers of their own.
    """
    try:
        system = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii") + os.readlink("/proc/self/ns/pid")
    except OSError:  # no Linux, or a sandbox that says nothing of it
        system = ""
    return f"{_HOST}_{sha256(system.encode()).hexdigest()[:8]}"


@contextmanager
def folder_aside(folder: Path) -> Iterator[Path]:
    """A new folder in `folder`, for files that others write by their names; it goes at the end, or by `sweep`."""
    aside = folder / aside_name()
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def sweep(folder: Path, *, recursive: bool = True) -> int:
    """Remove from a folder, and those below it, what killed processes of this machine had begun, and what others began
    and did not write to for a week. Gives their number.
    """
    count = 0
    walk = os.walk(folder)
    for here, folders, names in walk if recursive else itertools.islice(walk, 1):
        for name in names:
            if _is_left_over(here, name):
                Path(here, name).unlink(missing_ok=True)
                count += 1
        for name in tuple(folders):
            if _is_left_over(here, name):
                folders.remove(name)
                shutil.rmtree(Path(here, name), ignore_errors=True)
                count += 1
    return count


def _is_left_over(folder: str, name: str) -> bool:
    import psutil

    match = _ASIDE.fullmatch(name)
    if match is None:
        return False
    if match[1] == _machine():
        return not psutil.pid_exists(int(match[2]))
    try:
        return time.time() - os.stat(os.path.join(folder, name)).st_mtime > ABANDONED
    except OSError:
        return False


# --- Names and errors ---------------------------------------------------------------------------------------------


def _goal(path: Path) -> Path:
    """Where the file really lies. Raises ValueError for a folder, and for an address, which is no place to write to."""
    refuse_output(path, "the place for a file")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of a file")
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()


@contextmanager
def _errors_about(path: Path) -> Iterator[None]:
    """Errors of the file aside are told of the one that was wanted."""
    try:
        yield
    except OSError as error:
        if error.errno in _NO_ROOM:
            free = f", {shutil.disk_usage(path.parent).free / 1e6:.0f} MB free" if path.parent.is_dir() else ""
            raise DiskFullError(f"{_NO_ROOM[error.errno]} {path}{free}. Files saved before it are intact") from error
        if error.errno is None or not Path(str(error.filename or "")).name.startswith(".intarsia-"):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error


class _Patient:
    """A file that keeps a write error for later: torch's archive writer must not be interrupted half-way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        if self.error is None:
            try:
                self._file.write(data)
            except OSError as error:
                self.error = error
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Nothing to do: what is written is brought to the disk at the end."""


def _sync(file: Path) -> None:
    with open(file, "r+b") as handle:
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # only POSIX lets a folder be opened and synchronised
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:  # some network file systems have no such thing
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(handle)
