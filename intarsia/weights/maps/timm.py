"""timm: ResNets with a deep stem (ResNet-C and -D), and the Swin Transformer, which has the names of its original code.

timm's plain ResNets have torchvision's names, see there.

Its Swin Transformer gives the features of ours where every map consists of whole windows, and only there: it rolls a
map before padding it, ours and the original after. And a map no larger than a window is not shifted there, unless the
backbone is built with ``always_partition=True``: at 224 x 224 that is the last level.

A Swin for classification has no norms behind its levels: those of ours (`norm0` to `norm3`) start as they are, and
what loads such a file must let them be missing, as MMSegmentation does.
"""

from __future__ import annotations

from intarsia.weights.maps.rearrange import merged_channel_by_channel, relative_positions
from intarsia.weights.maps.rules import KeyMap, KeyRule, rules
from intarsia.weights.maps.torchvision import RESNET_STAGES

_DEEP_STEM = rules("", "backbone.", {"conv1.{i}.*": "stem.{i}.*", "bn1.*": "stem.7.*"})

_SWIN = (
    *rules(
        "patch_embed.",
        "backbone.patch_embed.",
        {"proj.*": "projection.*", "norm.*": "norm.*"},
    ),
    *rules(
        "layers(.|_){stage}.blocks.{block}.",
        "backbone.stages.{stage}.blocks.{block}.",
        {
            "norm{i}.*": "norm{i}.*",
            "attn.relative_position_bias_table": "attn.w_msa.relative_position_bias_table",
            "attn.qkv.*": "attn.w_msa.qkv.*",
            "attn.proj.*": "attn.w_msa.proj.*",
            "mlp.fc1.*": "ffn.layers.0.0.*",
            "mlp.fc2.*": "ffn.layers.1.*",
        },
    ),
    *rules(
        "layers(.|_){stage}.blocks.{block}.attn.",
        "backbone.stages.{stage}.blocks.{block}.attn.w_msa.",
        {"relative_position_bias_table": ("relative_position_index", relative_positions)},
    ),
)


def _merging(ours: str) -> tuple[KeyRule, ...]:
    """Patch merging, which stands at the end of a stage here."""
    return rules(
        "layers(.|_){stage}.downsample.",
        f"backbone.stages.{ours}.downsample.",
        {
            "norm.*": ("norm.*", merged_channel_by_channel),
            "reduction.weight": ("reduction.weight", merged_channel_by_channel),
        },
    )


_UNUSED = ("norm.*", "head.*", "layers(.|_){stage}.blocks.{block}.(attn_mask|attn.relative_position_index)")

MAPS = (
    KeyMap(
        "ResNet-C or -D of timm",
        ("conv1.0.weight", "conv1.6.weight", "layer4.0.conv1.weight"),
        (*_DEEP_STEM, *RESNET_STAGES),
        unused=("fc.*",),
    ),
    KeyMap(
        "Swin Transformer of its original code",
        ("layers.0.downsample.reduction.weight", "layers.0.blocks.0.attn.relative_position_bias_table"),
        (*_SWIN, *_merging("{stage}")),
        _UNUSED,
    ),
    KeyMap(
        "Swin Transformer of timm",
        ("layers(.|_)1.downsample.reduction.weight", "layers(.|_)0.blocks.0.attn.relative_position_bias_table"),
        (*_SWIN, *_merging("{stage-1}")),
        _UNUSED,
    ),
)
