"""Class lists inside JSON, YAML and text protocol files, in whatever way tools nest them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from intarsia.data.doctor.class_names import colour_of
from intarsia.data.labels import Colour

Entry = tuple[str, int | None, Colour | None]
"""Name, number, colour."""

_INSIDE = (
    *("labels", "classes", "categories", "names", "label_classes", "class_names", "classNames", "id2label", "label2id"),
    *("label_names", "objects", "colormap", "palette", "segmentation_classes"),
)
_NAME_KEYS = ("name", "title", "label", "class", "class_name", "className", "readable", "category")
_NUMBER_KEYS = ("id", "index", "idx", "value", "class_id", "classId", "label_id", "pixel_value", "number", "code")
_COLOUR_KEYS = ("color", "colour", "rgb", "color_rgb", "hex", "color_hex_code")
_DEEPEST = 4


class NoClassListError(ValueError):
    """What a file holds is no class list; the message says what, without the file's name.

    is_other: it is clear that the file is something else.
    """

    def __init__(self, message: str, *, is_other: bool = False) -> None:
        super().__init__(message)
        self.is_other = is_other


def entries_of_text(text: str, suffix: str) -> list[Entry]:
    """The classes in a file of this suffix. Raises NoClassListError."""
    if suffix == ".pbtxt":
        return _of_items(text)
    try:
        data = json.loads(text) if suffix == ".json" else _plain_yaml(text)
    except (ValueError, RecursionError) as error:
        raise NoClassListError(f"it is no valid {suffix[1:].upper()}: {str(error).splitlines()[0]}") from None
    entries = _of_tree(data, 0)
    if not entries:
        raise NoClassListError("it names no classes in a form that is known here")
    return entries


def _plain_yaml(text: str) -> Any:
    """YAML of plain values. Raises ValueError for more: aliases may stand for more than any memory holds."""
    try:
        for token in yaml.scan(text, Loader=yaml.SafeLoader):
            if isinstance(token, yaml.AnchorToken | yaml.AliasToken | yaml.TagToken):
                raise ValueError("it has anchors or tags")
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(getattr(error, "problem", None) or error)) from None


def _of_items(text: str) -> list[Entry]:
    """``item { id: 1 name: 'leaf' }``, the label maps of TensorFlow."""
    entries: list[Entry] = []
    for item in re.findall(r"item\s*\{([^{}]*)\}", text):
        number = re.search(r"\bid\s*:\s*(\d+)", item)
        name = re.search(r"\bdisplay_name\s*:\s*[\"']([^\"']*)", item) or re.search(
            r"\bname\s*:\s*[\"']([^\"']*)", item
        )
        if number is None or name is None:
            raise NoClassListError("an item has no id or no name")
        entries.append((name[1], int(number[1]), None))
    if not entries:
        raise NoClassListError("it has no item")
    return entries


def _of_tree(data: Any, depth: int) -> list[Entry]:
    if depth > _DEEPEST:
        return []
    if isinstance(data, Mapping):
        for key in _INSIDE:
            if isinstance(data.get(key), Mapping | list):
                inner = _of_tree(data[key], depth + 1)
                if inner:
                    return inner
        return _of_mapping(data)
    return _of_list(data) if isinstance(data, list) else []


def _of_list(data: Sequence[Any]) -> list[Entry]:
    if data and all(isinstance(name, str) for name in data):
        return [(name, None, None) for name in data]
    entries = [_of_fields(entry, None) if isinstance(entry, Mapping) else None for entry in data]
    return [entry for entry in entries if entry is not None] if all(entries) else []


def _of_mapping(data: Mapping[Any, Any]) -> list[Entry]:
    """Names by numbers or colours, or the other way round. Empty if one pair has no such meaning."""
    entries: list[Entry] = []
    for key, value in data.items():
        entry = _of_fields(value, key) if isinstance(value, Mapping) else _of_pair(key, value)
        if entry is None:
            return []
        entries.append(entry)
    return entries


def _of_pair(key: Any, value: Any) -> Entry | None:
    if isinstance(value, str):
        if (number := _number(key)) is not None:
            return value, number, None
        if (colour := _colour(key)) is not None:
            return value, None, colour
        return (str(key), None, colour) if (colour := _colour(value)) is not None else None
    if not isinstance(key, str) or _number(key) is not None:
        return None
    if (number := _number(value)) is not None:
        return key, number, None
    colour = _colour(value)
    return None if colour is None else (key, None, colour)


def _of_fields(fields: Mapping[Any, Any], key: Any) -> Entry | None:
    """A class as a mapping of its own; `key` is its name or number."""
    name = next((fields[k] for k in _NAME_KEYS if isinstance(fields.get(k), str)), None)
    number = next((found for k in _NUMBER_KEYS if (found := _number(fields.get(k))) is not None), None)
    colour = next((shown for k in _COLOUR_KEYS if (shown := _colour(fields.get(k))) is not None), None)
    if number is None:
        number = _number(key)
    if name is None and isinstance(key, str) and _number(key) is None:
        name = key
    return None if name is None else (name, number, colour)


def _number(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    return int(value) if isinstance(value, str) and re.fullmatch(r"-?\d{1,9}", value.strip()) else None


def _colour(value: Any) -> Colour | None:
    if isinstance(value, list | tuple) and len(value) in (3, 4):
        return colour_of(" ".join(str(part) for part in value[:3])) if all(map(_is_level, value)) else None
    return colour_of(value) if isinstance(value, str) else None


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 255
