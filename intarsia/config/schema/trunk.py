"""The vocabulary of a trunk that is adapted instead of trained, or whose features are computed once."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, to

TRUNK_AREAS: dict[str, Area] = {
    "intarsia.lora": {
        "rank": to("lora.rank", "int"),
        "alpha": to("lora.alpha: times 1 / rank, what the products are multiplied by", "float | None"),
        "layers": to("lora.layers: patterns of linear layers, instead of those of attention", "str | Sequence[str]"),
    },
    "intarsia.cache_features": {
        "folder": to("features.folder", "str"),
        "views": to("features.views: of each image, drawn once", "int"),
        "precision": to("features.precision: bits of what is kept", "int | Literal['32', '16']"),
    },
}
"""Section -> key -> what becomes of it."""
