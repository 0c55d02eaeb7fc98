"""Backbones as their authors, timm and torchvision have trained them to classify images.

    ViT and DeiT of timm, which are those of their authors; MAE's has the same names
    BEiT of its authors and of timm
    ConvNeXt of its authors, of timm and of torchvision
    MobileNetV2 of torchvision

Classifiers, and the norms before them, have no place here. The norms of single levels, which ConvNeXt and the Swin
Transformer have in segmentation only, start as they are: `weights.pretrained.fit` lets them be missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, Names, rules

if TYPE_CHECKING:
    from torch import Tensor


def _flat(scale: Tensor) -> Tensor:
    """Factors (C, 1, 1) as (C,)."""
    return scale.flatten()


_PERCEPTRON: Names = {"mlp.fc1.*": "ffn.layers.0.0.*", "mlp.fc2.*": "ffn.layers.1.*"}

_TOKENS = rules(
    "",
    "backbone.",
    {
        "cls_token": "cls_token",
        "pos_embed": "pos_embed",
        "patch_embed.proj.*": "patch_embed.projection.*",
        "norm.*": "ln1.*",
    },
)

_VIT = (
    *_TOKENS,
    *rules(
        "blocks.{block}.",
        "backbone.layers.{block}.",
        {
            "norm{i}.*": "ln{i}.*",
            "attn.qkv.*": "attn.attn.in_proj_*",
            "attn.proj.*": "attn.attn.out_proj.*",
            **_PERCEPTRON,
        },
    ),
)

_BEIT = (
    *_TOKENS,
    *rules(
        "blocks.{block}.",
        "backbone.layers.{block}.",
        {"norm{i}.*": "ln{i}.*", "attn.*": "attn.*", "gamma_{i}": "gamma_{i}", **_PERCEPTRON},
    ),
    *rules("", "backbone.", {"rel_pos_bias.relative_position_bias_table": "relative_position_bias_table"}),
)

_NO_CLASSES = ("(head|fc_norm|pre_logits|head_dist).*", "mask_token")

# --- ConvNeXt -----------------------------------------------------------------------------------------------------

_CONVNEXT = (
    *rules("", "backbone.", {"downsample_layers.{stage}.*": "downsample_layers.{stage}.*"}),
    *rules(
        "stages.{stage}.{block}.",
        "backbone.stages.{stage}.{block}.",
        {
            "dwconv.*": "depthwise_conv.*",
            "norm.*": "norm.*",
            "pwconv{i}.*": "pointwise_conv{i}.*",
            "gamma": "gamma",
        },
    ),
)

_CONVNEXT_TIMM = (
    *rules("", "backbone.", {"stem.*": "downsample_layers.0.*"}),
    *rules("stages.{stage}.downsample.", "backbone.downsample_layers.{stage}.", {"{i}.*": "{i}.*"}),
    *rules(
        "stages.{stage}.blocks.{block}.",
        "backbone.stages.{stage}.{block}.",
        {
            "conv_dw.*": "depthwise_conv.*",
            "norm.*": "norm.*",
            "mlp.fc{i}.*": "pointwise_conv{i}.*",
            "gamma": "gamma",
        },
    ),
)

_CONVNEXT_TORCHVISION = (
    *rules("", "backbone.", {"features.0.0.*": "downsample_layers.0.0.*", "features.0.1.*": "downsample_layers.0.1.*"}),
    *(rule for stage in (1, 2, 3) for rule in rules(
        f"features.{2 * stage}.", f"backbone.downsample_layers.{stage}.", {"{i}.*": "{i}.*"}
    )),
    *(rule for stage in range(4) for rule in rules(
        f"features.{2 * stage + 1}.{{block}}.",
        f"backbone.stages.{stage}.{{block}}.",
        {
            "block.0.*": "depthwise_conv.*",
            "block.2.*": "norm.*",
            "block.3.*": "pointwise_conv1.*",
            "block.5.*": "pointwise_conv2.*",
            "layer_scale": ("gamma", _flat),
        },
    )),
)  # fmt: skip

# --- MobileNetV2 --------------------------------------------------------------------------------------------------

_STAGES = (1, 2, 3, 4, 3, 3, 1)
"""Blocks of MobileNetV2's stages; torchvision numbers all of them through, from 1."""


def _mobilenet() -> Names:
    names: dict[str | tuple[str, ...], str] = {"features.0.0.*": "conv1.conv.*", "features.0.1.*": "conv1.bn.*"}
    number = 0
    for stage, blocks in enumerate(_STAGES, start=1):
        for block in range(blocks):
            number += 1
            theirs, ours = f"features.{number}.conv", f"layer{stage}.{block}.conv"
            before = 1 if number == 1 else 2  # the first block has nothing that widens it
            for i in range(before):
                names |= {f"{theirs}.{i}.0.*": f"{ours}.{i}.conv.*", f"{theirs}.{i}.1.*": f"{ours}.{i}.bn.*"}
            names |= {
                f"{theirs}.{before}.*": f"{ours}.{before}.conv.*",
                f"{theirs}.{before + 1}.*": f"{ours}.{before}.bn.*",
            }
    return names


MAPS = (
    KeyMap(
        "BEiT of its authors and of timm",
        ("blocks.0.attn.q_bias", "blocks.0.gamma_1", "patch_embed.proj.weight"),
        _BEIT,
        unused=(*_NO_CLASSES, "blocks.{block}.attn.relative_position_index"),
    ),
    KeyMap(
        "Vision Transformer of timm",
        ("blocks.0.attn.qkv.weight", "blocks.0.norm2.weight", "patch_embed.proj.weight", "pos_embed", "cls_token"),
        _VIT,
        unused=_NO_CLASSES,
    ),
    KeyMap(
        "ConvNeXt of its authors",
        ("downsample_layers.0.0.weight", "stages.0.0.dwconv.weight"),
        _CONVNEXT,
        unused=("(head|norm).*",),
    ),
    KeyMap(
        "ConvNeXt of timm",
        ("stem.0.weight", "stages.0.blocks.0.conv_dw.weight"),
        _CONVNEXT_TIMM,
        unused=("head.*",),
    ),
    KeyMap(
        "ConvNeXt of torchvision",
        ("features.0.0.weight", "features.1.0.layer_scale", "features.2.1.weight"),
        _CONVNEXT_TORCHVISION,
        unused=("classifier.*",),
    ),
    KeyMap(
        "MobileNetV2 of torchvision",
        ("features.0.0.weight", "features.1.conv.0.0.weight", "features.18.0.weight"),
        rules("", "backbone.", _mobilenet()),
        unused=("(classifier|features.18).*",),
    ),
)
