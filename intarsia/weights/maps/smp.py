"""segmentation_models.pytorch: its twelve decoders, over encoders that timm has, too, and MiT.

Which network each of its encoders is, and how its tensors are called: `smp_encoders.py`.

What such a model holds and never reads has no place here: attention before the last block's convolutions, where no
level is laid beside; UNet++'s center. (Stages of an encoder beyond the decoder: `TIMM.left_away`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intarsia.weights.maps.rearrange import as_convolution, last_group_first, reversed_groups
from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules
from intarsia.weights.maps.smp_encoders import ENCODER, MIT_RULES, timm_names

if TYPE_CHECKING:
    from torch import Tensor

DEPTHS = (5, 4, 3, 2, 1)
"""Of models: how often their images are halved."""


@dataclass(frozen=True)
class SmpMap(KeyMap):
    """A key map of a whole model, whose encoder has the names of timm, as published or taken apart.

    never_read: beginnings of names of what this depth of model has no use for.
    """

    never_read: tuple[str, ...] = ()

    def convert(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """As that of a `KeyMap`; names that no rule knows are given as they are in the file."""
        kept = [name for name in state if not name.startswith(self.never_read)]
        names = {new: name for name, new in timm_names(kept).items()}
        converted, unknown = super().convert({name: state[old] for name, old in names.items()})
        return converted, tuple(names[name] for name in unknown)


# --- Rules --------------------------------------------------------------------------------------------------------

_CONV: Names = {"0.*": "conv.*", "1.*": "bn.*"}
_SCSE: Names = {
    "attention.cSE.1.*": "cse.1.*", "attention.cSE.3.*": "cse.3.*", "attention.sSE.0.*": "sse.0.*",
}  # fmt: skip

_COMMON = (
    *rules(ENCODER, "backbone.", {"*": "*"}),
    *MIT_RULES,
    *rules("segmentation_head.", "decode_head.", {"0.*": "conv_seg.*"}),
    *rules("classification_head.", "auxiliary_head.", {"3.*": "fc.*"}),
)


def _parts(parts: Mapping[str, Names], theirs: str, ours: str) -> tuple[KeyRule, ...]:
    """The rules of parts that have the same name in both, within what is called so."""
    return tuple(
        rule.within(theirs, ours)
        for part, names in parts.items()
        for rule in rules(f"{part}.", f"{part}.", names)
    )  # fmt: skip


_TWICE: Mapping[str, Names] = {"conv1": _CONV, "conv2": _CONV}
_BLOCK: Mapping[str, Names] = {**_TWICE, "attention1": _SCSE, "attention2": _SCSE}
_CENTER = _parts({"0": _CONV, "1": _CONV}, "decoder.center.", "decode_head.center.")

_UNET = (*_COMMON, *_CENTER, *_parts(_BLOCK, "decoder.blocks.{block}.", "decode_head.blocks.{block}."))

_UNETPLUSPLUS = (
    *_COMMON,
    *_parts(_BLOCK, "decoder.blocks.x_{path}_{size}.", "decode_head.blocks.x_{path}_{size}."),
)

_LINKNET = (
    *_COMMON,
    *rules(
        "decoder.blocks.{block}.block.",
        "decode_head.blocks.{block}.",
        {
            "0.0.*": "reduce.conv.*",
            "0.1.*": "reduce.bn.*",
            "1.{i}.*": "upsample.deconv_upsamping.{i}.*",
            "2.0.*": "expand.conv.*",
            "2.1.*": "expand.bn.*",
        },
    ),
)

_MANET = (
    *_COMMON,
    *rules("decoder.center.", "decode_head.center.", {"*": "*"}),
    *_parts(
        {**_TWICE, "hl_conv.0": _CONV, "hl_conv.1": _CONV}, "decoder.blocks.{block}.", "decode_head.blocks.{block}."
    ),
    *rules(
        "decoder.blocks.{block}.", "decode_head.blocks.{block}.", {"SE_ll.*": "se_ll.*", "SE_hl.*": "se_hl.*"}
    ),
)  # fmt: skip

_PAN = (
    *_COMMON,
    *rules("decoder.", "decode_head.", {"fpa.*": "fpa.*", "gau{level}.*": "gaus.{level-1}.*"}),
)

_FPN = (
    *_COMMON,
    *(
        rule
        for level in range(4)
        for rule in (
            *rules(f"decoder.p{level + 2}.(skip_conv.)?", f"decode_head.laterals.{level}.", {"*": "*"}),
            *rules(
                f"decoder.seg_blocks.{3 - level}.block.{{conv}}.block.",
                f"decode_head.panels.{level}.{{conv}}.",
                {"0.*": "conv.*", "1.*": "gn.*"},
            ),
        )
    ),
)

_PSPNET = (
    *_COMMON,
    *rules("decoder.psp.blocks.{grid}.pool.1.", "decode_head.psp_modules.{grid}.1.", _CONV),
    *rules("decoder.conv.", "decode_head.bottleneck.", _CONV),
)

_POOLED: Names = {"4.1.*": "image_pool.1.conv.*", "4.2.*": "image_pool.1.bn.*"}
_BRANCHES: Names = {
    f"{branch}.{i}.*": f"aspp_modules.{branch}.{part}.*" for branch in range(4) for i, part in enumerate(("conv", "bn"))
}
_SPLIT: Names = {"0.0.*": "0.*", "0.1.*": "1.conv.*", "1.*": "1.bn.*"}
_SPLIT_BRANCHES: Names = {
    "0.0.*": "aspp_modules.0.conv.*",
    "0.1.*": "aspp_modules.0.bn.*",
    **{
        f"{branch}.{theirs}": f"aspp_modules.{branch}.{ours}" for branch in (1, 2, 3) for theirs, ours in _SPLIT.items()
    },
}


def _aspp(theirs: str, branches: Names) -> tuple[KeyRule, ...]:
    """The branches of either model, and what brings them together."""
    return (
        *rules(f"{theirs}convs.", "decode_head.", {**branches, **_POOLED}),
        *rules(
            f"{theirs}project.", "decode_head.project.", {"0.weight": ("conv.weight", last_group_first), "1.*": "bn.*"}
        ),
    )


def _deeplabv3(branches: Names) -> tuple[KeyRule, ...]:
    """Its parts had numbers once."""
    return (
        *_COMMON,
        *_aspp("decoder.(aspp|0).", branches),
        *rules("decoder.", "decode_head.bottleneck.", {"(conv|1).weight": "conv.weight", "(bn|2).*": "bn.*"}),
    )


def _deeplabv3plus(branches: Names) -> tuple[KeyRule, ...]:
    return (
        *_COMMON,
        *_aspp("decoder.aspp.0.", branches),
        *rules("decoder.aspp.", "decode_head.bottleneck.", {"1.0.*": "0.*", "1.1.*": "1.conv.*", "2.*": "1.bn.*"}),
        *rules("decoder.block1.", "decode_head.c1_bottleneck.", _CONV),
        *rules("decoder.block2.", "decode_head.fusion.", _SPLIT),
    )


def _upernet(levels: int) -> tuple[KeyRule, ...]:
    """Its pyramid is counted from the coarsest level on."""
    return (
        *_COMMON,
        *rules("decoder.feature_norms.", "decode_head.level_norms.", {"*": "*"}),
        *rules("decoder.psp.blocks.{grid}.1.", "decode_head.psp_modules.{grid}.1.", _CONV),
        *rules("decoder.psp.out_conv.", "decode_head.bottleneck.", _CONV),
        *rules("decoder.fusion_block.", "decode_head.fpn_bottleneck.", _CONV),
        *(
            rule
            for level in range(levels - 1)
            for rule in (
                *rules(f"decoder.fpn_lateral_blocks.{levels - 2 - level}.conv_norm_relu.",
                       f"decode_head.lateral_convs.{level}.", _CONV),
                *rules(f"decoder.fpn_conv_blocks.{levels - 2 - level}.", f"decode_head.fpn_convs.{level}.", _CONV),
            )
        ),
    )  # fmt: skip


def _segformer(levels: int) -> tuple[KeyRule, ...]:
    """Its levels are counted from the coarsest on."""
    return (
        *_COMMON,
        *(
            rule
            for level in range(levels)
            for rule in rules(
                f"decoder.mlp_stage.{levels - 1 - level}.linear.",
                f"decode_head.convs.{level}.conv.",
                {"weight": ("weight", as_convolution), "bias": "bias"},
            )
        ),
        *rules(
            "decoder.fuse_stage.",
            "decode_head.fusion_conv.",
            {"0.weight": ("conv.weight", reversed_groups), "1.*": "bn.*"},
        ),
    )


_UNIT: Names = {"conv_{i}.*": "conv{i}.conv.*", "batch_norm_{i}.*": "conv{i}.bn.*"}
_DPT = (
    *_COMMON,
    *rules("decoder.projection_blocks.{level}.project.", "decode_head.reassemble.{level}.readout_project.", {"*": "*"}),
    *rules(
        "decoder.reassemble_blocks.{level}.",
        "decode_head.reassemble.{level}.",
        {
            "project_to_out_channel.*": "project.conv.*",
            "upsample.*": "resize_layer.*",
            "project_to_feature_dim.*": "conv.conv.*",
        },
    ),
    *rules(
        "decoder.fusion_blocks.{block}.residual_conv_block{unit}.",
        "decode_head.fusion_blocks.{block}.res_conv_unit{unit}.",
        _UNIT,
    ),
    *rules("decoder.fusion_blocks.{block}.project.", "decode_head.fusion_blocks.{block}.project.", {"*": "conv.*"}),
    *rules(
        "segmentation_head.head.", "decode_head.", {"0.*": "project.conv.*", "1.*": "project.bn.*", "4.*": "conv_seg.*"}
    ),
)


def _never_read(last_block: str) -> tuple[str, ...]:
    return (f"decoder.blocks.{last_block}.attention1.",)


_LOGITS = "segmentation_head.0.weight"


def _map(model: str, signature: str, rules: tuple[KeyRule, ...], *, logits: str = _LOGITS) -> SmpMap:
    return SmpMap(f"{model} of segmentation_models.pytorch", (signature, logits), rules)


MAPS = (
    _map("FPN", "decoder.seg_blocks.0.block.0.block.0.weight", _FPN),
    _map("PSPNet", "decoder.psp.blocks.0.pool.1.0.weight", _PSPNET),
    _map("DeepLabV3 (separable)", "decoder.(aspp|0).convs.1.0.0.weight", _deeplabv3(_SPLIT_BRANCHES)),
    _map("DeepLabV3", "decoder.(aspp|0).convs.1.0.weight", _deeplabv3(_BRANCHES)),
    _map("DeepLabV3Plus", "decoder.aspp.0.convs.1.0.0.weight", _deeplabv3plus(_SPLIT_BRANCHES)),
    _map("DeepLabV3Plus (not separable)", "decoder.aspp.0.convs.1.0.weight", _deeplabv3plus(_BRANCHES)),
    *(
        _map(f"UPerNet, {levels} levels,", f"decoder.feature_norms.{levels - 1}.weight", _upernet(levels))
        for levels in (4, 3, 2)
    ),
    *(
        _map(f"Segformer, {levels} levels,", f"decoder.mlp_stage.{levels - 1}.linear.weight", _segformer(levels))
        for levels in (5, 4, 3, 2)
    ),
    _map("DPT", "decoder.reassemble_blocks.0.project_to_out_channel.weight", _DPT,
         logits="segmentation_head.head.4.weight"),
    _map("PAN", "decoder.fpa.mid.0.conv.weight", _PAN),
    _map("MAnet", "decoder.center.top_conv.weight", _MANET),
    _map("Linknet", "decoder.blocks.0.block.0.0.weight", _LINKNET),
    *(
        SmpMap(f"UnetPlusPlus of segmentation_models.pytorch, depth {depth}",
               (f"decoder.blocks.x_0_{depth - 1}.conv1.0.weight", _LOGITS), _UNETPLUSPLUS,
               never_read=("decoder.center.", *_never_read(f"x_0_{depth - 1}")))
        for depth in DEPTHS
    ),
    *(
        SmpMap(f"Unet of segmentation_models.pytorch, depth {depth}",
               (f"decoder.blocks.{depth - 1}.conv1.0.weight", _LOGITS), _UNET,
               never_read=_never_read(str(depth - 1)))
        for depth in DEPTHS
    ),
)  # fmt: skip
