"""The decoders of segmentation_models.pytorch as heads of ours, from the arguments of its models.

Of each model: which levels of its encoder it reads, the arguments that are its own, and the head with what they say.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from intarsia.weights.maps.description import BN, Values

_WIDTHS = (256, 128, 64, 32, 16)


@dataclass(frozen=True)
class Levels:
    """What a decoder reads: the channels of its levels and their strides, the finest first, and of how deep an encoder.

    network: name of the encoder. strides: before any dilation.
    """

    network: str
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    depth: int


@dataclass(frozen=True)
class Decoder:
    """A model of the library.

    head: the arguments of the model, and the levels -> ours, without what all heads have. arguments: names of its own.
    depths: how often an image can be halved, the usual depth first. reads: levels from this stride on, or that of
    stride 4 and the last ("ends"), the last alone, or the last four. output_strides: what its encoder can be dilated
    to, the usual first; () if it is never dilated. align_corners: of the head. dropout: name of the argument that says
    how much is dropped before the classifier, if there is one, and how much by default.
    """

    head: Callable[[Mapping[str, Any], Levels], Values]
    arguments: frozenset[str]
    depths: tuple[int, ...] = (5, 4, 3, 2, 1)
    reads: int | Literal["ends", "last", "last four"] = 2
    output_strides: tuple[int, ...] = ()
    align_corners: bool = True
    dropout: str = ""
    usual_dropout: float = 0.0


# --- Arguments ----------------------------------------------------------------------------------------------------


def _norm(config: Mapping[str, Any], old_name: str = "decoder_use_batchnorm") -> Values | None:
    """Of the decoder, under its present name or the old one."""
    norm = config.get("decoder_use_norm", "batchnorm")
    if (old := config.get(old_name)) is not None:
        norm = old
    if isinstance(norm, Mapping) and set(norm) == {"type"}:
        norm = norm["type"]
    norms = {True: BN, "batchnorm": BN, False: None, "identity": None}
    if not isinstance(norm, bool | str) or norm not in norms:
        raise ValueError(f"config.json has decoder_use_norm={norm!r}; our counterpart has batchnorm or identity")
    return norms[norm]


def _batch_norm(config: Mapping[str, Any], model: str) -> Values:
    if (norm := _norm(config)) is None:
        raise ValueError(f"config.json has a {model} without norms; our counterpart has batchnorm")
    return norm


def _widths(config: Mapping[str, Any], depth: int) -> list[int]:
    widths = list(config.get("decoder_channels", _WIDTHS))
    if len(widths) != depth or any(type(width) is not int or width < 1 for width in widths):
        raise ValueError(f"decoder_channels must be {depth} numbers, as encoder_depth says; found {widths}")
    return widths


def _several(levels: Levels) -> Values:
    return {"in_channels": list(levels.channels), "in_index": list(range(len(levels.channels)))}


# --- Decoders -----------------------------------------------------------------------------------------------------


def _unet(config: Mapping[str, Any], levels: Levels) -> Values:
    center = {"center": True} if levels.network.startswith("vgg") else {}
    return {**_of_unets(config, levels), "type": "UNetHead", **center}


def _of_unets(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "decoder_channels": _widths(config, levels.depth),
        "attention": config.get("decoder_attention_type"),
        "interpolation": config.get("decoder_interpolation", "nearest"),
        "norm_cfg": _norm(config),
    }


def _unetplusplus(config: Mapping[str, Any], levels: Levels) -> Values:
    return {**_of_unets(config, levels), "type": "UNetPlusPlusHead"}


def _linknet(config: Mapping[str, Any], levels: Levels) -> Values:
    norm = _batch_norm(config, "Linknet")
    return {**_several(levels), "type": "LinknetHead", "num_blocks": levels.depth, "channels": 32, "norm_cfg": norm}


def _manet(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "type": "MANetHead",
        "decoder_channels": _widths(config, levels.depth),
        "attention_channels": config.get("decoder_pab_channels", 64),
        "interpolation": config.get("decoder_interpolation", "nearest"),
        "norm_cfg": _norm(config),
    }


def _pan(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "type": "PANHead",
        "channels": config.get("decoder_channels", 32),
        "interpolation": config.get("decoder_interpolation", "bilinear"),
    }


def _fpn(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "type": "SmpFPNHead",
        "pyramid_channels": config.get("decoder_pyramid_channels", 256),
        "channels": config.get("decoder_segmentation_channels", 128),
        "merge": config.get("decoder_merge_policy", "add"),
        "interpolation": config.get("decoder_interpolation", "nearest"),
    }


def _pspnet(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        "type": "SmpPSPHead",
        "in_channels": levels.channels[0],
        "in_index": 0,
        "channels": config.get("psp_out_channels", 512),
        "norm_cfg": _norm(config, "psp_use_batchnorm"),
    }


def _dilations(config: Mapping[str, Any]) -> list[int]:
    rates = list(config.get("decoder_atrous_rates", (12, 24, 36)))
    if len(rates) != 3 or any(type(rate) is not int or rate < 1 for rate in rates):
        raise ValueError(f"decoder_atrous_rates must be 3 numbers; found {rates}")
    return rates


def _deeplabv3(config: Mapping[str, Any], levels: Levels) -> Values:
    channels, rates = config.get("decoder_channels", 256), _dilations(config)
    if config.get("decoder_aspp_separable", False):
        return {
            **_several(levels), "type": "SmpASPPHead", "channels": channels, "dilations": rates, "separable": True,
            "norm_cfg": BN,
        }  # fmt: skip
    return {
        "type": "ASPPHead",
        "in_channels": levels.channels[0],
        "in_index": 0,
        "channels": channels,
        "dilations": [1, *rates],
        "project": True,
        "norm_cfg": BN,
    }


def _deeplabv3plus(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "type": "SmpASPPHead",
        "channels": config.get("decoder_channels", 256),
        "dilations": _dilations(config),
        "separable": bool(config.get("decoder_aspp_separable", True)),
        "norm_cfg": BN,
    }


def _upernet(config: Mapping[str, Any], levels: Levels) -> Values:
    return {
        **_several(levels),
        "type": "UPerHead",
        "channels": config.get("decoder_channels", 256),
        "level_norms": True,
        "norm_cfg": _batch_norm(config, "UPerNet"),
        "logits_align_corners": True,
    }


def _segformer(config: Mapping[str, Any], levels: Levels) -> Values:
    """Fused at a quarter of the image, whatever levels are read."""
    return {
        **_several(levels),
        "type": "SegformerHead",
        "channels": config.get("decoder_segmentation_channels", 256),
        "linear_projection": True,
        "fusion_level": levels.strides.index(4),
        "norm_cfg": BN,
        "logits_align_corners": True,
    }


_WITH_NORM = frozenset({"decoder_use_norm", "decoder_use_batchnorm"})
_OF_UNETS = _WITH_NORM | {"decoder_channels", "decoder_interpolation"}
_OF_DEEPLAB = frozenset(
    {"decoder_channels", "decoder_atrous_rates", "decoder_aspp_separable", "decoder_aspp_dropout", "upsampling"}
)

DECODERS: dict[str, Decoder] = {
    "Unet": Decoder(_unet, _OF_UNETS | {"decoder_attention_type"}, align_corners=False),
    "UnetPlusPlus": Decoder(_unetplusplus, _OF_UNETS | {"decoder_attention_type"}, align_corners=False),
    "Linknet": Decoder(_linknet, _WITH_NORM, align_corners=False),
    "MAnet": Decoder(_manet, _OF_UNETS | {"decoder_pab_channels"}, align_corners=False),
    "PAN": Decoder(
        _pan,
        frozenset({"decoder_channels", "decoder_interpolation", "upsampling"}),
        depths=(5, 4, 3),
        reads=4,
        output_strides=(16, 32),
    ),
    "FPN": Decoder(
        _fpn,
        frozenset(
            {
                "decoder_pyramid_channels", "decoder_segmentation_channels", "decoder_merge_policy", "decoder_dropout",
                "decoder_interpolation", "upsampling",
            }
        ),
        depths=(5, 4),
        reads="last four",
        dropout="decoder_dropout",
        usual_dropout=0.2,
    ),
    "PSPNet": Decoder(
        _pspnet,
        frozenset({"psp_out_channels", "psp_dropout", "psp_use_batchnorm", "decoder_use_norm", "upsampling"}),
        depths=(3, 5, 4, 2, 1),
        reads="last",
        dropout="psp_dropout",
        usual_dropout=0.2,
    ),
    "DeepLabV3": Decoder(
        _deeplabv3,
        _OF_DEEPLAB,
        depths=(5, 4, 3),
        reads="last",
        output_strides=(8, 16),
        dropout="decoder_aspp_dropout",
        usual_dropout=0.5,
    ),
    "DeepLabV3Plus": Decoder(
        _deeplabv3plus,
        _OF_DEEPLAB,
        depths=(5, 4, 3),
        reads="ends",
        output_strides=(16, 8),
        dropout="decoder_aspp_dropout",
        usual_dropout=0.5,
    ),
    "UPerNet": Decoder(
        _upernet, frozenset({"decoder_channels", "decoder_use_norm", "upsampling"}), depths=(5, 4, 3), reads=4,
        align_corners=False,
    ),
    "Segformer": Decoder(
        _segformer, frozenset({"decoder_segmentation_channels", "upsampling"}), depths=(5, 4, 3), align_corners=False
    ),
}  # fmt: skip
"""Model -> what it is here. The twelfth, DPT, has no levels of several strides: `smp_dpt.py`."""
