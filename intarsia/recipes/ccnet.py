"""CCNet: criss-cross attention."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "CCHead", "recurrence": 2}

METHOD = Method(
    "CCNet",
    "context",
    "CCNet: Criss-Cross Attention for Semantic Segmentation",
    "Huang et al.",
    "ICCV",
    2019,
    "https://arxiv.org/abs/1811.11721",
)
FAMILY = Family(
    usual_rows("ccnet"), with_head(HEAD), own=own("ccnet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD
)
