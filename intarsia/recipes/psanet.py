"""PSANet: every position collects from and distributes to all others."""

from __future__ import annotations

from intarsia.recipes.benchmarks import ADE20K, Config
from intarsia.recipes.dilated import own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published

HEAD: Config = {
    "type": "PSAHead",
    "mask_size": (97, 97),
    "psa_type": "bi-direction",
    "compact": False,
    "shrink_factor": 2,
    "normalization_factor": 1.0,
    "psa_softmax": True,
}


def _published(recipe: Published) -> Parts:
    """On ADE20K the mask is of another size."""
    return published(recipe, {**HEAD, "mask_size": (66, 66)} if recipe.setting.benchmark is ADE20K else HEAD)


METHOD = Method(
    "PSANet",
    "context",
    "PSANet: Point-wise Spatial Attention Network for Scene Parsing",
    "Zhao et al.",
    "ECCV",
    2018,
    "https://openaccess.thecvf.com/content_ECCV_2018/papers/Hengshuang_Zhao_PSANet_Point-wise_Spatial_ECCV_2018_paper.pdf",
)
FAMILY = Family(usual_rows("psanet"), _published, own=own("psanet", HEAD, (50, 101)), learning_rate=5e-4, method=METHOD)
