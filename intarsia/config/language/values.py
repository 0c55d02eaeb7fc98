"""Plain values that remember where they were written.

A resolved config is a tree of dict, list, tuple, str, int, float, bool and None. While it is read, its containers are
the subclasses below: beside every entry they keep an `Origin`, the file and line of the entry's literal. A scalar needs
none of its own, since it always sits in a container or under a name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.spec import Origin

MAX_DEPTH = 64
MAX_NODES = 200_000
MAX_BITS = 4096
MAX_CHARACTERS = 4_000_000
MAX_KEY_BITS, MAX_ODD_KEYS = 60, 200
"""Larger numbers, and tuples, have the same hashes as others, and a dict of many such keys is slow without bound."""
MAX_REPORTED = 20
MAX_PATH = 2_000
"""Letters of all names from the top of a config to a value: paths are made for every value that is looked at."""
DELETE = "_delete_"


class DictValue(dict[Any, Any]):
    """A dict with the origin of every entry in `origins`."""

    __slots__ = ("origins",)

    def __init__(self, items: Mapping[Any, Any] | None = None, origins: Mapping[Any, Origin] | None = None) -> None:
        super().__init__(items or {})
        self.origins: dict[Any, Origin] = dict(origins or {})

    def put(self, key: Any, value: Any, origin: Origin) -> None:
        """Set an entry together with its origin. Raises ValueError for too many keys that are no plain values."""
        if type(key) is not str:
            check_key(key, len(self))
        self[key] = value
        self.origins[key] = origin

    def take(self, key: Any) -> Any:
        """Remove an entry and return its value; KeyError when there is none."""
        self.origins.pop(key, None)
        return self.pop(key)

    def duplicate(self) -> DictValue:
        """A copy of this level; deeper levels are shared."""
        return DictValue(self, self.origins)


class ListValue(list[Any]):
    """A list with the origin of every item in `origins`, index by index."""

    __slots__ = ("origins",)

    def __init__(self, items: Iterable[Any] = (), origins: Iterable[Origin] = ()) -> None:
        super().__init__(items)
        self.origins: list[Origin] = list(origins)

    def add(self, value: Any, origin: Origin) -> None:
        """Append an item together with its origin."""
        self.append(value)
        self.origins.append(origin)


class TupleValue(tuple[Any, ...]):
    """A tuple with the origin of every item in `origins`, index by index."""

    origins: tuple[Origin, ...]

    def __new__(cls, items: Iterable[Any] = (), origins: Iterable[Origin] = ()) -> TupleValue:
        """A tuple of `items`; `origins` has the same length."""
        self = super().__new__(cls, items)
        self.origins = tuple(origins)
        return self


def check_key(key: Any, size: int) -> None:
    """Raise ValueError unless a dict or a set of this size may hold `key` as well."""
    large = isinstance(key, int) and key.bit_length() > MAX_KEY_BITS
    if (large or not (key is None or isinstance(key, (str, int, float)))) and size >= MAX_ODD_KEYS:
        raise ValueError(f"more than {MAX_ODD_KEYS} keys that are neither strings nor numbers of {MAX_KEY_BITS} bits")


_SCALARS = {str, int, float, bool, type(None)}
_CONTAINERS = {dict, list, tuple, DictValue, ListValue, TupleValue}


def annotate(value: Any, origin: Origin) -> Any:
    """A tree of plain values with the same origin everywhere. Values that are not plain stay, for `verify` to name."""
    if isinstance(value, dict):
        return DictValue({key: annotate(item, origin) for key, item in value.items()}, dict.fromkeys(value, origin))
    if isinstance(value, list):
        return ListValue([annotate(item, origin) for item in value], [origin] * len(value))
    if isinstance(value, tuple):
        return TupleValue([annotate(item, origin) for item in value], [origin] * len(value))
    return value


def plain(value: Any) -> Any:
    """The same tree as ordinary dicts, lists and tuples, sharing nothing with `value`."""
    if isinstance(value, dict):
        return {key: item if type(item) in _SCALARS else plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [item if type(item) in _SCALARS else plain(item) for item in value]
    if isinstance(value, tuple):
        return tuple([item if type(item) in _SCALARS else plain(item) for item in value])
    return value


def clone(value: Any) -> Any:
    """A deep copy that keeps the origins."""
    if isinstance(value, DictValue):
        return DictValue({key: clone(item) for key, item in value.items()}, value.origins)
    if isinstance(value, ListValue):
        return ListValue([clone(item) for item in value], value.origins)
    if isinstance(value, TupleValue):
        return TupleValue([clone(item) for item in value], value.origins)
    return value


def measure(value: Any) -> int:
    """How many values a tree holds when it is written out in full, shared parts counted each time they appear.

    Raises:
        OverflowError: it is deeper than MAX_DEPTH, larger than MAX_NODES, or contains itself.
    """
    if not isinstance(value, (dict, list, tuple, set)):
        return 1
    count = 1
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for container in level:
            count += len(container)
            if count > MAX_NODES:
                raise OverflowError(f"a value of more than {MAX_NODES:,} parts")
            items = container.values() if isinstance(container, dict) else container
            below += [item for item in items if isinstance(item, (dict, list, tuple, set))]
        if not below:
            return count
        level = below
    raise OverflowError(f"a value nested deeper than {MAX_DEPTH} levels")


def verify(tree: DictValue, origin: Origin) -> bool:
    """Check that every value is plain; return whether a `_delete_` mark occurs anywhere.

    Raises:
        ConfigError: sets, ranges, objects, keys that are not scalars, enormous integers, names or trees.
    """
    marked, nodes, characters = False, 0, 0
    level: list[tuple[Any, int]] = [(tree, 0)]  # containers, and the letters of the longest path to them
    for _ in range(MAX_DEPTH):
        below: list[tuple[Any, int]] = []
        for container, letters in level:
            nodes += len(container)
            items: Iterable[Any] = container
            if isinstance(container, dict):
                marked = marked or DELETE in container
                items = container.values()
                if not _SCALARS.issuperset(map(type, container)):
                    raise ConfigError(_unsound(tree, origin))
                letters += max((len(key) for key in container if type(key) is str), default=0)
                if letters > MAX_PATH:
                    raise ConfigError([_too_long(container, origin)])
            for item in items:
                kind = type(item)
                if kind is str:
                    characters += len(item)
                elif kind in _CONTAINERS:
                    below.append((item, letters))
                elif kind not in _SCALARS or (kind is int and item.bit_length() > MAX_BITS):
                    raise ConfigError(_unsound(tree, origin))
            if nodes > MAX_NODES or characters > MAX_CHARACTERS:
                message = f"the config has more than {MAX_NODES:,} values or {MAX_CHARACTERS:,} characters"
                raise ConfigError([Problem("", message, origin)])
        if not below:
            return marked
        level = below
    raise ConfigError([Problem("", f"the config is nested deeper than {MAX_DEPTH} levels, or contains itself", origin)])


def _too_long(container: dict[Any, Any], origin: Origin) -> Problem:
    key = max((key for key in container if type(key) is str), key=len)
    where = container.origins.get(key, origin) if isinstance(container, DictValue) else origin
    message = f"the names that lead to {key[:50]!r} have more than {MAX_PATH:,} letters together"
    return Problem("", message, where, "Shorten them")


def _unsound(tree: DictValue, origin: Origin) -> Iterator[Problem]:
    """Values of a tree that are not plain, each with the first of its paths."""
    reported = 0
    for path, where, item in _walk(origin, tree):
        kind = type(item)
        if reported == MAX_REPORTED:
            return
        reported += kind not in _SCALARS and kind not in _CONTAINERS
        if isinstance(item, dict):
            for key in item:
                if type(key) not in _SCALARS:
                    yield Problem(path, f"a key must be a string or a number, found {key!r}", where)
        elif kind is int and item.bit_length() > MAX_BITS:
            yield Problem(path, f"an integer of more than {MAX_BITS} bits", where)
        elif kind not in _SCALARS and kind not in _CONTAINERS:
            yield Problem(path, f"a value of type {kind.__name__} is not a config value", where, _advice(item))


def _advice(value: Any) -> str:
    if isinstance(value, set):
        return "Write a list: [...]"
    if isinstance(value, range):
        return "Write list(range(...))"
    return "Allowed are dict, list, tuple, str, int, float, bool and None"


def _walk(origin: Origin, tree: Any) -> Iterator[tuple[str, Origin, Any]]:
    """(path, origin, value) of every value. What stands in several places, and itself contains such, comes once."""
    seen: set[int] = set()
    open_: list[tuple[str, Origin, Any]] = [("", origin, tree)]
    while open_:
        path, where, value = open_.pop()
        if id(value) in seen and not isinstance(value, (str, int, float)):
            continue
        seen.add(id(value))
        yield path, where, value
        inside = [(f"{path}.{key}" if path else str(key), at, item) for key, item, at in entries(value, where)]
        open_ += reversed(inside)


def entries(value: Any, origin: Origin) -> Iterator[tuple[Any, Any, Origin]]:
    """(key or index, value, origin) of a container's entries; nothing for a scalar.

    origin: stands in for entries of containers that keep none.
    """
    if isinstance(value, dict):
        known = value.origins if isinstance(value, DictValue) else {}
        for key, item in value.items():
            yield key, item, known.get(key, origin)
    elif isinstance(value, (ListValue, TupleValue)):
        yield from zip(range(len(value)), value, value.origins, strict=True)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield index, item, origin
