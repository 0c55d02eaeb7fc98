"""Non-local networks."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "NLHead", "reduction": 2, "use_scale": True, "mode": "embedded_gaussian"}

METHOD = Method(
    "NonLocal",
    "context",
    "Non-local Neural Networks",
    "Wang, Girshick, Gupta, He",
    "CVPR",
    2018,
    "https://arxiv.org/abs/1711.07971",
)
FAMILY = Family(
    usual_rows("nonlocal"), with_head(HEAD), own=own("nonlocal", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD
)
