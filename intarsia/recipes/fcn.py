"""FCN on dilated residual networks.

Long, Shelhamer, Darrell: "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.

45 published recipes. ``fcn-d6`` dilates the head's convolutions by 6 and keeps the trunk at stride 16; a trunk ending
in "b" is the plain ResNet of torchvision, otherwise ResNetV1c (a stem of three 3 x 3 convolutions).
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.published import PASCAL_CONTEXT, PASCAL_CONTEXT_59, Config, Family, Published, Rows, poly, sgd

_CITYSCAPES = ("cityscapes-512x1024", "cityscapes-769x769")
_CONTEXT = ("pascal-context-480x480", "pascal-context-59-480x480")

ROWS = (
    Rows("fcn", ("r50-d8", "r101-d8"), 4, 2, ("40k", "80k"), _CITYSCAPES),
    Rows("fcn", ("r18-d8", "r18b-d8", "r50b-d8", "r101b-d8"), 4, 2, ("80k",), _CITYSCAPES),
    Rows("fcn", ("r101-d8",), 4, 2, ("80k",), ("cityscapes-512x1024",), mixed=True),
    Rows("fcn", ("r50-d8", "r101-d8"), 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
    Rows("fcn", ("r50-d8", "r101-d8"), 4, 4, ("20k", "40k"), ("voc12aug-512x512",)),
    Rows("fcn", ("r50-d8", "r101-d8"), 4, 4, ("40k", "80k"), _CONTEXT),
    Rows("fcn-d6", ("r50-d16", "r101-d16"), 4, 2, ("40k", "80k"), _CITYSCAPES),
    Rows("fcn-d6", ("r50b-d16", "r101b-d16"), 4, 2, ("80k",), _CITYSCAPES),
)

_WINDOWS = {(769, 769): (513, 513), (480, 480): (320, 320)}
"""Training size -> stride, where a recipe is evaluated by sliding a window of the training size."""


def _heads(depth: int, num_classes: int, *, norm: Config, dilation: int | None, align_corners: bool) -> Config:
    width = 512 if depth < 50 else 2048  # channels of the last stage; the heads narrow them by four
    spread = {} if dilation is None else {"dilation": dilation}
    common = {
        "type": "FCNHead",
        "dropout_ratio": 0.1,
        "num_classes": num_classes,
        "norm_cfg": norm,
        "align_corners": align_corners,
        **spread,
    }
    decode = {"in_channels": width, "in_index": 3, "channels": width // 4, "num_convs": 2, "concat_input": True}
    auxiliary = {
        "in_channels": width // 2,
        "in_index": 2,
        "channels": width // 8,
        "num_convs": 1,
        "concat_input": False,
    }
    return {
        "decode_head": {**common, **decode, "loss_decode": _cross_entropy(1.0)},
        "auxiliary_head": {**common, **auxiliary, "loss_decode": _cross_entropy(0.4)},
    }


def _cross_entropy(weight: float) -> Config:
    return {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": weight}


def _trunk(kind: str, depth: int, *, norm: Config, stride: int) -> Config:
    return {
        "type": kind,
        "depth": depth,
        "num_stages": 4,
        "out_indices": (0, 1, 2, 3),
        "strides": (1, 2, 1, 1) if stride == 8 else (1, 2, 2, 1),
        "dilations": (1, 1, 2, 4) if stride == 8 else (1, 1, 1, 2),
        "norm_cfg": norm,
        "norm_eval": False,
        "style": "pytorch",
        "contract_dilation": True,
    }


def _published(recipe: Published) -> tuple[Config, Config, list[Config]]:
    trunk, _, stride = recipe.trunk.partition("-d")
    plain, depth = trunk.endswith("b"), int(trunk.strip("rb"))
    norm = {"type": "SyncBN", "requires_grad": True}
    crop = recipe.setting.crop
    slide = {"mode": "slide", "crop_size": crop, "stride": _WINDOWS.get(crop)}
    model = {
        "type": "EncoderDecoder",
        "pretrained": f"torchvision://resnet{depth}" if plain else f"open-mmlab://resnet{depth}_v1c",
        "backbone": _trunk("ResNet" if plain else "ResNetV1c", depth, norm=norm, stride=int(stride)),
        **_heads(
            depth,
            recipe.setting.benchmark.num_classes,
            norm=norm,
            dilation=6 if recipe.method == "fcn-d6" else None,
            align_corners=crop == (769, 769),
        ),
        "train_cfg": {},
        "test_cfg": slide if crop in _WINDOWS else {"mode": "whole"},
    }
    context = recipe.setting.benchmark in (PASCAL_CONTEXT, PASCAL_CONTEXT_59)
    optim = sgd(0.004, 1e-4) if context else sgd(0.01, 5e-4, mixed=recipe.mixed)
    return model, optim, poly(recipe.steps)


def _own(depth: int, num_logits: int, bands: int) -> Config:
    norm = {"type": "BN", "requires_grad": True}
    return {
        "backbone": {**_trunk("ResNetV1c", depth, norm=norm, stride=8), "in_channels": bands},
        **_heads(depth, num_logits, norm=norm, dilation=None, align_corners=False),
    }


FAMILY = Family(
    ROWS,
    _published,
    own={f"fcn_r{depth}": partial(_own, depth) for depth in (18, 50, 101)},
    learning_rate=5e-4,
)
