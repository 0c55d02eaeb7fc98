"""The label of an image that is drawn from annotations when it is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from intarsia.contracts import Size
from intarsia.data.annotations.formats import further_files, open_annotations
from intarsia.data.annotations.raster import paint
from intarsia.data.annotations.shapes import Drawing
from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.headers import check_size
from intarsia.data.image_io import read_image


@dataclass(frozen=True, slots=True, eq=False)
class ClassValues:
    """What is drawn for a class. Where there is no shape, the label is 0.

    values: class -> value. ignored: the value of what counts for nothing. outside: what becomes of shapes whose class
    `values` does not have. united: values are bits, and a pixel has those of all its shapes (`label_sets`).
    """

    values: Mapping[str, int]
    ignored: int
    outside: Literal["error", "ignore"] = "error"
    united: bool = False

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of label maps."""
        return np.min_scalar_type(max(self.ignored, *self.values.values(), 0))


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """One label. file: of the annotations, and image, relative to the root; key: what the tool calls the image."""

    source: AnnotationSource
    file: str
    image: str
    key: str
    classes: ClassValues


@dataclass(frozen=True, slots=True, eq=False)
class DrawnLabel:
    """A label map (H, W). shapes: how many were drawn. passed_over: what has no area, in words."""

    label: npt.NDArray[Any]
    shapes: int
    passed_over: tuple[str, ...]


def draw_label(root: Path, drawn: Drawn) -> DrawnLabel:
    """Draw the shapes of an image over each other, in their order, or united.

    Raises ValueError naming the file and the shape if something cannot be read, or a class is not known.
    """
    drawing = _drawing(root, drawn)
    size = drawing.size if drawing.size is not None else image_size(root / drawn.image)
    label = np.zeros(size, drawn.classes.dtype)
    stands_for = dict(drawn.source.classes)
    for shape in drawing.shapes:
        where = f"{root / drawn.file}: {shape.where}"
        if shape.ignored:
            value = drawn.classes.ignored
        else:
            value = _value(drawn.classes, stands_for.get(shape.name, shape.name), where)
        try:
            paint(label, shape.area, value, unite=drawn.classes.united)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return DrawnLabel(label, len(drawing.shapes), drawing.passed_over)


def drawn_from(root: Path, drawn: Drawn) -> tuple[Path, ...]:
    """All files that a label is drawn from, but for the image, which may tell its size.

    Raises ValueError as `open_annotations` does.
    """
    names = (root / drawn.source.names,) if drawn.source.names else ()
    return (root / drawn.file, *names, *further_files(root, drawn.source, drawn.key))


def _drawing(root: Path, drawn: Drawn) -> Drawing:
    return open_annotations(root, drawn.source).draw(drawn.key, lambda: image_size(root / drawn.image))


def _value(classes: ClassValues, name: str, where: str) -> int:
    if name in classes.values:
        return classes.values[name]
    if classes.outside == "ignore":
        return classes.ignored
    known = ", ".join(list(classes.values)[:8]) + (" ..." if len(classes.values) > 8 else "")
    raise ValueError(
        f"{where}: its class {name!r} is none of the description's: {known}. Add it to `classes` and `labels`; or say "
        f"what it stands for, `classes: {{{name}: CLASS}}` in `annotations` (ignore is possible); or write "
        "`outside: ignore`"
    )


def image_size(path: Path) -> Size:
    """Height and width of an image as it is read in colours, from its header where Pillow knows it.

    Raises ValueError naming the file if it is no image.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(274, 1) in (5, 6, 7, 8)
        check_size(width, height)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return _size_of_pixels(path)
    return (width, height) if turned else (height, width)


def _size_of_pixels(path: Path) -> Size:
    pixels = read_image(path, bands="raw")
    return pixels.shape[0], pixels.shape[1]
