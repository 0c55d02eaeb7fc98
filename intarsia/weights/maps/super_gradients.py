"""PP-LiteSeg, STDC and RegSeg of super-gradients (Deci-AI, 3.7), as its classes name their tensors.

Each convolution and its norm are a `seq`; classifiers have no biases. Heads for training alone are others than ours and
are left out. Its PP-LiteSeg projects the levels in the encoder, and what it calls attention is the share of the coarse
map, where ours is that of the fine one: the same with the last norm negated and the four inputs in another order. Its
RegSeg names blocks by their arguments, and its first convolution has biases, which are taken from the norm's means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

if TYPE_CHECKING:
    from torch import Tensor

_LAYER: Names = {"seq.conv.*": "conv.*", "seq.bn.*": "bn.*"}
_LEVELS = 3


def _layer(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    return rules(f"{theirs}.", f"{ours}.", _LAYER)


def _no_bias(weight: Tensor) -> Tensor:
    """Of a classifier (K, C, 1, 1): a bias (K,) that changes nothing."""
    return weight.new_zeros(len(weight))


def _classified(theirs: str, convolution: str) -> tuple[KeyRule, ...]:
    """A head of a convolution and a classifier."""
    return (
        *_layer(f"{theirs}.0.seg_head.0", convolution),
        *rules(f"{theirs}.0.seg_head.", "decode_head.", {"2.weight": "conv_seg.weight"}),
        *rules(f"{theirs}.0.seg_head.", "decode_head.", {"2.weight": ("conv_seg.bias", _no_bias)}),
    )


def _backbone(theirs: str, ours: str, blocks: tuple[int, int, int]) -> tuple[KeyRule, ...]:
    """STDCNet; the first block of a stage strides, before its second layer."""
    found = _layer(f"{theirs}.stages.block_s2.0", f"{ours}.stages.0")
    found += _layer(f"{theirs}.stages.block_s4.0", f"{ours}.stages.1")
    for stage, (stride, count) in enumerate(zip((8, 16, 32), blocks, strict=True), start=2):
        for block in range(count):
            there, here = f"{theirs}.stages.block_s{stride}.{block}.conv_list", f"{ours}.stages.{stage}.{block}"
            found += _layer(f"{there}.{{layer}}", f"{here}.layers.{{layer}}")
            if block == 0:
                found += _layer(f"{there}.1.0", f"{here}.downsample") + _layer(f"{there}.1.1", f"{here}.layers.1")
    return found


# --- PP-LiteSeg ---------------------------------------------------------------------------------------------------


def _fine_first(weight: Tensor) -> Tensor:
    """(2, 4, 3, 3), whose inputs are mean and maximum of the coarse map and then of the fine one."""
    return weight[:, [2, 3, 0, 1]]


def _negated(values: Tensor) -> Tensor:
    return -values


def _fusion(level: int) -> tuple[KeyRule, ...]:
    there, here = f"decoder.up_stages.{_LEVELS - 1 - level}", f"decode_head.arm_list.{level}"
    first, last = f"{there}.conv_atten.0.seq.", f"{there}.conv_atten.1.seq."
    share = f"{here}.conv_xy_atten."
    return (
        *_layer(f"encoder.proj_convs.{level}", f"{here}.conv_x"),
        *_layer(f"{there}.conv_out", f"{here}.conv_out"),
        *rules(first, f"{share}0.", {"conv.weight": ("conv.weight", _fine_first), "bn.*": "bn.*"}),
        *rules(last, f"{share}1.", {
            "conv.weight": "conv.weight", "bn.weight": ("bn.weight", _negated), "bn.bias": ("bn.bias", _negated),
            "bn.running_*": "bn.running_*", "bn.num_*": "bn.num_*",
        }),
    )  # fmt: skip


def _pp_liteseg(size: str, blocks: tuple[int, int, int]) -> KeyMap:
    last = f"encoder.backbone.stages.block_s32.{blocks[-1] - 1}.conv_list.0.seq.conv.weight"
    return KeyMap(
        f"PP-LiteSeg-{size} of super-gradients",
        ("encoder.proj_convs.0.seq.conv.weight", "decoder.up_stages.0.conv_atten.0.seq.conv.weight", last),
        (
            *_backbone("encoder.backbone", "backbone", blocks),
            *_layer("encoder.context_module.branches.{branch}.1", "decode_head.cm.stages.{branch}.1"),
            *_layer("encoder.context_module.conv_out", "decode_head.cm.conv_out"),
            *(rule for level in range(_LEVELS) for rule in _fusion(level)),
            *_classified("seg_head", "decode_head.seg_heads.0"),
        ),
        unused=("aux_heads.*",),
        settings=("model.backbone.count_include_pad=True", "model.decode_head.aux_channels=None"),
    )


# --- STDC ---------------------------------------------------------------------------------------------------------


def _stdc(size: int, blocks: tuple[int, int, int]) -> KeyMap:
    last = f"cp.backbone.stages.block_s32.{blocks[-1] - 1}.conv_list.0.seq.conv.weight"
    refined = tuple(
        rule
        for arm, stride in enumerate((32, 16))
        for rule in (
            *_layer(f"cp.arm{stride}.conv_first", f"backbone.arms.{arm}.conv_layer"),
            *_layer(f"cp.arm{stride}.attention_block.1", f"backbone.arms.{arm}.atten_conv_layer.1"),
            *_layer(f"cp.upsample{stride}.1", f"backbone.convs.{arm}"),
        )
    )
    return KeyMap(
        f"STDC{size} of super-gradients",
        ("cp.arm32.conv_first.seq.conv.weight", "ffm.pw_conv.seq.conv.weight", last),
        (
            *_backbone("cp.backbone", "backbone.backbone", blocks),
            *_layer("cp.context_embedding.context_embedding.1", "backbone.conv_avg"),
            *refined,
            *_layer("ffm.pw_conv", "backbone.ffm.conv0"),
            *_layer("ffm.attention_block.1", "backbone.ffm.attention.1"),
            *rules("ffm.attention_block.", "backbone.ffm.attention.", {"2.weight": "2.conv.weight"}),
            *_classified("segmentation_head", "decode_head.convs.0"),
        ),
        unused=("aux_head_s16.*", "aux_head_s32.*", "detail_head8.*"),
    )


# --- RegSeg -------------------------------------------------------------------------------------------------------


def _without_bias(stacked: Tensor) -> Tensor:
    """A norm's mean (C,) and the bias (C,) of the convolution before it, stacked: the mean without the bias."""
    mean, bias = stacked.chunk(2)
    return mean - bias


