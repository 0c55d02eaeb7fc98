"""What a folder of results says about itself: which model wrote them, and how. So nothing of another is mixed in.

The manifest is `intarsia.json`. Results carry a mark inside, too (`visual.files.MARK`), or are known by the ends of
their names, so that they are never taken for images: not even where they lie among those.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from intarsia.data.headers import TIFF
from intarsia.data.tiff import peek_header
from intarsia.io.text import read_text
from intarsia.io.whole_files import write_text
from intarsia.visual.files import MARK, SOFTWARE

MANIFEST = "intarsia.json"
HEAD = 4096
"""Bytes of a file among which its mark stands."""

_LARGEST = 2**20
_MADE_BY = "intarsia predict"
_ARRAYS = ("_probs.npy", "_logits.npy")
"""Endings of results that carry no mark."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """model: which one, such as the name and the hash of its file. options: what results depend on besides it."""

    model: Mapping[str, str]
    options: Mapping[str, str]

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """That of a folder, None if it has none. Raises ValueError if a file of this name is something else."""
        file = folder / MANIFEST
        if not file.is_file():
            return None
        try:
            content = json.loads(read_text(file, largest=_LARGEST))
            if content["made_by"] == _MADE_BY:
                return cls(_texts(content["model"]), _texts(content["options"]))
        except (ValueError, LookupError, TypeError, RecursionError):
            pass
        raise ValueError(f"{file} is in the way: it is no manifest of `{_MADE_BY}`; choose another --out, or remove it")

    def claim(self, folder: Path, *, overwrite: bool = False, resume: bool = False) -> None:
        """Write it into a folder for results that are to come.

        resume: results that are there will be kept. overwrite: those of another model may be written over.

        Raises ValueError, naming what differs, if results of another model are there, and with `resume` also if they
        were made in another way.
        """
        before = None if overwrite else Manifest.read(folder)
        options = dict(self.options)
        if before is not None:
            _check(folder, "another model", before.model, self.model, "replace them with --overwrite")
            if resume:
                known = {name: value for name, value in before.options.items() if name in options}
                now = {name: options[name] for name in known}
                again = "leave out --skip-existing to make all of them anew"
                _check(folder, "the same model with other options", known, now, again)
            options = {**before.options, **options}
        content = {"made_by": _MADE_BY, "model": dict(self.model), "options": options}
        write_text(folder / MANIFEST, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _check(folder: Path, what: str, before: Mapping[str, str], now: Mapping[str, str], way_out: str) -> None:
    if before == now:
        return
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    lines = "".join(f"\n  {name}: {before.get(name, 'none')} then, {now.get(name, 'none')} now" for name in names)
    raise ValueError(f"{folder} holds results of {what}:{lines}\nChoose another --out, or {way_out}")


def _texts(values: Mapping[str, object]) -> dict[str, str]:
    return {str(name): str(value) for name, value in values.items()}


def is_marked(name: str, start: Callable[[], bytes]) -> bool:
    """Whether a file in a folder with a manifest is a result, by its name or its first `HEAD` bytes."""
    if name == MANIFEST or name.endswith(_ARRAYS):
        return True
    head = start()
    return MARK in head or (head.startswith(TIFF) and SOFTWARE.encode() in head)


def _start(file: Path) -> bytes:
    try:
        with open(file, "rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""


class ResultFinder:
    """Tells results of predictions from images. It opens files only below folders with a manifest."""

    def __init__(self) -> None:
        self._claimed: dict[str, bool] = {}

    def is_result(self, file: Path) -> bool:
        """Whether a file was written by `intarsia predict`."""
        if not self.is_claimed(file):
            return False
        if file.suffix.lower() in (".tif", ".tiff"):
            header = peek_header(file)
            return header is not None and header.software == SOFTWARE
        return is_marked(file.name, partial(_start, file))

    def is_claimed(self, file: Path) -> bool:
        """Whether a file lies in or below a folder with a manifest."""
        return self._is_claimed(os.path.dirname(os.path.abspath(file)))

    def _is_claimed(self, folder: str) -> bool:
        """Whether a folder, or one above it, holds a manifest."""
        if folder not in self._claimed:
            above = os.path.dirname(folder)
            has_one = os.path.isfile(os.path.join(folder, MANIFEST))
            self._claimed[folder] = has_one or (above != folder and self._is_claimed(above))
        return self._claimed[folder]
