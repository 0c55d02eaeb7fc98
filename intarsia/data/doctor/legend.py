"""What label values are called, and where that was found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from intarsia.data.description.model import LabelValue
from intarsia.data.doctor.findings import Finding
from intarsia.data.labels import Colour


@dataclass(frozen=True)
class Legend:
    """Names of file values, "ignore" among them.

    source: where they come from, in words. palette: colours of the classes by name. guesses: what had to be guessed.
    is_explicit: the values themselves are written there, not only an order. tolerance, outside: see `DataDescription`.
    """

    names: Mapping[LabelValue, str]
    source: str
    palette: Mapping[str, Colour] = field(default_factory=dict)
    guesses: tuple[Finding, ...] = ()
    is_explicit: bool = False
    tolerance: int = 0
    outside: Literal["error", "ignore"] = "error"
