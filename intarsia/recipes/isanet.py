"""ISANet: interlaced sparse self-attention."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "ISAHead", "isa_channels": 256, "down_factor": (8, 8)}

METHOD = Method(
    "ISANet",
    "context",
    "Interlaced Sparse Self-Attention for Semantic Segmentation",
    "Huang et al.",
    "arXiv",
    2019,
    "https://arxiv.org/abs/1907.12273",
)
FAMILY = Family(
    usual_rows("isanet"), with_head(HEAD), own=own("isanet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD
)
