"""Other names and colours for the classes of a data description, written back to its file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from intarsia.data.annotations.source import AnnotationSource
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import FolderSplit, JoinedSplit, Split
from intarsia.data.description.write import write_description
from intarsia.data.labels import Colour
from intarsia.data.packed.reader import is_packed_file
from intarsia.io.whole_files import write_bytes

LONGEST_NAME = 200


class ClassEditor:
    """The classes of a description file.

    file: the description. What it says besides stays as it is, but for the person's own comments: the old file is kept.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        self._stored = file.read_bytes()
        self.description = read_description(file)

    def save(self, classes: Any, palette: Any) -> Path:
        """Write the file with these names and colours, as a browser sends them. Returns the file with the old text.

        Raises ValueError if they are not one name and one colour for each class, or the file has changed meanwhile.
        """
        changed = renamed(self.description, *_checked(classes, palette, self.description.num_classes))
        if self.file.read_bytes() != self._stored:
            raise ValueError(f"{self.file} has been changed since it was opened; start intarsia view anew to edit it")
        kept = _free_name(self.file)
        write_bytes(kept, self._stored)
        write_description(changed, self.file)
        self.description, self._stored = read_description(self.file), self.file.read_bytes()
        return kept


def editor_of(file: Path) -> ClassEditor | None:
    """What edits a description; None for one of several data sets, which says what their classes mean in it, and for
    the one in packed data.
    """
    has_own = isinstance(read_description(file), MixedDescription) or is_packed_file(file)
    return None if has_own else ClassEditor(file)


def renamed(description: DataDescription, classes: Sequence[str], palette: Sequence[Colour]) -> DataDescription:
    """The description with other names and colours, wherever it mentions a class.

    Raises ValueError for names that it cannot have.
    """
    names = dict(zip(description.classes, classes, strict=True))
    labels = description.labels
    colours = None if description.palette is None and tuple(palette) == description.colours else tuple(palette)
    return replace(
        description,
        classes=tuple(classes),
        palette=colours,
        labels=None if labels is None else {value: names.get(name, name) for value, name in labels.items()},
        splits={split: _split(rule, names) for split, rule in description.splits.items()},
    )


def _split(rule: Split, names: Mapping[str, str]) -> Split:
    if isinstance(rule, JoinedSplit):
        return rule.with_folders(lambda part: replace(part, source=_source(part.source, names)))
    return replace(rule, source=_source(rule.source, names)) if isinstance(rule, FolderSplit) else rule


def _source(source: Source, names: Mapping[str, str]) -> Source:
    masks = tuple(replace(mask, class_name=names.get(mask.class_name, mask.class_name)) for mask in source.masks)
    drawn = source.annotations
    return replace(source, masks=masks, annotations=None if drawn is None else _annotations(drawn, names))


def _annotations(source: AnnotationSource, names: Mapping[str, str]) -> AnnotationSource:
    """The tool's files stay as they are: what a class was called is from now on a name of the tool for it."""
    known = {tool: names.get(own, own) for tool, own in source.classes}
    for old, new in names.items():
        if old != new:
            known.setdefault(old, new)
    return replace(source, classes=tuple(known.items()))


def _checked(classes: Any, palette: Any, count: int) -> tuple[list[str], list[Colour]]:
    if not isinstance(classes, list) or not isinstance(palette, list) or not len(classes) == len(palette) == count:
        raise ValueError(f"expected a name and a colour for each of {count} classes")
    for name in classes:
        if not isinstance(name, str) or len(name) > LONGEST_NAME or not name.isprintable():
            raise ValueError(f"expected names of at most {LONGEST_NAME} printable letters, found {str(name)[:40]!r}")
    for colour in palette:
        if not isinstance(colour, list) or len(colour) != 3 or not all(_is_byte(part) for part in colour):
            raise ValueError(f"expected colours as three numbers from 0 to 255, found {str(colour)[:40]}")
    return [name.strip() for name in classes], [(colour[0], colour[1], colour[2]) for colour in palette]


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255


def _free_name(file: Path) -> Path:
    """data.yaml.bak, or data.yaml.bak2 and so on where that is taken: no older one is lost."""
    number = 1
    while (kept := file.with_name(f"{file.name}.bak{number if number > 1 else ''}")).exists():
        number += 1
    return kept
