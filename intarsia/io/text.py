"""Text files of any encoding, and file names as people and lists spell them."""

from __future__ import annotations

import codecs
import os
import re
import stat
import unicodedata
from pathlib import Path

LARGEST = 2**28
"""Bytes of a text file that are read."""

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, with whose mark it begins
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def read_text(path: Path, *, largest: int = LARGEST, pipe: bool = False) -> str:
    """The text of a file, whatever wrote it: UTF-8 with or without a mark, UTF-16 and UTF-32, else Windows-1252.

    largest: bytes that are read at most. pipe: whether a pipe will do, from which a command line may read; a file that
    somebody else has named may not be one, since it might never end.

    Raises ValueError naming the file if it cannot be read, is too large, or is no text.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode) and not (pipe and not stat.S_ISBLK(mode)):
            raise ValueError(f"{path}: is a pipe or a device, expected a text file")
        with open(path, "rb") as file:
            data = file.read(largest + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > largest:
        raise ValueError(f"{path}: has more than {largest:,} bytes, which is no list or table that is read here")
    try:
        return decoded(data)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def read_lines(path: Path, *, pipe: bool = False) -> list[str]:
    """The lines of a text file as `read_text` reads it, without their ends and without blanks around them."""
    return lines_of(read_text(path, pipe=pipe))


def lines_of(text: str) -> list[str]:
    """Lines without blanks around them. Other signs that Unicode calls line breaks may be part of a file's name."""
    return [line.strip() for line in re.split(r"\r\n|\r|\n", text)]


def decoded(data: bytes) -> str:
    """Bytes of unknown origin as text, without a byte order mark. Raises ValueError if they are no text."""
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            try:
                return data[len(mark) :].decode(encoding)
            except UnicodeDecodeError as error:
                raise ValueError(f"begins as {encoding.upper()} text but is none: {error}") from None
    if b"\0" in data:
        return _without_mark(data)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return _western(data)


def _without_mark(data: bytes) -> str:
    """UTF-16 that does not say so: of letters and line breaks, every other byte is 0."""
    for encoding, blank in (("utf-16-le", 1), ("utf-16-be", 0)):
        if data[blank::2].count(0) > 0.4 * len(data[blank::2]) and not data[1 - blank :: 2].count(0):
            try:
                return data.decode(encoding)
            except UnicodeDecodeError:
                break
    raise ValueError("is no text: it holds bytes of 0")


def _western(data: bytes) -> str:
    """Windows-1252, and Latin-1 for the five bytes that it leaves open."""
    return "".join(bytes([byte]).decode("cp1252", "ignore") or chr(byte) for byte in data)


# --- Names of files -----------------------------------------------------------------------------------------------


def same_name(name: str) -> str:
    """What spellings of one file name have in common, for comparing names of a disk with those of a list.

    A disk may hold UTF-8, Windows-1252 or bytes that this process cannot decode, with letters composed or (as macOS
    does) decomposed; and so may a list.
    """
    try:
        raw = os.fsencode(name)
    except UnicodeEncodeError:  # the locale knows fewer letters than the list
        raw = name.encode("utf-8", "surrogatepass")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = _western(raw)
    return unicodedata.normalize("NFC", text)


def encodable(text: str) -> str:
    """The text with bytes of file names that are no letters here (lone surrogates to Python) as `same_name` reads them.

    What is encodable already is given back as it is.
    """
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        text = re.sub("[\udc80-\udcff]+", lambda found: _bytes_as_text(found[0]), text)
        text = text.encode("utf-8", "replace").decode("utf-8")
    return text


def _bytes_as_text(escaped: str) -> str:
    raw = escaped.encode("utf-8", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return _western(raw)


def as_on_disk(path: Path) -> Path:
    """The file that a path means, where the disk spells it in another way (`same_name`); else the path as it is."""
    if os.path.lexists(path):
        return path
    here = Path(path.anchor)
    for part in path.parts[len(here.parts) :]:
        if not os.path.lexists(here / part):
            try:
                beside = os.listdir(here)
            except OSError:
                return path
            wanted = same_name(part)
            part = next((name for name in sorted(beside) if same_name(name) == wanted), "")
            if not part:
                return path
        here /= part
    return here
