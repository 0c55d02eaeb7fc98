"""Our config of a model of segmentation_models.pytorch, from the config.json of its folder.

The file has the arguments of the model's constructor and `_model_class`. Those that it leaves out have the library's
defaults. What cannot be expressed here is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from intarsia import catalog
from intarsia.terminal import printable
from intarsia.weights.maps.description import BN, IMAGENET, Description, Values, describe, normalising
from intarsia.weights.maps.smp import DEPTHS
from intarsia.weights.pretrained import timm_hub

LIBRARY = "segmentation_models.pytorch"

OF_TIMM = "tu-"
"""Before the name of an encoder that is a network of timm."""

_TORCHVISION = re.compile(r"resnet\d+|resnext\d+_32x\d+d")
"""Encoders that timm has under the same name."""

_WIDTHS = (256, 128, 64, 32, 16)
_NO_EFFECT = frozenset({"encoder_weights", "aux_params"})
_LOGITS = (None, "identity", "sigmoid", "softmax", "softmax2d", "logsoftmax")
"""Last activations behind which the largest value is that of the largest logit."""


def is_smp(config: Mapping[str, Any]) -> bool:
    """Whether a config.json is of this library."""
    return "model_type" not in config and "encoder_name" in config


def describe_smp(config: Mapping[str, Any]) -> Description:
    """The model of a folder.

    Raises ValueError for a model, an encoder or a setting that has no counterpart here, and without timm.
    """
    kind = config.get("_model_class", "Unet")
    if kind not in _HEADS:
        raise ValueError(
            f"config.json is of a {kind} of {LIBRARY}; of its models {', '.join(_HEADS)} can be read. Its encoder can "
            "start a training: --weights FILE --prefix encoder --allow-partial"
        )
    known = _COMMON | _OWN[kind]
    if strange := sorted(key for key in config.keys() - known if not key.startswith("_") and config[key] is not None):
        raise ValueError(f"config.json has {printable(', '.join(strange), 200)}, which has no counterpart here")
    if config.get("activation") not in _LOGITS:
        listed = ", ".join(map(str, _LOGITS))
        raise ValueError(f"config.json has activation={config['activation']!r}; expected one of {listed}")
    depth, classes, bands = (config.get(key, usual) for key, usual in _COUNTS.items())
    if any(type(count) is not int or count < 1 for count in (depth, classes, bands)) or depth not in DEPTHS:
        found = printable(f"{depth!r}, {classes!r} and {bands!r}", 200)
        raise ValueError(f"encoder_depth must be 1 to {DEPTHS[0]}, classes and in_channels 1 or more; found {found}")
    backbone, channels = _encoder(str(config["encoder_name"]), depth, bands, finest=4 if kind == "PAN" else 2)
    if kind == "PAN":
        backbone |= _dilation(config)
    head = _HEADS[kind](config, channels, depth)
    head |= {
        "in_channels": channels,
        "in_index": list(range(len(channels))),
        "num_classes": classes,
        "dropout_ratio": 0.0,
        "align_corners": kind == "PAN",
        "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
    }
    (mean, std), note = _normalisation(str(backbone["model_name"]), bands)
    return describe(
        {"backbone": backbone, "decode_head": head},
        normalising(mean, std, size_divisor=2**depth),
        resizing=[],
        classes=["foreground"] if classes == 1 else [f"class {number}" for number in range(classes)],
        notes=[note],
        origin=LIBRARY,
    )


def _encoder(name: str, depth: int, bands: int, *, finest: int) -> tuple[Values, list[int]]:
    """The backbone section, and the channels of its levels, the finest first."""
    import torch

    network = name.removeprefix(OF_TIMM)
    if not name.startswith(OF_TIMM) and not _TORCHVISION.fullmatch(name):
        raise ValueError(
            f"the encoder {name!r} of config.json has no counterpart here; read are resnetN, resnextN_32xMd and "
            f"networks of timm ({OF_TIMM}NAME)"
        )
    with torch.device("meta"):
        levels = catalog.resolve("backbone", "TIMM")(network, in_channels=bands).features
    read = {level.stride: index for index, level in enumerate(levels) if finest <= level.stride <= 2**depth}
    strides = list(read)
    if not strides or strides[0] > 4 or strides != [strides[0] * 2**i for i in range(len(strides))]:
        found = [level.stride for level in levels]
        raise ValueError(f"levels of strides 2 or 4 to {2**depth} are read; the encoder {name!r} has {found}")
    section = {"type": "TIMM", "model_name": network, "in_channels": bands, "out_indices": list(read.values())}
    return section, [levels[index].channels for index in read.values()]


def _dilation(config: Mapping[str, Any]) -> Values:
    """Of an encoder that is dilated to stride 16, as PAN has it by default."""
    stride, upsampling = config.get("encoder_output_stride", 16), config.get("upsampling", 4)
    if stride not in (16, 32) or upsampling != 4:
        raise ValueError(
            f"expected encoder_output_stride=16 or 32 and upsampling=4; found {stride!r} and {upsampling!r}"
        )
    if stride == 32:
        return {}
    if not str(config["encoder_name"]).startswith(OF_TIMM):
        raise ValueError(
            f"{LIBRARY} dilates its own {config['encoder_name']} in another way than timm; a PAN is read with "
            f"encoder_output_stride=32, or over an encoder of timm ({OF_TIMM}NAME)"
        )
    return {"output_stride": 16}


def _normalisation(network: str, bands: int) -> tuple[tuple[Any, Any], str]:
    """Mean and deviation, which the library keeps with no model, and what was assumed of them."""
    if bands != 3:
        return ((0.0,) * bands, (255.0,) * bands), (
            "the file does not say how images are normalised: their values were taken to be divided by 255; otherwise "
            "give a config of your own, with the right data_preprocessor: --config FILE"
        )
    known = timm_hub.normalisation(network)
    values = IMAGENET if known is None else (known.mean, known.std)
    return values, (
        "the file does not say how images are normalised: mean and deviation are those of the encoder's pretrained "
        "weights; otherwise give a config of your own, with the right data_preprocessor: --config FILE"
    )


# --- Decoders -----------------------------------------------------------------------------------------------------


def _norm(config: Mapping[str, Any]) -> Values | None:
    """Of the decoder, under its present name or the old one."""
    norm = config.get("decoder_use_norm", "batchnorm")
    if (old := config.get("decoder_use_batchnorm")) is not None:
        norm = old
    if isinstance(norm, Mapping) and set(norm) == {"type"}:
        norm = norm["type"]
    norms = {True: BN, "batchnorm": BN, False: None, "identity": None}
    if not isinstance(norm, bool | str) or norm not in norms:
        raise ValueError(f"config.json has decoder_use_norm={norm!r}; our counterpart has batchnorm or identity")
    return norms[norm]


def _widths(config: Mapping[str, Any], depth: int) -> list[int]:
    widths = list(config.get("decoder_channels", _WIDTHS))
    if len(widths) != depth or any(type(width) is not int or width < 1 for width in widths):
        raise ValueError(f"decoder_channels must be {depth} numbers, as encoder_depth says; found {widths}")
    return widths


def _unet(config: Mapping[str, Any], channels: list[int], depth: int) -> Values:
    return {
        "type": "UNetHead",
        "decoder_channels": _widths(config, depth),
        "attention": config.get("decoder_attention_type"),
        "interpolation": config.get("decoder_interpolation", "nearest"),
        "norm_cfg": _norm(config),
    }


def _unetplusplus(config: Mapping[str, Any], channels: list[int], depth: int) -> Values:
    return {**_unet(config, channels, depth), "type": "UNetPlusPlusHead"}


def _linknet(config: Mapping[str, Any], channels: list[int], depth: int) -> Values:
    if (norm := _norm(config)) is None:
        raise ValueError("config.json has a Linknet without norms; our counterpart has batchnorm")
    return {"type": "LinknetHead", "num_blocks": depth, "channels": 32, "norm_cfg": norm}


def _manet(config: Mapping[str, Any], channels: list[int], depth: int) -> Values:
    return {
        "type": "MANetHead",
        "decoder_channels": _widths(config, depth),
        "attention_channels": config.get("decoder_pab_channels", 64),
        "interpolation": config.get("decoder_interpolation", "nearest"),
        "norm_cfg": _norm(config),
    }


def _pan(config: Mapping[str, Any], channels: list[int], depth: int) -> Values:
    if depth < 3:
        raise ValueError(f"a PAN has an encoder_depth of 3 to 5; found {depth}")
    return {
        "type": "PANHead",
        "channels": config.get("decoder_channels", 32),
        "interpolation": config.get("decoder_interpolation", "bilinear"),
    }


_COUNTS = {"encoder_depth": 5, "classes": 1, "in_channels": 3}
_COMMON = frozenset({"encoder_name", "activation", *_COUNTS, *_NO_EFFECT})
_WITH_NORM = frozenset({"decoder_use_norm", "decoder_use_batchnorm"})
_HEADS: dict[str, Callable[[Mapping[str, Any], list[int], int], Values]] = {
    "Unet": _unet,
    "UnetPlusPlus": _unetplusplus,
    "Linknet": _linknet,
    "MAnet": _manet,
    "PAN": _pan,
}
_OF_UNETS = _WITH_NORM | {"decoder_channels", "decoder_interpolation"}
_OWN = {
    "Unet": _OF_UNETS | {"decoder_attention_type"},
    "UnetPlusPlus": _OF_UNETS | {"decoder_attention_type"},
    "Linknet": _WITH_NORM,
    "MAnet": _OF_UNETS | {"decoder_pab_channels"},
    "PAN": frozenset({"decoder_channels", "decoder_interpolation", "encoder_output_stride", "upsampling"}),
}
"""Model -> its arguments besides those that all have."""
