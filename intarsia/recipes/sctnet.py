"""SCTNet: one branch of convolutions that end in attention to learnt kernels.

Its published recipes learn from the maps of a transformer beside the labels, which is not here: these are for own data.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family, Method

SIZES = {"s": 32, "b": 64}
"""size -> channels of the first stage."""


def _parts(size: str, num_classes: int, bands: int) -> Config:
    width = SIZES[size]

    def head(channels: int, index: int, weight: float) -> Config:
        return {
            "type": "SCTHead",
            "in_channels": channels,
            "channels": channels,
            "in_index": index,
            "dropout_ratio": 0.0,
            "num_classes": num_classes,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": cross_entropy(weight),
        }

    return {
        "backbone": {
            "type": "SCTNet",
            "in_channels": bands,
            "base_channels": width,
            "spp_channels": 2 * width,
            "norm_cfg": NORM,
        },
        "decode_head": head(4 * width, 0, 1.0),
        "auxiliary_head": [head(2 * width, 1, 0.4)],
    }


METHOD = Method(
    "SCTNet",
    "real-time",
    "SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation",
    "Xu, Wu, Yu, Chu, Sang, Gao",
    "AAAI",
    2024,
    "https://arxiv.org/abs/2312.17071",
)
FAMILY = Family(own={f"sctnet-{size}": partial(_parts, size) for size in SIZES}, method=METHOD)
