"""Where annotations are, and what a file or folder of them gives: the contract of all tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from intarsia.data.annotations.shapes import Drawing, SizeOf


@dataclass(frozen=True, slots=True)
class AnnotationSource:
    """The annotations of a source of images, as a description names them.

    format: "coco", "labelme" ... (`formats.py`). path: of the file of all images, or of the folder with one file for
    each image; relative to the data's root. names: a file with the names of the classes, where they are numbers.
    subset: of the images of a file, those that belong to it. classes: what names of the tool stand for, where that is
    not the class of the same name; "ignore" is possible.
    """

    format: str
    path: str
    names: str = ""
    subset: str = ""
    classes: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.format} annotations {self.path}" + (f" ({self.subset})" if self.subset else "")


class Opened(Protocol):
    """Annotations that have been looked through."""

    @property
    def classes(self) -> Sequence[str]:
        """Names that the tool lists, in its order, whether or not a shape has them."""
        ...

    @property
    def used(self) -> frozenset[str]:
        """Names that shapes have, in any image. May read every file."""
        ...

    @property
    def faults(self) -> Sequence[str]:
        """What is wrong with single entries, in words."""
        ...

    @property
    def keys(self) -> Mapping[str, tuple[str, ...]]:
        """What the tool calls its images -> names or paths by which the image may be found, the likeliest first."""
        ...

    @property
    def subsets(self) -> Mapping[str, str]:
        """The subset that an image belongs to, where the tool has them."""
        ...

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The shapes of an image. Raises ValueError naming the file and the shape."""
        ...


class Format(Protocol):
    """How one tool stores annotations."""

    @property
    def name(self) -> str:
        """In descriptions."""
        ...

    @property
    def title(self) -> str:
        """For people."""
        ...

    @property
    def suffix(self) -> str:
        """What its files end in."""
        ...

    @property
    def per_image(self) -> bool:
        """Whether each image has a file of its own."""
        ...

    @property
    def absent_is_empty(self) -> bool:
        """Whether an image without a file of its own has no shapes, rather than no label."""
        ...

    def recognise(self, text: str) -> bool:
        """Whether a file is of this tool, by its first 64 KiB."""
        ...

    def look_through(self, path: Path, names: Path | None) -> Opened:
        """Look through a file, or a folder of files. Raises ValueError naming the file and what is wrong."""
        ...
