"""Tools that write one file for each image: a folder of such files, each read when its image is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from intarsia.contracts import Size
from intarsia.data.annotations.shapes import Drawing, SizeOf
from intarsia.io.folders import walk_files

Read = Callable[[Path, SizeOf], Drawing]
"""Reads the file of one image. Raises ValueError naming the shape; the file is named here."""


def any_size() -> Size:
    """In place of an image's own size, where only the names of shapes are looked at."""
    return 1000, 1000


class FolderOfFiles:
    """A folder with one file for each image. Satisfies `source.Opened`.

    keys: paths of the files below the folder. An image without a file is drawn without shapes, where the format has it
    so. listed: names that the tool lists beside the files, in its order. passed_over: names of files that are none.
    marks: what may stand between the name of the image and the suffix.
    """

    def __init__(
        self,
        folder: Path,
        suffix: str,
        read: Read,
        *,
        listed: Sequence[str] = (),
        passed_over: Sequence[str] = (),
        marks: Sequence[str] = (),
    ) -> None:
        self._folder, self._read, self._listed = folder, read, tuple(listed)
        self.faults: Sequence[str] = ()
        self.subsets: Mapping[str, str] = {}
        self.keys: Mapping[str, tuple[str, ...]] = {
            path: (_without(path[: -len(suffix)], marks),)
            for path in walk_files(folder)
            if path.lower().endswith(suffix) and PurePosixPath(path).name.lower() not in passed_over
        }

    @cached_property
    def used(self) -> frozenset[str]:
        """Names of shapes in all files, each of which is read for it."""
        return frozenset(shape.name for key in self.keys for shape in self.draw(key, any_size).shapes)

    @property
    def classes(self) -> Sequence[str]:
        """What is listed, or else what is used, by the alphabet."""
        return (*self._listed, *sorted(self.used - {*self._listed}))

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image; none for the key "", which stands for an image without a file."""
        if not key:
            return Drawing(None, ())
        path = self._folder / key
        try:
            return self._read(path, size)
        except ValueError as error:
            text = str(error)
            raise ValueError(text if text.startswith(str(path)) else f"{path}: {text}") from None


def _without(name: str, marks: Sequence[str]) -> str:
    return next((name.removesuffix(mark) for mark in marks if name.endswith(mark)), name)
