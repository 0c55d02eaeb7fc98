"""PoolFormer under Semantic FPN."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, poly
from intarsia.recipes.sem_fpn import pyramid, pyramid_head

_NARROW, _WIDE = (64, 128, 320, 512), (96, 192, 384, 768)
SIZES: dict[str, tuple[tuple[int, int, int, int], str]] = {
    "s12": (_NARROW, "f8d83051"),
    "s24": (_NARROW, "d7055904"),
    "s36": (_NARROW, "d78ff3e8"),
    "m36": (_WIDE, "c55e0949"),
    "m48": (_WIDE, "9378f3eb"),
}
"""size -> channels of the stages, end of the name of the ImageNet weights."""

_WEIGHTS = (
    "https://download.openmmlab.com/mmclassification/v0/poolformer/poolformer-{}_3rdparty_32xb128_in1k_20220414-{}.pth"
)
_OTHERS = tuple(f"poolformer_{size}" for size in SIZES if size != "s36")
_OLD = "{model}_{devices}x{batch}_512x512_{schedule}_ade20k"
ROWS = (
    Rows("fpn", _OTHERS, 8, 4, ("40k",), ("ade20k-512x512",)),
    Rows("fpn", ("poolformer_s36",), 8, 4, ("40k",), ("ade20k-512x512",), form=_OLD),
)


def _parts(size: str, num_classes: int, *, norm: Config = SYNC_NORM) -> Config:
    return {
        "backbone": {
            "type": "mmpretrain.PoolFormer",
            "arch": size,
            "in_patch_size": 7,
            "in_stride": 4,
            "in_pad": 2,
            "down_patch_size": 3,
            "down_stride": 2,
            "down_pad": 1,
            "drop_rate": 0.0,
            "drop_path_rate": 0.0,
            "out_indices": (0, 2, 4, 6),
            "frozen_stages": 0,
        },
        "neck": pyramid(SIZES[size][0]),
        "decode_head": pyramid_head(num_classes, norm=norm),
    }


def _published(recipe: Published) -> Parts:
    size = recipe.backbone.removeprefix("poolformer_")
    parts = _parts(size, recipe.num_classes)
    weights = _WEIGHTS.format(size, SIZES[size][1])
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": weights, "prefix": "backbone."}
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    optim = {**adamw(2e-4, 1e-4, betas=None), "type": "AmpOptimWrapper"}
    resize = {"type": "Resize", "scale": recipe.setting.scale, "keep_ratio": True}
    setting = replace(
        recipe.setting,
        benchmark=replace(recipe.setting.benchmark, repeat=50, augmented_test=False),
        test_resize=(resize, {"type": "ResizeToMultiple", "size_divisor": 32}),
    )
    others = {"custom_imports": {"imports": ["mmpretrain.models"], "allow_failed_imports": False}}
    return Parts(model, optim, poly(recipe.steps, eta_min=0.0), others, setting=setting)


def _own(size: str, num_logits: int, bands: int) -> Config:
    parts = _parts(size, num_logits, norm=NORM)
    return {**parts, "backbone": {**parts["backbone"], "frozen_stages": -1, "in_channels": bands}}


METHOD = Method(
    "PoolFormer",
    "transformer",
    "MetaFormer Is Actually What You Need for Vision",
    "Yu et al.",
    "CVPR",
    2022,
    "https://arxiv.org/abs/2111.11418",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"fpn_poolformer-{size}": partial(_own, size) for size in SIZES},
    learning_rate=3e-4,
    method=METHOD,
)
