"""PSANet: every position collects from and distributes to all others.

Zhao et al.: "PSANet: Point-wise Spatial Attention Network for Scene Parsing", ECCV 2018.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import ADE20K, Config
from intarsia.recipes.dilated import own, published, usual_rows
from intarsia.recipes.published import Family, Parts, Published

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


FAMILY = Family(usual_rows("psanet"), _published, own=own("psanet", HEAD, (50, 101)), learning_rate=5e-4)
