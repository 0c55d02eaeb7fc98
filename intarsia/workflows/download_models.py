"""Published checkpoints onto this machine: fetched by name, or as a list for a machine that has a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from intarsia.guide.published import Checkpoint, find_published, near_names, published
from intarsia.io.digest import file_hash
from intarsia.io.whole_files import write_text, write_whole
from intarsia.terminal import say
from intarsia.weights.download import MIRROR, DownloadError, cache_folder, cached_file, fetch

PLACES = ".places.tsv"
"""What the name of the table beside a list of addresses ends in."""


def chosen(names: Sequence[str], *, everything: bool = False) -> list[Checkpoint]:
    """The published checkpoints of these names, each once, or all.

    Raises ValueError for names that no checkpoint has, with similar ones, and if nothing is asked for.
    """
    if everything:
        if names:
            raise ValueError(f"--all is all {len(published())} checkpoints: leave out the names, or --all")
        return list(published().values())
    if not names:
        raise ValueError("which checkpoints? Expected names (intarsia models list shows models), or --all")
    found: dict[str, Checkpoint] = {}
    problems = []
    for name in names:
        checkpoint = find_published(name)
        if checkpoint is None:
            near = near_names(name)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            problems.append(f"no published checkpoint is called {name}{hint}")
        else:
            found[checkpoint.recipe] = checkpoint
    if problems:
        raise ValueError("\n".join([*problems, "`intarsia models show MODEL` lists the checkpoints of a model"]))
    return list(found.values())


def download(checkpoints: Sequence[Checkpoint], out: Path | None = None) -> None:
    """Fetch checkpoints into the cache, and copy them to a folder if one is given, under their files' own names.

    What is there is not fetched again. One that cannot be had is named, and the others are fetched all the same.

    Raises DownloadError at the end if some could not be had.
    """
    failed = []
    for one in checkpoints:
        try:
            file = fetch(one.address, sha256=one.sha256)
        except DownloadError as error:
            failed.append(f"{one.recipe}: {error}")
            continue
        if out is not None:
            file = _copy(file, out / one.file, one.sha256)
        say(f"{one.recipe}: {file}")
    if failed:
        raise DownloadError("\n".join([f"{len(failed)} of {len(checkpoints)} could not be had:", *failed]))


def _copy(file: Path, target: Path, sha256: str) -> Path:
    if not target.is_file() or not file_hash(target).startswith(sha256):
        with open(file, "rb") as data:
            write_whole(target, partial(shutil.copyfileobj, data))
    return target


def write_list(checkpoints: Sequence[Checkpoint], file: Path) -> None:
    """Write the addresses, one a line, and a table of where each file goes; asks no server.

    The list is what `wget -i` takes, which knows no comments; hence the table beside it, in FILE.places.tsv.
    """
    table = file.with_name(file.name + PLACES)
    write_text(file, "".join(f"{one.address}\n" for one in checkpoints))
    write_text(table, "".join("\t".join(row) + "\n" for row in (_TITLES, *_rows(checkpoints))))
    say(f"{len(checkpoints)} addresses: {file}; where each file goes: {table}")
    say(f"where there is a network:  wget -x -c -P mirror -i {file}")
    say(f"then here:  {MIRROR}=mirror intarsia predict {checkpoints[0].recipe} IMAGES -o OUT")


_TITLES = ("name", "SHA-256 begins with", "address", "below a mirror's folder", "below the folder of INTARSIA_CACHE")


def _rows(checkpoints: Sequence[Checkpoint]) -> Iterator[tuple[str, ...]]:
    for one in checkpoints:
        cached = cached_file(one.address).relative_to(cache_folder().parent)
        yield one.recipe, one.sha256, one.address, one.address.partition("://")[2], cached.as_posix()
