"""APCNet: adaptive pyramid context.

He, Deng, Zhou, Wang, Qiao: "Adaptive Pyramid Context Network for Semantic Segmentation", CVPR 2019.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "APCHead", "pool_scales": (1, 2, 3, 6)}

FAMILY = Family(
    usual_rows("apcnet", "cityscapes", "ade20k"),
    with_head(HEAD),
    own=own("apcnet", HEAD, (50, 101)),
    learning_rate=5e-4,
)
