"""Dotted paths into a config: "model.auxiliary_head.0.channels".

Keys may have dots themselves ("backbone.norm" under `custom_keys`). A path is therefore matched against the keys that
are there; a part in quotes ('custom_keys."a.b".lr_mult') is always one key.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

MOST_WAYS = 1_000
_PART = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^."']*))(?:\.|$)""")


def split_path(path: str) -> list[str]:
    """The parts of a dotted path. ValueError when one is empty or a quote is left open."""
    parts: list[str] = []
    position = 0
    while position <= len(path):
        found = _PART.match(path, position)
        part = "" if found is None else next((group for group in found.groups() if group), "")
        if found is None or not part:
            raise ValueError(f"`{path}` is not a path; expected names joined by dots, as in model.decode_head.channels")
        parts.append(part)
        if found.end() == len(path) and not path.endswith("."):
            break
        position = found.end()
    return parts


def locate(value: Any, parts: Sequence[str]) -> tuple[list[Any], int]:
    """The longest way into a tree that a path describes: its keys and indices, and how many parts they use up."""
    return _locate(value, parts, 0, [MOST_WAYS])


def _locate(value: Any, parts: Sequence[str], start: int, budget: list[int]) -> tuple[list[Any], int]:
    """As `locate`, from part `start` on. budget: how many ways may still be tried, where keys with dots make many."""
    best: tuple[list[Any], int] = ([], 0)
    for count in range(1, len(parts) - start + 1):
        key = _entry(value, ".".join(parts[start : start + count]))
        if key is not None and budget[0] > 0:
            budget[0] -= 1
            keys, used = _locate(value[key], parts, start + count, budget)
            if count + used > best[1]:
                best = ([key, *keys], count + used)
        if not isinstance(value, dict) or best[1] == len(parts) - start:
            break
    return best


def _entry(value: Any, part: str) -> Any:
    """The key or index that a part names; None when there is no such entry."""
    number = int(part) if re.fullmatch(r"-?\d{1,9}", part) else None
    if isinstance(value, dict):
        return part if part in value else number if number in value else None
    if isinstance(value, (list, tuple)) and number is not None and -len(value) <= number < len(value):
        return number % len(value)
    return None


def follow(value: Any, keys: Sequence[Any]) -> Any:
    """The value at the end of a way that `locate` found."""
    for key in keys:
        value = value[key]
    return value


def join_path(path: str, key: Any) -> str:
    """A path one level deeper."""
    return f"{path}.{key}" if path else str(key)
