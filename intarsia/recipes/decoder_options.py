"""What `intarsia.create_model` may change of a decoder on a trunk: how deep it looks, and how wide it is.

The arguments are those that people know of segmentation_models.pytorch, where several of its models have them.
"""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import separate
from intarsia.recipes.trunk_facts import strides_of

_DEPTHS = (3, 5)
_NAMES_OF_NORMS = {"batchnorm": "BN", "instancenorm": "IN", "layernorm": "LN2d", "groupnorm": "GN", "identity": "none"}
"""As segmentation_models.pytorch and torch write them."""
_OF_UNETS = ("depth", "decoder_channels", "decoder_interpolation", "decoder_norm")
_OF_ALL = ("decoder_channels", "decoder_norm")
TAKEN: dict[str, tuple[str, ...]] = {
    "unet": (*_OF_UNETS, "decoder_attention_type"),
    "unetplusplus": (*_OF_UNETS, "decoder_attention_type"),
    "manet": _OF_UNETS,
    "linknet": ("depth", "decoder_norm"),
    "pan": (*_OF_ALL, "decoder_interpolation"),
    "fpn": (*_OF_ALL, "decoder_interpolation"),
    "pspnet": _OF_ALL,
    "deeplabv3": _OF_ALL,
    "deeplabv3plus": _OF_ALL,
    "upernet": _OF_ALL,
    "segformer": _OF_ALL,
}
"""Decoder -> the arguments that it takes; others take none."""
_ONE_WIDTH = ("pan", "fpn", "pspnet", "deeplabv3", "deeplabv3plus", "upernet", "segformer")
"""Decoders whose channels are one number."""
_WITHOUT_NORM = ("unet", "unetplusplus", "manet", "fpn")


@dataclass(frozen=True)
class DecoderOptions:
    """What is asked for; None is what the recipe has.

    depth: how often the trunk halves the image: its levels to stride 2 ** depth are read, 3 to 5.
    decoder_channels: of each block, the coarsest first, one for each halving; of other decoders one number.
    decoder_attention_type: "scse". decoder_interpolation: how maps are enlarged. decoder_norm: the name of a norm
    ("BN", "IN", "LN2d"), its settings ({"type": "GN", "num_groups": 32}), or "none".
    """

    depth: int | None = None
    decoder_channels: int | Sequence[int] | None = None
    decoder_attention_type: str | None = None
    decoder_interpolation: str | None = None
    decoder_norm: str | Mapping[str, Any] | None = None

    @property
    def given(self) -> list[str]:
        """Names of what is asked for."""
        return [one.name for one in fields(self) if getattr(self, one.name) is not None]


def with_options(values: Mapping[str, Any], decoder: str, options: DecoderOptions) -> Config:
    """The `model` section of a recipe, with its decoder changed.

    decoder: what stands before `_timm:` or `_hf:` in the recipe's name; "" for another recipe.

    Raises ValueError for an argument that this decoder does not take, or that does not fit it.
    """
    model: Config = separate(dict(values))
    taken = TAKEN.get(decoder.partition("-")[0], ())
    for name in options.given:
        if name not in taken:
            raise ValueError(_refusal(name, decoder, taken))
    head, blocks = model["decode_head"], _blocks(model["decode_head"])
    if options.depth is not None:
        blocks = _shallower(model, decoder, whole_number("depth", options.depth))
    if options.decoder_channels is not None:
        _widen(head, decoder, options.decoder_channels, blocks)
    if options.decoder_attention_type is not None:
        head["attention"] = options.decoder_attention_type
    if options.decoder_interpolation is not None:
        head["interpolation"] = options.decoder_interpolation
    if options.decoder_norm is not None:
        head["norm_cfg"] = _norm(decoder, options.decoder_norm)
    return model


