"""The folder in which Inductor keeps what it has compiled: where it is, whether it can be written, what in it is whole.

A library that was cut off (a full disk, a copy that broke off) is worse than none: Inductor loads whatever is there,
which ends the process or fails, each time anew. And Inductor locks and writes even where it would only have to read.
"""

from __future__ import annotations

import atexit
import errno
import hashlib
import os
import platform
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from intarsia.io.cache import cache_root

FOLDER = "TORCHINDUCTOR_CACHE_DIR"
"""The environment variable that says where Inductor keeps what it has made; one that somebody has set stays."""

_LOCKS = "locks"
_ELF_HEADER = 64  # bytes, of 64-bit systems


@dataclass(frozen=True)
class KeptCode:
    """folder: the one that was asked for. unwritable: why nothing can be kept there, and a copy of it that goes with
    the process is used in its place; otherwise "".
    """

    folder: Path
    unwritable: str = ""


_copies: dict[str, KeptCode] = {}
"""The copies that this process has made, by their paths."""


def keep_compiled() -> KeptCode:
    """Have Inductor keep what it makes in `compiled_folder`, unless the environment names another folder.

    torch itself sets the variable when it looks for the folder, which it does as soon as anything imports its tracer:
    to a folder of temporary files, which nobody has chosen. Libraries that are not whole are removed.
    """
    from torch._inductor.runtime.cache_dir_utils import default_cache_dir

    named = os.environ.get(FOLDER, "")
    if named in _copies:
        return _copies[named]
    folder = compiled_folder() if named in ("", os.path.abspath(default_cache_dir())) else Path(named)
    kept = KeptCode(folder, _why_unwritable(folder))
    if kept.unwritable:
        copy = tempfile.mkdtemp(prefix="intarsia-compiled-")
        atexit.register(shutil.rmtree, copy, ignore_errors=True)
        _copy_readable(folder, Path(copy))
        _copies[copy] = kept
        os.environ[FOLDER] = copy
    else:
        os.environ[FOLDER] = str(folder)
    remove_torn(Path(os.environ[FOLDER]))
    return kept


def compiled_folder() -> Path:
    """Where compiled networks are kept for this torch, Python and processor."""
    ask = getattr(torch.cpu, "get_capabilities", None)
    facts = sorted(dict(ask()).items()) if ask else [torch.backends.cpu.get_cpu_capability()]
    processor = hashlib.sha256(repr((platform.processor(), facts)).encode()).hexdigest()[:8]
    python = f"py{sys.version_info.major}{sys.version_info.minor}"
    return cache_root() / "compiled" / f"torch{torch.__version__}-{python}-{platform.machine()}-{processor}"


def _why_unwritable(folder: Path) -> str:
    """Why files cannot be made in a folder and in those directly below it; "" if they can."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        below = [entry for entry in folder.iterdir() if entry.is_dir()]
    except OSError as error:
        return error.strerror or type(error).__name__
    closed = [entry.name for entry in below if not os.access(entry, os.W_OK | os.X_OK)]
    return f"{os.strerror(errno.EACCES)}: {closed[0]}" if closed else ""


def _copy_readable(folder: Path, copy: Path) -> None:
    """What can be read of a folder, without its locks."""
    try:
        shutil.copytree(folder, copy, ignore=shutil.ignore_patterns(_LOCKS), dirs_exist_ok=True)
    except OSError:  # also of single files: what is missing is compiled
        return


def remove_torn(folder: Path) -> None:
    """Remove libraries that are not whole."""
    for file in folder.glob("*/*.so"):
        if not is_whole(file):
            file.unlink(missing_ok=True)


def is_whole(library: Path) -> bool:
    """Whether a library has all bytes of which its header speaks; where it is no ELF file, whether it has any."""
    try:
        with library.open("rb") as file:
            head, size = file.read(_ELF_HEADER), os.fstat(file.fileno()).st_size
    except OSError:
        return True  # not ours to judge
    if head[:4] != b"\x7fELF":
        return size > 0 and not sys.platform.startswith("linux")
    if len(head) < _ELF_HEADER:
        return False
    order: Literal["little", "big"] = "little" if head[5] == 1 else "big"
    sections, length, count = (int.from_bytes(head[a:b], order) for a, b in ((40, 48), (58, 60), (60, 62)))
    return size >= sections + length * count  # linkers write the table of sections last


def remove_named(error: BaseException) -> bool:
    """Remove the files of Inductor's folder that an error names, which could not be loaded; whether there were some.

    Errors of the compiler name files, too, and say nothing of what is kept.
    """
    from torch._inductor.exc import CppCompileError

    chain = [error, *(each for each in (error.__cause__, getattr(error, "inner_exception", None)) if each is not None)]
    if any(isinstance(each, CppCompileError) for each in chain):
        return False
    folder = os.environ.get(FOLDER, "")
    names = re.findall(rf"{re.escape(folder)}[^\s:'\"]+\.(?:so|py)\b", "\n".join(map(str, chain))) if folder else []
    found = [Path(name) for name in dict.fromkeys(names) if Path(name).is_file()]
    for file in found:
        file.unlink(missing_ok=True)
    return bool(found)
