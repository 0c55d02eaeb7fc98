"""FastFCN: joint pyramid upsampling in place of dilation.

12 published recipes: three heads behind the neck.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes import deeplabv3, encnet, pspnet
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, named_resnet, optimiser
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

_HEADS: dict[str, Config] = {
    "aspp": {**deeplabv3.HEAD, "in_channels": 2048, "in_index": 2},
    "enc": {**encnet.HEAD, "in_channels": [512, 1024, 2048], "in_index": (0, 1, 2)},
    "psp": {**pspnet.HEAD, "in_channels": 2048, "in_index": 2},
}
_ALL = tuple(f"r50-d32_jpu_{head}" for head in _HEADS)
ROWS = (
    Rows("fastfcn", _ALL, 4, 2, ("80k",), ("cityscapes-512x1024",)),
    Rows("fastfcn", _ALL, 4, 4, ("80k",), ("cityscapes-512x1024",)),
    Rows("fastfcn", _ALL, 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
)


def _parts(head: str, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    common = {"dropout_ratio": 0.1, "num_classes": num_classes, "norm_cfg": norm, "align_corners": False}
    auxiliary = {"type": "FCNHead", "in_channels": 1024, "in_index": 1, "channels": 256, "num_convs": 1}
    backbone, _, _ = named_resnet("r50-d32")
    backbone |= {"out_indices": (1, 2, 3), "norm_cfg": norm}
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "neck": {
            "type": "JPU",
            "in_channels": (512, 1024, 2048),
            "mid_channels": 512,
            "start_level": 0,
            "end_level": -1,
            "dilations": (1, 2, 4, 8),
            "align_corners": False,
            "norm_cfg": norm,
        },
        "decode_head": {**common, "channels": 512, "loss_decode": cross_entropy(), **_HEADS[head]},
        "auxiliary_head": {**common, **auxiliary, "concat_input": False, "loss_decode": cross_entropy(0.4)},
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": "open-mmlab://resnet50_v1c",
        **_parts(recipe.backbone.rpartition("_")[2], recipe.num_classes, 3),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


def _own(head: str, num_logits: int, bands: int) -> Config:
    return _parts(head, num_logits, bands, norm=NORM)


METHOD = Method(
    "FastFCN",
    "convolutional",
    "FastFCN: Rethinking Dilated Convolution in the Backbone for Semantic Segmentation",
    "Wu et al.",
    "arXiv",
    2019,
    "https://arxiv.org/abs/1903.11816",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"fastfcn_r50_{head}": partial(_own, head) for head in _HEADS},
    learning_rate=5e-4,
    method=METHOD,
)
