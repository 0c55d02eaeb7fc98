"""Archives and unpacked folders as one list of files, read in a stream and never extracted.

No member decides by its name where anything is written: converters compute every path. All the same, an archive with a
path that leaves its folder, with links, devices or absurd sizes is not the publisher's, and is refused as a whole.
"""

from __future__ import annotations

import gzip
import io
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from intarsia.io.folders import walk_files
from intarsia.io.text import decoded, encodable, lines_of

LARGEST_MEMBER = 2 * 2**30
"""Bytes of one file, unpacked. The largest that a benchmark ships have a tenth of it."""
LARGEST_ARCHIVE = 2**39
"""Bytes of all files of an archive, unpacked."""
MOST_MEMBERS = 3_000_000

_ZIP = (".zip",)
_TAR = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar")
_PROGRAMS = {".7z": "7z x", ".rar": "unrar x"}
_ERRORS = (zipfile.BadZipFile, tarfile.TarError, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError)


@dataclass(frozen=True, slots=True)
class Member:
    """A file of an archive or folder. path: with the names of the archive (without .zip) and of folders before it."""

    archive: Path
    name: str
    path: str
    size: int

    def __str__(self) -> str:
        return encodable(f"{self.archive}: {self.name}")


class Sources:
    """Every file in the given archives and folders; of folders, also those in archives that lie in them.

    members: in the order of the archives.

    Raises ValueError for what is missing, damaged, hostile, or not readable here.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self.paths = tuple(paths)
        self.members: list[Member] = []
        for path in self.paths:
            self.members += _members_of(path)

    def matching(self, pattern: str) -> list[tuple[Member, re.Match[str]]]:
        """Members whose whole path matches, after any folders."""
        compiled = re.compile(rf"(?:.*/)?{pattern}", re.DOTALL)
        return [(member, match) for member in self.members if (match := compiled.fullmatch(member.path))]

    def text(self, pattern: str) -> list[str] | None:
        """Lines that are not empty of the one text file whose path matches; None if there is none."""
        found = self.matching(pattern)
        if not found:
            return None
        ((member, data),) = self.stream([found[0][0]])
        try:
            return [line for line in lines_of(decoded(data)) if line]
        except ValueError as error:
            raise ValueError(f"{member}: {error}") from None

    def stream(self, wanted: Iterable[Member]) -> Iterator[tuple[Member, bytes]]:
        """The bytes of members, each archive from its front to its end, one after the other."""
        by_archive: dict[Path, list[Member]] = {}
        for member in wanted:
            by_archive.setdefault(member.archive, []).append(member)
        for archive, members in by_archive.items():
            try:
                yield from _read(archive, members)
            except _ERRORS as error:
                raise ValueError(f"{archive}: is damaged or cut off ({error}); download it again") from error

    def summary(self) -> str:
        """What was found, for messages."""
        shown = ", ".join(encodable(member.path) for member in self.members[:4])
        return f"{len(self.members):,} files" + (
            f" ({shown}{' ...' if len(self.members) > 4 else ''})" if shown else ""
        )


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that is read here."""
    return path.name.lower().endswith(_ZIP + _TAR)


def _members_of(path: Path) -> list[Member]:
    if path.is_dir():
        return _folder(path)
    if not path.is_file():
        raise ValueError(f"{path}: expected an archive or a folder, found nothing of this name")
    program = _PROGRAMS.get(path.suffix.lower())
    if program:
        raise ValueError(
            f"{path}: cannot be read without an extra program; unpack it ({program} {path}) and give the folder"
        )
    if not is_archive(path):
        return [Member(path, "", "/".join(path.absolute().parts[-3:]), path.stat().st_size)]
    return _archive(path, "/".join(path.absolute().parts[-3:]))


def _folder(folder: Path) -> list[Member]:
    found = []
    for name in walk_files(folder):
        file, path = folder / name, f"{folder.absolute().name}/{name}"
        if is_archive(file):
            found += _archive(file, path)
        else:
            found.append(Member(folder, name, path, os.path.getsize(file) if file.exists() else 0))
    return found


