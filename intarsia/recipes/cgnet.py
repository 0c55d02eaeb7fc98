"""CGNet: context of every block, from the start."""

from __future__ import annotations

from dataclasses import replace

from intarsia.recipes.benchmarks import Config, augmentation
from intarsia.recipes.dilated import cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows, preprocessor
from intarsia.recipes.schedules import loops, poly

CITYSCAPES_WEIGHTS = (
    2.5959933, 6.7415504, 3.5354059, 9.8663225, 9.690899, 9.369352, 10.289121, 9.953208, 4.3097677, 9.490387,
    7.674431, 9.396905, 10.347791, 6.3927646, 10.226669, 10.241062, 10.280587, 10.396974, 10.055647,
)  # fmt: skip
"""What each class of Cityscapes counts."""

_MEAN = (72.39239876, 82.90891754, 73.15835921)
ROWS = (
    Rows("cgnet", ("fcn",), 4, 8, ("60k",), ("cityscapes-512x1024",)),
    Rows("cgnet", ("fcn",), 4, 4, ("60k",), ("cityscapes-680x680",)),
)


def _parts(num_classes: int, bands: int, *, norm: str = "BN") -> Config:
    norm_cfg = {"type": norm, "eps": 1e-3, "requires_grad": True}
    return {
        "backbone": {
            "type": "CGNet",
            "norm_cfg": norm_cfg,
            "in_channels": bands,
            "num_channels": (32, 64, 128),
            "num_blocks": (3, 21),
            "dilations": (2, 4),
            "reductions": (8, 16),
        },
        "decode_head": {
            "type": "FCNHead",
            "in_channels": 256,
            "in_index": 2,
            "channels": 256,
            "num_convs": 0,
            "concat_input": False,
            "dropout_ratio": 0,
            "num_classes": num_classes,
            "norm_cfg": norm_cfg,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    squares = recipe.setting_name == "cityscapes-680x680"
    setting = recipe.setting
    if squares:  # cropped wherever it may be, with the colours as they are
        resize, _, flip, _ = augmentation(setting)
        setting = replace(setting, augment=(resize, {"type": "RandomCrop", "crop_size": (680, 680)}, flip))
    parts = _parts(recipe.num_classes, 3, norm="SyncBN")
    parts["decode_head"]["loss_decode"]["class_weight"] = list(CITYSCAPES_WEIGHTS)
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": preprocessor(setting.crop, mean=_MEAN, std=(1, 1, 1)),
        **parts,
        "train_cfg": {"sampler": None},
        "test_cfg": {"mode": "whole"},
    }
    optimizer = {"type": "Adam", "lr": 0.001, "eps": 1e-08, "weight_decay": 0.0005}
    others = loops(recipe.steps, every=4000, log_every=50)
    del others["default_hooks"]["visualization"], others["default_hooks"]["logger"]["log_metric_by_epoch"]
    workers = 4 if squares else 2
    return Parts(
        model,
        {"type": "OptimWrapper", "optimizer": optimizer},
        poly(recipe.steps),
        others,
        setting=setting,
        batch=8,
        workers=workers,
    )


METHOD = Method(
    "CGNet",
    "real-time",
    "CGNet: A Light-weight Context Guided Network for Semantic Segmentation",
    "Wu, Tang, Zhang, Cao, Zhang",
    "IEEE Transactions on Image Processing",
    2021,
    "https://arxiv.org/abs/1811.08201",
)
FAMILY = Family(ROWS, _published, own={"cgnet": _parts}, learning_rate=1e-3, method=METHOD)
