"""VWFormer on ConvNeXt and Swin.

Its published recipes are those of https://github.com/yan-hao-tian/VW (43d205b, MIT), as facts. Left out is that of
ConvNeXt-S on ADE20K, whose file there is the one of Cityscapes. That of Swin-B starts from weights of 21,000 classes,
as its file is named; within, the file names those of 1,000.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes import convnext, swin
from intarsia.recipes.benchmarks import Config, Setting
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
    *(Rows(f"swin-{size}", ("vwformer",), 4, 4, ("160k",), ("ade20k-640x640",)) for size in ("base", "large")),
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
    on_swin = recipe.method.startswith("swin-")
    return _published_on_swin(recipe) if on_swin else _published_on_convnext(recipe)


def _in_windows(setting: Setting) -> Setting:
    """Tested on images whose sides are multiples of 64, as its windows want them."""
    resize: Config = {"type": "Resize", "scale": setting.scale, "keep_ratio": True}
    return replace(setting, test_resize=(resize, {"type": "ResizeToMultiple", "size_divisor": 64}))


def _published_on_swin(recipe: Published) -> Parts:
    """Layers of Swin learn at rates that decay by 0.85 towards the patches, those of all sizes as if there were 12."""
    size = recipe.method.removeprefix("swin-")
    weights = swin.weights(f"{size}-patch4-window12-in22k-384x384-pre")
    start = {"type": "Pretrained", "checkpoint": weights}
    model: Config = {
        "type": "EncoderDecoder",
        "pretrained": None,
        "backbone": {**swin.backbone(size, window=12, image=384), "init_cfg": start},
        "decode_head": _head(swin.stages(size), recipe.num_classes, short_cut=size != "large", norm=SYNC_NORM),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    optim = {
        **adamw(1e-4, 0.05),
        "constructor": "LearningRateDecayOptimizerConstructor",
        "paramwise_cfg": {"decay_rate": 0.85, "decay_type": "layer_wise", "num_layers": 12},
    }
    return Parts(model, optim, transformer(recipe.steps), setting=_in_windows(recipe.setting), workers=4)


def _published_on_convnext(recipe: Published) -> Parts:
    streets = recipe.setting_name.startswith("cityscapes")
    setting = recipe.setting if streets else _in_windows(recipe.setting)
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
