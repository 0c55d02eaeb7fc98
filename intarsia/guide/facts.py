"""What was counted and measured of recipes: ``costs.json``, read when it is asked for.

It is written by ``benchmarks/models.py``, which says how each figure is found.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

REFERENCE = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
"""Memory and times are said as multiples of this recipe's."""

RELATIVE = {
    "forward_seconds": "time",
    "step_seconds": "step time",
    "forward_bytes": "memory",
    "step_bytes": "step memory",
}
"""Fields of a cost that tables say as multiples of REFERENCE's -> their titles."""


@dataclass(frozen=True)
class Cost:
    """What a recipe's network costs on images of 512 x 512 in float32.

    parameters: all, `auxiliary` of them in heads that only training has. multiply_adds: of one image, as the network is
    used. forward_bytes: the most that tensors take at once in the forward pass of one image. step_bytes: the same of
    a training step of two images with AdamW. forward_seconds, step_seconds: of the same on the machine of
    `machine()`. None where it was not counted or measured.
    """

    parameters: int
    auxiliary: int
    multiply_adds: int
    forward_bytes: int
    step_bytes: int | None = None
    forward_seconds: float | None = None
    step_seconds: float | None = None


def cost(recipe: str) -> Cost | None:
    """None for a recipe whose network was not counted."""
    counted = _costs()["counted"].get(recipe)
    return None if counted is None else Cost(**counted, **_costs()["timed"].get(recipe, {}))


def times(recipe: str, of: str) -> float | None:
    """How many times segformer_mit-b0's a recipe's "forward_bytes" is, or whatever field of Cost; None if unknown."""
    found, reference = cost(recipe), cost(REFERENCE)
    if found is None or reference is None:
        return None
    value, one = getattr(found, of), getattr(reference, of)
    return value / one if value and one else None


def rounded(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:,.0f}"


def machine() -> str:
    """On which times were measured; "" if none were."""
    said: str = _costs()["machine"] if _costs()["timed"] else ""
    return said


def torch_version() -> str:
    """That counted."""
    said: str = _costs()["torch"]
    return said


@cache
def _costs() -> Mapping[str, Any]:
    values: Mapping[str, Any] = json.loads((Path(__file__).parent / "costs.json").read_text(encoding="utf-8"))
    return values
