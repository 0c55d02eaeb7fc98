"""What the configs of several mask classifiers of transformers have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.weights.maps.description import Values


def expect(values: Mapping[str, Any], where: str, **expected: Any) -> None:
    """Refuse settings that have no counterpart here."""
    for key, value in expected.items():
        if values.get(key, value) != value:
            raise ValueError(f"{where} has {key}={values[key]!r}; our counterpart is made for {value!r} only")


def points(config: Mapping[str, Any]) -> Values:
    """How many points of masks are compared in training."""
    return {
        "num_points": config.get("train_num_points", 12544),
        "oversample_ratio": config.get("oversample_ratio", 3.0),
        "importance_sample_ratio": config.get("importance_sample_ratio", 0.75),
    }


def mask_losses(
    num_classes: int, weights: Sequence[float], mask_loss: Values, mask_cost: Values, nothing: float, points: Values
) -> Values:
    """Losses and matching. weights: of class, mask and Dice. nothing: how much a query without a mask counts."""
    return {
        "loss_cls": {
            "type": "mmdet.CrossEntropyLoss",
            "use_sigmoid": False,
            "loss_weight": weights[0],
            "reduction": "mean",
            "class_weight": [1.0] * num_classes + [nothing],
        },
        "loss_mask": mask_loss,
        "loss_dice": {
            "type": "mmdet.DiceLoss",
            "use_sigmoid": True,
            "activate": True,
            "reduction": "mean",
            "naive_dice": True,
            "eps": 1.0,
            "loss_weight": weights[2],
        },
        "train_cfg": {
            **points,
            "assigner": {
                "type": "mmdet.HungarianAssigner",
                "match_costs": [
                    {"type": "mmdet.ClassificationCost", "weight": weights[0]},
                    mask_cost,
                    {"type": "mmdet.DiceCost", "weight": weights[2], "pred_act": True, "eps": 1.0},
                ],
            },
            "sampler": {"type": "mmdet.MaskPseudoSampler"},
        },
    }
