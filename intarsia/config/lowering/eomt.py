"""The `decode_head` of EoMT and PMT -> the head, and the objective, which is written as Mask2Former's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.queries import LoweredQueryHead, lower_objective
from intarsia.config.schema.fates import bare
from intarsia.spec import Component

OWN = (
    "in_channels", "in_index", "num_classes", "num_queries", "num_blocks", "num_upscales", "num_heads",
    "hidden_channels",
)  # fmt: skip
"""The last two are those of PMT's own blocks."""
ANNEALING = ("annealing_start", "annealing_end")


def lower_eomt(context: Context, values: Mapping[str, Any], path: str) -> LoweredQueryHead:
    """The head at `path`."""
    name = bare(values["type"])
    fields = Fields(context, path, values, name)
    for key in ("in_channels", "num_classes"):
        fields.require(key, None, present=values)
    args = {key: tuple(v) if isinstance(v := fields.get(key), list) else v for key in OWN if key in fields}
    args |= {key: tuple(fields.get(key)) for key in ANNEALING if fields.get(key) is not None}
    origin = context.origin(path)
    return LoweredQueryHead(
        component=Component("head", values["type"], args, path, origin),
        objective=Component("objective", "SetCriterion", lower_objective(fields, name), path, origin),
        num_classes=fields.get("num_classes", 0),
        ignore_index=fields.get("ignore_index", 255),
        align_corners=fields.get("align_corners", False),
    )
