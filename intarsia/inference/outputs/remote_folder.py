"""A folder of an object store for results: they are made here, and put there when they are whole."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intarsia.inference.outputs.manifest import MANIFEST
from intarsia.io.stores import (
    HERE,
    STORES,
    fetch_file,
    is_address,
    is_web,
    list_files,
    public,
    put_file,
    remove_file,
    scheme_of,
)

_OF_ALL = re.compile(rf"{re.escape(MANIFEST)}|annotations\w*\.json|\w+\.csv")
"""Files at its top that are about all results: they are read before they are written again."""

_KNOWN = "of an object store " + ", ".join(f"{name}://" for name in STORES if name not in HERE)


@dataclass(frozen=True)
class RemoteFolder:
    """address: without a last "/". folder: of this machine, in which files are made. sizes: of what was there."""

    address: str
    folder: Path
    sizes: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def opened(cls, address: str, folder: Path) -> RemoteFolder:
        """The folder, with what is there already.

        Raises ValueError for an address where nothing can be written, and for a store that cannot be read.
        """
        check_writable(address)
        address = address.rstrip("/")
        sizes = {file.relative: file.size for file in list_files(address) if file.address != address}
        remote = cls(address, folder, sizes)
        remote.bring(folder / name for name in sizes if _OF_ALL.fullmatch(name))
        return remote

    def __getstate__(self) -> dict[str, Any]:
        """Another process makes files, and asks for none."""
        return {**self.__dict__, "sizes": {}}

    def of(self, file: Path) -> str:
        """The address of what is made as a file."""
        return f"{self.address}/{file.relative_to(self.folder).as_posix()}"

    def has(self, file: Path) -> bool:
        """Whether it was there at the beginning, and not empty."""
        return self.sizes.get(file.relative_to(self.folder).as_posix(), 0) > 0

    def send(self, file: Path, *, keep: bool = False) -> None:
        """Put a finished file in its place. keep: it is needed here, too. Raises ValueError naming the address."""
        try:
            put_file(file, self.of(file))
        finally:
            if not keep:
                file.unlink(missing_ok=True)

    def bring(self, files: Iterable[Path]) -> None:
        """Copies of those that were there and are not here. Raises ValueError naming the address."""
        for file in files:
            if self.has(file) and not file.is_file():
                file.parent.mkdir(parents=True, exist_ok=True)
                fetch_file(self.of(file), file.parent)

    def remove(self, file: Path) -> None:
        """Remove a file here and there."""
        file.unlink(missing_ok=True)
        remove_file(self.of(file))


def check_writable(address: str) -> None:
    """Raises ValueError for an address that is no folder of an object store."""
    if is_web(address):
        raise ValueError(f"--out {public(address)}: nothing can be written to the web: give a folder, also {_KNOWN}")
    if scheme_of(address) == "file":
        raise ValueError(
            f"--out {address}: a folder of this machine is given as its path: {address.partition('://')[2]}"
        )
    if not is_address(address):
        raise ValueError(f"--out {address}: {scheme_of(address)}:// is not known here: give a folder, also {_KNOWN}")
