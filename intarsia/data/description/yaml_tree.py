"""YAML as plain values that know their lines, with a budget for what an unknown file may make."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.model import show_value

_BOOLEAN, _TEXT = "tag:yaml.org,2002:bool", "tag:yaml.org,2002:str"
_DATE, _MERGE = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:merge"
_TAGS = frozenset(
    {_BOOLEAN, _TEXT, _DATE, _MERGE, *(f"tag:yaml.org,2002:{kind}" for kind in ("int", "float", "null", "seq", "map"))}
)
_MOST_NODES, _LONGEST_NUMBER = 500_000, 100
"""Of one description: values, and characters of what is no text."""

_SHOWN = 80
"""Letters of a text that a message repeats."""


class Located(dict[Any, Any]):
    """A mapping that knows the line of each of its keys."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: dict[Any, int] = {}


def construct(node: yaml.Node) -> Any:
    """The plain value of a document. Raises DescriptionError, with the line, for what is no part of a description."""
    return _construct(node, (), [_MOST_NODES])


def _construct(node: yaml.Node, path: tuple[object, ...], budget: list[int]) -> Any:
    """The plain value of a node; mappings remember lines, keys given twice are refused.

    budget: how many values may still be made. An alias is a value again wherever it stands, and may stand in aliases.
    """
    budget[0] -= 1
    line = node.start_mark.line + 1
    if budget[0] < 0:
        raise DescriptionError(
            path, f"the file has more than {_MOST_NODES:,} values, aliases counted each time", line=line
        )
    if node.tag not in _TAGS:
        raise DescriptionError(path, f"the YAML tag {node.tag[:100]!r} is not part of a data description", line=line)
    if isinstance(node, yaml.SequenceNode):
        return [_construct(child, (*path, index), budget) for index, child in enumerate(node.value)]
    if isinstance(node, yaml.MappingNode):
        result = Located()
        for key_node, value_node in node.value:
            key, line = _key(key_node, path, budget), key_node.start_mark.line + 1
            if key in result:
                first = result.lines[key]
                raise DescriptionError((*path, key), f"given twice, in lines {first} and {line}", line=line)
            result[key] = _construct(value_node, (*path, key), budget)
            result.lines[key] = line
        return result
    return _scalar(node, path)


def _key(node: yaml.Node, path: tuple[object, ...], budget: list[int]) -> Any:
    """A key: a text, a number, or a colour as a list."""
    line = node.start_mark.line + 1
    if node.tag == _MERGE:
        raise DescriptionError(path, "the merge key '<<' is not part of a data description; write the keys", line=line)
    key = _construct(node, path, budget)
    if isinstance(key, list) and not any(isinstance(part, (list, Located)) for part in key):
        key = tuple(key)
    if isinstance(key, (list, Located)):
        raise DescriptionError(path, f"a key is a text, a number or a colour, found {kind(key)}", line=line)
    if isinstance(key, int) and abs(key) >= 2**32:
        raise DescriptionError(
            path, "a number that is a key has at most 32 bits, as the values of a file have", line=line
        )
    return key


def _scalar(node: yaml.Node, path: tuple[object, ...]) -> Any:
    """A text, number, truth value or nothing. What YAML would take for a date is a text here."""
    if node.tag in (_TEXT, _DATE):
        return node.value
    if node.tag == _BOOLEAN and node.value.lower() not in ("true", "false"):
        return node.value  # the words yes, no, on and off are truth values in YAML 1.1, but here they may be classes
    line = node.start_mark.line + 1
    if len(node.value) > _LONGEST_NUMBER:
        raise DescriptionError(path, f"a number of more than {_LONGEST_NUMBER} characters", line=line)
    try:
        return yaml.SafeLoader("").construct_object(node, deep=True)
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        raise DescriptionError(path, f"{node.value!r} is no value that can be read ({error})", line=line) from None


def line_of(top: Located, path: Sequence[object]) -> int:
    """The line of the innermost key on the way that the file has."""
    line: int = 1
    here: Any = top
    for key in path:
        if isinstance(here, list):
            here = here[key] if isinstance(key, int) and key < len(here) else None
            if not isinstance(here, Located) or not here:
                break
            line = min(here.lines.values())
            continue
        match = next((own for own in here if own == key or str(own) == key or _colour_text(own) == key), None)
        if match is None:
            break
        line = here.lines[match]
        if not isinstance(here[match], (Located, list)):
            break
        here = here[match]
    return line


def _colour_text(value: object) -> str | None:
    return show_value(value) if isinstance(value, tuple) and len(value) == 3 else None


def kind(value: Any) -> str:
    """What a value is, for messages; of a long text its beginning."""
    shown = f"{value[:_SHOWN]} ..." if isinstance(value, str) and len(value) > _SHOWN else value
    kinds = {
        dict: "a mapping",
        Located: "a mapping",
        list: "a list",
        str: f"the text {shown!r}",
        type(None): "nothing",
    }
    return kinds.get(type(value), repr(value))
