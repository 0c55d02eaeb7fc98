"""VWFormer on ConvNeXt and Swin.

Its published recipes are those of https://github.com/yan-hao-tian/VW (43d205b, MIT), as facts. Left out are that of
ConvNeXt-S on ADE20K, whose file there is the one of Cityscapes, and those of Swin, which decay learning rates by a rule
of their own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes import convnext, swin
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, transformer

_ADE, _CITYSCAPES = {512: ("tiny",), 640: ("base", "large", "xlarge")}, tuple(convnext.SIZES)
ROWS = (
    *(
        Rows(f"convnext-{size}", ("vwformer",), 4, 4, ("160k",), (f"ade20k-{side}x{side}",), note="amp")
        for side, sizes in _ADE.items()
        for size in sizes
    ),
    *(
        Rows(f"convnext-{size}", ("vwformer",), 4, 4, ("160k",), ("cityscapes-512x1024",), note="amp")
        for size in _CITYSCAPES
    ),
)


def _head(stages: tuple[int, int, int, int], num_classes: int, *, short_cut: bool, norm: Config = NORM) -> Config:
    return {
        "type": "VWHead",
        "in_channels": list(stages),
        "in_index": [0, 1, 2, 3],
        "channels": 512,
        "dropout_ratio": 0.1,
        "num_classes": num_classes,
        "short_cut": short_cut,
        "nheads": 1,
        "norm_cfg": norm,
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


def _published(recipe: Published) -> Parts:
    """Tested on images whose sides are multiples of 64 on ADE20K, as its windows want them."""
    setting, streets = recipe.setting, recipe.setting_name.startswith("cityscapes")
    if not streets:
        resize: Config = {"type": "Resize", "scale": setting.scale, "keep_ratio": True}
        setting = replace(setting, test_resize=(resize, {"type": "ResizeToMultiple", "size_divisor": 64}))
    size = recipe.method.removeprefix("convnext-")
    larger = size in ("base", "large", "xlarge")  # start from ImageNet's 21,000 classes, whatever they are trained on
    weights = convnext.weights(size, 640 if larger else 512)
    start = {"type": "Pretrained", "checkpoint": weights, "prefix": "backbone."}
    head = _head(convnext.stages(size), recipe.num_classes, short_cut=not streets, norm=SYNC_NORM)
    if streets:
        head |= {"type": "VWCityHead", "nheads": 16}
    model: Config = {
        "type": "EncoderDecoder",
        "pretrained": None,
        "backbone": {**convnext.backbone(size), "drop_path_rate": 0.4, "init_cfg": start},
        "decode_head": head,
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    optim: Config = {
        **adamw(1e-4, 0.05),
        "type": "AmpOptimWrapper",
        "loss_scale": "dynamic",
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"decay_rate": 0.9, "decay_type": "stage_wise", "num_layers": 6 if size == "tiny" else 12},
    }
    imports = {"custom_imports": {"imports": "mmpretrain.models", "allow_failed_imports": False}}
    return Parts(model, optim, transformer(recipe.steps), imports, setting=setting, workers=4)


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
    further=ROWS,
    published=_published,
)
