"""Running a converter: plan, jobs by several processes, lists, and what is missing at the end."""

from __future__ import annotations

import re
import struct
import zlib
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2

from intarsia.data.prepare.archives import Member, Sources
from intarsia.data.prepare.benchmark import Benchmark, Job, Options
from intarsia.io.cores import available_cores
from intarsia.io.folders import walk_files
from intarsia.io.processes import process_pool
from intarsia.io.text import encodable
from intarsia.io.whole_files import DiskFullError, sweep, write_bytes, write_text

SHOWN = 10
"""Missing files that a message names."""
_DATA_ERRORS = (
    ValueError, OSError, EOFError, KeyError, IndexError, TypeError, AttributeError, OverflowError, MemoryError,
    SyntaxError, NotImplementedError, struct.error, zlib.error, cv2.error,
)  # fmt: skip
"""What decoders raise for bytes that are not what they should be."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """written, kept: numbers of files. warnings: what is missing or more than once, in words."""

    out: Path
    written: int
    kept: int
    warnings: tuple[str, ...]


def prepare(
    benchmark: Benchmark,
    paths: list[Path],
    out: Path,
    *,
    options: Options | None = None,
    processes: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Prepared:
    """Convert a benchmark's archives or unpacked folders. Files that are there are not made again.

    progress: told (jobs done, jobs).

    Raises ValueError for options that the benchmark does not have, inputs that are not its own, hostile or damaged
    archives; DiskFullError.
    """
    options = options or Options()
    _check_options(benchmark, options)
    sources = Sources(paths)
    plan = benchmark.plan(sources, options)
    if not plan.jobs:
        raise ValueError(
            f"{benchmark.name}: expected {benchmark.expected}; found {sources.summary()} in "
            f"{', '.join(str(path) for path in paths)}. See: intarsia data prepare --list"
        )
    jobs, warnings = _distinct(plan.jobs)
    if out.exists():
        sweep(out)
    out.mkdir(parents=True, exist_ok=True)
    written = kept = 0
    for done, (new, old) in enumerate(_run(jobs, sources, out, processes), 1):
        written, kept = written + new, kept + old
        if progress is not None:
            progress(done, len(jobs))
    for name, text in plan.texts.items():
        write_text(inside(out, name), text)
    if plan.missing:
        warnings.append(f"not found: {_shown(plan.missing)}")
    warnings += _missing(benchmark, out, options)
    return Prepared(out, written, kept, tuple(warnings))


def _check_options(benchmark: Benchmark, options: Options) -> None:
    for name in options.given():
        if name not in benchmark.options:
            have = ", ".join(f"--{other.replace('_', '-')}" for other in benchmark.options) or "none"
            raise ValueError(f"{benchmark.name} has no option --{name.replace('_', '-')}; it has {have}")


def inside(out: Path, name: str) -> Path:
    """The path of a file below OUT. Raises ValueError if it would leave it."""
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise ValueError(f"refused: {encodable(name)!r} would be written outside of {out}")
    return out / name


def _distinct(jobs: list[Job]) -> tuple[list[Job], list[str]]:
    """Of jobs with the same target the last; and which there were."""
    last = {job.target: number for number, job in enumerate(jobs) if job.target is not None}
    kept = [job for number, job in enumerate(jobs) if job.target is None or last[job.target] == number]
    twice = [name for name, count in Counter(job.target for job in jobs if job.target).items() if count > 1]
    return kept, [f"given more than once, the last was taken: {_shown(twice)}"] if twice else []


# --- Jobs ---------------------------------------------------------------------------------------------------------


def _run(jobs: list[Job], sources: Sources, out: Path, processes: int) -> Iterator[tuple[int, int]]:
    """For each job, how many files were written and how many were there."""
    waiting = []
    for job in jobs:
        if job.target is not None and inside(out, job.target).exists():
            yield 0, 1
        else:
            waiting.append(job)
    if processes <= 1 or len(waiting) < 2:
        for job, data in _inputs(waiting, sources):
            yield work(job, data, out)
        return
    with process_pool(min(processes, len(waiting))) as pool:
        running: deque[Future[tuple[int, int]]] = deque()
        try:
            for job, data in _inputs(waiting, sources):
                running.append(pool.submit(work, job, data, out))
                if len(running) >= 2 * processes:  # no more of an archive in memory than is worked on
                    yield running.popleft().result()
            while running:
                yield running.popleft().result()
        except BrokenProcessPool as error:
            raise ValueError(
                "a process was ended from outside, probably for want of memory; the same command goes on where this "
                "one stopped: try fewer --processes"
            ) from error
        finally:
            for future in running:
                future.cancel()


def _inputs(jobs: list[Job], sources: Sources) -> Iterator[tuple[Job, bytes]]:
    by_member: dict[Member, list[Job]] = {}
    for job in jobs:
        if isinstance(job.source, Member):
            by_member.setdefault(job.source, []).append(job)
        else:
            yield job, job.source
    for member, data in sources.stream(by_member):
        for job in by_member[member]:
            yield job, data


def work(job: Job, data: bytes, out: Path) -> tuple[int, int]:
    """Make the files of a job that are not there yet. Gives (written, kept). Raises ValueError naming the input."""
    written = kept = 0
    try:
        for name, content in job.targets(data):
            path = inside(out, name)
            if path.exists():
                kept += 1
            else:
                write_bytes(path, content())
                written += 1
    except DiskFullError:
        raise
    except _DATA_ERRORS as error:
        what = job.source if isinstance(job.source, Member) else job.target
        raise ValueError(
            f"{what}: {error}. What is finished in {out} is kept; the same command goes on after the file is mended"
        ) from error
    return written, kept


# --- What is missing ----------------------------------------------------------------------------------------------


def default_processes() -> int:
    """As many as there are cores, eight at most: more wait for the disk."""
    return min(available_cores(), 8)


def _missing(benchmark: Benchmark, out: Path, options: Options) -> list[str]:
    """Where OUT has another number of files than the publisher's archives give, and which, as far as can be told."""
    there = list(walk_files(out))
    found = []
    if benchmark.names is not None and (lost := sorted(set(benchmark.names()) - set(there))):
        found.append(f"missing: {_shown(lost)}")
    found += _unpaired(there)
    if options.given():
        return found  # other windows, other numbers
    for folder, expected in benchmark.counts.items():
        inner = [name for name in there if name.startswith(f"{folder}/")]
        if len(inner) != expected:
            found.append(
                f"{folder}: expected {expected:,} files as the publisher's archives give, found {len(inner):,}"
            )
    return found


_LABEL_END = re.compile(r"(_labelTrainIds|_1stHO|_2ndHO|_manual\d|\.ah|\.vk|_instance_color_RGB)$")


def _unpaired(there: list[str]) -> list[str]:
    """Images without a label and labels without an image, of the splits that have labels at all."""
    found = []
    for images, labels in (("images", "annotations"), ("img_dir", "ann_dir")):
        stems: dict[str, set[str]] = {images: set(), labels: set()}
        for name in there:
            kind, *inner = PurePosixPath(name).parts
            if kind in stems and len(inner) == 2 and not (inner[0] == "test" and kind == images):
                stem = PurePosixPath(inner[1]).stem
                stems[kind].add(f"{inner[0]}/{_LABEL_END.sub('', stem) if kind == labels else stem}")
        labelled = {stem for stem in stems[labels] if not stem.startswith("test/")}
        if lost := sorted(stems[images] - labelled):
            found.append(f"images without a label: {_shown(lost)}")
        if lost := sorted(labelled - stems[images]):
            found.append(f"labels without an image: {_shown(lost)}")
    return found


def _shown(names: tuple[str, ...] | list[str]) -> str:
    text = ", ".join(encodable(name) for name in names[:SHOWN])
    return text + (f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else "")
