"""Images behind addresses: which files they stand for, by the rules of paths, and copies of these to be decoded."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path, PurePosixPath

from intarsia.contracts import PathLike
from intarsia.data.image_io import is_image_name
from intarsia.inference.outputs.manifest import HEAD, MANIFEST, is_marked
from intarsia.io.folders import is_passed_over, natural_order
from intarsia.io.stores import StoredFile, copied, is_address, is_web, list_files, path_of, public, read_start

AT_ONCE = 16
"""Files that are looked at together."""


def on_disk(source: PathLike) -> AbstractContextManager[Path]:
    """A file itself, or of an address a copy for as long as this lasts. Raises ValueError as `stores.fetch_file`."""
    return copied(str(source)) if is_address(source) else nullcontext(Path(source).expanduser())


def shown(source: PathLike) -> str:
    """What messages call a file."""
    return public(str(source))


def names_one(address: str) -> bool:
    """Whether an address is that of a file, by its looks alone: the web has no others, and images have a suffix."""
    if is_web(address):
        return True
    path = path_of(address)
    return not address.endswith("/") and not is_pattern(address) and is_image_name(path.name)


def is_pattern(address: str) -> bool:
    """Whether an address stands for those that match it; on the web, stars are letters like others."""
    return not is_web(address) and any(letter in address for letter in "*[")


def stands_for_many(address: str) -> bool:
    """Whether an address is that of a folder, or a pattern. May ask the store."""
    if names_one(address):
        return False
    return is_pattern(address) or address.endswith("/") or [file.address for file in list_files(address)] != [address]


def files_of(address: str) -> list[StoredFile]:
    """The files that an address stands for, in natural order: that one, or those of a folder or a pattern.

    As of folders of this machine, hidden files are left out. So nothing leads out of the folder ("../").

    Raises ValueError if there are none.
    """
    if names_one(address):
        return [StoredFile(address, path_of(address).name, 0)]
    found = list_files(address)
    files = [file for file in found if not any(map(_left_out, PurePosixPath(file.relative).parts))]
    if not files:
        raise ValueError(f"{public(address)}: no such file, and no folder with files in it")
    return sorted(files, key=lambda file: natural_order(file.relative))


def _left_out(part: str) -> bool:
    return is_passed_over(part) or "\0" in part or "\\" in part


def results_among(files: Sequence[StoredFile]) -> set[str]:
    """The addresses of those that an earlier prediction has written: in or below a folder with a manifest, by their
    names and the mark in them.
    """
    claimed = {file.address.removesuffix(MANIFEST) for file in files if PurePosixPath(file.relative).name == MANIFEST}
    if not claimed:
        return set()
    below = [file.address for file in files if file.address.startswith(tuple(claimed))]
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="intarsia-look") as pool:
        return {address for address, is_one in zip(below, pool.map(_is_result, below), strict=True) if is_one}


def _is_result(address: str) -> bool:
    return is_marked(path_of(address).name, partial(read_start, address, HEAD))
