"""EoMT: of its authors (`tue-mps`), whose transformer is timm's, and of transformers. Here it is a DINOv2 of timm.

transformers keeps queries, keys and values apart, positions as a table, and factors of LayerScale as `lambda1`; its
gated perceptron has its two halves under two pairs of names, of its files and of its modules.

On DINOv3, both keep the names of transformers, and timm's are others than on DINOv2. The authors' files there hold
the differences of the transformer to Meta's weights, so that those have to be added (`KeyMap.base`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

if TYPE_CHECKING:
    from torch import Tensor


def _as_positions(table: Tensor) -> Tensor:
    """A table of positions (P, C) as timm's tensor (1, P, C)."""
    return table.unsqueeze(0)


_ATTENTION: Names = {
    tuple(f"attention.{name}_proj.{kind}" for name in ("q", "k", "v")): f"attn.qkv.{kind}"
    for kind in ("weight", "bias")
}

_HEAD_OF_TRANSFORMERS = rules(
    "",
    "decode_head.",
    {
        "query.weight": "q.weight",
        "class_predictor.*": "class_head.*",
        "mask_head.fc1.*": "mask_head.0.*",
        "mask_head.fc2.*": "mask_head.2.*",
        "mask_head.fc3.*": "mask_head.4.*",
        "upscale_block.block.{i}.conv{k}.*": "upscale.{i}.conv{k}.*",
        "upscale_block.block.{i}.layernorm2d.*": "upscale.{i}.norm.*",
        "attn_mask_probs": "attn_mask_probs",
    },
)

_HEAD_OF_AUTHORS = rules(
    "network.",
    "decode_head.",
    {
        "q.weight": "q.weight",
        "class_head.*": "class_head.*",
        "mask_head.{i}.*": "mask_head.{i}.*",
        "upscale.{i}.*": "upscale.{i}.*",
        "attn_mask_probs": "attn_mask_probs",
    },
)

_TRANSFORMERS = (
    *rules(
        "embeddings.",
        "backbone.",
        {
            "cls_token": "cls_token",
            "register_tokens": "reg_token",
            "patch_embeddings.projection.*": "patch_embed.proj.*",
            "position_embeddings.weight": ("pos_embed", _as_positions),
        },
    ),
    *rules(
        "layers.{block}.",
        "backbone.blocks.{block}.",
        {
            "norm{i}.*": "norm{i}.*",
            **_ATTENTION,
            "attention.out_proj.*": "attn.proj.*",
            "layer_scale{i}.lambda1": "ls{i}.gamma",
            "mlp.fc{i}.*": "mlp.fc{i}.*",
            "mlp.weights_in.*": "mlp.fc1.*",
            "mlp.weights_out.*": "mlp.fc2.*",
            ("mlp.gate_proj.weight", "mlp.up_proj.weight"): "mlp.fc1.weight",
            ("mlp.gate_proj.bias", "mlp.up_proj.bias"): "mlp.fc1.bias",
            "mlp.down_proj.*": "mlp.fc2.*",
        },
    ),
    *rules("layernorm.", "backbone.norm.", {"*": "*"}),
    *_HEAD_OF_TRANSFORMERS,
)

_DINOV3_EMBEDDINGS: Names = {
    "cls_token": "cls_token",
    "register_tokens": "reg_token",
    "patch_embeddings.*": "patch_embed.proj.*",
}

_DINOV3_BLOCK: Names = {
    "norm{i}.*": "norm{i}.*",
    tuple(f"attention.{name}_proj.weight" for name in ("q", "k", "v")): "attn.qkv.weight",
    "attention.q_proj.bias": "attn.q_bias",
    "attention.v_proj.bias": "attn.v_bias",
    "attention.o_proj.*": "attn.proj.*",
    "layer_scale{i}.lambda1": "gamma_{i}",
    "mlp.up_proj.*": "mlp.fc1.*",
    "mlp.down_proj.*": "mlp.fc2.*",
}


def _dinov3(embeddings: str, blocks: str, norm: str) -> tuple[KeyRule, ...]:
    """A DINOv3 under the names of transformers, whose parts are called so."""
    return (
        *rules(embeddings, "backbone.", _DINOV3_EMBEDDINGS),
        *rules(f"{blocks}{{block}}.", "backbone.blocks.{block}.", _DINOV3_BLOCK),
        *rules(norm, "backbone.norm.", {"*": "*"}),
    )


DINOV3 = "DINOv3 of transformers"
_CRITERION = "criterion.empty_weight"
_PIXELS = "network.encoder.pixel_(mean|std)"

MAPS = (
    KeyMap(
        "EoMT of transformers on DINOv3",
        ("query.weight", "upscale_block.block.0.conv1.weight", "embeddings.patch_embeddings.weight"),
        (*_dinov3("embeddings.", "layers.", "layernorm."), *_HEAD_OF_TRANSFORMERS),
        unused=(_CRITERION, "embeddings.mask_token"),
    ),
    KeyMap(
        "EoMT of transformers",
        ("query.weight", "upscale_block.block.0.conv1.weight", "embeddings.cls_token"),
        _TRANSFORMERS,
        unused=(_CRITERION, "embeddings.(position_ids|mask_token)"),
    ),
    KeyMap(
        "EoMT of its authors on DINOv3",
        ("network.q.weight", "network.encoder.backbone.patch_embed.patch_embeddings.weight"),
        (
            *_dinov3(*(f"network.encoder.backbone.{part}." for part in ("patch_embed", "blocks", "norm"))),
            *_HEAD_OF_AUTHORS,
        ),
        unused=(_CRITERION, _PIXELS, "network.encoder.backbone.patch_embed.mask_token"),
        base="added",
    ),
    KeyMap(
        "EoMT of its authors",
        ("network.q.weight", "network.encoder.backbone.patch_embed.proj.weight", "network.class_head.weight"),
        (*rules("network.encoder.backbone.", "backbone.", {"*": "*"}), *_HEAD_OF_AUTHORS),
        unused=(_CRITERION, _PIXELS),
    ),
    KeyMap(
        "PMT of its authors",
        ("network.decoder.q.weight", "network.decoder.lateral_projections.0.0.weight"),
        (*rules("network.decoder.", "decode_head.", {"*": "*"}), *rules("network.bn.", "decode_head.bn.", {"*": "*"})),
        unused=(_CRITERION, _PIXELS),
        base="taken",
    ),
    KeyMap(
        DINOV3,
        ("embeddings.patch_embeddings.weight", "layer.0.attention.q_proj.weight"),
        _dinov3("embeddings.", "layer.", "norm."),
        unused=("embeddings.mask_token",),
    ),
)
