"""DMNet: dynamic filters of several sizes."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "DMHead", "filter_sizes": (1, 3, 5, 7)}

METHOD = Method(
    "DMNet",
    "context",
    "Dynamic Multi-Scale Filters for Semantic Segmentation",
    "He, Deng, Qiao",
    "ICCV",
    2019,
    "https://openaccess.thecvf.com/content_ICCV_2019/papers/He_Dynamic_Multi-Scale_Filters_for_Semantic_Segmentation_ICCV_2019_paper.pdf",
)
FAMILY = Family(
    usual_rows("dmnet", "cityscapes", "ade20k"),
    with_head(HEAD),
    own=own("dmnet", HEAD, (50, 101)),
    learning_rate=5e-4,
    method=METHOD,
)
