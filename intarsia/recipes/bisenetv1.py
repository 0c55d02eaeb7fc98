"""BiSeNet: a path of detail beside a path of context.

11 published recipes; ``in1k-pre`` starts the network within at weights of ImageNet.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import CITYSCAPES, Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

_SMALL = ("r18-d32", "r18-d32-in1k-pre", "r50-d32", "r50-d32-in1k-pre")
ROWS = (
    Rows("bisenetv1", _SMALL, 4, 4, ("160k",), ("cityscapes-1024x1024", "coco-stuff164k-512x512")),
    Rows("bisenetv1", ("r18-d32-in1k-pre",), 4, 8, ("160k",), ("cityscapes-1024x1024",)),
    Rows("bisenetv1", ("r101-d32", "r101-d32-in1k-pre"), 4, 4, ("160k",), ("coco-stuff164k-512x512",)),
)
_RATES = {18: 0.025, 50: 0.05}
"""Learning rates on Cityscapes by depth; on COCO-Stuff all have 0.005."""


def _parts(depth: int, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    width = widths(depth)[3] // 2  # channels of what the paths are fused to

    def head(channels: int, index: int) -> Config:
        return {
            "type": "FCNHead",
            "in_channels": channels,
            "in_index": index,
            "num_convs": 1,
            "concat_input": False,
            "num_classes": num_classes,
            "norm_cfg": norm,
            "align_corners": False,
            "loss_decode": cross_entropy(),
        }

    return {
        "backbone": {
            "type": "BiSeNetV1",
            "in_channels": bands,
            "context_channels": widths(depth)[1:],
            "spatial_channels": (width // 4, width // 4, width // 4, width // 2),
            "out_indices": (0, 1, 2),
            "out_channels": width,
            "backbone_cfg": {**resnet("ResNet", depth, norm=norm, stride=None), "in_channels": bands},
            "norm_cfg": norm,
            "align_corners": False,
            "init_cfg": None,
        },
        "decode_head": {**head(width, 0), "channels": width, "dropout_ratio": 0.1},
        "auxiliary_head": [{**head(width // 2, index), "channels": width // 4} for index in (1, 2)],
    }


def _published(recipe: Published) -> Parts:
    depth = int(recipe.backbone.partition("-")[0].strip("r"))
    parts = _parts(depth, recipe.num_classes, 3)
    cityscapes = recipe.setting.benchmark is CITYSCAPES
    if recipe.backbone.endswith("in1k-pre"):
        start = {"type": "Pretrained", "checkpoint": f"open-mmlab://resnet{depth}_v1c"}
        parts["backbone"]["backbone_cfg"]["init_cfg"] = start
    if cityscapes and depth == 50:  # these leave two keys at their defaults
        for head in parts["auxiliary_head"]:
            del head["align_corners"], head["loss_decode"]
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    return Parts(model, sgd(_RATES[depth] if cityscapes else 0.005, 5e-4), poly(recipe.steps, warm_up=1000))


METHOD = Method(
    "BiSeNetV1",
    "real-time",
    "BiSeNet: Bilateral Segmentation Network for Real-time Semantic Segmentation",
    "Yu et al.",
    "ECCV",
    2018,
    "https://arxiv.org/abs/1808.00897",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"bisenetv1_r{depth}": partial(_parts, depth, norm=NORM) for depth in (18, 50, 101)},
    learning_rate=1e-3,
    method=METHOD,
)
