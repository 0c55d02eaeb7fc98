"""DMNet: dynamic filters of several sizes.

He, Deng, Qiao: "Dynamic Multi-Scale Filters for Semantic Segmentation", ICCV 2019.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family

HEAD: Config = {"type": "DMHead", "filter_sizes": (1, 3, 5, 7)}

FAMILY = Family(
    usual_rows("dmnet", "cityscapes", "ade20k"), with_head(HEAD), own=own("dmnet", HEAD, (50, 101)), learning_rate=5e-4
)
