"""The vocabulary of EoMT's head, which is ours: EoMTHead. Its losses and its matching are written as Mask2Former's."""

from __future__ import annotations

from intarsia.config.schema.fates import Area, refused, to
from intarsia.config.schema.notation import SCOPE
from intarsia.config.schema.queries import QUERY_AREAS

_OBJECTIVE = to("objective", "dict")

EOMT_AREAS: dict[str, Area] = {
    "EoMTHead": SCOPE
    | {
        "type": to("what it is"),
        "in_channels": to("argument `in_channels`", "int"),
        "in_index": to("argument `in_index`", "int"),
        "num_classes": to("argument `num_classes`, objective argument `num_classes`, inference.num_classes", "int"),
        "num_queries": to("argument `num_queries`", "int"),
        "num_blocks": to("argument `num_blocks`; the backbone has as many `open_blocks`", "int"),
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
    },
    "EoMTHead: loss_mask": QUERY_AREAS["Mask2FormerHead: loss_mask"],
    "EoMTHead: train_cfg": QUERY_AREAS["Mask2FormerHead: train_cfg"],
}
"""Section -> key -> what becomes of it."""
