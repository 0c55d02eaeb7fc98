"""Values of a data description, as YAML has them, taken for what they are to be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.yaml_tree import Located, kind
from intarsia.data.labels import Colour


def known_keys(found: Located, keys: Sequence[str], path: tuple[object, ...]) -> None:
    """Raises DescriptionError for a key that is none of these, with the nearest one."""
    for key in found:
        if key not in keys:
            near = difflib.get_close_matches(str(key), keys, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(keys)}"
            raise DescriptionError((*path, key), f"unknown key; {hint}")


def mapping_of(value: Any, path: tuple[object, ...]) -> Located:
    """Keys with values. Raises DescriptionError for anything else."""
    if not isinstance(value, Located):
        raise DescriptionError(path, f"expected keys with values, found {kind(value)}")
    return value


def text_of(value: Any, path: tuple[object, ...]) -> str:
    """A text. Raises DescriptionError for anything else, with the way to write it as one."""
    if isinstance(value, str):
        return value
    hint = f'; write it in quotes: "{str(value).lower()}"' if isinstance(value, (bool, int, float)) else ""
    raise DescriptionError(path, f"expected text, found {kind(value)}{hint}")


def texts_of(value: Any, path: tuple[object, ...]) -> tuple[str, ...]:
    """One text or a list of them. Raises DescriptionError for anything else."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list):
        raise DescriptionError(path, f"expected text or a list of texts, found {kind(value)}")
    return tuple(text_of(entry, (*path, index)) for index, entry in enumerate(value))


def folder_of(value: Any, path: tuple[object, ...]) -> str:
    """A path with slashes. Raises DescriptionError for what is no text."""
    text = text_of(value, path)
    return PurePosixPath(text.replace("\\", "/")).as_posix()


def integer_of(value: Any, path: tuple[object, ...]) -> int:
    """A whole number. Raises DescriptionError for anything else."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise DescriptionError(path, f"expected a whole number, found {value!r}")
    return value


def numbers_of(value: Any, path: tuple[object, ...]) -> tuple[float, ...] | None:
    """One number or a list of them; None for None. Raises DescriptionError for anything else."""
    if value is None:
        return None
    entries = value if isinstance(value, list) else [value]
    if not all(isinstance(entry, (int, float)) and not isinstance(entry, bool) for entry in entries):
        raise DescriptionError(path, f"expected numbers, found {value!r}")
    return tuple(float(entry) for entry in entries)


def choice_of(rule: Located, key: str, allowed: Sequence[str], path: tuple[str, ...]) -> str:
    """One of the words allowed, the first of which is meant where none is given.

    Raises DescriptionError for another.
    """
    word = text_of(rule.get(key, allowed[0]), (*path, key))
    if word not in allowed:
        raise DescriptionError((*path, key), f"expected {' or '.join(allowed)}, found {word!r}")
    return word


def colour_of(value: Any, path: tuple[object, ...]) -> Colour:
    """``"#c08000"`` or ``[192, 128, 0]``. Raises DescriptionError for anything else."""
    if isinstance(value, str) and re.fullmatch(r"#[0-9a-fA-F]{6}", value):
        return int(value[1:3], 16), int(value[3:5], 16), int(value[5:7], 16)
    if isinstance(value, (list, tuple)) and len(value) == 3 and all(_is_level(part) for part in value):
        return int(value[0]), int(value[1]), int(value[2])
    what = "a file value: a whole number, a range such as 12-254, or " if path[0] == "labels" else ""
    raise DescriptionError(path, f'expected {what}a colour such as "#c08000" or [192, 128, 0], found {value!r}')


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
