"""RegSeg: blocks of two dilations, and a small decoder.

Its published recipe (https://github.com/RolandGao/RegSeg, 0f61c66, MIT) for the training images of Cityscapes, as
facts: 1000 epochs of 371 steps. Two things are done in another way. Half of the crops hold a class that was drawn, all
classes as often; there they lie around the middle of what half of an image shows of it, here around any pixel of it.
Images that are smaller than a crop lie in its corner, there anywhere in it. The larger network was published with
weights that saw the images of validation, too, and has no such recipe.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config, Setting, train_loader
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

SIZES = {"regseg": ("base", (48, 128, 320), 64, 8), "regseg-l": ("large", (48, 120, 384), 128, 16)}
"""short name -> the backbone's arch, its channels, those of the head and of what it reads of the finest level."""


ROWS = (Rows("regseg", ("",), 1, 8, ("371k",), ("cityscapes-768x768",), note="amp"),)
_WARM_UP = 3000


def _parts(name: str, num_classes: int, bands: int) -> Config:
    arch, channels, width, fine = SIZES[name]
    return {
        "backbone": {"type": "RegSeg", "arch": arch, "in_channels": bands, "norm_cfg": NORM},
        "decode_head": {
            "type": "RegSegHead",
            "in_channels": list(channels),
            "in_index": [0, 1, 2],
            "channels": width,
            "fine_channels": fine,
            "num_classes": num_classes,
            "norm_cfg": NORM,
            "align_corners": False,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    parts = _parts(recipe.method, recipe.num_classes, 3)
    parts["decode_head"]["loss_decode"]["avg_non_ignore"] = True
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    optim: Config = {
        "type": "AmpOptimWrapper",
        "optimizer": sgd(0.05, 1e-4)["optimizer"],
        "loss_scale": "dynamic",
        "paramwise_cfg": {"norm_decay_mult": 0.0},
    }
    # both reach their ends one step after those that are named: what is counted there begins at 0
    warm_up, decay = poly(recipe.steps + 1, eta_min=0.0, warm_up=_WARM_UP + 1)
    loader = train_loader(_setting(recipe), recipe.batch, 6)
    classes = list(range(recipe.num_classes))
    loader["sampler"] |= {"rare": classes, "every": 2 * len(classes)}
    others = {"train_dataloader": loader}
    return Parts(model, optim, [warm_up, {**decay, "begin": 0}], others, setting=_setting(recipe))


def _setting(recipe: Published) -> Setting:
    """Images whose shorter side has 400 to 1600 pixels."""
    height = 1024
    resize: Config = {
        "type": "RandomResize",
        "scale": (2 * height, height),
        "ratio_range": (400 / height, 1600 / height),
        "keep_ratio": True,
        "interpolation": "antialiased",
    }
    augment: tuple[Config, ...] = (
        resize,
        {"type": "RandomCrop", "crop_size": recipe.setting.crop},
        {"type": "RandomFlip", "prob": 0.5},
        {"type": "RandAugment", "num_ops": 2, "magnitude": 0.2},
    )
    return replace(recipe.setting, scale=(2 * height, height), augment=augment)


METHOD = Method(
    "RegSeg",
    "real-time",
    "Rethinking Dilated Convolution for Real-time Semantic Segmentation",
    "Gao",
    "CVPR Workshops",
    2023,
    "https://arxiv.org/abs/2111.09957",
)
FAMILY = Family(further=ROWS, published=_published, own={name: partial(_parts, name) for name in SIZES}, method=METHOD)
