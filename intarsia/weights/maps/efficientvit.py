"""EfficientViT for segmentation, as its authors name its tensors: blocks in lists, the head's levels coarsest first.

Those of the large series count the stem as a stage. timm keeps the numbers of the blocks.
"""

from __future__ import annotations

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

_STEM: Names = {"op_list.0.*": "in_conv.*", "op_list.1.*": "res0.*"}
_HEAD = (
    *rules("head.input_ops.0.op_list.0.", "decode_head.inputs.2.", {"conv.*": "conv.*", "norm.*": "bn.*"}),
    *rules("head.input_ops.1.op_list.0.", "decode_head.inputs.1.", {"conv.*": "conv.*", "norm.*": "bn.*"}),
    *rules("head.input_ops.2.", "decode_head.inputs.0.", {"conv.*": "conv.*", "norm.*": "bn.*"}),
    *(
        rule
        for layer in ("spatial_conv", "inverted_conv", "depth_conv", "point_conv")
        for rule in rules(
            f"head.middle.op_list.{{block}}.main.{layer}.",
            f"decode_head.middle.{{block}}.{layer}.",
            {"conv.*": "conv.*", "norm.*": "bn.*"},
        )
    ),
)
_FINAL = rules("head.output_ops.0.", "decode_head.", {
    "op_list.0.conv.*": "final.conv.*", "op_list.0.norm.*": "final.bn.*", "op_list.1.conv.*": "conv_seg.*",
})  # fmt: skip
_NO_FINAL = rules("head.output_ops.0.", "decode_head.", {"op_list.0.conv.*": "conv_seg.*"})


def _large_stages() -> tuple[KeyRule, ...]:
    found: tuple[KeyRule, ...] = rules("backbone.stages.0.", "backbone.stem.", _STEM)
    for stage in range(1, 5):
        names: Names = {"op_list.{block}.*": "blocks.{block}.*"}
        found += rules(f"backbone.stages.{stage}.", f"backbone.stages.{stage - 1}.", names)
    return found


_BASE = (
    *rules("backbone.input_stem.", "backbone.stem.", _STEM),
    *rules("backbone.stages.{stage}.", "backbone.stages.{stage}.", {"op_list.{block}.*": "blocks.{block}.*"}),
)
_LARGE_SIGN = "backbone.stages.4.op_list.0.main.point_conv.conv.weight"
_HEAD_SIGN = "head.input_ops.0.op_list.0.conv.weight"

MAPS = (
    KeyMap(
        "EfficientViT-B of its authors",
        ("backbone.input_stem.op_list.0.conv.weight", _HEAD_SIGN, "head.output_ops.0.op_list.1.conv.weight"),
        (*_BASE, *_HEAD, *_FINAL),
    ),
    KeyMap(
        "EfficientViT-B of its authors, without a last convolution",
        ("backbone.input_stem.op_list.0.conv.weight", _HEAD_SIGN),
        (*_BASE, *_HEAD, *_NO_FINAL),
    ),
    KeyMap(
        "EfficientViT-L of its authors",
        (
            "backbone.stages.4.op_list.0.main.point_conv.conv.weight",
            _HEAD_SIGN,
            "head.output_ops.0.op_list.1.conv.weight",
        ),
        (*_large_stages(), *_HEAD, *_FINAL),
    ),
    KeyMap(
        "EfficientViT-L of its authors, without a last convolution",
        (_LARGE_SIGN, _HEAD_SIGN),
        (*_large_stages(), *_HEAD, *_NO_FINAL),
    ),
)
