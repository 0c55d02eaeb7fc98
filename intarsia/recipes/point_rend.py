"""PointRend: borders decided point by point."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, named_resnet, optimiser, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly
from intarsia.recipes.sem_fpn import pyramid, pyramid_head

ROWS = (
    Rows("pointrend", ("r50", "r101"), 4, 2, ("80k",), ("cityscapes-512x1024",)),
    Rows("pointrend", ("r50", "r101"), 4, 4, ("160k",), ("ade20k-512x512",)),
)
_POINTS: Config = {"num_points": 2048, "oversample_ratio": 3, "importance_sample_ratio": 0.75}
_REFINING: Config = {"mode": "whole", "subdivision_steps": 2, "subdivision_num_points": 8196, "scale_factor": 2}


def _parts(backbone: Config, depth: int, num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    points = {
        "type": "PointHead",
        "in_channels": [256],
        "in_index": [0],
        "channels": 256,
        "num_fcs": 3,
        "coarse_pred_each_layer": True,
        "dropout_ratio": -1,
        "num_classes": num_classes,
        "align_corners": False,
        "loss_decode": cross_entropy(),
    }
    return {
        "type": "CascadeEncoderDecoder",
        "num_stages": 2,
        "backbone": backbone,
        "neck": pyramid(widths(depth)),
        "decode_head": [pyramid_head(num_classes, norm=norm, dropout=-1), points],
        "train_cfg": _POINTS,
        "test_cfg": _REFINING,
    }


def _published(recipe: Published) -> Parts:
    backbone, weights, depth = named_resnet(recipe.backbone)
    model = {"pretrained": weights, **_parts(backbone, depth, recipe.num_classes)}
    return Parts(model, optimiser(recipe), poly(recipe.steps, warm_up=200))


def _own(depth: int, num_logits: int, bands: int) -> Config:
    backbone = {**resnet("ResNetV1c", depth, norm=NORM, stride=None), "in_channels": bands}
    return _parts(backbone, depth, num_logits, norm=NORM)


METHOD = Method(
    "PointRend",
    "convolutional",
    "PointRend: Image Segmentation as Rendering",
    "Kirillov, Wu, He, Girshick",
    "CVPR",
    2020,
    "https://arxiv.org/abs/1912.08193",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"pointrend_r{depth}": partial(_own, depth) for depth in (50, 101)},
    learning_rate=5e-4,
    method=METHOD,
)
