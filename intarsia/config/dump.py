"""A resolved config written back as a file that reads to the same value."""

from __future__ import annotations

import keyword
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intarsia.config.errors import ConfigError, Problem

WIDTH = 120
INDENT = 4


def dump(values: Mapping[str, Any], *, header: str | None = None) -> str:
    """Config text in Python syntax: one assignment per top-level name, `dict(type=..., ...)` for dicts.

    `read_file` of the text gives exactly `values`, tuples and infinite floats included.

    header: comment lines at the top, without their "#".

    Raises:
        ConfigError: a value is not plain, or a top-level name cannot be assigned in Python.
    """
    problems = [
        Problem(str(name), "a top-level name must be a Python name without leading underscore")
        for name in values
        if not _is_name(name) or name.startswith("_")
    ]
    if problems:
        raise ConfigError(problems)
    # A setting named "dict" or "float" would hide the function, so such a file is written without calling them.
    calls = not {"dict", "float"} & values.keys()
    blocks = [f"# {line}".rstrip() for line in (header or "").splitlines()]
    for name, value in values.items():
        blocks.append(f"{name} = {_lay_out(_text(value, name, calls), len(name) + 3, 0)}")
    return "\n".join(blocks) + "\n"


def _is_name(key: Any) -> bool:
    return isinstance(key, str) and key.isidentifier() and key.isascii() and not keyword.iskeyword(key)


@dataclass(frozen=True, slots=True)
class _Text:
    """The text of a value: on one line in `flat`, and in parts to be laid out over several.

    entries: what stands before each entry ("name="), and the entry.
    """

    flat: str
    opening: str = ""
    closing: str = ""
    entries: tuple[tuple[str, _Text], ...] = ()


def _text(value: Any, path: str, calls: bool) -> _Text:
    if not isinstance(value, (dict, list, tuple)) or not value:
        return _Text(_atom(value, path, calls))
    if isinstance(value, dict):
        named = calls and all(_is_name(key) and not key.startswith("__") for key in value)
        heads = [f"{key}=" if named else f"{_atom(key, path, calls)}: " for key in value]
        opening, closing = ("dict(", ")") if named else ("{", "}")
        items = list(value.items())
    else:
        heads = [""] * len(value)
        opening, closing = ("[", "]") if isinstance(value, list) else ("(", ")")
        items = list(enumerate(value))
    entries = tuple((head, _text(item, f"{path}.{key}", calls)) for head, (key, item) in zip(heads, items, strict=True))
    inside = ", ".join([head + text.flat for head, text in entries])
    trailing = "," if isinstance(value, tuple) and len(value) == 1 else ""
    return _Text(opening + inside + trailing + closing, opening, closing, entries)


def _lay_out(text: _Text, column: int, indent: int) -> str:
    """The text over as many lines as it needs. column: where it begins; indent: of the line it begins on."""
    if column + len(text.flat) <= WIDTH or not text.entries:
        return text.flat
    inner = indent + INDENT
    margin = " " * inner
    if any(head or item.entries for head, item in text.entries):
        lines = [f"{margin}{head}{_lay_out(item, inner + len(head) + 1, inner)}," for head, item in text.entries]
    else:
        lines = _filled([f"{item.flat}," for _, item in text.entries], margin)
    return "\n".join([text.opening, *lines, " " * indent + text.closing])


def _filled(words: list[str], margin: str) -> list[str]:
    """Scalars of a long list, as many on a line as fit."""
    lines = [margin + words[0]]
    for word in words[1:]:
        if len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(margin + word)
    return lines


def _atom(value: Any, path: str, calls: bool) -> str:
    if isinstance(value, str):
        # "{{" would begin a reference when the text is read again.
        return repr(value).replace("{{", "{\\x7b")
    if isinstance(value, float) and not math.isfinite(value):
        if calls:
            return f"float('{value}')"
        return "(1e999 - 1e999)" if math.isnan(value) else f"{'-' if value < 0 else ''}1e999"
    if isinstance(value, dict):
        return "dict()" if calls else "{}"
    if value is None or isinstance(value, (bool, int, float, list, tuple)):
        return repr(value)
    raise ConfigError([Problem(path, f"a value of type {type(value).__name__} cannot be written in a config")])
