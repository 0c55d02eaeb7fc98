"""RegSeg: blocks of two dilations, and a small decoder.

Its published recipe is none of MMSegmentation's kind (epochs, crops of resized images): what is here is for own data.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method

SIZES = {"regseg": ("base", (48, 128, 320), 64, 8), "regseg-l": ("large", (48, 120, 384), 128, 16)}
"""short name -> the backbone's arch, its channels, those of the head and of what it reads of the finest level."""


def _parts(name: str, num_classes: int, bands: int) -> Config:
    arch, channels, width, fine = SIZES[name]
    return {
        "backbone": {"type": "RegSeg", "arch": arch, "in_channels": bands, "norm_cfg": NORM},
        "decode_head": {
            "type": "RegSegHead",
            "in_channels": list(channels),
            "in_index": [0, 1, 2],
            "channels": width,
            "fine_channels": fine,
            "num_classes": num_classes,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        },
    }


METHOD = Method(
    "RegSeg",
    "real-time",
    "Rethinking Dilated Convolution for Real-time Semantic Segmentation",
    "Gao",
    "CVPR Workshops",
    2023,
    "https://arxiv.org/abs/2111.09957",
)
FAMILY = Family(own={name: partial(_parts, name) for name in SIZES}, method=METHOD)