_BLOCK: Names = {
    "d_block_path.0.seq.conv.*": "conv1.*",
    "d_block_path.0.seq.bn.*": "bn1.*",
    "d_block_path.1.*": "conv2.*",
    "d_block_path.2.*": "bn2.*",
    "d_block_path.4.se_block.1.*": "se.conv1.*",
    "d_block_path.4.se_block.3.*": "se.conv2.*",
    "d_block_path.5.seq.conv.*": "conv3.*",
    "d_block_path.5.seq.bn.*": "bn3.*",
    "shortcut.shortcut.1.seq.*": "shortcut.*",
}


def _regseg(kind: str, first: str, signature: str) -> KeyMap:
    """first: what the blocks of the first stage are called here."""
    block = "DBlock_[^#]+#{block}."
    stem: Names = {
        **{f"seq.bn.{part}": f"bn.{part}" for part in ("weight", "bias", "running_var", "num_batches_tracked")},
        "seq.conv.weight": "conv.weight",
        ("seq.bn.running_mean", "seq.conv.bias"): ("bn.running_mean", _without_bias),
    }
    return KeyMap(
        f"{kind} of super-gradients",
        ("stem.seq.conv.weight", "decoder.projections.2.seq.conv.weight", signature),
        (
            *rules("stem.", "backbone.stem.", stem),
            *rules(f"backbone.stages.0.{block}", f"backbone.body.{first}", _BLOCK),
            *rules(f"backbone.stages.1.{block}", "backbone.body.stage8.{block}.", _BLOCK),
            *rules(f"backbone.stages.2.{block}", "backbone.body.stage16.{block}.", _BLOCK),
            *(
                rule
                for level, name in enumerate(("head4", "head8", "head16"))
                for rule in _layer(f"decoder.projections.{level}", f"decode_head.{name}")
            ),
            *_layer("decoder.conv_bn_relu", "decode_head.conv8"),
            *_layer("head.head.0", "decode_head.conv4"),
            *rules("head.head.", "decode_head.", {"1.*": "conv_seg.*"}),
        ),
        settings=("model.decode_head.fusion_align_corners=True",),
    )


_T, _B = (2, 2, 2), (4, 5, 3)
MAPS = (
    _pp_liteseg("B", _B),
    _pp_liteseg("T", _T),
    _stdc(2, _B),
    _stdc(1, _T),
    _regseg("RegSeg53", "stage4.{block}.", "backbone.stages.0.DBlock_[^#]+#1.d_block_path.1.weight"),
    _regseg("RegSeg48", "stage4.", "backbone.stages.0.DBlock_[^#]+#0.d_block_path.1.weight"),
)
"""The deeper ones first, whose layers are those of the others and more."""
