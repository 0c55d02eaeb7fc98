"""The model section of our config from a ``config.json`` of transformers' two EoMTs: on DINOv2 and on DINOv3."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.weights.maps.description import Values
from intarsia.weights.maps.mask_config import expect, mask_losses, points

_NAMES = {(384, 12, 6): "small", (768, 12, 12): "base", (1024, 24, 16): "large"}
"""Channels, blocks and heads -> what timm calls it."""
_DINOV3_THETA = 100.0


def eomt(config: Mapping[str, Any], num_classes: int) -> Values:
    """Raises ValueError for settings that have no counterpart here, as below."""
    expect(
        config, "config.json", hidden_act="gelu", layer_norm_eps=1e-6, hidden_dropout_prob=0.0, attention_dropout=0.0,
        drop_path_rate=0.0,
    )  # fmt: skip
    width, gated = config.get("hidden_size", 1024), config.get("use_swiglu_ffn", False)
    ratio, patch = config.get("mlp_ratio", 4), config.get("patch_size", 16)
    name = "giant" if gated else _name(config)
    options = {**_size(config), "patch_size": patch, "reg_tokens": config.get("num_register_tokens", 4)}
    hidden = (int(int(width * ratio) * 2 / 3) + 7) // 8 * 16  # two halves, each rounded up to a multiple of 8
    options["mlp_ratio"] = (hidden + 0.5) / width if gated else ratio  # timm rounds down
    backbone = {"type": "TIMM", "model_name": f"vit_{name}_patch14_reg4_dinov2", "img_size": _sides(config),
                "in_channels": config.get("num_channels", 3), "open_blocks": config.get("num_blocks", 4),
                "options": options}  # fmt: skip
    return {"backbone": backbone, **_head_and_windows(config, num_classes)}


def eomt_dinov3(config: Mapping[str, Any], num_classes: int) -> Values:
    """Positions are rotations, and so nothing that is learnt; queries and values alone have biases."""
    expect(
        config, "config.json", hidden_act="gelu", hidden_dropout_prob=0.0, attention_dropout=0.0, drop_path_rate=0.0,
        use_gated_mlp=False, query_bias=True, key_bias=False, value_bias=True, proj_bias=True, mlp_bias=True,
    )  # fmt: skip
    expect(
        config.get("rope_parameters") or {}, "rope_parameters of config.json", rope_type="default",
        rope_theta=_DINOV3_THETA,
    )  # fmt: skip
    width = config.get("hidden_size", 1024)
    options = {**_size(config), "patch_size": config.get("patch_size", 16),
               "num_reg_tokens": config.get("num_register_tokens", 4),
               "mlp_ratio": (config.get("intermediate_size", 4096) + 0.5) / width}  # fmt: skip
    backbone = {"type": "TIMM", "model_name": f"vit_{_name(config)}_patch16_dinov3_qkvb",
                "in_channels": config.get("num_channels", 3), "open_blocks": config.get("num_blocks", 4),
                "norm_eps": config.get("layer_norm_eps", 1e-6), "options": options}  # fmt: skip
    return {"backbone": backbone, **_head_and_windows(config, num_classes)}


def _name(config: Mapping[str, Any]) -> str:
    size = _size(config)
    return _NAMES.get((size["embed_dim"], size["depth"], size["num_heads"]), "small")


def _size(config: Mapping[str, Any]) -> Values:
    return {
        "embed_dim": config.get("hidden_size", 1024),
        "depth": config.get("num_hidden_layers", 24),
        "num_heads": config.get("num_attention_heads", 16),
    }


def _sides(config: Mapping[str, Any]) -> list[int]:
    size = config.get("image_size", 640)
    return [size, size] if isinstance(size, int) else list(size)


def _head_and_windows(config: Mapping[str, Any], num_classes: int) -> Values:
    weights = (config.get("class_weight", 2.0), config.get("mask_weight", 5.0), config.get("dice_weight", 5.0))
    mask_loss = {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "reduction": "mean", "loss_weight": weights[1]}
    mask_cost = {"type": "mmdet.CrossEntropyLossCost", "weight": weights[1], "use_sigmoid": True}
    head = {
        "type": "EoMTHead",
        "in_channels": config.get("hidden_size", 1024),
        "num_classes": num_classes,
        "num_queries": config.get("num_queries", 200),
        "num_blocks": config.get("num_blocks", 4),
        "num_upscales": config.get("num_upscale_blocks", 2),
        **mask_losses(num_classes, weights, mask_loss, mask_cost, config.get("no_object_weight", 0.1), points(config)),
    }
    return {"decode_head": head, "test_cfg": {"mode": "slide_even", "crop_size": _sides(config)}}
