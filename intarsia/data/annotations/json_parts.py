"""JSON files of annotations, of which a large one is looked through once and then read in parts.

COCO's file for 118,000 images has half a gigabyte: as Python objects it would take several in every process. Hence only
the places of its parts are kept, and the part of an image is read when it is asked for.
"""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Generator, Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]  # absent from the stubs alone
from pathlib import Path
from typing import Any

from intarsia.io.text import decoded

LARGEST = 2**31
"""Bytes of one file."""

_Part = tuple[str, int, int, Any]
_BLANK = re.compile(r"[ \t\n\r]*")
_DECODER = json.JSONDecoder()
_TOO_DEEP = "the JSON is nested too deeply for annotations"


class JsonFile:
    """A JSON file whose parts are read one by one. Raises ValueError, naming the file, if it cannot be read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        data = file_bytes(path, LARGEST)
        self._memory: bytes | None = None
        try:
            self._text: str | None = _as_letters(data)
        except UnicodeDecodeError:
            try:
                self._memory = decoded(data).encode("utf-8", "surrogatepass")
            except ValueError as error:
                raise ValueError(f"{path}: {error}") from None
            self._text = self._memory.decode("latin-1")

    def parts(self) -> Iterator[_Part]:
        """(key, begin, end, value) of what the outermost object or list holds, lists in it element by element.

        key: "" in an outermost list. Places are for `read`. Letters beyond ASCII are not decoded: `read` does it. The
        text is let go, so that it can be looked through once.

        Raises ValueError naming file and line if it is no JSON.
        """
        assert self._text is not None
        text, self._text = self._text, None
        try:
            yield from _parts(text)
        except json.JSONDecodeError as error:
            raise ValueError(f"{self.path}:{error.lineno}: no valid JSON: {error.msg}") from None
        except RecursionError:
            raise ValueError(f"{self.path}: {_TOO_DEEP}") from None
        except ValueError as error:  # a number of thousands of digits
            raise ValueError(f"{self.path}: no valid JSON: {error}") from None

    def read(self, begin: int, end: int) -> Any:
        """The value of a part. Raises ValueError naming the file if it has changed since."""
        if self._memory is not None:
            data = self._memory[begin:end]
        else:
            try:
                with open(self.path, "rb") as file:
                    file.seek(begin)
                    data = file.read(end - begin)
            except OSError as error:
                raise ValueError(f"{self.path}: cannot be read: {error.strerror or error}") from None
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            raise ValueError(f"{self.path}: has changed while it was in use; start again") from None


def read_json(path: Path, largest: int = 2**28) -> Any:
    """The value of a small JSON file. Raises ValueError naming file and line."""
    try:
        text = decoded(file_bytes(path, largest))
    except ValueError as error:
        raise error if str(error).startswith(str(path)) else ValueError(f"{path}: {error}") from None
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path}:{error.lineno}: no valid JSON: {error.msg}") from None
    except RecursionError:
        raise ValueError(f"{path}: {_TOO_DEEP}") from None
    except ValueError as error:
        raise ValueError(f"{path}: no valid JSON: {error}") from None


def file_bytes(path: Path, largest: int) -> bytes:
    """What an ordinary file holds. Raises ValueError naming it if it cannot be read, or is larger than that."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError(f"{path}: is no ordinary file")
            data = file.read(largest + 1)
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > largest:
        raise ValueError(f"{path}: has more than {largest:,} bytes; split the annotations into several files")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """A pipe that nobody writes to is refused rather than waited for."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _as_letters(data: bytes) -> str:
    """A letter for each byte of UTF-8 without a mark, so that places in the text are places in the file."""
    if data[:1] in (b"\xef", b"\xff", b"\xfe", b"\0") or b"\0" in data[:4]:
        raise UnicodeDecodeError("utf-8", data[:4], 0, 1, "a mark, or no UTF-8")
    data.decode("utf-8")
    return data.decode("latin-1")


def _parts(text: str) -> Iterator[_Part]:
    place = _after_blank(text, 0)
    if text[place : place + 1] == "[":
        place = yield from _elements(text, place, "")
    elif text[place : place + 1] == "{":
        place = yield from _members(text, place)
    else:
        raise json.JSONDecodeError("expected an object or a list", text, place)
    if _after_blank(text, place) < len(text):
        raise json.JSONDecodeError("something follows behind the end", text, place)


def _members(text: str, place: int) -> Generator[_Part, None, int]:
    place = _after_blank(text, place + 1)
    if text[place : place + 1] == "}":
        return place + 1
    while True:
        if text[place : place + 1] != '"':
            raise json.JSONDecodeError("expected a key in double quotes", text, place)
        key, place = scanstring(text, place + 1)
        place = _expect(text, place, ":")
        if text[place : place + 1] == "[":
            place = yield from _elements(text, place, key)
        else:
            value, end = _value(text, place)
            yield key, place, end, value
            place = end
        place = _after_blank(text, place)
        if text[place : place + 1] == "}":
            return place + 1
        place = _expect(text, place, ",")


def _elements(text: str, place: int, key: str) -> Generator[_Part, None, int]:
    place = _after_blank(text, place + 1)
    if text[place : place + 1] == "]":
        return place + 1
    while True:
        value, end = _value(text, place)
        yield key, place, end, value
        place = _after_blank(text, end)
        if text[place : place + 1] == "]":
            return place + 1
        place = _expect(text, place, ",")


def _value(text: str, place: int) -> tuple[Any, int]:
    return _DECODER.raw_decode(text, place)


def _expect(text: str, place: int, letter: str) -> int:
    place = _after_blank(text, place)
    if text[place : place + 1] != letter:
        raise json.JSONDecodeError(f"expected {letter!r}", text, place)
    return _after_blank(text, place + 1)


def _after_blank(text: str, place: int) -> int:
    found = _BLANK.match(text, place)
    assert found is not None
    return found.end()
