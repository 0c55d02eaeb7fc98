"""DDRNet: two resolutions that exchange what they know."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

CITYSCAPES_WEIGHTS = (
    0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023,
    0.9539, 0.9843, 1.1116, 0.9037, 1.0865, 1.0955, 1.0865, 1.1529, 1.0507,
)  # fmt: skip
"""What each class of Cityscapes counts."""

SIZES = {"23-slim": (32, "ddrnet23s-in1kpre_3rdparty-1ccac5b1"), "23": (64, "ddrnet23-in1kpre_3rdparty-9ca29f62")}
"""size -> channels, file of the ImageNet weights."""

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/ddrnet/pretrain/{}.pth"
ROWS = (Rows("ddrnet", tuple(f"{size}_in1k-pre" for size in SIZES), 2, 6, ("120k",), ("cityscapes-1024x1024",)),)


def hard_pixels(weight: float, classes: Config) -> Config:
    """Cross entropy on the pixels that are least certain; classes: what each class counts, if not the same."""
    return {"type": "OhemCrossEntropy", "thres": 0.9, "min_kept": 131_072, "loss_weight": weight, **classes}


def _parts(size: str, num_classes: int, bands: int, *, norm: Config = NORM, classes: Config | None = None) -> Config:
    width, _ = SIZES[size]
    return {
        "backbone": {
            "type": "DDRNet",
            "in_channels": bands,
            "channels": width,
            "ppm_channels": 128,
            "norm_cfg": norm,
            "align_corners": False,
        },
        "decode_head": {
            "type": "DDRHead",
            "in_channels": 4 * width,
            "channels": 2 * width,
            "dropout_ratio": 0.0,
            "num_classes": num_classes,
            "align_corners": False,
            "norm_cfg": norm,
            "loss_decode": [hard_pixels(weight, classes or {}) for weight in (1.0, 0.4)],
        },
    }


def _published(recipe: Published) -> Parts:
    size = recipe.backbone.partition("_")[0]
    parts = _parts(size, recipe.num_classes, 3, norm=SYNC_NORM, classes={"class_weight": list(CITYSCAPES_WEIGHTS)})
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": _WEIGHTS.format(SIZES[size][1])}
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    others = {"randomness": {"seed": 304}}
    return Parts(model, sgd(0.01, 5e-4), poly(recipe.steps, eta_min=0), others)


METHOD = Method(
    "DDRNet",
    "real-time",
    "Deep Dual-Resolution Networks for Real-Time and Accurate Semantic Segmentation of Traffic Scenes",
    "Hong, Pan, Sun, Jia",
    "IEEE Transactions on Intelligent Transportation Systems",
    2022,
    "https://arxiv.org/abs/2101.06085",
)
FAMILY = Family(
    ROWS, _published, own={f"ddrnet_{size}": partial(_parts, size) for size in SIZES}, learning_rate=1e-3, method=METHOD
)
