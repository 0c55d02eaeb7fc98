"""PIDNet: three branches, one of them for boundaries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from intarsia.recipes.benchmarks import Config, augmentation
from intarsia.recipes.ddrnet import CITYSCAPES_WEIGHTS, hard_pixels
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

SIZES: dict[str, tuple[int, int, int, int, int, str]] = {
    "s": (32, 96, 2, 3, 128, "s_imagenet1k_20230306-715e6273"),
    "m": (64, 96, 2, 3, 128, "m_imagenet1k_20230306-39893c52"),
    "l": (64, 112, 3, 4, 256, "l_imagenet1k_20230306-67889109"),
}
"""size -> channels, of the pyramid; blocks of stem and branches; channels of the head, file of the ImageNet weights."""

_WEIGHTS = "https://download.openmmlab.com/mmsegmentation/v0.5/pretrain/pidnet/pidnet-{}.pth"
_FORM = "{model}_{devices}xb{batch}-{schedule}_1024x1024-cityscapes"
EDGES: Config = {"type": "GenerateEdge", "edge_width": 4}
ROWS = tuple(Rows(f"pidnet-{size}", ("",), 2, 6, ("120k",), ("cityscapes-1024x1024",), form=_FORM) for size in SIZES)


def _parts(size: str, num_classes: int, bands: int, *, norm: Config = NORM, classes: Config | None = None) -> Config:
    width, pyramid, stem, branch, channels, _ = SIZES[size]
    counted = classes or {}
    relu = {"type": "ReLU", "inplace": True}
    return {
        "backbone": {
            "type": "PIDNet",
            "in_channels": bands,
            "channels": width,
            "ppm_channels": pyramid,
            "num_stem_blocks": stem,
            "num_branch_blocks": branch,
            "align_corners": False,
            "norm_cfg": norm,
            "act_cfg": relu,
        },
        "decode_head": {
            "type": "PIDHead",
            "in_channels": 4 * width,
            "channels": channels,
            "num_classes": num_classes,
            "norm_cfg": norm,
            "act_cfg": relu,
            "align_corners": True,
            "loss_decode": [
                {**cross_entropy(0.4), **counted},
                hard_pixels(1.0, counted),
                {"type": "BoundaryLoss", "loss_weight": 20.0},
                hard_pixels(1.0, counted),
            ],
        },
    }


def _published(recipe: Published) -> Parts:
    size = recipe.method.removeprefix("pidnet-")
    parts = _parts(size, recipe.num_classes, 3, norm=SYNC_NORM, classes={"class_weight": list(CITYSCAPES_WEIGHTS)})
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": _WEIGHTS.format(SIZES[size][5])}
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    augment = (*augmentation(recipe.setting), EDGES)
    setting = replace(recipe.setting, augment=augment)
    others = {"randomness": {"seed": 304}}
    return Parts(model, sgd(0.01, 5e-4), poly(recipe.steps, eta_min=0), others, workers=2, setting=setting)


METHOD = Method(
    "PIDNet",
    "real-time",
    "PIDNet: A Real-Time Semantic Segmentation Network Inspired by PID Controllers",
    "Xu, Xiong, Bhattacharyya",
    "CVPR",
    2023,
    "https://arxiv.org/abs/2206.02066",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"pidnet-{size}": partial(_parts, size) for size in SIZES},
    learning_rate=1e-3,
    method=METHOD,
    targets=(EDGES,),
)
