"""`intarsia data pack` and `intarsia data index`: data in few large files, and how to find what is in them."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from intarsia.data.cache_place import in_words
from intarsia.data.containers import PACK_SUFFIX
from intarsia.data.description.contained import tar_files
from intarsia.data.packed.codecs import best_installed, compressor
from intarsia.data.packed_source import PackSource
from intarsia.data.packing import Estimate, Packed, estimate, pack, shards_there
from intarsia.data.prepare.run import default_processes
from intarsia.data.tars import tar_index
from intarsia.io.folders import existing_above
from intarsia.io.stores import refuse_output
from intarsia.terminal import progress, say
from intarsia.workflows.names import described

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_LEAST_SHARD = 10**6
_RESERVE = 1.02


@dataclass(frozen=True, kw_only=True)
class PackRequest:
    """What is packed and how.

    data: a folder of images and masks, a folder of tars, or a description. out: the file, which ends in ``.pack``.
    shard_size: bytes of a shard; None: one file. compression: see `codecs`; None: the best that is installed.
    dry_run: only say how large it would be. overwrite: replace what is there.
    """

    data: Path
    out: Path
    shard_size: int | None = None
    compression: str | None = None
    processes: int | None = None
    dry_run: bool = False
    overwrite: bool = False


@dataclass(frozen=True, slots=True)
class PackResult:
    """codec: that was used. estimate: before; packed: what was written, None of a dry run. free: bytes on the disk."""

    codec: str
    estimate: Estimate
    packed: Packed | None
    free: int


def pack_data(request: PackRequest) -> PackResult:
    """Write a packed file, after a look at whether the disk has room for it.

    Raises ValueError for data that cannot be trained on or packed, a name that does not fit, files in the way, and a
    disk that is too full; DiskFullError if it becomes so meanwhile.
    """
    refuse_output(request.out, "-o")
    if request.out.suffix.lower() != PACK_SUFFIX:
        raise ValueError(f"-o {request.out}: the name of packed data must end in {PACK_SUFFIX}")
    if request.out.exists() and not request.overwrite and not request.dry_run:
        raise ValueError(f"{request.out} is there already; remove it, give another name, or give --overwrite")
    if request.shard_size is not None and request.shard_size < _LEAST_SHARD:
        raise ValueError(f"--shard-size: expected at least 1MB, found {in_words(request.shard_size).replace(' ', '')}")
    codec = request.compression or best_installed()
    compressor(codec)
    source = PackSource.of(described(request.data), request.data)
    expected = estimate(source, codec)
    free = shutil.disk_usage(existing_above(request.out.parent)).free
    if request.dry_run:
        return PackResult(codec, expected, None, free)
    there = 0 if request.shard_size is None else sum(path.stat().st_size for path in shards_there(request.out))
    if expected.size * _RESERVE > free + there:
        raise ValueError(
            f"{request.out} would have about {in_words(expected.size)}, and the disk has {in_words(free)} free: "
            "make room, choose another disk or another --compression"
        )
    say(f"{sum(expected.samples.values()):,} samples, about {in_words(expected.size)} with compression {codec}")
    with progress("packing") as bar:
        packed = pack(
            source,
            request.out,
            codec=codec,
            shard_bytes=request.shard_size,
            processes=request.processes or default_processes(),
            overwrite=request.overwrite,
            progress=bar,
        )
    return PackResult(codec, expected, packed, free)


def parse_size(text: str) -> int:
    """Bytes from ``2GB``, ``500MB``, ``1.5GiB`` or a plain number. Raises ValueError for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?I?)B?\s*", text.upper())
    if match is None or match[2] not in _UNITS:
        raise ValueError(f"expected a size such as 2GB or 500MB, found {text!r}")
    return int(float(match[1]) * _UNITS[match[2]])


@dataclass(frozen=True, slots=True)
class Indexed:
    """tars: how many; members: that are in them."""

    tars: int
    members: int


def index_tars(places: Sequence[Path]) -> Indexed:
    """Make the index of every tar, beside it, unless it is there.

    Raises ValueError naming a tar that is compressed, cut off or none, and a place where there is none.
    """
    found = [root / tar for place in places for root, tar in _tars(place)]
    members = 0
    with progress("indexing tars") as bar:
        for done, tar in enumerate(found, 1):
            members += len(tar_index(tar).names)
            bar(done, len(found))
    return Indexed(len(found), members)


def _tars(place: Path) -> list[tuple[Path, str]]:
    root, entry = (place, ".") if place.is_dir() else (place.parent, place.name)
    return [(root, tar) for tar in tar_files(root, (entry,))]
