"""The vocabulary of the heads of EoMT and PMT, which are ours. Losses and matching are written as Mask2Former's."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, refused, to
from intarsia.config.schema.notation import SCOPE
from intarsia.config.schema.queries import QUERY_AREAS

_OBJECTIVE = to("objective", "dict")

_COMMON = SCOPE | {
    "type": to("what it is"),
    "num_classes": to("argument `num_classes`, objective argument `num_classes`, inference.num_classes", "int"),
    "num_queries": to("argument `num_queries`", "int"),
    "num_upscales": to("argument `num_upscales`", "int"),
    "annealing_start": to("argument `annealing_start`, parts of the training", "Sequence[float] | None"),
    "annealing_end": to("argument `annealing_end`, parts of the training", "Sequence[float] | None"),
    "ignore_index": to("objective argument `ignore_index`", "int"),
    "align_corners": to("inference.align_corners", "bool"),
    "loss_cls": _OBJECTIVE,
    "loss_mask": _OBJECTIVE,
    "loss_dice": _OBJECTIVE,
    "train_cfg": to("objective", "dict | None"),
    "test_cfg": refused("how images are predicted is said in model.test_cfg", None, {}),
    "init_cfg": refused("the head starts as its paper says", None),
}

EOMT_AREAS: dict[str, Area] = {
    "EoMTHead": _COMMON
    | {
        "in_channels": to("argument `in_channels`", "int"),
        "in_index": to("argument `in_index`", "int"),
        "num_blocks": to("argument `num_blocks`; the backbone has as many `open_blocks`", "int"),
    },
    "PMTHead": _COMMON
    | {
        "in_channels": to("argument `in_channels`; the backbone has `prefix` and `norm`", "Sequence[int]"),
        "in_index": to("argument `in_index`", "Sequence[int]"),
        "num_blocks": to("argument `num_blocks`", "int"),
        "num_heads": to("argument `num_heads`", "int"),
        "hidden_channels": to("argument `hidden_channels`", "int | None"),
    },
    **{
        f"{head}: {part}": QUERY_AREAS[f"Mask2FormerHead: {part}"]
        for head in ("EoMTHead", "PMTHead")
        for part in ("loss_mask", "train_cfg")
    },
}
"""Section -> key -> what becomes of it."""