def _refusal(name: str, decoder: str, taken: Sequence[str]) -> str:
    able = ", ".join(other for other, names in TAKEN.items() if name in names)
    if not decoder:
        return f"{name} is for decoders on a trunk (create_model('unet', trunk='resnet34', {name}=...): {able})"
    has = f"it takes {', '.join(taken)}" if taken else "its shape is that of its paper"
    return f"{decoder} does not take {name}: {has}. Those that take {name} are {able}"


def _blocks(head: Mapping[str, Any]) -> int:
    """How often a U-Net's decoder doubles the size; 0 of others."""
    return len(head["decoder_channels"]) if "decoder_channels" in head else int(head.get("num_blocks", 0))


def _shallower(model: Config, decoder: str, depth: int) -> int:
    """Leave away what lies behind stride 2 ** depth; how many blocks lead from there to the size of the image."""
    least, most = _DEPTHS
    backbone, head = model["backbone"], model["decode_head"]
    if not least <= depth <= most:
        raise ValueError(f"depth of {decoder} is {least} to {most}, found {depth}")
    network = backbone.get("model_name") or f"the {backbone['config']['model_type']}"
    if "neck" in model or "out_indices" not in backbone:
        raise ValueError(f"depth is for pyramids: the levels of {network}, a plain transformer, are all of one size")
    strides = strides_of(backbone)
    kept = [place for place, stride in enumerate(strides) if stride <= 2**depth]
    if not kept or strides[kept[-1]] != 2**depth:
        raise ValueError(f"depth={depth} ends at stride {2**depth}, but {network} has levels of strides {strides}")
    backbone["out_indices"] = tuple(backbone["out_indices"][place] for place in kept)
    head["in_channels"], head["in_index"] = [head["in_channels"][place] for place in kept], list(range(len(kept)))
    if "decoder_channels" in head:
        head["decoder_channels"] = head["decoder_channels"][:depth]
    if "num_blocks" in head:
        head["num_blocks"] = depth
    return depth


def _widen(head: Config, decoder: str, channels: int | Sequence[int], blocks: int) -> None:
    if decoder.partition("-")[0] in _ONE_WIDTH:
        width = 0 if isinstance(channels, Sequence) else whole_number("decoder_channels", channels)
        if width < 1:
            raise ValueError(f"decoder_channels of {decoder} is one number, 1 or more; found {channels!r}")
        head["channels"] = width
        return
    if isinstance(channels, int) or len(channels) != blocks:
        raise ValueError(
            f"decoder_channels of {decoder} are {blocks} numbers here, one for each block, the coarsest first; found "
            f"{channels!r}"
        )
    widths = tuple(whole_number("decoder_channels", width) for width in channels)
    if min(widths) < 1:
        raise ValueError(f"decoder_channels are 1 or more in each block, found {widths}")
    head["decoder_channels"] = widths


def whole_number(what: str, value: Any) -> int:
    """Of whatever type, one of NumPy's too. Raises ValueError for what is no whole number, or a truth value."""
    try:
        if not isinstance(value, bool):
            return operator.index(value)
    except TypeError:
        pass
    raise ValueError(f"{what} is a whole number, found {value!r} ({type(value).__name__})")


def _norm(decoder: str, norm: str | Mapping[str, Any]) -> Config | None:
    if not isinstance(norm, (str, Mapping)):
        raise ValueError(f"decoder_norm is a name ('BN', 'IN', 'none') or settings with a type; found {norm!r}")
    if isinstance(norm, str) and norm in _NAMES_OF_NORMS:
        raise ValueError(f"there is no decoder_norm {norm!r}. Did you mean {_NAMES_OF_NORMS[norm]!r}?")
    if norm == "GN":
        raise ValueError("decoder_norm='GN' does not say how many groups: dict(type='GN', num_groups=32)")
    if norm != "none":
        return {"type": norm} if isinstance(norm, str) else dict(norm)
    if decoder.partition("-")[0] not in _WITHOUT_NORM:
        raise ValueError(f"{decoder} has no form without norms: decoder_norm='none' is for {', '.join(_WITHOUT_NORM)}")
    return None
