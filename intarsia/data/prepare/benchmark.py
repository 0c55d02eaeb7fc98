"""What a converter is: a description, and a plan of jobs made of pure functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from intarsia.data.prepare.archives import Member, Sources

NOT_KNOWN = "not known"
"""What a row begins with where no source says."""

Result = tuple[str, Callable[[], bytes]]
"""Path below OUT, and what makes the content of that file, called only if the file is not there yet."""


@dataclass(frozen=True, slots=True)
class Job:
    """One input and the files that come of it.

    source: a member of an archive, or what a function has put together itself. targets: from its bytes to the files; a
    function of a module or a partial of one, since it travels to other processes. target: the one file, where its name
    is known without a look into the bytes: they are not read again if it is there.
    """

    source: Member | bytes
    targets: Callable[[bytes], Iterable[Result]]
    target: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """jobs, and the texts (path below OUT -> content) that are written after them. missing: what was looked for."""

    jobs: list[Job]
    texts: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a converter may be told, in pixels; None for what the benchmark says."""

    clip_size: int | None = None
    stride_size: int | None = None
    patch_width: int | None = None
    patch_height: int | None = None
    overlap_area: int | None = None
    gt_dir: str | None = None

    def given(self) -> list[str]:
        """Names of the options that are not None."""
        return [name for name in self.__dataclass_fields__ if getattr(self, name) is not None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """A benchmark that needs preparing.

    downloads: file names of the publisher. expected: what an input without any usable file is told to be. counts:
    folder below OUT -> number of files that the publisher's archives give with the usual options. names: of all files,
    where the publisher numbers them. dataset: name of the data set class. recipe: one whose config expects this layout,
    None if no published one does. root: where the configs look. licence, files, gigabytes: of the download, in words;
    what no source says begins with `NOT_KNOWN`. sources: where these were read.
    """

    name: str
    title: str
    downloads: tuple[str, ...]
    address: str
    expected: str
    plan: Callable[[Sources, Options], Plan]
    dataset: str
    root: str
    recipe: str | None = None
    licence: str = NOT_KNOWN
    files: str = NOT_KNOWN
    gigabytes: str = NOT_KNOWN
    sources: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    names: Callable[[], Iterable[str]] | None = None

    def default_out(self) -> Path:
        """Where the published configs look for it, relative to the working folder."""
        return Path(self.root)
