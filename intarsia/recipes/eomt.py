"""EoMT on own data: a plain transformer of timm that finds masks by itself (``eomt_timm:NAME``, see `timm_trunks.py`).

Trained as its authors do it, but for the two warm-ups: there the head begins alone, here there is one for all. There is
no FAMILY, since there are as many recipes as networks.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.maskformer import class_loss, dice_loss, matching
from intarsia.recipes.published import Method
from intarsia.recipes.schedules import adamw

LEARNING_RATE, DECAY = 1e-4, 0.8
METHOD = Method(
    "EoMT",
    "masks",
    "Your ViT is Secretly an Image Segmentation Model",
    "Kerssies, Cavagnero, Hermans, Norouzi, Averta, Leibe, Dubbelman, de Geus",
    "CVPR",
    2025,
    "https://arxiv.org/abs/2503.19108",
)


def blocks(depth: int) -> int:
    """Through how many last blocks the queries run: 3 of small and base, 4 of large, 5 of giant ones."""
    usual = 3 if depth <= 12 else 4 if depth < 40 else 5
    return min(usual, depth - 1)


def head(channels: int, patch: int, depth: int, num_logits: int) -> Config:
    """The head for a transformer of so many channels and blocks, of patches of so many pixels."""
    matched = matching(
        {"type": "mmdet.ClassificationCost", "weight": 2.0},
        {"type": "mmdet.CrossEntropyLossCost", "weight": 5.0, "use_sigmoid": True},
        {"type": "mmdet.DiceCost", "weight": 5.0, "pred_act": True, "eps": 1.0},
    )
    mask_loss = {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "reduction": "mean", "loss_weight": 5.0}
    return {
        "type": "EoMTHead",
        "in_channels": channels,
        "num_classes": num_logits,
        "num_queries": 100,
        "num_blocks": blocks(depth),
        "num_upscales": max(1, patch.bit_length() - 3),  # to cells of 4 pixels
        "loss_cls": class_loss(num_logits, 2.0),
        "loss_mask": mask_loss,
        "loss_dice": dice_loss(5.0),
        "train_cfg": {"num_points": 12544, "oversample_ratio": 3.0, "importance_sample_ratio": 0.75, **matched},
    }


def training(depth: int) -> Config:
    """The optimizer: each block learns at 0.8 times the rate of the one behind it, and everything is decayed."""
    rules = {"num_layers": depth, "decay_rate": DECAY, "decay_type": "block_wise", "flat_decay_mult": 1.0}
    optim = adamw(LEARNING_RATE, 0.05, clip_grad={"max_norm": 0.01, "norm_type": 2})
    return {"optim_wrapper": {**optim, "constructor": "LayerDecayOptimizerConstructor", "paramwise_cfg": rules}}
