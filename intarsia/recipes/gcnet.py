"""GCNet: one global context for all positions."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "GCHead", "ratio": 1 / 4.0, "pooling_type": "att", "fusion_types": ("channel_add",)}

METHOD = Method(
    "GCNet",
    "context",
    "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond",
    "Cao et al.",
    "ICCV workshops",
    2019,
    "https://arxiv.org/abs/1904.11492",
)
FAMILY = Family(
    usual_rows("gcnet"), with_head(HEAD), own=own("gcnet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD
)
