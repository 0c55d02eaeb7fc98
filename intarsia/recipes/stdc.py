"""STDC: short-term dense concatenation, and detail that is learnt from the labels' edges.

4 published recipes; ``in1k-pre`` starts at weights of ImageNet.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/stdc/{}.pth"
SIZES = {"stdc1": "stdc1_20220308-5368626c", "stdc2": "stdc2_20220308-7dbd9127"}
"""size -> file of the ImageNet weights."""

ROWS = tuple(Rows(size, ("", "in1k-pre"), 4, 12, ("80k",), ("cityscapes-512x1024",)) for size in SIZES)
_HARD_PIXELS: Config = {"type": "OHEMPixelSampler", "thresh": 0.7, "min_kept": 10_000}


def _parts(size: str, num_classes: int, bands: int) -> Config:
    common = {"num_convs": 1, "concat_input": False, "norm_cfg": NORM}
    pixels = {
        **common,
        "type": "FCNHead",
        "num_classes": num_classes,
        "loss_decode": cross_entropy(),
        "sampler": _HARD_PIXELS,
    }
    small = {**pixels, "in_channels": 128, "channels": 64, "align_corners": False}
    edges = {
        **common,
        "type": "STDCHead",
        "in_channels": 256,
        "in_index": 0,
        "channels": 64,
        "num_classes": 2,
        "boundary_threshold": 0.1,
        "align_corners": True,
        "loss_decode": [
            {"type": "CrossEntropyLoss", "loss_name": "loss_ce", "use_sigmoid": True, "loss_weight": 1.0},
            {"type": "DiceLoss", "loss_name": "loss_dice", "loss_weight": 1.0},
        ],
    }
    return {
        "backbone": {
            "type": "STDCContextPathNet",
            "backbone_cfg": {
                "type": "STDCNet",
                "stdc_type": f"STDCNet{size[-1]}",
                "in_channels": bands,
                "channels": (32, 64, 256, 512, 1024),
                "bottleneck_type": "cat",
                "num_convs": 4,
                "norm_cfg": NORM,
                "act_cfg": {"type": "ReLU"},
                "with_final_conv": False,
            },
            "last_in_channels": (1024, 512),
            "out_channels": 128,
            "ffm_cfg": {"in_channels": 384, "out_channels": 256, "scale_factor": 4},
        },
        "decode_head": {
            **pixels,
            "in_channels": 256,
            "in_index": 3,
            "channels": 256,
            "dropout_ratio": 0.1,
            "align_corners": True,
        },
        "auxiliary_head": [{**small, "in_index": 2}, {**small, "in_index": 1}, edges],
    }


def _published(recipe: Published) -> Parts:
    parts = _parts(recipe.method, recipe.num_classes, 3)
    if recipe.backbone:
        weights = _WEIGHTS.format(SIZES[recipe.method])
        parts["backbone"]["backbone_cfg"]["init_cfg"] = {"type": "Pretrained", "checkpoint": weights}
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    return Parts(model, sgd(0.01, 5e-4), poly(recipe.steps, warm_up=1000))


METHOD = Method(
    "STDC",
    "real-time",
    "Rethinking BiSeNet for Real-time Semantic Segmentation",
    "Fan et al.",
    "CVPR",
    2021,
    "https://arxiv.org/abs/2104.13188",
)
FAMILY = Family(
    ROWS, _published, own={size: partial(_parts, size) for size in SIZES}, learning_rate=1e-3, method=METHOD
)
