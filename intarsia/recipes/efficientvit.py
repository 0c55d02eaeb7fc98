"""EfficientViT's head on networks of timm, for own data (``efficientvit_timm:NAME``, see `trunk_heads.py`).

There is no FAMILY, since there are as many recipes as networks. On the authors' own backbones the head is theirs for
Cityscapes; on others that of their B1, as wide as the network's level of stride 8.
"""

from __future__ import annotations

import re

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Method

STRIDES = (8, 16, 32)
_OF_THE_SERIES = re.compile(r"efficientvit_([bl])(\d)(\..*)?")
_NARROWEST, _WIDEST = 32, 256

METHOD = Method(
    "EfficientViT",
    "real-time",
    "EfficientViT: Multi-Scale Linear Attention for High-Resolution Dense Prediction",
    "Cai, Li, Hu, Gan, Han",
    "ICCV",
    2023,
    "https://arxiv.org/abs/2205.14756",
)


def head(network: str, channels: list[int], num_logits: int) -> Config:
    """The head for a network whose levels of strides 8, 16 and 32 have so many channels."""
    own = _OF_THE_SERIES.fullmatch(network)
    shape: Config = {"channels": min(max(channels[0], _NARROWEST), _WIDEST)}
    norm = NORM
    if own is not None and own[1] == "l":
        blocks = 3 if own[2] < "2" else 5
        shape = {"channels": 256, "num_blocks": blocks, "expand_ratio": 1, "fused": True, "final_expand": None}
        norm = {**NORM, "eps": 1e-7}
        shape["act_cfg"] = {"type": "GELUTanh"}
    elif own is not None and own[2] == "0":
        shape["num_blocks"] = 1
    return {
        "type": "EfficientViTHead",
        "in_channels": channels,
        "in_index": [0, 1, 2],
        **shape,
        "num_classes": num_logits,
        "norm_cfg": norm,
        "align_corners": False,
        "loss_decode": cross_entropy(),
    }
