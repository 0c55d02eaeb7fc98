"""Weights in object stores, through fsspec: a copy in this user's cache, whole or not at all.

s3://bucket/runs/first/weights.safetensors    a file
s3://bucket/runs/first                        the folder of a run: its weights file

Where a store is and who asks is said as its own library wants it (AWS_ENDPOINT_URL, AWS_PROFILE, FSSPEC_S3_...). What
is fetched is read as any foreign file is, and runs no code.
"""

from __future__ import annotations

import hashlib
from pathlib import Path, PurePosixPath
from typing import IO, Any

from intarsia.io.stores import HERE, STORES, opened, scheme_of
from intarsia.io.whole_files import write_whole
from intarsia.terminal import progress, say
from intarsia.weights.download import LARGEST, OfflineError, cache_folder, is_offline

WEIGHTS = "weights.safetensors"
_BLOCK = 2**22


def prefixes() -> tuple[str, ...]:
    """What such an address begins with."""
    return tuple(f"{protocol}://" for protocol in STORES)


def fetch_remote(address: str) -> Path:
    """The copy of a weights file in the cache; another one where the store has a newer file.

    Raises ValueError if there is no such file, it is too large, or the store cannot be reached or needs a library.
    """
    if is_offline() and scheme_of(address) not in HERE:
        raise OfflineError(f"{address} is not fetched: INTARSIA_OFFLINE is set")
    try:
        system, path = opened(address)
        if system.isdir(path):
            path = f"{path.rstrip('/')}/{WEIGHTS}"
        size, version = int(system.size(path)), str(system.ukey(path))
    except ImportError as error:
        raise ValueError(
            f"{address} needs a library of its store: {error} (of S3: pip install 'intarsia[remote]')"
        ) from None
    except ValueError:
        raise
    except FileNotFoundError:
        raise ValueError(f"{address} does not exist; expected a weights file, or a folder with {WEIGHTS}") from None
    except Exception as error:  # every store has errors of its own
        raise ValueError(f"{address} cannot be read: {type(error).__name__}: {error}") from error
    if size > LARGEST:
        raise ValueError(f"{address} has {size:,} bytes, more than {LARGEST:,}")
    key = hashlib.sha256(f"{address}\n{path}\n{version}".encode()).hexdigest()[:16]
    file = cache_folder() / "remote" / key / PurePosixPath(path).name
    if not file.is_file():
        say(f"fetching {address} ({size / 1e6:.1f} MB)")
        write_whole(file, lambda target: _copy(system, path, target, size, address))
    return file


def _copy(system: Any, path: str, target: IO[bytes], size: int, address: str) -> None:
    done = 0
    try:
        with progress("fetching") as bar, system.open(path, mode="rb") as source:
            while block := source.read(min(_BLOCK, size - done + 1)):
                done += len(block)
                if done > size:
                    break
                target.write(block)
                bar(done, size)
    except OSError as error:
        raise ValueError(f"{address} broke off after {done:,} bytes: {error}") from error
    if done != size:
        raise ValueError(f"{address} has changed while it was fetched: {size:,} bytes were expected; try again")
