"""EoMT: of its authors (`tue-mps`), whose transformer is timm's, and of transformers. Here it is a DINOv2 of timm.

transformers keeps queries, keys and values apart, positions as a table, and factors of LayerScale as `lambda1`; its
gated perceptron has its two halves under two pairs of names, of its files and of its modules.

The authors' files on DINOv3 hold differences to Meta's weights, which have to be added first: their names are the same,
so that nothing here can tell.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, Names, rules

if TYPE_CHECKING:
    from torch import Tensor


def _as_positions(table: Tensor) -> Tensor:
    """A table of positions (P, C) as timm's tensor (1, P, C)."""
    return table.unsqueeze(0)


_ATTENTION: Names = {
    tuple(f"attention.{name}_proj.{kind}" for name in ("q", "k", "v")): f"attn.qkv.{kind}"
    for kind in ("weight", "bias")
}

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
    *rules(
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
    ),
)

_AUTHORS = (
    *rules("network.encoder.backbone.", "backbone.", {"*": "*"}),
    *rules(
        "network.",
        "decode_head.",
        {
            "q.weight": "q.weight",
            "class_head.*": "class_head.*",
            "mask_head.{i}.*": "mask_head.{i}.*",
            "upscale.{i}.*": "upscale.{i}.*",
            "attn_mask_probs": "attn_mask_probs",
        },
    ),
)

MAPS = (
    KeyMap(
        "EoMT of transformers",
        ("query.weight", "upscale_block.block.0.conv1.weight", "embeddings.cls_token"),
        _TRANSFORMERS,
        unused=("criterion.empty_weight", "embeddings.(position_ids|mask_token)"),
    ),
    KeyMap(
        "EoMT of its authors",
        ("network.q.weight", "network.encoder.backbone.patch_embed.proj.weight", "network.class_head.weight"),
        _AUTHORS,
        unused=("criterion.empty_weight", "network.encoder.pixel_(mean|std)"),
    ),
)