def _archive(path: Path, shown: str) -> list[Member]:
    shown = re.sub(r"(?i)(\.zip|\.tgz|\.tar(\.\w+)?)$", "", shown)
    try:
        pairs = _zip_names(path) if path.name.lower().endswith(_ZIP) else _tar_names(path)
        found: list[Member] = []
        total = 0
        for name, size in pairs:
            total += size
            if size > LARGEST_MEMBER or total > LARGEST_ARCHIVE or len(found) > MOST_MEMBERS:
                raise ValueError(
                    f"{path}: refused: {encodable(name)} would have {size:,} bytes, {total:,} in all so far; no "
                    f"benchmark's file has more than {LARGEST_MEMBER:,}. Download it again from its publisher"
                )
            found.append(Member(path, name, f"{shown}/" + name.removeprefix("./"), size))
    except _ERRORS as error:
        raise ValueError(f"{path}: is damaged, cut off, or no such archive ({error}); download it again") from error
    return [member for member in found if not re.search(r"(^|/)(__MACOSX/|\._)", member.name)]


def _zip_names(path: Path) -> Iterator[tuple[str, int]]:
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            _check_name(path, info.filename)
            if stat.S_ISLNK(info.external_attr >> 16):
                raise _refused(path, info.filename, "a link")
            if info.flag_bits & 1:
                raise ValueError(f"{path}: is locked with a password; unpack it and give the folder")
            if not info.is_dir():
                yield info.filename, info.file_size


def _tar_names(path: Path) -> Iterator[tuple[str, int]]:
    with tarfile.open(path, "r|*") as file:
        for info in file:
            _check_name(path, info.name)
            if info.isdir():
                continue
            if not info.isreg():
                raise _refused(path, info.name, "a link or device")
            yield info.name, info.size


def _check_name(path: Path, name: str) -> None:
    parts = name.replace("\\", "/").split("/")
    if name.startswith(("/", "\\")) or ".." in parts or re.match(r"[A-Za-z]:", name) or "\0" in name:
        raise _refused(path, name, "a path that leaves the folder")


def _refused(path: Path, name: str, what: str) -> ValueError:
    return ValueError(
        f"{path}: refused: expected files below one folder, found {what}: {encodable(name)}. Nothing of this "
        "archive was used; download it again from its publisher"
    )


def _read(path: Path, members: list[Member]) -> Iterator[tuple[Member, bytes]]:
    if path.is_dir():
        for member in members:
            yield member, (path / member.name).read_bytes()
    elif not is_archive(path):
        for member in members:
            yield member, path.read_bytes()
    elif path.name.lower().endswith(_ZIP):
        with zipfile.ZipFile(path) as archive:
            for member in members:
                with archive.open(member.name) as stream:
                    yield member, _exactly(stream.read(member.size + 1), member)
    else:
        wanted = {member.name: member for member in members}
        with tarfile.open(path, "r|*") as tar:
            for info in tar:
                if info.isreg() and info.name in wanted:
                    content = tar.extractfile(info)
                    assert content is not None
                    wanted_member = wanted.pop(info.name)
                    yield wanted_member, _exactly(content.read(), wanted_member)
                    if not wanted:
                        break


def _exactly(data: bytes, member: Member) -> bytes:
    if len(data) != member.size:
        raise ValueError(f"{member}: expected {member.size:,} bytes as the archive says, found another number")
    return data


def gunzipped(data: bytes) -> bytes:
    """What is in a gzip file, which may be no larger than a member. Raises ValueError."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as file:
            found = file.read(LARGEST_MEMBER // 8 + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"a damaged gzip file: {error}") from None
    if len(found) > LARGEST_MEMBER // 8:
        raise ValueError(f"refused: unpacks to more than {LARGEST_MEMBER // 8:,} bytes")
    return found
