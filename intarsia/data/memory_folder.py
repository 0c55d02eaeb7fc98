"""A folder in memory that the processes of one training share, forked or spawned, and that goes with the last of them.

It lies in /dev/shm where there is one; elsewhere among the temporary files, which systems keep in memory as long as
there is room. Every process holds a shared lock on a file in it. The system gives a lock back when a process ends, in
whatever way, so that a folder whose lock nobody holds is one that a crash has left: the next training removes it.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import tempfile
import weakref
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from intarsia.io.folders import folders_of

if sys.platform != "win32":
    import fcntl

_SHARED_MEMORY = Path("/dev/shm")
_ALIVE = "alive"
_PREFIX = "intarsia-cache"


def memory_place(least: int, shared_memory: Path = _SHARED_MEMORY) -> Path:
    """Where folders in memory lie: /dev/shm, if it has so many bytes free, or the folder of temporary files."""
    if os.access(shared_memory, os.W_OK) and shutil.disk_usage(shared_memory).free >= least:
        return shared_memory
    return Path(tempfile.gettempdir())


class MemoryFolder:
    """The folder of all processes that give the same `name`. `close` leaves it, and removes it with the last of them.

    Raises ValueError if something of another user is in its place.
    """

    def __init__(self, name: str, place: Path) -> None:
        user = str(os.getuid()) if sys.platform != "win32" else "user"
        remove_left(place, user)
        digest = sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        self.path = place / f"{_PREFIX}-{user}-{digest}"
        handle = _joined(self.path)
        self.close = weakref.finalize(self, _leave, self.path, handle, os.getpid())


def remove_left(place: Path, user: str) -> None:
    """Remove the folders of a user that no process holds any more."""
    if sys.platform == "win32":
        return
    mine = re.compile(rf"{_PREFIX}-{re.escape(user)}-[0-9a-f]{{16}}")
    for name in folders_of(place):
        if mine.fullmatch(name) and not (place / name).is_symlink():
            _remove_if_free(place / name)


def _joined(folder: Path) -> int:
    """Make the folder and hold its lock, unless another process is about to remove it: then once more."""
    while True:
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        if folder.is_symlink() or not folder.is_dir() or (os.name == "posix" and folder.stat().st_uid != os.getuid()):
            raise ValueError(f"{folder} is not a folder of yours; remove it, or take --cache DIR")
        try:
            handle = os.open(folder / _ALIVE, os.O_CREAT | os.O_RDWR, 0o600)
        except FileNotFoundError:  # it has just been removed
            continue
        if sys.platform == "win32":
            return handle
        fcntl.flock(handle, fcntl.LOCK_SH)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), os.stat(folder / _ALIVE)):
                return handle
        os.close(handle)


def _leave(folder: Path, handle: int, process: int) -> None:
    if os.getpid() != process:  # a forked worker has not come by itself
        return
    if sys.platform == "win32":
        os.close(handle)
        shutil.rmtree(folder, ignore_errors=True)
    else:
        fcntl.flock(handle, fcntl.LOCK_UN)  # for the workers, too, which have it by inheritance
        os.close(handle)
        _remove_if_free(folder)


def _remove_if_free(folder: Path) -> None:
    """Remove a folder whose lock nobody holds."""
    if sys.platform == "win32":
        return
    try:
        handle = os.open(folder / _ALIVE, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError:  # it is gone
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(folder, ignore_errors=True)
    except OSError:  # somebody does
        return
    finally:
        os.close(handle)
