"""One mask file for each object, in a folder for each image: masks/IMAGE/1.png, or IMAGE/masks/1.png.

The files of a folder are masks of one class, "object"; where any of them is not 0 the image has it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from intarsia.data.annotations.shapes import Bitmap, Drawing, Shape, SizeOf
from intarsia.data.image_io import IMAGE_SUFFIXES
from intarsia.data.masks import read_mask
from intarsia.io.folders import folders_of, walk_files

CLASS = "object"


class ObjectMasks:
    """The format. Its folder has a "*" for the name of the image: ``masks/*``, ``train/*/masks``."""

    name = "object_masks"
    title = "masks of single objects"
    suffix = ""
    per_image = True
    absent_is_empty = False

    def recognise(self, text: str) -> bool:
        """Never by a beginning: the files are pictures like others."""
        return False

    def look_through(self, path: Path, names: Path | None) -> FoldersOfMasks:
        """List the folders. Raises ValueError if there is no "*"."""
        return FoldersOfMasks(path)


class FoldersOfMasks:
    """Folders of masks, one for each image. Satisfies `source.Opened`."""

    faults: Sequence[str] = ()
    subsets: Mapping[str, str] = MappingProxyType({})
    used = frozenset({CLASS})
    classes: Sequence[str] = (CLASS,)

    def __init__(self, path: Path) -> None:
        if path.parts.count("*") != 1:
            raise ValueError(f"{path}: expected one folder called * for the name of the image, such as masks/*")
        star = path.parts.index("*")
        self._above, self._below = Path(*path.parts[:star]), Path(*path.parts[star + 1 :])
        there = [name for name in folders_of(self._above) if (self._above / name / self._below).is_dir()]
        self.keys: Mapping[str, tuple[str, ...]] = {name: (name,) for name in there}

    def draw(self, key: str, size: SizeOf) -> Drawing:
        """The masks of an image."""
        shapes = []
        for file in self.drawn_from(key):
            mask = read_mask(file)
            if mask.shape != size():
                raise ValueError(
                    f"{file}: the mask has {mask.shape[0]} x {mask.shape[1]} pixels (height x width), its image "
                    f"{size()[0]} x {size()[1]}"
                )
            shapes.append(Shape(CLASS, Bitmap(mask), file.name))
        return Drawing(None, tuple(shapes))

    def drawn_from(self, key: str) -> tuple[Path, ...]:
        """The files of the masks of an image that are there now."""
        folder = self._above / key / self._below
        files = (folder / name for name in walk_files(folder, recursive=False))
        return tuple(file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)


def folder_of_image(pattern: str, name: str) -> str:
    """The folder of the masks of an image."""
    return PurePosixPath(*(name if part == "*" else part for part in PurePosixPath(pattern).parts)).as_posix()


def is_below(path: PurePosixPath, pattern: PurePosixPath) -> bool:
    """Whether a file lies in a folder of masks, and so is no image of its own."""
    wanted = pattern.parts
    return len(path.parts) > len(wanted) and all(
        part in ("*", own) for own, part in zip(path.parts, wanted, strict=False)
    )
