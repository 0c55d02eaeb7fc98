"""MobileNetV2, dilated, under the heads of FCN, PSPNet, DeepLabV3 and DeepLabV3+."""

from __future__ import annotations

from functools import partial

from intarsia.recipes import deeplabv3, deeplabv3plus, fcn, pspnet
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, heads, optimiser
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

_STAGES = (24, 32, 96, 320)
_HEADS: dict[str, Config] = {
    "fcn": fcn.HEAD,
    "pspnet": pspnet.HEAD,
    "deeplabv3": deeplabv3.HEAD,
    "deeplabv3plus": {**deeplabv3plus.head(50), "c1_in_channels": 24},
}
ROWS = (
    Rows("mobilenet-v2-d8", tuple(_HEADS), 4, 2, ("80k",), ("cityscapes-512x1024",)),
    Rows("mobilenet-v2-d8", tuple(_HEADS), 4, 4, ("160k",), ("ade20k-512x512",)),
)


def _parts(method: str, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    backbone = {
        "type": "MobileNetV2",
        "widen_factor": 1.0,
        "strides": (1, 2, 2, 1, 1, 1, 1),
        "dilations": (1, 1, 1, 2, 2, 4, 4),
        "out_indices": (1, 2, 4, 6),
        "norm_cfg": norm,
    }
    head = {**_HEADS[method], "channels": 512}
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        **heads(head, _STAGES, num_classes, norm=norm, auxiliary={"channels": 256}),
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": "mmcls://mobilenet_v2",
        **_parts(recipe.backbone, recipe.num_classes, 3),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


METHOD = Method(
    "MobileNetV2",
    "real-time",
    "MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    "Sandler et al.",
    "CVPR",
    2018,
    "https://arxiv.org/abs/1801.04381",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"{method}_mobilenet-v2": partial(_parts, method, norm=NORM) for method in _HEADS},
    learning_rate=1e-3,
    method=METHOD,
)
