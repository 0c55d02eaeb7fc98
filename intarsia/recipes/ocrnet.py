"""OCRNet: every position described by the classes' regions, in a second head.

24 published recipes, on HRNet and on a dilated ResNet.
"""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy, named_resnet, optimiser
from intarsia.recipes.hrnet import SIZES, backbone, on_all, plain_head, weights
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

_ALL = tuple(SIZES)
ROWS = (
    Rows("ocrnet", _ALL, 4, 2, ("40k", "80k", "160k"), ("cityscapes-512x1024",)),
    Rows("ocrnet", _ALL, 4, 4, ("80k", "160k"), ("ade20k-512x512",)),
    Rows("ocrnet", _ALL, 4, 4, ("20k", "40k"), ("voc12aug-512x512",)),
    Rows("ocrnet", ("r101-d8",), 4, 2, ("40k",), ("cityscapes-512x1024",)),
    Rows("ocrnet", ("r101-d8",), 8, 2, ("40k", "80k"), ("cityscapes-512x1024",)),
)
_REGIONS: Config = {"type": "OCRHead", "channels": 512, "ocr_channels": 256}


def _on_hrnet(size: str, num_classes: int, *, norm: Config = SYNC_NORM) -> list[Config]:
    common = on_all(size, num_classes, norm=norm)
    return [
        plain_head(size, num_classes, norm=norm, weight=0.4),
        {**common, **_REGIONS, "loss_decode": cross_entropy()},
    ]


def _on_resnet(num_classes: int) -> list[Config]:
    common = {"num_classes": num_classes, "dropout_ratio": 0.1, "norm_cfg": SYNC_NORM, "align_corners": False}
    first = {"type": "FCNHead", "in_channels": 1024, "in_index": 2, "channels": 256, "num_convs": 1}
    return [
        {**common, **first, "concat_input": False, "loss_decode": cross_entropy(0.4)},
        {**common, **_REGIONS, "in_channels": 2048, "in_index": 3, "loss_decode": cross_entropy()},
    ]


def _published(recipe: Published) -> Parts:
    large = recipe.backbone.startswith("r")
    network, start, _ = named_resnet(recipe.backbone) if large else (backbone(recipe.backbone), "", 0)
    model = {
        "type": "CascadeEncoderDecoder",
        "num_stages": 2,
        "pretrained": start or weights(recipe.backbone),
        "backbone": network,
        "decode_head": _on_resnet(recipe.num_classes) if large else _on_hrnet(recipe.backbone, recipe.num_classes),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    if recipe.devices == 8:  # twice the batch, twice the rates; the longer recipe, too, decays over 40,000 steps
        return Parts(model, sgd(0.02, 5e-4), poly(40_000, eta_min=2e-4))
    return Parts(model, optimiser(recipe), poly(recipe.steps))


def _own(size: str, num_logits: int, bands: int) -> Config:
    return {
        "type": "CascadeEncoderDecoder",
        "num_stages": 2,
        "backbone": {**backbone(size, norm=NORM), "in_channels": bands},
        "decode_head": _on_hrnet(size, num_logits, norm=NORM),
    }


METHOD = Method(
    "OCRNet",
    "convolutional",
    "Object-Contextual Representations for Semantic Segmentation",
    "Yuan, Chen, Wang",
    "ECCV",
    2020,
    "https://arxiv.org/abs/1909.11065",
)
FAMILY = Family(
    ROWS, _published, own={f"ocrnet_{size}": partial(_own, size) for size in SIZES}, learning_rate=1e-3, method=METHOD
)
