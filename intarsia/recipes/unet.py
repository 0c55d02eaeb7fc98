"""UNet, with the heads of FCN, PSPNet and DeepLabV3 on it.

25 published recipes: vessels of the retina on four data sets, and Cityscapes. ``ce-1.0-dice-3.0`` trains on
cross entropy and three times the Dice loss.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes import deeplabv3, pspnet
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, optimiser
from intarsia.recipes.published import FORM, Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

_BOTH_LOSSES = "ce-1.0-dice-3.0"
_METHODS = ("fcn", "pspnet", "deeplabv3")
_VESSELS = ("drive-64x64", "stare-128x128", "chase-db1-128x128", "hrf-256x256")
ROWS = (
    Rows("unet-s5-d16", ("fcn",), 4, 4, ("160k",), ("cityscapes-512x1024",)),
    Rows("unet-s5-d16", ("fcn", "pspnet"), 4, 4, ("40k",), _VESSELS),
    Rows("unet-s5-d16", ("deeplabv3",), 4, 4, ("40k",), ("drive-64x64", "stare-128x128", "hrf-256x256")),
    Rows(
        "unet-s5-d16",
        ("deeplabv3",),
        4,
        4,
        ("40k",),
        ("chase-db1-128x128",),
        form=FORM.replace("{model}", "unet_s5-d16_{backbone}"),
    ),
    Rows("unet-s5-d16", _METHODS, 4, 4, ("40k",), _VESSELS, note=_BOTH_LOSSES),
)
_STRIDES = {64: 42, 128: 85, 256: 170}
"""Side of the window that slides over a photograph -> its stride."""

_HEADS: dict[str, Config] = {
    "fcn": {"type": "FCNHead", "channels": 64, "num_convs": 1, "concat_input": False},
    "pspnet": {**pspnet.HEAD, "channels": 16},
    "deeplabv3": {**deeplabv3.HEAD, "channels": 16},
}


def _parts(method: str, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    common = {"dropout_ratio": 0.1, "num_classes": num_classes, "norm_cfg": norm, "align_corners": False}
    auxiliary = {"type": "FCNHead", "in_channels": 128, "in_index": 3, "channels": 64, "num_convs": 1}
    return {
        "backbone": {
            "type": "UNet",
            "in_channels": bands,
            "base_channels": 64,
            "num_stages": 5,
            "strides": (1, 1, 1, 1, 1),
            "enc_num_convs": (2, 2, 2, 2, 2),
            "dec_num_convs": (2, 2, 2, 2),
            "downsamples": (True, True, True, True),
            "enc_dilations": (1, 1, 1, 1, 1),
            "dec_dilations": (1, 1, 1, 1),
            "with_cp": False,
            "conv_cfg": None,
            "norm_cfg": norm,
            "act_cfg": {"type": "ReLU"},
            "upsample_cfg": {"type": "InterpConv"},
            "norm_eval": False,
        },
        "decode_head": {
            **common,
            "in_channels": 64,
            "in_index": 4,
            "loss_decode": cross_entropy(),
            **_HEADS[method],
        },
        "auxiliary_head": {**common, **auxiliary, "concat_input": False, "loss_decode": cross_entropy(0.4)},
    }


def _published(recipe: Published) -> Parts:
    parts = _parts(recipe.backbone, recipe.num_classes, 3)
    side = recipe.setting.crop[0]
    slide = {"mode": "slide", "crop_size": recipe.setting.crop, "stride": (_STRIDES.get(side),) * 2}
    whole = {"mode": "whole", "crop_size": 256, "stride": 170}
    if recipe.note == _BOTH_LOSSES:
        parts["decode_head"]["loss_decode"] = [
            {"type": "CrossEntropyLoss", "loss_name": "loss_ce", "loss_weight": 1.0},
            {"type": "DiceLoss", "loss_name": "loss_dice", "loss_weight": 3.0},
        ]
    test = slide if side in _STRIDES else whole
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": test}
    return Parts(model, optimiser(recipe), poly(recipe.steps))


METHOD = Method(
    "UNet",
    "convolutional",
    "U-Net: Convolutional Networks for Biomedical Image Segmentation",
    "Ronneberger, Fischer, Brox",
    "MICCAI",
    2015,
    "https://arxiv.org/abs/1505.04597",
)
FAMILY = Family(ROWS, _published, own={"unet": partial(_parts, "fcn", norm=NORM)}, learning_rate=1e-3, method=METHOD)
