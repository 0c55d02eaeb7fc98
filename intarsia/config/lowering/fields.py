"""Reading a section of a config through its table, so that nothing in it can be overlooked.

`Context` collects what lowering finds: problems, notes, and which key became what. `Fields` is one dict of the config
under its path; opening it reports every key that is unknown, refused, or of another type than the vocabulary expects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from intarsia.config.checking.signatures import accepts
from intarsia.config.errors import Problem
from intarsia.config.schema.fates import Area, Fate
from intarsia.config.schema.vocabulary import AREAS
from intarsia.spec import Component, Origin

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config

UNKNOWN = Fate("refused", "unknown key")


MOST_PROBLEMS, MOST_PARTS = 500, 5_000


class TooMuchError(Exception):
    """A config is given up: to look at all of it would take time without bound."""


@dataclass(frozen=True)
class Seen:
    """What became of the key at one path. whole: everything below it went the same way, untouched."""

    area: str
    key: str
    fate: Fate
    whole: bool


@dataclass
class Context:
    """One lowering. ignore_index: what the model's heads agree on, None before they are read.

    read_as_data: modules of custom_imports that need not be imported, since what they hold was read as data.
    batch_transforms, whole: what the model's section says of training samples, and of weights of the whole model.
    """

    config: Config
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    pretrained: list[tuple[str, str]] = field(default_factory=list)
    synchronise: bool = False
    ignore_index: int | None = None
    read_as_data: set[str] = field(default_factory=set)
    batch_transforms: list[Component] = field(default_factory=list)
    whole: str | None = None
    seen: dict[str, Seen] = field(default_factory=dict)
    parts: int = 0

    @property
    def imported(self) -> tuple[str, ...]:
        """The modules that custom_imports names."""
        section = self.config.values.get("custom_imports")
        given = section.get("imports") if isinstance(section, Mapping) else None
        modules = [given] if isinstance(given, str) else given if isinstance(given, list | tuple) else []
        return tuple(module for module in modules if isinstance(module, str))

    def origin(self, path: str) -> Origin | None:
        """Where a path was written, or the nearest one above it."""
        return self.config.origin(path)

    def problem(self, path: str, message: str, hint: str = "", *, written: str | None = None) -> None:
        """Report something wrong at a path. written: the path whose line is named instead of that one's.

        Raises TooMuchError where a config has more wrong with it than anyone would read.
        """
        if len(self.problems) >= MOST_PROBLEMS:
            raise TooMuchError(f"more than {MOST_PROBLEMS:,} things are wrong; the rest was not looked at")
        self.problems.append(Problem(path, message, self.origin(path if written is None else written), hint))

    def note(self, text: str) -> None:
        """Tell the user something, once."""
        if text not in self.notes:
            self.notes.append(text)

    def part(self) -> None:
        """Count a part of the run. Raises TooMuchError where there are more than any run has."""
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise TooMuchError(f"the config has more than {MOST_PARTS:,} parts, which no run has")

    def saw(self, path: str, area: str, key: str, fate: Fate, *, whole: bool = True) -> None:
        """Remember what became of a key. A section that is opened later is no longer a whole."""
        self.seen[path] = Seen(area, key, fate, whole)

    def opened(self, path: str) -> None:
        """Everything below `path` is looked at key by key."""
        if path in self.seen:
            before = self.seen[path]
            self.seen[path] = Seen(before.area, before.key, before.fate, whole=False)


class Fields:
    """One dict of a config, read through the table of its section.

    table: instead of the section's own. others: keys beyond the table are legal; `others()` gives them.
    """

    def __init__(
        self,
        context: Context,
        path: str,
        values: Mapping[str, Any],
        area: str,
        *,
        table: Area | None = None,
        others: bool = False,
    ) -> None:
        self.context, self.path, self.area = context, path, area
        self._table = AREAS[area] if table is None else table
        self._values: dict[str, Any] = {}
        self._others: dict[str, Any] = {}
        context.opened(path)
        for key, value in values.items():
            fate = self._table.get(key)
            if fate is not None:
                context.saw(self.at(key), area, key, fate)
                if self._usable(key, value, fate):
                    self._values[key] = value
            elif others:
                self._others[key] = value
            else:
                context.saw(self.at(key), area, key, UNKNOWN)
                context.problem(self.at(key), f"unknown key {key!r}", nearest(str(key), self._table))

    def _usable(self, key: str, value: Any, fate: Fate) -> bool:
        if fate.outcome == "refused":
            if not any(_same(value, harmless) for harmless in fate.unless):
                self.context.problem(self.at(key), f"{key!r} is not supported: {fate.text}")
            return False
        if not accepts(value, fate.expects):
            self.context.problem(self.at(key), f"expected {fate.expects}, found {shown(value)}")
            return False
        return fate.outcome == "lowered"

    def at(self, key: str | int) -> str:
        """The path of a key."""
        return f"{self.path}.{key}" if self.path else str(key)

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; the default where it is missing or was found wrong."""
        assert key in self._table, f"{key!r} is not in the vocabulary of {self.area!r}"
        return self._values.get(key, default)

    def require(self, key: str, default: Any, *, present: Mapping[str, Any]) -> Any:
        """The value of a key that must be there; reports it as missing if `present`, the section, lacks it."""
        if key not in present:
            self.context.problem(self.path, f"{key!r} is missing", f"It sets {self._table[key].text}")
        return self.get(key, default)

    def child(self, key: str, area: str) -> Fields:
        """The section under a key, empty where there is none."""
        return Fields(self.context, self.at(key), self.get(key) or {}, area)

    def others(self) -> Mapping[str, Any]:
        """The keys that are not in the table."""
        return self._others


def nearest(name: str, names: Iterable[str]) -> str:
    """A question whether one of the nearest names was meant, or else which names there are."""
    known = [item for item in names if not item.startswith("_")]
    found = difflib.get_close_matches(name, known, n=2, cutoff=0.6)
    if found:
        return f"Did you mean {' or '.join(map(repr, found))}?"
    return f"Known here: {', '.join(sorted(known))}" if known else "Nothing is known here"


def shown(value: Any) -> str:
    """A value and its type, shortened, for a message."""
    text = repr(value)
    return f"{text if len(text) <= 60 else text[:57] + '...'} ({type(value).__name__})"


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)
