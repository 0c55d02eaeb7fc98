"""ICNet: an image cascade, the small image through the deep network and the large one through a shallow one.

12 published recipes; ``in1k-pre`` starts the network within at weights of ImageNet.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, optimiser, resnet, widths
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

DEPTHS = (18, 50, 101)
_ALL = tuple(f"r{depth}-d8{start}" for depth in DEPTHS for start in ("", "-in1k-pre"))
ROWS = (Rows("icnet", _ALL, 4, 2, ("80k", "160k"), ("cityscapes-832x832",)),)


def _parts(depth: int, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    head = {
        "type": "FCNHead",
        "in_channels": 128,
        "channels": 128,
        "num_convs": 1,
        "concat_input": False,
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": False,
    }
    return {
        "backbone": {
            "type": "ICNet",
            "backbone_cfg": {**resnet("ResNetV1c", depth, norm=norm), "in_channels": bands},
            "in_channels": bands,
            "layer_channels": (widths(depth)[1], widths(depth)[3]),
            "light_branch_middle_channels": 32,
            "psp_out_channels": 512,
            "out_channels": (64, 256, 256),
            "norm_cfg": norm,
            "align_corners": False,
        },
        "neck": {
            "type": "ICNeck",
            "in_channels": (64, 256, 256),
            "out_channels": 128,
            "norm_cfg": norm,
            "align_corners": False,
        },
        "decode_head": {**head, "in_index": 2, "dropout_ratio": 0, "loss_decode": cross_entropy()},
        "auxiliary_head": [{**head, "in_index": index, "loss_decode": cross_entropy(0.4)} for index in (0, 1)],
    }


def _published(recipe: Published) -> Parts:
    depth = int(recipe.backbone.partition("-")[0].strip("r"))
    parts = _parts(depth, recipe.num_classes, 3)
    if recipe.backbone.endswith("in1k-pre"):
        start = {"type": "Pretrained", "checkpoint": f"open-mmlab://resnet{depth}_v1c"}
        parts["backbone"]["backbone_cfg"]["init_cfg"] = start
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    return Parts(model, optimiser(recipe), poly(recipe.steps))


METHOD = Method(
    "ICNet",
    "real-time",
    "ICNet for Real-Time Semantic Segmentation on High-Resolution Images",
    "Zhao, Qi, Shen, Shi, Jia",
    "ECCV",
    2018,
    "https://arxiv.org/abs/1704.08545",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"icnet_r{depth}": partial(_parts, depth, norm=NORM) for depth in DEPTHS},
    learning_rate=1e-3,
    method=METHOD,
)
