"""What the files of a data set have in common."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.data.bands import Bands
from intarsia.data.doctor.measure import Measured
from intarsia.data.labels import Colour


def common_bands(measured: Sequence[Measured]) -> tuple[Bands, int]:
    """As colours, unless no image is an ordinary 8-bit picture and all have the same number of channels."""
    kinds = {(entry.image.bands, entry.image.channels) for entry in measured if entry.image is not None}
    if len(kinds) == 1:
        bands, channels = next(iter(kinds))
        return bands, channels
    return "rgb", 3


def common_palette(measured: Sequence[Measured]) -> tuple[Colour, ...] | None:
    """The palette of the label files if they share one."""
    found = {entry.label.palette for entry in measured if entry.label is not None}
    return next(iter(found)) if len(found) == 1 else None
