"""SETR: a plain vision transformer with three heads: naive, progressive upsampling, multi-level aggregation."""

from __future__ import annotations

from functools import partial

from intarsia.recipes.benchmarks import CITYSCAPES, Config
from intarsia.recipes.dilated import NORM, SYNC_NORM, cross_entropy
from intarsia.recipes.published import Family, Method, Parts, Published, Rows
from intarsia.recipes.schedules import poly, sgd

_UPSAMPLING = {"naive": (1, 4, 1), "pup": (4, 2, 3)}
"""head -> convolutions, scale of each upsampling, kernel of the head itself."""

_ALL = ("vit-l_naive", "vit-l_pup", "vit-l_mla")
ROWS = (
    Rows("setr", _ALL, 8, 1, ("80k",), ("cityscapes-768x768",)),
    Rows("setr", _ALL, 8, 2, ("160k",), ("ade20k-512x512",)),
    Rows("setr", ("vit-l-mla",), 8, 1, ("160k",), ("ade20k-512x512",)),
)


def _heads(kind: str, num_classes: int, *, norm: Config, streets: bool) -> Config:
    common = {"dropout_ratio": 0, "num_classes": num_classes, "norm_cfg": norm, "align_corners": False}
    if kind == "mla":
        neck = {"type": "MLANeck", "in_channels": [1024, 1024, 1024, 1024], "out_channels": 256}
        decode = {"type": "SETRMLAHead", "in_channels": (256,) * 4, "in_index": (0, 1, 2, 3), "channels": 512}
        auxiliary = {"type": "FCNHead", "in_channels": 256, "channels": 256, "num_convs": 0, "kernel_size": 1}
        small = {**common, **auxiliary, "concat_input": False, "loss_decode": cross_entropy(0.4)}
        return {
            "neck": {**neck, "norm_cfg": norm, "act_cfg": {"type": "ReLU"}},
            "decode_head": {**common, **decode, "mla_channels": 128, "loss_decode": cross_entropy()},
            "auxiliary_head": [{**small, "in_index": index, "act_cfg": {"type": "ReLU"}} for index in (0, 1, 2, 3)],
        }
    convolutions, scale, kernel = _UPSAMPLING[kind]
    upsampling = {"type": "SETRUPHead", **common, "in_channels": 1024, "channels": 256}
    first = {"num_convs": convolutions, "up_scale": scale, "kernel_size": kernel}
    beside: Config = {"num_convs": 2, "kernel_size": kernel, "loss_decode": cross_entropy(0.4)}
    if streets:
        beside |= {"num_convs": 1 if kind == "naive" else 2, "up_scale": 4}
    else:
        beside["act_cfg"] = {"type": "ReLU"}
    return {
        "decode_head": {**upsampling, "in_index": 3, **first, "loss_decode": cross_entropy()},
        "auxiliary_head": [{**upsampling, "in_index": index, **beside} for index in (0, 1, 2)],
    }


def _parts(
    kind: str, num_classes: int, bands: int, *, norm: Config = NORM, size: tuple[int, int] = (512, 512)
) -> Config:
    aggregated = kind == "mla"
    return {
        "backbone": {
            "type": "VisionTransformer",
            "img_size": size,
            "patch_size": 16,
            "in_channels": bands,
            "embed_dims": 1024,
            "num_layers": 24,
            "num_heads": 16,
            "out_indices": (5, 11, 17, 23) if aggregated else (9, 14, 19, 23),
            "drop_rate": 0.0,
            "norm_cfg": {"type": "LN", "eps": 1e-6, "requires_grad": True},
            "with_cls_token": not aggregated,
            "interpolate_mode": "bilinear",
        },
        **_heads(kind, num_classes, norm=norm, streets=size == (768, 768)),
    }


def _published(recipe: Published) -> Parts:
    kind, crop = recipe.backbone[len("vit-l_") :], recipe.setting.crop
    streets = recipe.setting.benchmark is CITYSCAPES
    parts = _parts(kind, recipe.num_classes, 3, norm=SYNC_NORM, size=crop)
    parts["backbone"]["init_cfg"] = {"type": "Pretrained", "checkpoint": "pretrain/vit_large_p16.pth"}
    if kind == "mla" and streets:  # these leave two keys at their defaults: no norm stands behind no convolution
        for head in parts["auxiliary_head"]:
            del head["norm_cfg"], head["act_cfg"]
    window = {"mode": "slide", "crop_size": crop, "stride": (512, 512) if streets else (341, 341)}
    model = {"type": "EncoderDecoder", "pretrained": None, **parts, "train_cfg": {}, "test_cfg": window}
    rate = {"mla": 0.002 if streets else 0.001, "naive": 0.01, "pup": 0.01 if streets else 0.001}[kind]
    optim = {**sgd(rate, 0.0), "paramwise_cfg": {"custom_keys": {"head": {"lr_mult": 10.0}}}}
    return Parts(model, optim, poly(recipe.steps), workers=2 if streets else 4)


METHOD = Method(
    "SETR",
    "transformer",
    "Rethinking Semantic Segmentation from a Sequence-to-Sequence Perspective with Transformers",
    "Zheng et al.",
    "CVPR",
    2021,
    "https://arxiv.org/abs/2012.15840",
)
FAMILY = Family(
    ROWS,
    _published,
    own={f"setr_vit-l_{kind}": partial(_parts, kind) for kind in ("naive", "pup", "mla")},
    learning_rate=1e-4,
    method=METHOD,
)
