"""MobileNetV3 with its head of reduced pyramid pooling (LR-ASPP).

4 published recipes; ``s`` is the small network, ``scratch`` starts at random weights. They say 320k and
train for half of it.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import cross_entropy, optimiser
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import loops, poly

_SIZES = {"small": ((0, 1, 12), [16, 16, 576]), "large": ((1, 3, 16), [16, 24, 960])}
"""size -> layers that the head takes, their channels."""

_NETWORKS = ("mobilenet-v3-d8", "mobilenet-v3-d8-s", "mobilenet-v3-d8-scratch", "mobilenet-v3-d8-scratch-s")
ROWS = tuple(Rows(name, ("lraspp",), 4, 4, ("320k",), ("cityscapes-512x1024",)) for name in _NETWORKS)


def _parts(size: str, num_classes: int, bands: int, *, norm: str = "BN") -> Config:
    layers, channels = _SIZES[size]
    norm_cfg = {"type": norm, "eps": 0.001, "requires_grad": True}
    backbone = {"type": "MobileNetV3", "arch": size, "out_indices": layers, "norm_cfg": norm_cfg}
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        "decode_head": {
            "type": "LRASPPHead",
            "in_channels": list(channels),
            "in_index": (0, 1, 2),
            "channels": 128,
            "input_transform": "multiple_select",
            "dropout_ratio": 0.1,
            "num_classes": num_classes,
            "norm_cfg": norm_cfg,
            "act_cfg": {"type": "ReLU"},
            "align_corners": False,
            "loss_decode": cross_entropy(),
        },
    }


def _published(recipe: Published) -> Parts:
    size = "small" if recipe.method.endswith("-s") else "large"
    start = {} if "scratch" in recipe.method else {"pretrained": f"open-mmlab://contrib/mobilenet_v3_{size}"}
    model = {
        "type": "EncoderDecoder",
        **start,
        **_parts(size, recipe.num_classes, 3, norm="SyncBN"),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(160_000), loops(160_000, every=16_000, log_every=50))


METHOD = Method(
    "MobileNetV3",
    "real-time",
    "Searching for MobileNetV3",
    "Howard et al.",
    "ICCV",
    2019,
    "https://arxiv.org/abs/1905.02244",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"lraspp_mobilenet-v3-{size}": partial(_parts, size) for size in _SIZES},
    learning_rate=1e-3,
    method=METHOD,
)
