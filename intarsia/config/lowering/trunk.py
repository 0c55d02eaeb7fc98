"""Section `intarsia`, a trunk that is adapted instead of trained (`lora`), or seen once (`cache_features`)."""

from __future__ import annotations

from collections.abc import Mapping

from intarsia.config.lowering.fields import Fields
from intarsia.spec import FeatureCacheSpec, LoraSpec


def lower_lora(own: Fields) -> LoraSpec | None:
    """A rank, or a dict with one."""
    given = own.get("lora")
    if given is None:
        return None
    if not isinstance(given, Mapping):
        return LoraSpec(_positive(own, "lora", given))
    fields = own.child("lora", "intarsia.lora")
    rank = _positive(fields, "rank", fields.require("rank", 1, present=given))
    alpha, layers = fields.get("alpha"), fields.get("layers", ())
    if alpha is not None and alpha <= 0:
        fields.context.problem(fields.at("alpha"), f"expected a number above 0, found {alpha}")
    return LoraSpec(rank, alpha, (layers,) if isinstance(layers, str) else tuple(layers))


def lower_features(own: Fields) -> FeatureCacheSpec | None:
    """`intarsia.cache_features`."""
    given = own.get("cache_features")
    if given is None:
        return None
    fields = own.child("cache_features", "intarsia.cache_features")
    views, precision = fields.get("views", 1), str(fields.get("precision", "32"))
    if views < 1:
        fields.context.problem(fields.at("views"), f"expected 1 view or more, found {views}")
    if precision not in ("32", "16"):
        fields.context.problem(fields.at("precision"), f"expected 32 or 16 bits, found {precision}")
    return FeatureCacheSpec(
        folder=fields.require("folder", "", present=given), views=views, precision="16" if precision == "16" else "32"
    )


def _positive(fields: Fields, key: str, rank: int) -> int:
    if isinstance(rank, int) and rank < 1:
        fields.context.problem(fields.at(key), f"expected a rank of 1 or more, found {rank}", "Usual are 4 to 16")
    return rank
