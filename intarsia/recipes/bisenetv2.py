"""BiSeNetV2: a wide path of detail beside a deep path of meaning, no pretraining."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import poly, sgd

_SETTING = ("cityscapes-1024x1024",)
ROWS = (
    Rows("bisenetv2", ("fcn",), 4, 4, ("160k",), _SETTING),
    Rows("bisenetv2", ("fcn",), 4, 8, ("160k",), _SETTING),
    Rows("bisenetv2", ("fcn",), 4, 4, ("160k",), _SETTING, note="amp"),
    Rows("bisenetv2", ("fcn",), 4, 4, ("160k",), _SETTING, note="ohem"),
)
_AUXILIARY = ((16, 16), (32, 64), (64, 256), (128, 1024))
"""Channels of the semantic stages -> channels of their heads."""


def _parts(num_classes: int, bands: int, *, norm: Config | None = None) -> Config:
    common = {
        "type": "FCNHead",
        "concat_input": False,
        "num_classes": num_classes,
        "norm_cfg": norm or SYNC_NORM,
        "align_corners": False,
        "loss_decode": cross_entropy(),
    }
    backbone = {
        "type": "BiSeNetV2",
        "detail_channels": (64, 64, 128),
        "semantic_channels": (16, 32, 64, 128),
        "semantic_expansion_ratio": 6,
        "bga_channels": 128,
        "out_indices": (0, 1, 2, 3, 4),
        "init_cfg": None,
        "align_corners": False,
    }
    decode = {"in_channels": 128, "in_index": 0, "channels": 1024, "num_convs": 1, "dropout_ratio": 0.1}
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "decode_head": {**common, **decode},
        "auxiliary_head": [
            {**common, "in_channels": stage, "channels": channels, "in_index": index, "num_convs": 2}
            for index, (stage, channels) in enumerate(_AUXILIARY, start=1)
        ],
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": None,
        **_parts(recipe.num_classes, 3),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    if recipe.note == "ohem":  # the published config misspells the key under which it would mine hard pixels
        model["data_preprocessor"] = preprocessor(None)
    return Parts(model, sgd(0.05, 5e-4, mixed=recipe.mixed), poly(recipe.steps, warm_up=1000))


METHOD = Method(
    "BiSeNetV2",
    "real-time",
    "BiSeNet V2: Bilateral Network with Guided Aggregation for Real-Time Semantic Segmentation",
    "Yu et al.",
    "IJCV",
    2021,
    "https://arxiv.org/abs/2004.02147",
)
FAMILY = Family(ROWS, _published, own={"bisenetv2": partial(_parts, norm=NORM)}, learning_rate=1e-3, method=METHOD)
