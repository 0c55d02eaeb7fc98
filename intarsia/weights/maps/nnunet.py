"""nnU-Net v2: the networks of dynamic-network-architectures, plain and with a residual encoder, in two dimensions.

A state dict of theirs holds the encoder twice, as `encoder` and `decoder.encoder`, and each convolution and norm twice,
under its name and as `all_modules.i`. The volumes' networks have the same names, and tensors of one more axis: what
they are is in `nnunet_plans.py`.
"""

from __future__ import annotations

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules

_CONV: Names = {"conv.*": "conv.*", "norm.*": "norm.*"}


def _convs(theirs: str, ours: str) -> tuple[KeyRule, ...]:
    return rules(theirs, ours, _CONV)


_DECODER = (
    *_convs("decoder.stages.{s}.convs.{c}.", "decode_head.stages.{s}.{c}."),
    *rules("decoder.transpconvs.", "decode_head.transpconvs.", {"*": "*"}),
    *rules("decoder.seg_layers.", "decode_head.seg_layers.", {"*": "*"}),
)
_PLAIN = (*_convs("encoder.stages.{s}.0.convs.{c}.", "backbone.stages.{s}.{c}."), *_DECODER)
_BLOCK, _OURS = "encoder.stages.{s}.blocks.{b}.", "backbone.stages.{s}.{b}."
_RESIDUAL = (
    *_convs("encoder.stem.convs.0.", "backbone.stem."),
    *(rule for name in ("conv1", "conv2") for rule in _convs(f"{_BLOCK}{name}.", f"{_OURS}{name}.")),
    *_convs(f"{_BLOCK}skip.{{i}}.", f"{_OURS}skip."),
    *_DECODER,
)

TWICE = ("decoder.encoder.*", r"([\w.]+)all_modules*")
LOGITS = "decoder.seg_layers.0.weight"
_ENLARGED = "decoder.transpconvs.0.weight"

MAPS = (
    KeyMap("PlainConvUNet of nnU-Net", ("encoder.stages.0.0.convs.0.conv.weight", _ENLARGED, LOGITS), _PLAIN, TWICE),
    KeyMap(
        "ResidualEncoderUNet of nnU-Net",
        ("encoder.stages.0.blocks.0.conv1.conv.weight", _ENLARGED, LOGITS),
        _RESIDUAL,
        TWICE,
    ),
)
