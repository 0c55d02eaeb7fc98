"""PP-LiteSeg: STDC's backbone, and a decoder in which each pixel chooses between levels.

Its published recipes are PaddleSeg's (release 2.8, configs/pp_liteseg, Apache-2.0), as facts. Colours are changed in
another order there, and the backbone starts from weights that only Paddle reads.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config, Setting
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import poly, sgd

SIZES = {"t": ("STDCNet1", (32, 64, 128)), "b": ("STDCNet2", (64, 96, 128))}
"""size -> backbone, channels of the decoder from the finest level on."""


_SMALLER = "scale0.5"
"""Trained and tested on images of half the size."""
ROWS = tuple(
    Rows(f"ppliteseg-{size}", ("",), 4, 4, ("160k",), ("cityscapes-512x1024",), note=note)
    for size in SIZES
    for note in ("", _SMALLER)
)


def _parts(size: str, num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    backbone, channels = SIZES[size]
    return {
        "backbone": {
            "type": "STDCNet",
            "stdc_type": backbone,
            "in_channels": bands,
            "count_include_pad": False,
            "norm_cfg": norm,
        },
        "decode_head": {
            "type": "PPLiteSegHead",
            "in_channels": [256, 512, 1024],
            "in_index": [0, 1, 2],
            "channels": list(channels),
            "num_classes": num_classes,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": {"type": "OhemCrossEntropy", "thres": 0.7, "min_kept": 130_000, "loss_weight": 1.0},
        },
    }


def _published(recipe: Published) -> Parts:
    """Values of pixels become -1 to 1."""
    middle = (127.5, 127.5, 127.5)
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(recipe.setting.crop, mean=middle, std=middle),
        "pretrained": None,
        **_parts(recipe.method.removeprefix("ppliteseg-"), recipe.num_classes, 3, norm=SYNC_NORM),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    steps = recipe.steps
    return Parts(
        model, sgd(0.005, 5e-4), poly(steps, eta_min=0.0, warm_up=1000, start_factor=0.002), setting=_setting(recipe)
    )


def _setting(recipe: Published) -> Setting:
    """Sizes in steps of an eighth, or of a quarter. What is smaller than a crop is padded with 127.5."""
    setting, smaller = recipe.setting, recipe.note == _SMALLER
    width, height = setting.scale
    eighths = range(1, 13) if smaller else range(4, 17, 2)
    augment: tuple[Config, ...] = (
        {
            "type": "RandomChoiceResize",
            "scales": [(width * eighth // 8, height * eighth // 8) for eighth in eighths],
            "keep_ratio": True,
        },
        {"type": "RandomCrop", "crop_size": setting.crop},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "RandomColorJitter", "brightness": 0.5, "contrast": 0.5, "saturation": 0.5, "hue": 18 / 256},
    )
    return replace(setting, augment=augment, test_scale=(width // 2, height // 2) if smaller else None)


METHOD = Method(
    "PP-LiteSeg",
    "real-time",
    "PP-LiteSeg: A Superior Real-Time Semantic Segmentation Model",
    "Peng et al.",
    "arXiv",
    2022,
    "https://arxiv.org/abs/2204.02681",
)
FAMILY = Family(
    further=ROWS,
    published=_published,
    own={f"ppliteseg-{size}": partial(_parts, size) for size in SIZES},
    method=METHOD,
)
