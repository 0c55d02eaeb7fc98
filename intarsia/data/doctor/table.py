"""A proposed label table, with what has to be said of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from intarsia.data.description.model import BACKGROUND, LabelValue
from intarsia.data.doctor.findings import Finding
from intarsia.data.labels import Colour

COLOUR_NAMES: dict[Colour, str] = {
    (0, 0, 0): BACKGROUND,
    (255, 0, 0): "red",
    (0, 255, 0): "green",
    (0, 0, 255): "blue",
    (255, 255, 0): "yellow",
    (255, 0, 255): "magenta",
    (0, 255, 255): "cyan",
    (255, 255, 255): "white",
}


@dataclass(frozen=True)
class TableProposal:
    """What label values might mean.

    blurred: in-between values show that the labels were interpolated or are JPEGs; main: the values that carry nearly
    all pixels of such labels. notes: decisions; warnings: what was guessed; problems: what cannot be told.
    """

    classes: tuple[str, ...]
    labels: Mapping[LabelValue, str]
    palette: tuple[Colour, ...] | None = None
    outside: Literal["error", "ignore"] = "error"
    tolerance: int = 0
    notes: tuple[str, ...] = ()
    warnings: tuple[Finding, ...] = ()
    problems: tuple[Finding, ...] = ()
    blurred: bool = False
    main: tuple[LabelValue, ...] = ()
