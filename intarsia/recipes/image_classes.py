"""A classifier of whole images beside the heads of any recipe: which classes an image shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.catalog import MASK_HEADS
from intarsia.recipes.benchmarks import Config

HEAD = "ImageClassHead"
WEIGHT = 0.2
"""Of its loss: EncNet's, beside 1 for the pixels."""


def image_class_head(model: Mapping[str, Any], weight: float = WEIGHT) -> Config:
    """The section of such a head on the coarsest level that the decode head reads.

    Raises ValueError for a model that finds masks, which has no auxiliary heads, and where the level is not known.
    """
    given = model["decode_head"]
    head = given[0] if isinstance(given, list | tuple) else given
    head = head.get("kernel_generate_head", head)
    kind = str(head.get("type")).rpartition(".")[2]
    if kind in MASK_HEADS:
        raise ValueError(f"{kind} finds masks and names them: there is no head beside it that names whole images")
    channels, index = head.get("in_channels"), head.get("in_index", -1)
    if isinstance(channels, list | tuple):
        indices = index if isinstance(index, list | tuple) else range(len(channels))
        index, channels = max(zip(indices, channels, strict=True))
    if "num_classes" not in head:
        raise ValueError(f"{kind} names no classes, so that there are none that an image could show")
    if not isinstance(channels, int) or not isinstance(index, int):
        raise ValueError(
            f"{kind} does not say which level it reads: write auxiliary_head=dict(type={HEAD!r}, in_channels=..., "
            "in_index=...) in a config"
        )
    trunk = model.get("backbone") or {}
    tokens = bool(trunk.get("output_cls_token") or trunk.get("tokens")) and not model.get("neck")
    return {
        "type": HEAD,
        "in_channels": channels,
        "in_index": index,
        "num_classes": head["num_classes"],
        **({"in_tokens": True} if tokens else {}),
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": True, "loss_weight": weight},
    }


def with_image_classes(model: Mapping[str, Any], weight: float = WEIGHT) -> Config:
    """The model with such a head behind its auxiliary heads, in the place of one that it has. Errors as above."""
    given = model.get("auxiliary_head") or []
    beside = [head for head in (given if isinstance(given, list | tuple) else [given]) if head.get("type") != HEAD]
    heads = [*beside, image_class_head(model, weight)]
    return {**model, "auxiliary_head": heads if len(heads) > 1 else heads[0]}
