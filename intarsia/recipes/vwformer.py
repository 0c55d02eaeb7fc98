"""VWFormer on ConvNeXt and Swin.

Its published recipes are of MMSegmentation's kind before 1.0: what is here is for own data, with the heads' settings of
the paper.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes import convnext, swin
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method


def _head(stages: tuple[int, int, int, int], num_classes: int, *, short_cut: bool) -> Config:
    return {
        "type": "VWHead",
        "in_channels": list(stages),
        "in_index": [0, 1, 2, 3],
        "channels": 512,
        "dropout_ratio": 0.1,
        "num_classes": num_classes,
        "short_cut": short_cut,
        "nheads": 1,
        "norm_cfg": NORM,
        "align_corners": False,
        "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
    }


def _convnext(size: str, num_classes: int, bands: int) -> Config:
    network = convnext.backbone(size)
    return {
        "backbone": {**network, "in_channels": bands},
        "decode_head": _head(convnext.stages(size), num_classes, short_cut=True),
    }


def _swin(size: str, num_classes: int, bands: int) -> Config:
    return {
        "backbone": {**swin.backbone(size), "in_channels": bands},
        "decode_head": _head(swin.stages(size), num_classes, short_cut=size != "large"),
    }


METHOD = Method(
    "VWFormer",
    "transformer",
    "Multi-Scale Representations by Varying Window Attention for Semantic Segmentation",
    "Yan, Wu, Zhang",
    "ICLR",
    2024,
    "https://arxiv.org/abs/2404.16573",
)
FAMILY = Family(
    own={
        **{f"convnext-{size[0]}_vwformer": partial(_convnext, size) for size in convnext.SIZES},
        **{f"vwformer_swin-{size[0]}": partial(_swin, size) for size in swin.SIZES},
    },
    learning_rate=3e-4,
    method=METHOD,
)
