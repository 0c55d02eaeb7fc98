"""The part of a description file that lists several data sets: read and written."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.mixed import Draw, Member, MixedDescription, common_inputs
from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import MemberSplit, Split
from intarsia.data.description.yaml_tree import Located, kind
from intarsia.data.description.yaml_values import text_of

_KEYS = ("root", "classes", "palette", "ignore_index", "image", "shares", "draw", "datasets")
_ENTRY_KEYS = ("data", "name", "classes", "weight")
_PLAIN_NAMES = ("data", "dataset", "description")
"""Files that say nothing by their names; their folders do."""

_MOST = 1000
"""Data sets of one description, each of which is a file to read."""

Whole = Callable[[Located, Path, Mapping[str, Split] | None], DataDescription]
"""Reads a description from its keys: (keys, folder of the file, its splits if they stand elsewhere)."""


def mixed_description(
    top: Located, folder: Path, whole: Whole, read: Callable[[Path], DataDescription]
) -> DataDescription:
    """The description of several data sets.

    whole, read: how a description in this file and one in a file of its own are read.

    Raises DescriptionError for a mistake here, ValueError naming the file for one in a file of its own.
    """
    _known(top, _KEYS, ())
    root = Path(os.path.normpath(folder / os.path.expanduser(text_of(top.get("root", "."), ("root",)))))
    entries = top["datasets"]
    if not isinstance(entries, list) or not entries:
        raise DescriptionError(("datasets",), f"expected a list of data sets, found {kind(entries)}")
    if len(entries) > _MOST:
        raise DescriptionError(("datasets",), f"expected at most {_MOST} data sets, found {len(entries):,}")
    members = tuple(_member(entry, ("datasets", n), root, folder, whole, read) for n, entry in enumerate(entries))
    several = next((member.name for member in members if member.description.multi_label), None)
    if several is not None:
        raise DescriptionError(
            ("datasets",),
            f"the pixels of {several!r} may have several classes (`multi_label`), and data sets are put together where "
            "a pixel has one",
        )
    splits: dict[str, Split] = {}
    for split in ("train", "val", "test"):
        names = tuple(member.name for member in members if split in member.description.splits)
        if names:
            splits[split] = MemberSplit(names)
    own = Located()
    own.lines = top.lines
    own.update({key: value for key, value in top.items() if key not in ("draw", "datasets")})
    own["image"] = _image_of(own.get("image"), [member.description for member in members])
    head = whole(own, folder, splits)
    draw: Draw = text_of(top.get("draw", "size"), ("draw",))  # type: ignore[assignment]  # refused by the description
    known = {one.name: getattr(head, one.name) for one in fields(head)}
    known["inputs"] = common_inputs(members)
    return MixedDescription(**known, members=members, draw=draw)


def _image_of(given: Any, parts: Sequence[DataDescription]) -> Any:
    """What is said of the images of all data sets: bands are those of the first, a scale that of all, unless it is
    said.
    """
    first = parts[0]
    if given is not None and not isinstance(given, Located):
        return given  # refused by who reads it
    found = Located()
    found.update({"bands": first.bands, "channels": first.channels, **(given or {})})
    if any(first.names):
        found.setdefault("names", list(first.names))
    if first.indices:
        found.setdefault("indices", _located(first.indices))
    if first.scale is not None and all(part.scale == first.scale for part in parts):
        found.setdefault("scale", list(first.scale))
    found.pop("inputs", None)  # each data set says it
    found.lines = {} if given is None else given.lines
    return found


def _located(pairs: Iterable[tuple[str, str]]) -> Located:
    found = Located()
    found.update(pairs)
    return found


def _member(
    entry: Any,
    path: tuple[object, ...],
    root: Path,
    folder: Path,
    whole: Whole,
    read: Callable[[Path], DataDescription],
) -> Member:
    if not isinstance(entry, Located):
        raise DescriptionError(path, f"expected `data: FILE.yaml` and what is said of it, found {kind(entry)}")
    _known(entry, _ENTRY_KEYS, path)
    data = entry.get("data")
    if isinstance(data, Located):
        if "name" not in entry:
            raise DescriptionError(path, "a data set that is described here needs a `name:`")
        try:
            found = whole(data, folder, None)
        except DescriptionError as error:
            raise DescriptionError((*path, "data", *error.path), str(error).removeprefix(_words(error))) from None
        name = ""
    else:
        place = root / os.path.expanduser(text_of(data, (*path, "data")))
        if place.is_dir():
            raise DescriptionError(
                (*path, "data"),
                f"{place} is a folder; expected its description, a file: intarsia data check {place} --write "
                f"{place / 'data.yaml'}",
            )
        found = read(place)
        name = place.parent.name if place.stem in _PLAIN_NAMES and place.parent.name else place.stem
    name = text_of(entry.get("name", name), (*path, "name"))
    if not name.strip() or "/" in name or "\\" in name:
        raise DescriptionError((*path, "name"), f"expected a name without slashes, found {name!r}")
    return Member(name, found, _classes(entry.get("classes"), (*path, "classes")), _weight(entry, path))


def _words(error: DescriptionError) -> str:
    """How the text of an error begins: with where it is."""
    return f"{'.'.join(map(str, error.path))}: " if error.path else ""


def _classes(value: Any, path: tuple[object, ...]) -> dict[str, str]:
    if value is None:
        return {}
    if not isinstance(value, Located):
        raise DescriptionError(path, f"expected {{ITS CLASS: CLASS or ignore}}, found {kind(value)}")
    return {text_of(own, path): text_of(meant, (*path, own)) for own, meant in value.items()}


def _weight(entry: Located, path: tuple[object, ...]) -> float | None:
    value = entry.get("weight")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DescriptionError((*path, "weight"), f"expected a number above 0, found {kind(value)}")
    return float(value)


def _known(found: Located, keys: tuple[str, ...], path: tuple[object, ...]) -> None:
    for key in found:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(keys)}"
            of_each = "; it belongs into the description of each data set" if key in ("labels", "splits") else ""
            raise DescriptionError((*path, key), f"unknown key beside `datasets`{of_each or '; ' + hint}")


# --- Writing ------------------------------------------------------------------------------------------------------


def member_lines(
    description: MixedDescription, quoted: Callable[[str], str], render: Callable[[DataDescription], str]
) -> Iterator[str]:
    """The data sets as they are written, each with its whole description, so that the file needs no other."""
    if not any(member.weight is not None for member in description.members):
        yield f"draw: {description.draw}  # in training: size, every sample as often as any other; or equal"
    yield "datasets:"
    for member in description.members:
        yield f"  - name: {quoted(member.name)}"
        if member.weight is not None:
            yield f"    weight: {member.weight!r}"
        if member.classes:
            yield "    classes:"
            yield from (f"      {quoted(own)}: {quoted(meant)}" for own, meant in member.classes.items())
        yield "    data:"
        for line in render(member.description).splitlines():
            if line and not line.lstrip().startswith("#"):
                yield f"      {line}"
