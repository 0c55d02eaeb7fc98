"""segmentation_models.pytorch: its decoders of the U-Net kind, over encoders that timm has, too.

Its encoders are torchvision's ResNets (`resnet34`), whose names timm shares, and networks of timm (`tu-NAME`), whose
names there are those of a network that gives levels (`timm_names.py`). Both become `backbone` as a `TIMM`.

What such a model holds and never reads has no place here: attention before the last block's convolutions, where no
level is laid beside; UNet++'s center; the classifier of whole images. (Stages of an encoder beyond the decoder:
`TIMM.left_away`.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from intarsia.weights.maps.rules import KeyMap, KeyRule, Names, rules
from intarsia.weights.timm_names import WRAPPER, published_name

if TYPE_CHECKING:
    from torch import Tensor

DEPTHS = (5, 4, 3, 2, 1)
"""Of models: how often their images are halved."""

_ENCODER, _OF_TIMM = "encoder.", "encoder.model."


@dataclass(frozen=True)
class SmpMap(KeyMap):
    """A key map of a whole model, whose encoder has the names of timm, as published or taken apart.

    never_read: beginnings of names of what this depth of model has no use for.
    """

    never_read: tuple[str, ...] = ()

    def convert(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
        """As that of a `KeyMap`; names that no rule knows are given as they are in the file."""
        names = {_published(name): name for name in state if not name.startswith(self.never_read)}
        converted, unknown = super().convert({name: state[old] for name, old in names.items()})
        return converted, tuple(names[name] for name in unknown)


def _published(name: str) -> str:
    if not name.startswith(_OF_TIMM):
        return name
    return _ENCODER + published_name(WRAPPER + name.removeprefix(_OF_TIMM))


# --- Rules --------------------------------------------------------------------------------------------------------

_CONV: Names = {"0.*": "conv.*", "1.*": "bn.*"}
_SCSE: Names = {
    "attention.cSE.1.*": "cse.1.*", "attention.cSE.3.*": "cse.3.*", "attention.sSE.0.*": "sse.0.*",
}  # fmt: skip

_COMMON = (
    *rules(_ENCODER, "backbone.", {"*": "*"}),
    *rules("segmentation_head.", "decode_head.", {"0.*": "conv_seg.*"}),
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


def _never_read(last_block: str) -> tuple[str, ...]:
    return (*_CLASSIFIER, f"decoder.blocks.{last_block}.attention1.")


_CLASSIFIER = ("classification_head.",)
_LOGITS = "segmentation_head.0.weight"

MAPS = (
    SmpMap("PAN of segmentation_models.pytorch", ("decoder.fpa.mid.0.conv.weight", _LOGITS), _PAN,
           never_read=_CLASSIFIER),
    SmpMap("MAnet of segmentation_models.pytorch", ("decoder.center.top_conv.weight", _LOGITS), _MANET,
           never_read=_CLASSIFIER),
    SmpMap("Linknet of segmentation_models.pytorch", ("decoder.blocks.0.block.0.0.weight", _LOGITS), _LINKNET,
           never_read=_CLASSIFIER),
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
