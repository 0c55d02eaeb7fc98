"""What becomes of a key of a config: the notation of the vocabulary's tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from intarsia.catalog import SCOPES


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a key.

    text: the field of RunSpec that it sets, or the reason why it has no effect or is refused.
    expects: annotation of its value. unless: values under which a refused key asks for nothing.
    """

    outcome: Literal["lowered", "no effect", "refused"]
    text: str
    expects: str = "Any"
    unless: tuple[Any, ...] = ()


Area = Mapping[str, Fate]


def to(text: str, expects: str = "Any") -> Fate:
    """Lowered into a field of RunSpec."""
    return Fate("lowered", text, expects)


def nothing(reason: str) -> Fate:
    """Legal, and without effect here."""
    return Fate("no effect", reason)


def refused(reason: str, *unless: Any) -> Fate:
    """An error, except with one of the values `unless`."""
    return Fate("refused", reason, unless=unless)


@cache
def bare(name: str) -> str:
    """A part's name without the prefix of its OpenMMLab registry."""
    return next((name[len(scope) :] for scope in SCOPES if name.startswith(scope)), name)
