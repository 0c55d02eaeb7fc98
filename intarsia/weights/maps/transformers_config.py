"""The model section of our config from a ``config.json`` of transformers: those named below.

Keys that a file leaves out have the library's defaults. What cannot be expressed here is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia.weights.maps.description import BN, Values
from intarsia.weights.maps.eomt_config import eomt, eomt_dinov3
from intarsia.weights.maps.mask_config import expect, mask_losses, points

_DEPTHS = {
    ("basic", (2, 2, 2, 2)): 18,
    ("basic", (3, 4, 6, 3)): 34,
    ("bottleneck", (3, 4, 6, 3)): 50,
    ("bottleneck", (3, 4, 23, 3)): 101,
    ("bottleneck", (3, 8, 36, 3)): 152,
}
"""Kind and number of a ResNet's blocks -> its layers."""


def model_section(config: Mapping[str, Any]) -> Values:
    """Backbone and heads. Raises ValueError for a model that we do not have, or a setting of it."""
    kind = config.get("model_type")
    if kind not in _MODELS:
        raise ValueError(f"config.json is of model_type {kind!r}; expected one of {', '.join(_MODELS)}")
    return _MODELS[kind](config, len(class_names(config)))


def class_names(config: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of id2label, in the order of their numbers. Raises ValueError if these have gaps."""
    names = {int(number): str(name) for number, name in config.get("id2label", {0: "LABEL_0", 1: "LABEL_1"}).items()}
    if sorted(names) != list(range(len(names))):
        raise ValueError(f"id2label of config.json must number its {len(names)} classes from 0; found {sorted(names)}")
    return tuple(names[number] for number in range(len(names)))


# --- Backbones ----------------------------------------------------------------------------------------------------


def _backbone(config: Mapping[str, Any]) -> tuple[Values, list[int]]:
    """The backbone section, and the channels of its four levels."""
    backbone = config.get("backbone_config") or {"model_type": config.get("backbone")}
    kind = backbone.get("model_type")
    if kind not in _BACKBONES:
        raise ValueError(f"the backbone of config.json is a {kind!r}; expected one of {', '.join(_BACKBONES)}")
    levels = backbone.get("out_features") or [f"stage{i}" for i in range(1, 5)]
    if list(levels) != ["stage1", "stage2", "stage3", "stage4"]:
        raise ValueError(f"the backbone of config.json gives {levels}; our heads read stage1 to stage4")
    return _BACKBONES[kind](backbone)


def _swin(backbone: Mapping[str, Any]) -> tuple[Values, list[int]]:
    where = "backbone_config of config.json"
    expect(backbone, where, hidden_act="gelu", layer_norm_eps=1e-5, use_absolute_embeddings=False)
    embed_dims = backbone.get("embed_dim", 96)
    section = {
        "type": "SwinTransformer",
        "in_channels": backbone.get("num_channels", 3),
        "embed_dims": embed_dims,
        "patch_size": backbone.get("patch_size", 4),
        "window_size": backbone.get("window_size", 7),
        "mlp_ratio": backbone.get("mlp_ratio", 4.0),
        "depths": backbone.get("depths", [2, 2, 6, 2]),
        "num_heads": backbone.get("num_heads", [3, 6, 12, 24]),
        "strides": [backbone.get("patch_size", 4), 2, 2, 2],
        "out_indices": [0, 1, 2, 3],
        "qkv_bias": backbone.get("qkv_bias", True),
        "drop_rate": backbone.get("hidden_dropout_prob", 0.0),
        "attn_drop_rate": backbone.get("attention_probs_dropout_prob", 0.0),
        "drop_path_rate": backbone.get("drop_path_rate", 0.1),
    }
    return section, [embed_dims * 2**stage for stage in range(4)]


def _resnet(backbone: Mapping[str, Any]) -> tuple[Values, list[int]]:
    expect(backbone, "backbone_config of config.json", hidden_act="relu")
    kind, blocks = backbone.get("layer_type", "bottleneck"), tuple(backbone.get("depths", [3, 4, 6, 3]))
    widths = list(backbone.get("hidden_sizes", [256, 512, 1024, 2048]))
    if (kind, blocks) not in _DEPTHS or widths != [widths[0] * 2**stage for stage in range(4)]:
        raise ValueError(
            f"a ResNet of {kind} blocks {list(blocks)} with {widths} channels has no counterpart here; "
            f"published layouts are {', '.join(f'{k} {list(b)}' for k, b in _DEPTHS)}, each stage twice as wide"
        )
    section = {
        "type": "ResNet",
        "depth": _DEPTHS[kind, blocks],
        "in_channels": backbone.get("num_channels", 3),
        "stem_channels": backbone.get("embedding_size", 64),
        "base_channels": widths[0] // (4 if kind == "bottleneck" else 1),
        "strides": [2 if backbone.get("downsample_in_first_stage", False) else 1, 2, 2, 2],
        "out_indices": [0, 1, 2, 3],
        "style": "caffe" if backbone.get("downsample_in_bottleneck", False) else "pytorch",
        "norm_cfg": BN,
    }
    return section, widths


_BACKBONES = {"resnet": _resnet, "swin": _swin, "maskformer-swin": _swin}


# --- Models -------------------------------------------------------------------------------------------------------


def _segformer(config: Mapping[str, Any], num_classes: int) -> Values:
    widths = config.get("hidden_sizes", [32, 64, 160, 256])
    heads = config.get("num_attention_heads", [1, 2, 5, 8])
    ratios = config.get("mlp_ratios", [4, 4, 4, 4])
    per_head = {width / head for width, head in zip(widths, heads, strict=True)}
    if len(per_head) != 1 or len(set(ratios)) != 1:
        raise ValueError(
            "expected stages with the same channels per attention head and the same mlp_ratio; "
            f"found hidden_sizes={widths}, num_attention_heads={heads}, mlp_ratios={ratios}"
        )
    expect(config, "config.json", hidden_act="gelu")
    return {
        "backbone": {
            "type": "MixVisionTransformer",
            "in_channels": config.get("num_channels", 3),
            "embed_dims": int(per_head.pop()),
            "num_stages": len(widths),
            "num_layers": config.get("depths", [2, 2, 2, 2]),
            "num_heads": heads,
            "patch_sizes": config.get("patch_sizes", [7, 3, 3, 3]),
            "strides": config.get("strides", [4, 2, 2, 2]),
            "sr_ratios": config.get("sr_ratios", [8, 4, 2, 1]),
            "out_indices": list(range(len(widths))),
            "mlp_ratio": ratios[0],
            "qkv_bias": True,
            "drop_rate": config.get("hidden_dropout_prob", 0.0),
            "attn_drop_rate": config.get("attention_probs_dropout_prob", 0.0),
            "drop_path_rate": config.get("drop_path_rate", 0.1),
            "norm_cfg": {"type": "LN", "eps": 1e-5},  # whatever layer_norm_eps says: the library does not read it
        },
        "decode_head": {
            "type": "SegformerHead",
            "in_channels": widths,
            "in_index": list(range(len(widths))),
            "channels": config.get("decoder_hidden_size", 256),
            "dropout_ratio": config.get("classifier_dropout_prob", 0.1),
            "num_classes": num_classes,
            "norm_cfg": BN,
            "linear_projection": True,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        },
    }


def _upernet(config: Mapping[str, Any], num_classes: int) -> Values:
    backbone, widths = _backbone(config)
    model: Values = {
        "backbone": backbone,
        "decode_head": {
            "type": "UPerHead",
            "in_channels": widths,
            "in_index": list(range(len(widths))),
            "pool_scales": config.get("pool_scales", [1, 2, 3, 6]),
            "channels": config.get("hidden_size", 512),
            "dropout_ratio": 0.1,
            "num_classes": num_classes,
            "norm_cfg": BN,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        },
    }
    if config.get("use_auxiliary_head", True):
        model["auxiliary_head"] = {
            "type": "FCNHead",
            "in_channels": config.get("auxiliary_in_channels") or widths[2],
            "in_index": 2,
            "channels": config.get("auxiliary_channels", 256),
            "num_convs": config.get("auxiliary_num_convs", 1),
            "concat_input": config.get("auxiliary_concat_input", False),
            "dropout_ratio": 0.1,
            "num_classes": num_classes,
            "norm_cfg": BN,
            "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": config.get("auxiliary_loss_weight", 0.4)},
        }
    return model


def _mask2former(config: Mapping[str, Any], num_classes: int) -> Values:
    channels = config.get("hidden_dim", 256)
    expect(
        config,
        "config.json",
        feature_size=channels,
        activation_function="relu",
        pre_norm=False,
        enforce_input_projection=False,
        common_stride=4,
    )
    backbone, widths = _backbone(config)
    heads, dropout = config.get("num_attention_heads", 8), config.get("dropout", 0.0)
    encoder_layer = {
        "self_attn_cfg": {
            "embed_dims": channels,
            "num_heads": heads,
            "num_levels": 3,
            "num_points": 4,
            "dropout": 0.0,
        },
        "ffn_cfg": _perceptron(channels, config.get("encoder_feedforward_dim", 1024), 0.0),
    }
    weights = (config.get("class_weight", 2.0), config.get("mask_weight", 5.0), config.get("dice_weight", 5.0))
    mask_loss = {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "reduction": "mean", "loss_weight": weights[1]}
    mask_cost = {"type": "mmdet.CrossEntropyLossCost", "weight": weights[1], "use_sigmoid": True}
    head = {
        "type": "Mask2FormerHead",
        "strides": config.get("feature_strides", [4, 8, 16, 32]),
        "num_transformer_feat_level": 3,
        "pixel_decoder": {
            "type": "mmdet.MSDeformAttnPixelDecoder",
            "num_outs": 3,
            "norm_cfg": {"type": "GN", "num_groups": 32},
            "act_cfg": {"type": "ReLU"},
            "encoder": {"num_layers": config.get("encoder_layers", 6), "layer_cfg": encoder_layer},
            "positional_encoding": {"num_feats": channels // 2, "normalize": True},
        },
        "transformer_decoder": {
            "num_layers": config.get("decoder_layers", 10) - 1,  # theirs counts the prediction of the queries alone
            "layer_cfg": _decoder_layer(channels, heads, config.get("dim_feedforward", 2048), dropout),
            "return_intermediate": True,
        },
        **mask_losses(num_classes, weights, mask_loss, mask_cost, config.get("no_object_weight", 0.1), points(config)),
    }
    common = _mask_head(config, widths, channels, num_classes, config.get("num_queries", 100))
    return {"backbone": backbone, "decode_head": {**head, **common}}


def _maskformer(config: Mapping[str, Any], num_classes: int) -> Values:
    decoder = config.get("decoder_config", {})
    channels = decoder.get("d_model", 256)
    expect(config, "config.json", fpn_feature_size=channels)
    expect(decoder, "decoder_config of config.json", model_type="detr", activation_function="relu")
    backbone, widths = _backbone(config)
    weights = (
        config.get("cross_entropy_weight", 1.0), config.get("mask_weight", 20.0), config.get("dice_weight", 1.0)
    )  # fmt: skip
    mask_loss = {
        "type": "mmdet.FocalLoss", "use_sigmoid": True, "gamma": 2.0, "alpha": 0.25, "reduction": "mean",
        "loss_weight": weights[1],
    }  # fmt: skip
    mask_cost = {"type": "mmdet.FocalLossCost", "weight": weights[1], "binary_input": True}
    heads, hidden = decoder.get("decoder_attention_heads", 8), decoder.get("decoder_ffn_dim", 2048)
    head = {
        "type": "MaskFormerHead",
        "pixel_decoder": {
            "type": "mmdet.PixelDecoder",
            "norm_cfg": {"type": "GN", "num_groups": 32},
            "act_cfg": {"type": "ReLU"},
        },
        "transformer_decoder": {
            "num_layers": decoder.get("decoder_layers", 6),
            "layer_cfg": _decoder_layer(channels, heads, hidden, decoder.get("dropout", 0.1)),
            "return_intermediate": True,
        },
        **mask_losses(num_classes, weights, mask_loss, mask_cost, config.get("no_object_weight", 0.1), {}),
    }
    common = _mask_head(config, widths, channels, num_classes, decoder.get("num_queries", 100))
    return {"backbone": backbone, "decode_head": {**head, **common}}


def _mask_head(
    config: Mapping[str, Any], widths: Sequence[int], channels: int, num_classes: int, num_queries: int
) -> Values:
    return {
        "in_channels": widths,
        "in_index": list(range(len(widths))),
        "feat_channels": channels,
        "out_channels": config.get("mask_feature_size", 256),
        "num_classes": num_classes,
        "num_queries": num_queries,
        "enforce_decoder_input_project": False,
        "align_corners": False,
        "positional_encoding": {"num_feats": channels // 2, "normalize": True},
    }


def _decoder_layer(channels: int, heads: int, hidden: int, dropout: float) -> Values:
    attention = {"embed_dims": channels, "num_heads": heads, "attn_drop": dropout, "proj_drop": dropout}
    return {
        "self_attn_cfg": dict(attention),
        "cross_attn_cfg": dict(attention),
        "ffn_cfg": _perceptron(channels, hidden, dropout),
    }


def _perceptron(channels: int, hidden: int, dropout: float) -> Values:
    return {
        "embed_dims": channels,
        "feedforward_channels": hidden,
        "num_fcs": 2,
        "ffn_drop": dropout,
        "act_cfg": {"type": "ReLU", "inplace": True},
    }


_MODELS = {
    "segformer": _segformer,
    "upernet": _upernet,
    "mask2former": _mask2former,
    "maskformer": _maskformer,
    "eomt": eomt,
    "eomt_dinov3": eomt_dinov3,
}
