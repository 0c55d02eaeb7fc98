"""The networks, as configs of MMSegmentation: that library and Intarsia build the same one from the same values.

Two heads have a second form, in other libraries, for which Intarsia has arguments: ", linear" is SegFormer whose levels
are projected without norm and activation (transformers, segmentation_models.pytorch), ", projected" is DeepLabV3 with a
1 x 1 convolution before the last 3 x 3 one (torchvision, segmentation_models.pytorch; the latter also dilates the first
block of a stage, which is as much work). DeepLabV3 has the plain stem, 256 channels and no second head, as they have
it. Imports nothing.
"""

from __future__ import annotations

from typing import Any

NORM = {"type": "BN", "requires_grad": True}
LOSS = {"type": "CrossEntropyLoss", "use_sigmoid": False}


def config(name: str, classes: int, *, windows: tuple[int, int] | None = None) -> dict[str, Any]:
    """The value of `model`. windows: side and stride, for prediction by sliding windows."""
    test = {"mode": "whole"}
    if windows:
        test = {"mode": "slide", "crop_size": (windows[0],) * 2, "stride": (windows[1],) * 2}
    parts = {"segformer_mit-b0": _segformer, "pspnet_r50-d8": _pspnet, "deeplabv3_r50-d8": _deeplabv3}
    name, _, form = name.partition(", ")
    values = parts[name](classes) if name in parts else _fcn(classes)
    if form:
        values["decode_head"][{"linear": "linear_projection", "projected": "project"}[form]] = True
        values["decode_head"]["loss_decode"]["avg_non_ignore"] = True  # as those libraries count ignored pixels
    return {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True, "pad_val": 0, "seg_pad_val": 255,
        },
        **values, "train_cfg": {}, "test_cfg": test,
    }  # fmt: skip


def _resnet(depth: int, kind: str) -> dict[str, Any]:
    return {
        "type": kind, "depth": depth, "num_stages": 4, "out_indices": (0, 1, 2, 3), "dilations": (1, 1, 2, 4),
        "strides": (1, 2, 1, 1), "norm_cfg": NORM, "norm_eval": False, "style": "pytorch", "contract_dilation": True,
    }  # fmt: skip


def _head(kind: str, classes: int, *, weight: float = 1.0, **arguments: Any) -> dict[str, Any]:
    loss = {**LOSS, "loss_weight": weight}
    shared = {"dropout_ratio": 0.1, "norm_cfg": NORM, "align_corners": False, "loss_decode": loss}
    return {"type": kind, "num_classes": classes, **shared, **arguments}


def _auxiliary(classes: int, channels: int) -> dict[str, Any]:
    return _head(
        "FCNHead", classes, weight=0.4, in_channels=channels, in_index=2, channels=channels // 4, num_convs=1,
        concat_input=False,
    )  # fmt: skip


def _segformer(classes: int) -> dict[str, Any]:
    backbone = {
        "type": "MixVisionTransformer", "in_channels": 3, "embed_dims": 32, "num_stages": 4,
        "num_layers": [2, 2, 2, 2], "num_heads": [1, 2, 5, 8], "patch_sizes": [7, 3, 3, 3], "sr_ratios": [8, 4, 2, 1],
        "out_indices": (0, 1, 2, 3), "mlp_ratio": 4, "qkv_bias": True, "drop_rate": 0.0, "attn_drop_rate": 0.0,
        "drop_path_rate": 0.1,
    }  # fmt: skip
    head = _head("SegformerHead", classes, in_channels=[32, 64, 160, 256], in_index=[0, 1, 2, 3], channels=256)
    return {"backbone": backbone, "decode_head": head}


def _pspnet(classes: int) -> dict[str, Any]:
    head = _head("PSPHead", classes, in_channels=2048, in_index=3, channels=512, pool_scales=(1, 2, 3, 6))
    return {"backbone": _resnet(50, "ResNetV1c"), "decode_head": head, "auxiliary_head": _auxiliary(classes, 1024)}


def _deeplabv3(classes: int) -> dict[str, Any]:
    head = _head("ASPPHead", classes, in_channels=2048, in_index=3, channels=256, dilations=(1, 12, 24, 36))
    return {"backbone": _resnet(50, "ResNet"), "decode_head": head}


def _fcn(classes: int) -> dict[str, Any]:
    head = _head("FCNHead", classes, in_channels=512, in_index=3, channels=128, num_convs=2, concat_input=True)
    return {"backbone": _resnet(18, "ResNetV1c"), "decode_head": head, "auxiliary_head": _auxiliary(classes, 256)}
