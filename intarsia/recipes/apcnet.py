"""APCNet: adaptive pyramid context."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, usual_rows, with_head
from intarsia.recipes.published import Family, Method

HEAD: Config = {"type": "APCHead", "pool_scales": (1, 2, 3, 6)}

METHOD = Method(
    "APCNet",
    "context",
    "Adaptive Pyramid Context Network for Semantic Segmentation",
    "He, Deng, Zhou, Wang, Qiao",
    "CVPR",
    2019,
    "https://openaccess.thecvf.com/content_CVPR_2019/html/He_Adaptive_Pyramid_Context_Network_for_Semantic_Segmentation_CVPR_2019_paper.html",
)
FAMILY = Family(
    usual_rows("apcnet", "cityscapes", "ade20k"),
    with_head(HEAD),
    own=own("apcnet", HEAD, (50, 101)),
    learning_rate=5e-4,
    method=METHOD,
)
