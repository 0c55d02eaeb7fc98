"""What a key map is made of.

A rule is a pair of name patterns. In the other library's pattern

    {stage}    is a number, kept under this name       (a|b)   is either, as in regular expressions; (a)? may lack
    *          is the rest of the name                 .       is a dot

and in ours ``{stage}``, ``{stage+1}`` and ``*`` stand for what was found. Where another library keeps queries, keys and
values apart and we keep them stacked, a rule has several patterns on its left side. A tensor may be named by several
rules, when more than one of ours follows from it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor

TensorTransform = Callable[["Tensor"], "Tensor"]

_NUMBER = re.compile(r"\{(\w+)([+-]\d+)?\}")


@dataclass(frozen=True, slots=True)
class KeyRule:
    """One kind of tensor.

    theirs: patterns of its parts, in the order in which they are stacked along the first axis; usually one.
    ours: its name here. transform: what else is done to its values.
    """

    theirs: tuple[str, ...]
    ours: str
    transform: TensorTransform | None = None

    def within(self, theirs: str, ours: str) -> KeyRule:
        """The same rule inside a part that is called so."""
        return KeyRule(tuple(theirs + pattern for pattern in self.theirs), ours + self.ours, self.transform)


Names = Mapping[str | tuple[str, ...], str | tuple[str, TensorTransform]]
"""How tables are written: their pattern, or several, -> our name, or that with a transform."""


def rules(theirs: str, ours: str, names: Names) -> tuple[KeyRule, ...]:
    """The rules of a table for a part called `theirs` there and `ours` here."""
    found = []
    for pattern, target in names.items():
        patterns = (pattern,) if isinstance(pattern, str) else pattern
        name, transform = (target, None) if isinstance(target, str) else target
        found.append(KeyRule(patterns, name, transform).within(theirs, ours))
    return tuple(found)


@dataclass(frozen=True)
class KeyMap:
    """Everything about the tensors of one model of one library.

    name: for messages. signature: patterns that must all occur for a file to be of this kind.
    unused: patterns of what has no place here: classifiers of images, buffers that follow from the architecture.
    settings: changes to the config of a recipe for own data that is named for such a file.
    base: what becomes of a backbone that such files do not hold: theirs are differences to it ("added"), or they have
    none ("taken"); "" where they hold it.
    """

    name: str
    signature: tuple[str, ...]
    rules: tuple[KeyRule, ...]
    unused: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    base: Literal["", "added", "taken"] = ""

    @cached_property
    def _patterns(self) -> list[tuple[KeyRule, int, re.Pattern[str]]]:
        return [(rule, i, _compile(text)) for rule in self.rules for i, text in enumerate(rule.theirs)]

    def fits(self, names: Iterable[str]) -> bool:
        """Whether a file with these tensor names is of this kind."""
        names = tuple(names)
        return all(any(pattern.fullmatch(name) for name in names) for pattern in map(_compile, self.signature))

    def source(self, name: str) -> tuple[str, int, int] | None:
        """Which of our tensors theirs is made of: our name, which part along the first axis, and of how many."""
        for rule, i, pattern in self._patterns:
            if match := pattern.fullmatch(name):
                return _fill(rule.ours, match), i, len(rule.theirs)
        return None

    def convert(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """Their tensors by name -> ours, and the names that no rule knows or whose other parts are missing."""
        parts: dict[str, tuple[KeyRule, dict[int, str]]] = {}  # our name -> its rule, and their name of each part
        unused = [_compile(pattern) for pattern in self.unused]
        unknown = []
        for name in state:
            hits = [(rule, i, match) for rule, i, pattern in self._patterns if (match := pattern.fullmatch(name))]
            for rule, i, match in hits:
                parts.setdefault(_fill(rule.ours, match), (rule, {}))[1][i] = name
            if not hits and not any(pattern.fullmatch(name) for pattern in unused):
                unknown.append(name)
        converted: dict[str, Tensor] = {}
        for target, (rule, sources) in parts.items():
            if len(sources) < len(rule.theirs):
                unknown += sources.values()
            else:
                converted[target] = _value(rule, [state[sources[i]] for i in sorted(sources)])
        return converted, tuple(unknown)


def _value(rule: KeyRule, tensors: Sequence[Tensor]) -> Tensor:
    import torch

    try:
        value = tensors[0] if len(tensors) == 1 else torch.cat(list(tensors))
        return value if rule.transform is None else rule.transform(value)
    except (RuntimeError, IndexError) as error:
        shapes = ", ".join(str(list(tensor.shape)) for tensor in tensors)
        raise ValueError(f"{rule.ours} cannot be made of tensors of the shapes {shapes}: {error}") from error


def _compile(pattern: str) -> re.Pattern[str]:
    text = pattern.replace(".", r"\.").replace("*", "(?P<rest>.+)")
    return re.compile(_NUMBER.sub(r"(?P<\1>[0-9]+)", text))


def _fill(target: str, found: re.Match[str]) -> str:
    name = _NUMBER.sub(lambda number: str(int(found[number[1]]) + int(number[2] or 0)), target)
    return name.replace("*", found["rest"]) if "*" in name else name
