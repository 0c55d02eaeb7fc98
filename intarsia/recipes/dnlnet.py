"""DNLNet: disentangled non-local networks."""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import own, published, usual_rows
from intarsia.recipes.published import Family, Method, Parts, Published

HEAD: Config = {"type": "DNLHead", "reduction": 2, "use_scale": True, "mode": "embedded_gaussian"}


def _published(recipe: Published) -> Parts:
    """The longer recipes on large squares spare two projections weight decay; not all recipes do."""
    parts = published(recipe, HEAD)
    if recipe.schedule == "80k" and recipe.setting_name == "cityscapes-769x769":
        rules = {"theta": {"wd_mult": 0.0}, "phi": {"wd_mult": 0.0}}
        parts.optim_wrapper["paramwise_cfg"] = {"custom_keys": rules}
    return parts


METHOD = Method(
    "DNLNet",
    "context",
    "Disentangled Non-Local Neural Networks",
    "Yin et al.",
    "ECCV",
    2020,
    "https://arxiv.org/abs/2006.06668",
)
FAMILY = Family(
    usual_rows("dnl", "cityscapes", "ade20k"),
    _published,
    own=own("dnl", HEAD, (50, 101)),
    learning_rate=5e-4,
    method=METHOD,
)
