"""A small model of our own, for a laptop's processor and for first tries: minutes instead of hours.

SegFormer's head, which keeps outlines at a quarter of the input's size, over a narrow ResNet-18, which learns quickly
from random weights. Nothing was published with it.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import Family

WIDTH, CHANNELS = 24, 64


def _own(num_logits: int, bands: int) -> Config:
    norm = {"type": "BN", "requires_grad": True}
    return {
        "backbone": {
            "type": "ResNetV1c",
            "depth": 18,
            "in_channels": bands,
            "stem_channels": WIDTH,
            "base_channels": WIDTH,
            "num_stages": 4,
            "out_indices": (0, 1, 2, 3),
            "norm_cfg": norm,
            "norm_eval": False,
            "style": "pytorch",
        },
        "decode_head": {
            "type": "SegformerHead",
            "in_channels": [WIDTH, 2 * WIDTH, 4 * WIDTH, 8 * WIDTH],
            "in_index": [0, 1, 2, 3],
            "channels": CHANNELS,
            "dropout_ratio": 0.1,
            "num_classes": num_logits,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        },
    }


FAMILY = Family(own={"small_r18": _own}, learning_rate=3e-3)
