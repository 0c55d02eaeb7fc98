"""Lengths of training with their unit: "80k steps", "20 epochs", "6h". Imports no torch."""

from __future__ import annotations

import math
import re

from intarsia.spec import Duration

_SECONDS = {
    "s": 1, "sec": 1, "secs": 1, "second": 1, "seconds": 1,
    "m": 60, "min": 60, "mins": 60, "minute": 60, "minutes": 60,
    "h": 3600, "hour": 3600, "hours": 3600,
    "d": 86400, "day": 86400, "days": 86400,
}  # fmt: skip
_STEPS = ("step", "steps", "it", "iter", "iters", "iteration", "iterations")
_EPOCHS = ("ep", "epoch", "epochs")
_MULTIPLES = {"": 1.0, "k": 1e3, "M": 1e6}
_PATTERN = re.compile(r"\s*([0-9][0-9_,]*(?:\.[0-9]*)?|\.[0-9]+)\s*(k(?![a-z])|M(?![a-zA-Z]))?\s*([A-Za-z]*)\s*")


def parse_duration(text: str) -> Duration:
    """Read a duration: a number, perhaps with k or M for thousands and millions of steps, and a unit.

    Raises ValueError where there is no number, no unit or an unknown one, or where the length is zero or no whole
    number of steps.
    """
    found = _PATTERN.fullmatch(text)
    if found is None:
        raise ValueError(
            f"{text!r} is no duration; write for example '200 steps', '80k steps', '20 epochs', '30m' or '6h'"
        )
    number, multiple, unit = found[1], found[2] or "", found[3]
    value = float(number.replace("_", "").replace(",", "")) * _MULTIPLES[multiple]
    if not unit:
        bare = text.strip()
        raise ValueError(f"the duration {bare!r} has no unit; write '{bare} steps', '{bare} epochs' or '{bare} min'")
    if value <= 0:
        raise ValueError(f"the duration {text!r} must be longer than zero")
    name = unit.lower()
    if name in _STEPS:
        if value != int(value):
            raise ValueError(f"the duration {text!r} is no whole number of steps")
        return Duration(value, "steps")
    if name in _EPOCHS:
        return Duration(value, "epochs")
    if name in _SECONDS:
        return Duration(value * _SECONDS[name], "seconds")
    raise ValueError(
        f"unknown unit {unit!r} in the duration {text!r}; known units: steps, epochs, s, m (minutes), h, d"
    )


def format_duration(duration: Duration) -> str:
    """The duration in words that `parse_duration` reads back to the same value."""
    if duration.unit == "seconds":
        for unit, seconds in (("h", 3600), ("m", 60)):
            if duration.value >= seconds and duration.value % seconds == 0:
                return f"{duration.value / seconds:.0f}{unit}"
        return f"{_plain(duration.value)}s"
    return f"{_plain(duration.value)} {duration.unit}"


def to_steps(duration: Duration, *, images: int, batch: int, seconds_per_step: float | None = None) -> int:
    """The duration as a number of optimizer steps, at least 1.

    images: of the training set. batch: images per step in total. seconds_per_step: measured, needed for times only.
    Epochs are rounded up to the step in which the last image is seen.
    """
    if duration.unit == "steps":
        return max(1, round(duration.value))
    if duration.unit == "epochs":
        return max(1, math.ceil(duration.value * images / batch))
    if seconds_per_step is None:
        raise ValueError(
            f"a duration in time ({format_duration(duration)}) needs the time of a step, which was not measured"
        )
    return max(1, int(duration.value / seconds_per_step))


def _plain(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
