"""SCTNet: one branch of convolutions that end in attention to learnt kernels.

Its published recipes (https://github.com/xzz777/SCTNet, 295f4d2, MIT) learn from the maps of a transformer beside the
labels, which is not here: those of these names have everything else of them, as facts, and read their weights.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config, augmentation
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import adamw, poly

SIZES = {"s": 32, "b": 64}
"""size -> channels of the first stage."""


ROWS = (
    Rows("sctnet-s", ("",), 4, 8, ("160k",), ("ade20k-512x512",)),
    Rows("sctnet-b", ("",), 4, 8, ("160k",), ("ade20k-512x512",)),
    Rows("sctnet-s", ("",), 2, 8, ("160k",), ("cityscapes-512x1024",), note="seg75"),
    Rows("sctnet-b", ("",), 2, 8, ("160k",), ("cityscapes-1024x1024",), note="seg100"),
)


def _parts(size: str, num_classes: int, bands: int, *, norm: Config = NORM) -> Config:
    width = SIZES[size]

    def head(channels: int, index: int, weight: float) -> Config:
        return {
            "type": "SCTHead",
            "in_channels": channels,
            "channels": channels,
            "in_index": index,
            "dropout_ratio": 0.0,
            "num_classes": num_classes,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": cross_entropy(weight),
        }

    return {
        "backbone": {
            "type": "SCTNet",
            "in_channels": bands,
            "base_channels": width,
            "spp_channels": 2 * width,
            "norm_cfg": norm,
        },
        "decode_head": head(4 * width, 0, 1.0),
        "auxiliary_head": [head(2 * width, 1, 0.4)],
    }


def _published(recipe: Published) -> Parts:
    parts = _parts(recipe.method.removeprefix("sctnet-"), recipe.num_classes, 3, norm=SYNC_NORM)
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    setting, head = recipe.setting, {"head": {"lr_mult": 10.0}}
    if not recipe.note:
        optim = adamw(5e-4, 0.01, paramwise_cfg={"custom_keys": {**head, "norm": {"decay_mult": 0.0}}})
        return Parts(model, optim, _decay(recipe.steps, 0.0), workers=4)
    if recipe.note == "seg75":
        resize: Config = {
            "type": "RandomResize",
            "scale": setting.scale,
            "ratio_range": (0.25, 1.5),
            "keep_ratio": True,
        }
        setting = replace(setting, augment=augmentation(setting, resize=resize), test_scale=(1536, 768))
    optim = adamw(4e-4, 0.0125, paramwise_cfg={"custom_keys": head})
    return Parts(model, optim, _decay(recipe.steps, 1e-6), setting=setting, workers=4)


def _decay(steps: int, lowest: float) -> list[Config]:
    return poly(steps, eta_min=lowest, power=1.0, warm_up=1500, start_factor=1e-6)


METHOD = Method(
    "SCTNet",
    "real-time",
    "SCTNet: Single-Branch CNN with Transformer Semantic Information for Real-Time Segmentation",
    "Xu, Wu, Yu, Chu, Sang, Gao",
    "AAAI",
    2024,
    "https://arxiv.org/abs/2312.17071",
)
FAMILY = Family(
    further=ROWS, published=_published, own={f"sctnet-{size}": partial(_parts, size) for size in SIZES}, method=METHOD
)
