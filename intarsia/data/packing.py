"""Packing: samples by several processes into one file, or into shards of which the finished ones are kept."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field, replace
from pathlib import Path

from intarsia.data.containers import PACK_SUFFIX, inside
from intarsia.data.description.contained import PackedSplit
from intarsia.data.description.model import IGNORE, DataDescription
from intarsia.data.description.write import render
from intarsia.data.packed.layout import name_arrays
from intarsia.data.packed.reader import PackFile, is_packed_file
from intarsia.data.packed.writer import EncodedSample, PackWriter, joined
from intarsia.data.packed_source import PackSource
from intarsia.io.processes import process_pool
from intarsia.io.whole_files import sweep, whole_file

Pixels = dict[str, Counter[int]]
Job = tuple[str, int]
Progress = Callable[[int, int], None]

_SAMPLED = 24
_BUFFER = 2**23
_INDEX = 200
"""Bytes that a sample takes in the index, about."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What packing will need. size: bytes, by some samples. raw: of the decoded arrays. samples: of each split."""

    size: int
    raw: int
    samples: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Packed:
    """What was written. size: bytes of all files. kept: samples in shards that were there already."""

    file: Path
    shards: tuple[Path, ...]
    samples: Mapping[str, int]
    size: int
    kept: int


def shard_path(out: Path, number: int) -> Path:
    """The file of a shard beside its index."""
    return out.with_name(f"{out.stem}-{number:05d}{PACK_SUFFIX}")


def shards_there(out: Path) -> list[Path]:
    """The shards that lie beside an index, of this packing or another."""
    found: list[Path] = []
    while (path := shard_path(out, len(found))).exists():
        found.append(path)
    return found


