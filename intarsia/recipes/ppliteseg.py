"""PP-LiteSeg: STDC's backbone, and a decoder in which each pixel chooses between levels.

Its published recipes are those of another framework: what is here is for own data.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method

SIZES = {"t": ("STDCNet1", (32, 64, 128)), "b": ("STDCNet2", (64, 96, 128))}
"""size -> backbone, channels of the decoder from the finest level on."""


def _parts(size: str, num_classes: int, bands: int) -> Config:
    backbone, channels = SIZES[size]
    return {
        "backbone": {"type": "STDCNet", "stdc_type": backbone, "in_channels": bands, "norm_cfg": NORM},
        "decode_head": {
            "type": "PPLiteSegHead",
            "in_channels": [256, 512, 1024],
            "in_index": [0, 1, 2],
            "channels": list(channels),
            "num_classes": num_classes,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": {"type": "OhemCrossEntropy", "thres": 0.7, "min_kept": 130_000, "loss_weight": 1.0},
        },
    }


METHOD = Method(
    "PP-LiteSeg",
    "real-time",
    "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model",
    "Peng et al.",
    "arXiv",
    2022,
    "https://arxiv.org/abs/2204.02681",
)
FAMILY = Family(own={f"ppliteseg-{size}": partial(_parts, size) for size in SIZES}, method=METHOD)
