"""The vocabulary of a trunk that is adapted instead of trained."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, to

LORA_AREAS: dict[str, Area] = {
    "intarsia.lora": {
        "rank": to("lora.rank", "int"),
        "alpha": to("lora.alpha: times 1 / rank, what the products are multiplied by", "float | None"),
        "layers": to("lora.layers: patterns of linear layers, instead of those of attention", "str | Sequence[str]"),
    },
}
"""Section -> key -> what becomes of it."""
