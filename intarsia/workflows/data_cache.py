"""``--cache``: decoded samples of a training's images, kept in memory or in a folder during the first epoch."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from intarsia.data.cache_place import CachePlace, in_words, samples_in_words
from intarsia.data.memory_folder import MemoryFolder, memory_place
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_cache import SampleCache, use_cache
from intarsia.inference.memory import free_memory
from intarsia.io.folders import existing_above

_SHARE = 0.5
"""Of the free room, where no size is said."""
_READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)
_SPARED = 10**9
"""Bytes of /dev/shm that stay free: batches pass from workers through it."""


@dataclass(frozen=True)
class OpenCache:
    """The cache of a training. memory: the folder that goes with it; None for one that stays. note: for the log."""

    samples: SampleCache
    memory: MemoryFolder | None
    note: str


def open_cache(text: str | None, pipeline: Pipeline, out: Path) -> OpenCache | None:
    """Have the data set of a training read through the cache that `--cache` asks for.

    All processes of the run in `out` that are on one machine share one in memory. Raises ValueError for a place that
    cannot be, a size that there is no room for, or data sets that do not read images from files.
    """
    if text is None:
        return None
    place = CachePlace.parse(text)
    if place.folder is None:
        cache, memory = _in_memory(place, out)
    else:
        cache, memory = _in_folder(place.folder, place.size), None
    if not use_cache(pipeline.dataset, cache):
        raise ValueError(
            f"--cache keeps samples of image files, and {type(pipeline.dataset).__name__} reads none (packed "
            "data are decoded already): leave it out"
        )
    there = cache.ledger()
    has = f"{samples_in_words(there.samples)} ({in_words(there.bytes)}) {'is' if there.samples == 1 else 'are'} there"
    if cache.limit:
        note = f"decoded samples are kept in {cache.folder}, at most {in_words(cache.limit)}"
        note += f", {has}" if there.samples else ""
    else:
        note = f"decoded samples are read from {cache.folder}: {has}; none are added, since it may not be written to"
    return OpenCache(cache, memory, note)


def _in_memory(place: CachePlace, out: Path) -> tuple[SampleCache, MemoryFolder]:
    needed = (place.size or 0) + _SPARED
    folder = memory_place(needed)
    memory = MemoryFolder(str(out.resolve()), folder)
    try:
        used = sum(file.stat().st_size for file in memory.path.rglob("*") if file.is_file())  # by the other processes
        free = min(free_memory(torch.device("cpu")), shutil.disk_usage(folder).free - _SPARED) + used
        if place.size is not None and place.size > free:
            raise ValueError(
                f"--cache {place.words}: {in_words(max(free, 0))} of memory are free for it; give a smaller size, or a "
                "folder: --cache DIR"
            )
        limit = place.size if place.size is not None else max(int(free * _SHARE), 0)
        return SampleCache.opened(memory.path, limit), memory
    except BaseException:
        memory.close()
        raise


def _in_folder(folder: Path, size: int | None) -> SampleCache:
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"--cache {folder} is a file; give the name of a folder, or memory")
    free = shutil.disk_usage(existing_above(str(folder.resolve()))).free
    limit = int(free * _SHARE) if size is None else size
    try:
        cache = SampleCache.opened(folder, limit)
    except (OSError, NotImplementedError) as error:  # the latter of a file system without locks
        if getattr(error, "errno", None) in _READ_ONLY and (there := SampleCache(folder, 0)).ledger().samples:
            return there
        raise ValueError(f"--cache {folder} cannot be used: {getattr(error, 'strerror', None) or error}") from None
    if size is None:  # what it holds already is no free room any more
        cache = SampleCache(folder, limit + cache.ledger().bytes)
    return cache
