"""GCNet, the Golden Cudgel Network: DDRNet's two branches, made of blocks that are one convolution when they are used.

Not the GCNet of global context (`gcnet.py`). Its three published recipes are on Cityscapes, from random weights.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.ddrnet import CITYSCAPES_WEIGHTS, hard_pixels
from intarsia.recipes.dilated import NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

_LIGHT, _DEEP = (4, 4, (5, 4), (5, 4), (2, 2)), (5, 5, (5, 5), (5, 5), (3, 3))
SIZES = {"s": (32, 64, _LIGHT), "m": (64, 128, _LIGHT), "l": (64, 256, _DEEP)}
"""size -> channels of the backbone, of the head, blocks of its stages."""

ROWS = tuple(Rows(f"gcnet-{size}", ("",), 4, 3, ("120k",), ("cityscapes-1024x1024",)) for size in SIZES)


def _parts(size: str, num_classes: int, bands: int, *, classes: Config | None = None) -> Config:
    width, channels, blocks = SIZES[size]
    return {
        "backbone": {
            "type": "GCNet",
            "in_channels": bands,
            "channels": width,
            "ppm_channels": 128,
            "num_blocks_per_stage": [list(stage) if isinstance(stage, tuple) else stage for stage in blocks],
            "norm_cfg": NORM,
            "align_corners": False,
        },
        "decode_head": {
            "type": "GCNetHead",
            "in_channels": 4 * width,
            "channels": channels,
            "dropout_ratio": 0.0,
            "num_classes": num_classes,
            "align_corners": False,
            "norm_cfg": NORM,
            "loss_decode": [hard_pixels(weight, classes or {}) for weight in (0.4, 1.0)],
        },
    }


def _published(recipe: Published) -> Parts:
    size = recipe.method.removeprefix("gcnet-")
    parts = _parts(size, recipe.num_classes, 3, classes={"class_weight": list(CITYSCAPES_WEIGHTS)})
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    return Parts(model, sgd(0.01, 5e-4), poly(recipe.steps, eta_min=0.0))


METHOD = Method(
    "Golden Cudgel Network",
    "real-time",
    "Golden Cudgel Network for Real-Time Semantic Segmentation",
    "Yang, Wang, Shi, Wang",
    "CVPR",
    2025,
    "https://arxiv.org/abs/2503.03325",
)
FAMILY = Family(
    further=ROWS, published=_published, own={f"gcnet-{size}": partial(_parts, size) for size in SIZES}, method=METHOD
)
