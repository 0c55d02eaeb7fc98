"""PP-LiteSeg of PaddleSeg, as Paddle names its tensors (PaddleSeg 2.8: models/pp_liteseg.py, backbones/stdcnet.py).

Paddle's norms keep `_mean` and `_variance`, and no number of batches. The backbone's layers stand in one list, so that
the number of its blocks says which stage one is of. The pooling's convolutions have biases, which are taken from the
means of the norms behind them; classifiers have none. `_scale` is the 1 of which a pixel's share is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

if TYPE_CHECKING:
    from torch import Tensor


def _without_bias(stacked: Tensor) -> Tensor:
    """A norm's mean (C,) and the bias (C,) of the convolution before it, stacked: the mean without the bias."""
    mean, bias = stacked.chunk(2)
    return mean - bias


def _no_bias(weight: Tensor) -> Tensor:
    """Of a classifier (K, C, 1, 1): a bias (K,) that changes nothing."""
    return weight.new_zeros(len(weight))


def _layer(theirs: str, ours: str, *, conv: str = "_conv", norm: str = "_batch_norm", biased: bool = False) -> Names:
    """A convolution and its norm."""
    mean: Names = {f"{theirs}{norm}._mean": f"{ours}.bn.running_mean"}
    if biased:
        mean = {(f"{theirs}{norm}._mean", f"{theirs}{conv}.bias"): (f"{ours}.bn.running_mean", _without_bias)}
    return {
        f"{theirs}{conv}.weight": f"{ours}.conv.weight",
        f"{theirs}{norm}.weight": f"{ours}.bn.weight",
        f"{theirs}{norm}.bias": f"{ours}.bn.bias",
        **mean,
        f"{theirs}{norm}._variance": f"{ours}.bn.running_var",
    }


def _block(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    layers = {
        **_layer("conv_list.{layer}.", "layers.{layer}", conv="conv", norm="bn"),
        **_layer("avd_layer.", "downsample", conv="0", norm="1"),
    }
    return rules(theirs, ours, layers)


def _backbone(blocks: tuple[int, int, int]) -> tuple[KeyRule, ...]:
    """The list of layers, of which the first two are no blocks, as stages."""
    found = rules("backbone.features.", "backbone.stages.", {
        **_layer("0.", "0", conv="conv", norm="bn"), **_layer("1.", "1", conv="conv", norm="bn"),
    })  # fmt: skip
    place = 2
    for stage, count in enumerate(blocks, start=2):
        for block in range(count):
            found += _block(f"backbone.features.{place}.", f"backbone.stages.{stage}.{block}.")
            place += 1
    return found


_FUSION = "arm_list.{level}."
_HEAD = (
    *rules("ppseg_head.", "decode_head.", {
        **_layer("cm.stages.{stage}.1.", "cm.stages.{stage}.1", biased=True),
        **_layer("cm.conv_out.", "cm.conv_out", biased=True),
        **_layer(f"{_FUSION}conv_x.", f"{_FUSION}conv_x"),
        **_layer(f"{_FUSION}conv_out.", f"{_FUSION}conv_out"),
        **_layer(f"{_FUSION}conv_xy_atten.{{layer}}.", f"{_FUSION}conv_xy_atten.{{layer}}"),
    }),
    *rules("seg_heads.", "decode_head.seg_heads.", _layer("{level}.conv.", "{level}")),
    *rules("seg_heads.", "decode_head.", {"0.conv_out.weight": "conv_seg.weight"}),
    *rules("seg_heads.", "decode_head.", {"0.conv_out.weight": ("conv_seg.bias", _no_bias)}),
    *(
        rule
        for level in (1, 2)
        for rule in (
            *rules("seg_heads.", "decode_head.aux_cls_seg.", {f"{level}.conv_out.weight": f"{level - 1}.weight"}),
            *rules("seg_heads.", "decode_head.aux_cls_seg.", {
                f"{level}.conv_out.weight": (f"{level - 1}.bias", _no_bias),
            }),
        )
    ),
)  # fmt: skip
_UNUSED = ("ppseg_head.arm_list.{level}._scale",)
_SIGN = ("ppseg_head.arm_list.0.conv_x._conv.weight", "seg_heads.0.conv_out.weight")


def _pp_liteseg(size: str, blocks: tuple[int, int, int]) -> KeyMap:
    last = f"backbone.features.{1 + sum(blocks)}.conv_list.0.conv.weight"
    return KeyMap(f"PP-LiteSeg-{size} of PaddleSeg", (*_SIGN, last), (*_backbone(blocks), *_HEAD), unused=_UNUSED)


MAPS = (_pp_liteseg("B", (4, 5, 3)), _pp_liteseg("T", (2, 2, 2)))
"""The deeper one first, whose layers are those of the other one and more."""
