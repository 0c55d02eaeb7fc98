"""ISANet: interlaced sparse self-attention.

Huang et al.: "Interlaced Sparse Self-Attention for Semantic Segmentation", 2019 (IJCV 2021 as OCNet).
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "ISAHead", "isa_channels": 256, "down_factor": (8, 8)}

FAMILY = Family(usual_rows("isanet"), with_head(HEAD), own=own("isanet", HEAD, (50, 101)), learning_rate=5e-4)
