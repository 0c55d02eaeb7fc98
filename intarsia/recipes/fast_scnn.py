"""Fast-SCNN: a network that is small from the start.

One published recipe. It trains one sigmoid per class; on a user's own data the ordinary softmax learns faster in a few
hundred steps, so that form is used there.
"""

from __future__ import annotations

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

ROWS = (Rows("fast_scnn", ("",), 8, 4, ("160k",), ("cityscapes-512x1024",)),)


def _parts(num_logits: int, bands: int, *, norm: Config, use_sigmoid: bool) -> Config:
    def loss(weight: float) -> Config:
        return {"type": "CrossEntropyLoss", "use_sigmoid": use_sigmoid, "loss_weight": weight}

    common = {"num_classes": num_logits, "norm_cfg": norm, "align_corners": False, "concat_input": False}
    narrow = {"type": "FCNHead", "channels": 32, "num_convs": 1, **common}
    backbone = {
        "type": "FastSCNN",
        "downsample_dw_channels": (32, 48),
        "global_in_channels": 64,
        "global_block_channels": (64, 96, 128),
        "global_block_strides": (2, 2, 1),
        "global_out_channels": 128,
        "higher_in_channels": 64,
        "lower_in_channels": 128,
        "fusion_out_channels": 128,
        "out_indices": (0, 1, 2),
        "norm_cfg": norm,
        "align_corners": False,
    }
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "decode_head": {
            "type": "DepthwiseSeparableFCNHead",
            "in_channels": 128,
            "channels": 128,
            "in_index": -1,
            **common,
            "loss_decode": loss(1),
        },
        "auxiliary_head": [
            {**narrow, "in_channels": 128, "in_index": -2, "loss_decode": loss(0.4)},
            {**narrow, "in_channels": 64, "in_index": -3, "loss_decode": loss(0.4)},
        ],
    }


def _published(recipe: Published) -> Parts:
    norm = {"type": "SyncBN", "requires_grad": True, "momentum": 0.01}
    parts = _parts(recipe.num_classes, 3, norm=norm, use_sigmoid=True)
    model = {"type": "EncoderDecoder", **parts, "train_cfg": {}, "test_cfg": {"mode": "whole"}}
    return Parts(model, sgd(0.12, 4e-5), poly(recipe.steps))


def _own(num_logits: int, bands: int) -> Config:
    return _parts(num_logits, bands, norm={"type": "BN", "requires_grad": True}, use_sigmoid=False)


METHOD = Method(
    "Fast-SCNN",
    "real-time",
    "Fast-SCNN: Fast Semantic Segmentation Network",
    "Poudel, Liwicki, Cipolla",
    "BMVC",
    2019,
    "https://arxiv.org/abs/1902.04502",
)
FAMILY = Family(ROWS, _published, own={"fast_scnn": _own}, learning_rate=2e-3, method=METHOD)
