"""Errors of a sample that keep what they are, say where they come from, and travel from process to process."""

from __future__ import annotations

import pickle
import traceback
from dataclasses import dataclass
from typing import Any


def with_text(error: Exception, text: str) -> Exception:
    """An error of the same type, with its attributes, that says something else; for `raise ... from error`.

    Where the type does not say what it is given, it is a subclass of the same name.
    """
    kind: Any = type(error)
    if isinstance(error, OSError) and error.errno is not None:
        return _checked(lambda: kind(error.errno, text), text) or _renamed(error, text)

    def plain() -> Exception:
        made: Exception = kind.__new__(kind)
        made.args = (text,)
        made.__dict__.update(error.__dict__)
        return made

    return _checked(plain, text) or _renamed(error, text)


def _checked(make: Any, text: str) -> Exception | None:
    try:
        made: Exception = make()
        return made if text in str(made) else None
    except Exception:  # a type of the user's may do anything when it is made, or asked for its text
        return None


def _renamed(error: Exception, text: str) -> Exception:
    kind: Any = type(error)
    names = {
        "__module__": kind.__module__,
        "__qualname__": kind.__qualname__,
        "__str__": lambda self: text,
        "__reduce__": lambda self: (with_text, (error, text)),
    }

    def subclass() -> Exception:
        renamed = type(kind.__name__, (kind,), names)
        made: Exception = renamed.__new__(renamed, *error.args)
        made.__dict__.update(error.__dict__)
        return made

    return _checked(subclass, text) or RuntimeError(f"{kind.__name__}: {text}")


@dataclass(frozen=True)
class Failure:
    """An error on its way out of a worker process.

    pickled: the error itself; None where it cannot travel. kind: its type, likewise. trace: its traceback as text.
    """

    pickled: bytes | None
    kind: bytes | None
    name: str
    text: str
    trace: str

    @classmethod
    def of(cls, error: Exception) -> Failure:
        """To be called while the error is handled."""
        return cls(_pickled(error), _pickled(type(error)), type(error).__name__, str(error), traceback.format_exc())

    def error(self) -> Exception:
        """The error: of its own type if that can be had here, otherwise a RuntimeError that names it."""
        unknown = RuntimeError(f"{self.name}: {self.text}")
        if self.name in ("StopIteration", "StopAsyncIteration"):
            return unknown  # would end a loop in silence
        found = None if self.pickled is None else _checked(lambda: pickle.loads(self.pickled or b""), self.text)
        if found is None and self.kind is not None:
            found = _checked(lambda: _bare(pickle.loads(self.kind or b""), self.text), self.text)
        return found or unknown


def _bare(kind: Any, text: str) -> Exception:
    made: Exception = kind.__new__(kind)
    return with_text(made, text)


def _pickled(value: object) -> bytes | None:
    try:
        return pickle.dumps(value)
    except Exception:  # what cannot be pickled says so in many ways
        return None
