"""Semantic FPN: a feature pyramid, its levels added up."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, named_resnet, optimiser, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

ROWS = (
    Rows("fpn", ("r50", "r101"), 4, 2, ("80k",), ("cityscapes-512x1024",)),
    Rows("fpn", ("r50", "r101"), 4, 4, ("160k",), ("ade20k-512x512",)),
)
SHALLOWER = ("fpn_r101_4xb4-160k_ade20k-512x512",)
"""Recipes whose published config has 50 layers whatever its name says."""


def pyramid(stages: tuple[int, ...]) -> Config:
    """The neck over stages of so many channels."""
    return {"type": "FPN", "in_channels": list(stages), "out_channels": 256, "num_outs": 4}


def pyramid_head(num_classes: int, *, norm: Config = SYNC_NORM, dropout: float = 0.1) -> Config:
    """The head that adds the pyramid's levels up."""
    return {
        "type": "FPNHead",
        "in_channels": [256, 256, 256, 256],
        "in_index": [0, 1, 2, 3],
        "feature_strides": [4, 8, 16, 32],
        "channels": 128,
        "dropout_ratio": dropout,
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
        "loss_decode": cross_entropy(),
    }


def _published(recipe: Published) -> Parts:
    backbone, weights, depth = named_resnet("r50" if recipe.name in SHALLOWER else recipe.backbone)
    model = {
        "type": "EncoderDecoder",
        "pretrained": weights,
        "backbone": backbone,
        "neck": pyramid(widths(depth)),
        "decode_head": pyramid_head(recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


def _own(depth: int, num_logits: int, bands: int) -> Config:
    return {
        "backbone": {**resnet("ResNetV1c", depth, norm=NORM, stride=None), "in_channels": bands},
        "neck": pyramid(widths(depth)),
        "decode_head": pyramid_head(num_logits, norm=NORM),
    }


METHOD = Method(
    "Semantic FPN",
    "convolutional",
    "Panoptic Feature Pyramid Networks",
    "Kirillov, Girshick, He, Dollar",
    "CVPR",
    2019,
    "https://arxiv.org/abs/1901.02446",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"fpn_r{depth}": partial(_own, depth) for depth in (18, 50, 101)},
    learning_rate=5e-4,
    method=METHOD,
)
