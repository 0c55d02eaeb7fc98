"""ResNeSt, dilated, under the heads of FCN, PSPNet, DeepLabV3 and DeepLabV3+."""

from __future__ import annotations

from functools import partial

from intarsia.recipes import deeplabv3, deeplabv3plus, fcn, pspnet
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, heads, optimiser, resnet, widths
from intarsia.recipes.published import FORM, Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly

_HEADS: dict[str, Config] = {
    "fcn": fcn.HEAD,
    "pspnet": pspnet.HEAD,
    "deeplabv3": deeplabv3.HEAD,
    "deeplabv3plus": deeplabv3plus.head(101),
}
_MISSPELT = FORM.replace("{setting}", "cityscapes512x1024")
_STREETS = ("cityscapes-512x1024",)
_OTHERS = tuple(f"s101-d8_{method}" for method in _HEADS if method != "pspnet")
ROWS = (
    Rows("resnest", _OTHERS, 4, 2, ("80k",), _STREETS),
    Rows("resnest", ("s101-d8_pspnet",), 4, 2, ("80k",), _STREETS, form=_MISSPELT),
    Rows("resnest", tuple(f"s101-d8_{method}" for method in _HEADS), 4, 4, ("160k",), ("ade20k-512x512",)),
)


def _parts(method: str, num_classes: int, bands: int, *, norm: Config = SYNC_NORM) -> Config:
    backbone = {
        **resnet("ResNeSt", 101, norm=norm),
        "stem_channels": 128,
        "radix": 2,
        "reduction_factor": 4,
        "avg_down_stride": True,
    }
    return {
        "backbone": backbone if bands == 3 else {**backbone, "in_channels": bands},
        **heads(_HEADS[method], widths(101), num_classes, norm=norm),
    }


def _published(recipe: Published) -> Parts:
    model = {
        "type": "EncoderDecoder",
        "pretrained": "open-mmlab://resnest101",
        **_parts(recipe.backbone.partition("_")[2], recipe.num_classes, 3),
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }
    return Parts(model, optimiser(recipe), poly(recipe.steps))


METHOD = Method(
    "ResNeSt",
    "convolutional",
    "ResNeSt: Split-Attention Networks",
    "Zhang et al.",
    "CVPR workshops",
    2022,
    "https://arxiv.org/abs/2004.08955",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"{method}_resnest101": partial(_parts, method, norm=NORM) for method in _HEADS},
    learning_rate=5e-4,
    method=METHOD,
)