def estimate(source: PackSource, codec: str) -> Estimate:
    """What packing will need, by some samples, evenly spread. Raises ValueError if one of them cannot be packed."""
    jobs = source.jobs()
    chosen = jobs[:: max(1, len(jobs) // _SAMPLED)][:_SAMPLED]
    stored = raw = 0
    for job in chosen:
        sample, _ = source.sample(*job, codec)
        for plane in filter(None, (sample.image, sample.label)):
            stored, raw = stored + plane.stored, raw + plane.raw
    count = {split: len(dataset) for split, dataset in source.datasets.items()}
    share = len(jobs) / len(chosen)
    return Estimate(int(stored * share) + _INDEX * len(jobs), int(raw * share), count)


def pack(
    source: PackSource,
    out: Path,
    *,
    codec: str,
    shard_bytes: int | None = None,
    processes: int = 1,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Packed:
    """Write the samples. With `shard_bytes`, into files of about that size beside `out`, which then is their index.

    Shards that a broken-off packing of the same data has finished are kept. progress: told (samples done, samples).

    Raises ValueError naming the file of a sample that cannot be packed, or what is in the way; DiskFullError.
    """
    jobs = source.jobs()
    _check_names(source, jobs)
    _check_not_read(source, jobs, out, in_shards=shard_bytes is not None)
    run = _Run(source, out, codec, jobs, _digest(source, jobs, codec, shard_bytes), processes, progress)
    if out.parent.is_dir():
        sweep(out.parent)
    if shard_bytes is None:
        replaced = _shards_of(out)
        with run.samples(0) as samples:
            run.write(out, jobs, samples, None)
        for left in replaced:
            left.unlink(missing_ok=True)
        return run.result((), 0)
    done, shards = run.finished(overwrite)
    kept = done
    with run.samples(done) as samples:
        while done < len(jobs):
            shard = shard_path(out, len(shards))
            try:
                done += run.write(shard, jobs[done:], samples, shard_bytes)
            except ValueError as error:
                raise type(error)(
                    f"{error}. {len(shards)} finished shards are kept; the same command goes on"
                ) from error
            shards.append(shard)
    run.write_index(shards)
    for left in shards_there(out)[len(shards) :]:  # of what was replaced
        left.unlink()
    return run.result(tuple(shards), kept)


@dataclass(eq=False)
class _Run:
    """One packing. pixels: of each split, how many have each label value, of what was written so far."""

    source: PackSource
    out: Path
    codec: str
    jobs: Sequence[Job]
    digest: str
    processes: int
    progress: Progress | None
    pixels: Pixels = field(default_factory=dict)
    done: int = 0

    def samples(self, first: int) -> _Samples:
        """The samples from one on."""
        return _Samples(self.source, self.codec, self.jobs[first:], self.processes)

    def write(
        self, path: Path, jobs: Sequence[Job], samples: Iterator[tuple[EncodedSample, dict[int, int]]], most: int | None
    ) -> int:
        """Write a file of the next samples, `most` bytes of them. Gives how many."""
        own: Pixels = {}
        count = 0
        with whole_file(path) as aside, open(aside, "wb", buffering=_BUFFER) as file:
            writer = PackWriter(file)
            for split, _ in jobs:
                sample, values = next(samples)
                writer.add(sample)
                own.setdefault(split, Counter()).update(values)
                count += 1
                if self.progress is not None:
                    self.progress(self.done + count, len(self.jobs))
                if most is not None and writer.written >= most:
                    break
            parts = _parts(jobs[:count])
            _add(self.pixels, own)
            writer.finish(**self._said(parts, own))
        self.done += count
        return count

    def write_index(self, shards: Sequence[Path]) -> None:
        """Write the file that speaks of all shards."""
        files = [PackFile(shard) for shard in shards]
        planes, bands, blocks = joined([(one.planes, one.header.bands_of, one.header.blocks) for one in files])
        names = [name for one in files for name in one.names.of(0, len(one))]
        said = self._said(_parts(self.jobs), self.pixels)
        with whole_file(self.out) as aside, open(aside, "wb", buffering=_BUFFER) as file:
            PackWriter(file).finish_with(
                {"planes": planes, **name_arrays(names)}, bands_of=tuple(bands), blocks=blocks,
                shards=tuple(shard.name for shard in shards), **said,
            )  # fmt: skip

    def finished(self, overwrite: bool) -> tuple[int, list[Path]]:
        """(samples, shards) that are there already. Raises ValueError for shards of something else.

        overwrite: shards of something else are replaced, and so are those of a packing that was finished; one that was
        broken off goes on all the same. An index that is going to speak of other shards is removed.
        """
        done, shards = 0, list[Path]()
        again = overwrite and _source_of(self.out) == self.digest
        if overwrite:
            self.out.unlink(missing_ok=True)
        for path in [] if again else shards_there(self.out):
            try:
                file = PackFile(path)
                fits = file.header.source == self.digest and len(file) <= len(self.jobs) - done
            except ValueError:
                fits = False
            if not fits and not overwrite:
                raise ValueError(
                    f"{path} is there, and is of other data, another compression or another size of shards; remove it, "
                    "or give --overwrite"
                )
            if not fits:
                break
            _add(self.pixels, {part: Counter(found) for part, found in file.header.pixels.items()})
            done += len(file)
            shards.append(path)
        self.done = done
        return done, shards

    def result(self, shards: tuple[Path, ...], kept: int) -> Packed:
        count = {split: len(dataset) for split, dataset in self.source.datasets.items()}
        size = sum(path.stat().st_size for path in (self.out, *shards))
        return Packed(self.out, shards, count, size, kept)

    def _said(self, parts: Mapping[str, tuple[int, int]], pixels: Pixels) -> dict[str, object]:
        description = self.source.packed
        suffixes = {part: self.source.datasets[part].suffixes for part in parts}
        return {
            "description": _text(description, parts, pixels.get("train", Counter())),
            "parts": parts,
            "suffixes": suffixes,
            "compression": self.codec,
            "pixels": {part: dict(sorted(found.items())) for part, found in pixels.items()},
            "source": self.digest,
        }


def _check_names(source: PackSource, jobs: Sequence[Job]) -> None:
    seen: set[str] = set()
    for job in jobs:
        name = source.name(*job)
        if name in seen:
            raise ValueError(f"two samples would be called {name} in the packed file; rename the image of one")
        seen.add(name)


def _check_not_read(source: PackSource, jobs: Sequence[Job], out: Path, *, in_shards: bool) -> None:
    """Raises ValueError where a file would be replaced while it is read: a mapping of it is no longer there then."""
    goals = {os.path.realpath(path) for path in shards_there(out)} if in_shards else {os.path.realpath(out)}
    containers = {
        found.file for job in jobs for path in source.datasets[job[0]].paths(job[1]) if path and (found := inside(path))
    }
    for file in sorted(containers):
        if goals & {os.path.realpath(shard) for shard in _shards_of(Path(file))}:
            raise ValueError(f"{out}: its shards are those of {file}, which is read for it; give another name")


def _shards_of(index: Path) -> list[Path]:
    """The shards that a packed file speaks of; none of a file that is none."""
    try:
        return [index.with_name(name) for name in PackFile(index).header.shards] if is_packed_file(index) else []
    except ValueError:
        return []


def _source_of(index: Path) -> str | None:
    """The digest of what was packed into a file; None if there is no such file, or it is damaged."""
    try:
        return PackFile(index).header.source
    except ValueError:
        return None


def _add(total: Pixels, more: Mapping[str, Counter[int]]) -> None:
    for part, found in more.items():
        total.setdefault(part, Counter()).update(found)


def _parts(jobs: Sequence[Job]) -> dict[str, tuple[int, int]]:
    """Of each split the first sample and the one behind the last."""
    parts: dict[str, tuple[int, int]] = {}
    for number, (split, _) in enumerate(jobs):
        parts[split] = (parts[split][0] if split in parts else number, number + 1)
    return parts


def _text(description: DataDescription, parts: Mapping[str, object], pixels: Counter[int]) -> str:
    """The description as the file has it: with the shares of the classes, and splits in a file without a name yet."""
    if description.shares is None and pixels:
        description = replace(description, shares=_shares(description, pixels) or None)
    splits = {part: PackedSplit(f"this{PACK_SUFFIX}", part) for part in parts}
    return render(replace(description, root=Path(), splits=splits), Path().absolute())


def _shares(description: DataDescription, pixels: Counter[int]) -> dict[str, float]:
    """As the data doctor measures them."""
    found: Counter[str] = Counter()
    total = 0
    for value, count in pixels.items():
        names = description.names_of(value)
        if names and names != (IGNORE,):
            total += count
            found.update(dict.fromkeys(names, count))
    return {name: float(f"{count / total:.4g}") for name, count in found.items()} if total else {}


def _digest(source: PackSource, jobs: Sequence[Job], codec: str, shard_bytes: int | None) -> str:
    """Of what is packed and how: the description, and of every file its name, size and time."""
    text = render(replace(source.description, root=Path(), shares=None), Path().absolute())
    digest = hashlib.blake2b(f"{text}\0{codec}\0{shard_bytes}".encode("utf-8", "surrogateescape"), digest_size=16)
    known: dict[str, tuple[int, int]] = {}
    for split, index in jobs:
        dataset = source.datasets[split]
        said = [f"{split}/{path}" for path in filter(None, dataset.paths(index))]
        for file in dataset.files(index):
            if file not in known:
                found = os.stat(file) if os.path.exists(file) else None
                known[file] = (0, 0) if found is None else (found.st_size, found.st_mtime_ns)
            said.append(f"{file}\0{known[file]}")
        digest.update("\0".join(said).encode("utf-8", "surrogateescape"))
    return digest.hexdigest()


# --- Processes ----------------------------------------------------------------------------------------------------

_SOURCE: list[tuple[PackSource, str]] = []
"""Of a process that was started to encode samples."""


def _begin(source: PackSource, codec: str) -> None:
    import cv2

    cv2.setNumThreads(1)
    _SOURCE[:] = [(source, codec)]


def _encode(job: Job) -> tuple[EncodedSample, dict[int, int]]:
    source, codec = _SOURCE[0]
    return source.sample(*job, codec)


class _Samples(Iterator[tuple[EncodedSample, dict[int, int]]]):
    """Encoded samples in their order, a few ahead."""

    def __init__(self, source: PackSource, codec: str, jobs: Sequence[Job], processes: int) -> None:
        self._source, self._codec, self._jobs = source, codec, iter(jobs)
        self._ahead = 2 * processes
        self._waiting: deque[Future[tuple[EncodedSample, dict[int, int]]]] = deque()
        self._pool: ProcessPoolExecutor | None = None
        if processes > 1 and len(jobs) > 1:
            self._pool = process_pool(min(processes, len(jobs)), _begin, (source, codec))

    def __enter__(self) -> _Samples:
        return self

    def __exit__(self, *_: object) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)

    def __next__(self) -> tuple[EncodedSample, dict[int, int]]:
        if self._pool is None:
            return self._source.sample(*next(self._jobs), self._codec)
        while len(self._waiting) < self._ahead and (job := next(self._jobs, None)) is not None:
            self._waiting.append(self._pool.submit(_encode, job))
        if not self._waiting:
            raise StopIteration
        try:
            return self._waiting.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a process was ended from outside, probably for want of memory; try fewer --processes"
            ) from error
