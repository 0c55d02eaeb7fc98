"""Errors of a sample that keep what they are, say where they come from, and travel from process to process."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


def with_text(error: Exception, text: str) -> Exception:
    """An error of the same type, with its attributes, that says something else; for `raise ... from error`.

    Where the type does not say what it is given, it is a subclass of the same name.
    """
    kind: Any = type(error)

    def plain() -> Exception:
        if isinstance(error, OSError) and error.errno is not None:
            return kind(error.errno, text)  # type: ignore[no-any-return]
        made: Exception = kind.__new__(kind)
        made.args = (text,)
        made.__dict__.update(error.__dict__)
        return made

    def subclass() -> Exception:
        names = {
            "__module__": kind.__module__,
            "__qualname__": kind.__qualname__,
            "__str__": lambda self: text,
            "__reduce__": lambda self: (_remade, (kind, error.args, error.__dict__, text)),
        }
        renamed = type(kind.__name__, (kind,), names)
        made: Exception = renamed.__new__(renamed, *error.args)
        made.__dict__.update(error.__dict__)
        return made

    return _first([plain, subclass], text) or RuntimeError(f"{kind.__name__}: {text}")


def _remade(kind: Any, args: tuple[Any, ...], attributes: Mapping[str, Any], text: str) -> Exception:
    """An error by its parts, without what its type wants to be told when it is made."""
    made: Exception = kind.__new__(kind, *args)
    made.__dict__.update(attributes)
    return with_text(made, text)


def _first(ways: Sequence[Callable[[], Exception]], text: str) -> Exception | None:
    """What the first way gives that works, and says the text."""
    for way in ways:
        try:
            made = way()
            if text in str(made):
                return made
        except Exception:  # a type of the user's may do anything when it is made, read, or asked for its text
            continue
    return None


@dataclass(frozen=True)
class Failure:
    """An error on its way out of a worker process.

    pickled: the error, and then its parts, as far as they can travel. trace: its traceback as text.
    """

    pickled: tuple[bytes, ...]
    name: str
    text: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """To be called while the error is handled."""
        kind, text = type(error), str(error)
        parts = [error, _Parts(kind, error.args, error.__dict__, text), _Parts(kind, (), {}, text)]
        return cls(tuple(filter(None, map(_pickled, parts))), kind.__name__, text, traceback.format_exc())

    def error(self) -> Exception:
        """The error: of its own type if that can be had here, otherwise a RuntimeError that names it."""
        unknown = RuntimeError(f"{self.name}: {self.text}")
        if self.name in ("StopIteration", "StopAsyncIteration"):
            return unknown  # would end a loop in silence
        return _first([lambda data=data: pickle.loads(data) for data in self.pickled], self.text) or unknown  # type: ignore[misc]


@dataclass(frozen=True)
class _Parts:
    """Pickled as what `_remade` makes of it."""

    kind: type[Exception]
    args: tuple[Any, ...]
    attributes: Mapping[str, Any]
    text: str

    def __reduce__(self) -> tuple[Any, ...]:
        return _remade, (self.kind, self.args, self.attributes, self.text)


def _pickled(value: object) -> bytes:
    """Nothing for what cannot be pickled, which says so in many ways."""
    try:
        return pickle.dumps(value)
    except Exception:
        return b""
