"""Inheritance and overrides: how values of one place take the place of others.

The rules are MMEngine's: a dict merges into a dict, key by key; everything else replaces what was there, lists too;
`_delete_=True` inside a dict makes it replace instead of merge.
"""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable, Sequence
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.paths import follow, join_path, locate, split_path
from intarsia.config.language.targets import kind_of
from intarsia.config.language.values import DELETE, DictValue, ListValue, TupleValue
from intarsia.spec import Origin


def merge(child: DictValue, base: DictValue) -> DictValue:
    """The values of `base` with those of `child` laid over them. Neither is changed; parts may be shared.

    Raises:
        ConfigError: a dict meets something that is no dict; all such places at once.
    """
    problems: list[Problem] = []
    merged = _merge(child, base, "", problems)
    if problems:
        raise ConfigError(problems)
    return merged


def _merge(child: DictValue, base: DictValue, path: str, problems: list[Problem]) -> DictValue:
    merged = base.duplicate()
    for key, value in child.items():
        if key == DELETE:
            continue
        if isinstance(value, DictValue) and key in base and not value.get(DELETE):
            under = base[key]
            if isinstance(under, DictValue):
                value = _merge(value, under, join_path(path, key), problems)
            else:
                message = f"a dict cannot be merged into the value of {base.origins[key]}, which is {kind_of(under)}"
                hint = f"Write {DELETE}=True inside the dict to replace it"
                problems.append(Problem(join_path(path, key), message, child.origins[key], hint))
        merged.put(key, value, child.origins[key])
    return merged


def without_marks(value: Any) -> Any:
    """The same tree without any `_delete_` key: after merging, the marks have done their work."""
    if isinstance(value, DictValue):
        made = DictValue()
        for key, item in value.items():
            if key != DELETE:
                made.put(key, without_marks(item), value.origins[key])
        return made
    if isinstance(value, ListValue):
        return ListValue([without_marks(item) for item in value], value.origins)
    if isinstance(value, TupleValue):
        return TupleValue([without_marks(item) for item in value], value.origins)
    return value


# --- Overrides ----------------------------------------------------------------------------------------------------


def override(tree: DictValue, text: str, value_of: Callable[[str, Origin], Any]) -> DictValue:
    """`tree` with one override applied: "a.b.0.c=value" sets, "a.b-" deletes. `tree` itself is not changed.

    value_of: makes a value of the text after "=".

    Raises:
        ConfigError: no such list item, nothing to delete, or a part of the path is a scalar.
    """
    path, equals, written = text.partition("=")
    path = path.strip()
    origin = Origin(f"--set {text}", 0)
    deletes = not equals and path.endswith("-")
    if not equals and not deletes:
        raise ConfigError([Problem(path, "expected PATH=VALUE, or PATH- to delete", origin)])
    try:
        parts = split_path(path.removesuffix("-") if deletes else path)
    except ValueError as error:
        raise ConfigError([Problem("", str(error), origin)]) from None
    keys, used = locate(tree, parts)
    missing = parts[used:]
    if missing:
        _check_missing(follow(tree, keys), ".".join(parts[:used]), missing[0], deletes, origin)
    if deletes:
        made: DictValue = _edit(tree, keys[:-1], lambda container: _removed(container, keys[-1]))
        return made
    value = value_of(written.strip(), origin)
    for part in reversed(missing[1:]):
        value = DictValue({part: value}, {part: origin})
    last = missing[0] if missing else keys.pop()
    edited: DictValue = _edit(tree, keys, lambda container: _replaced(container, last, value, origin))
    return edited


def _check_missing(container: Any, path: str, part: str, deletes: bool, origin: Origin) -> None:
    """Raise unless a new entry `part` can be made in `container`."""
    name = path or "the config"
    if isinstance(container, DictValue):
        if not deletes:
            return
        near = difflib.get_close_matches(part, [str(key) for key in container], 1)
        hint = f"Did you mean `{join_path(path, near[0])}`?" if near else ""
        raise ConfigError([Problem(join_path(path, part), f"{name} has no key `{part}` to delete", origin, hint)])
    if isinstance(container, (ListValue, TupleValue)):
        found = f"`{part}` is not one of its items, 0 to {len(container) - 1}" if container else "it is empty"
        message = f"{name} is {kind_of(container)} of {len(container)} items and {found}"
        raise ConfigError([Problem(join_path(path, part), message, origin, "To change its length, set it as a whole")])
    message = f"{name} is {container!r}, which has no keys"
    raise ConfigError([Problem(join_path(path, part), message, origin, f"To make it a dict, set {path}=dict(...)")])


def _edit(value: Any, keys: Sequence[Any], change: Callable[[Any], Any]) -> Any:
    """A tree in which `change` was applied to what lies at `keys`; the containers on the way there are copied."""
    if not keys:
        return change(value)
    key, *rest = keys
    origin = value.origins[key]
    return _replaced(value, key, _edit(value[key], rest, change), origin)


def _replaced(container: Any, key: Any, value: Any, origin: Origin) -> Any:
    if isinstance(container, DictValue):
        copy = container.duplicate()
        copy.put(key, value, origin)
        return copy
    items, origins = list(container), list(container.origins)
    items[key], origins[key] = value, origin
    return type(container)(items, origins)


def _removed(container: Any, key: Any) -> Any:
    if isinstance(container, DictValue):
        copy = container.duplicate()
        copy.take(key)
        return copy
    items, origins = list(container), list(container.origins)
    del items[key], origins[key]
    return type(container)(items, origins)


_WORDS = {"true": True, "false": False, "none": None, "null": None}


def is_literal(node: ast.AST) -> bool:
    """Whether an expression is a Python literal, `dict(name=literal, ...)` counted as one."""
    if isinstance(node, ast.Constant):
        return True
    if isinstance(node, ast.UnaryOp):
        return isinstance(node.op, (ast.USub, ast.UAdd)) and isinstance(node.operand, ast.Constant)
    if isinstance(node, (ast.List, ast.Tuple)):
        return all(map(is_literal, node.elts))
    if isinstance(node, ast.Dict):
        return all(key is not None and is_literal(key) for key in node.keys) and all(map(is_literal, node.values))
    if isinstance(node, ast.Call):
        named = isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args
        return named and all(keyword.arg and is_literal(keyword.value) for keyword in node.keywords)
    return False


def word(text: str) -> Any:
    """What a text that is no literal means: true, false and none in any spelling, else the text itself."""
    return _WORDS.get(text.lower(), text)
