"""Files that are either written whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import IO


class DiskFullError(ValueError):
    """No room for a file. What was there before is intact."""


def write_whole(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a file beside `path`, bring it to the disk, and only then give it the name `path`.

    A crash at any moment leaves the old file or the new one. Raises DiskFullError, naming the file, if it has no room.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with open(aside, "wb") as file:
            guarded = _Patient(file)
            try:
                write(guarded)  # type: ignore[arg-type]
            finally:
                if guarded.error is not None:
                    raise guarded.error
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"no room on the disk for {path}: {guarded.written / 1e6:.0f} MB written, "
                f"{shutil.disk_usage(path.parent).free / 1e6:.0f} MB free. Files saved before it are intact"
            ) from error
        raise
    finally:
        aside.unlink(missing_ok=True)
    _sync_folder(path.parent)


class _Patient:
    """A file that keeps a write error for later: torch's archive writer must not be interrupted half-way."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.error: OSError | None = None
        self.written = 0

    def write(self, data: bytes) -> int:
        size = memoryview(data).nbytes
        if self.error is None:
            try:
                self._file.write(data)
                self.written += size
            except OSError as error:
                self.error = error
        return size

    def flush(self) -> None:
        """Nothing to do: `write_whole` flushes at the end."""


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # only POSIX lets a folder be opened and synchronised
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
