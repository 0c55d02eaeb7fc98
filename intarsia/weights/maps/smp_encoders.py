"""Encoders of segmentation_models.pytorch: which network each is here, and what its tensors are called there.

Of its own encoders most have the names of timm's network of the same kind. EfficientNets and MobileNetV2 count their
blocks throughout, and MiT has the names of SegFormer's authors.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from intarsia.weights.maps.rearrange import as_convolution
from intarsia.weights.maps.rules import rules
from intarsia.weights.timm_names import WRAPPER, published_name

OF_TIMM = "tu-"
"""Before the name of an encoder that is a network of timm."""

ENCODER, MIT = "encoder.", "mit."
"""Before the names of an encoder's tensors, and of those of a MiT when they have been told from others."""

_INSIDE = "encoder.model."


@dataclass(frozen=True)
class Encoder:
    """An encoder of the library's own.

    network: of timm, or "" for a MiT. same_levels: whether timm's network gives the same levels, so that only dilation
    needs `smp_encoder`. as_timm: dilated as timm does it. options: of timm's network. mit: arguments of a MiT.
    """

    network: str
    same_levels: bool = True
    as_timm: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)
    mit: Mapping[str, Any] = field(default_factory=dict)


_SK18 = {"block_args": {"sk_kwargs": {"rd_ratio": 0.125, "split_input": True}}}
_SK50: dict[str, Any] = {"block_args": {"sk_kwargs": {}}}
_MIT_LAYERS = {
    "0": (2, 2, 2, 2), "1": (2, 2, 2, 2), "2": (3, 4, 6, 3), "3": (3, 4, 18, 3), "4": (3, 8, 27, 3), "5": (3, 6, 40, 3),
}  # fmt: skip

_SAME = r"resnet\d+|resnext\d+_32x\d+d|vgg\d+(?:_bn)?"
_REFUSED = {
    r"dpn\d+b?": "its levels are the two branches of a block behind an activation, which timm's network does not give",
    r"inception\w+": "its convolutions were given other borders than timm's",
    r"xception": "its convolutions were given other borders than timm's",
    r"mobileone_s\d": "its branches have not been mapped onto those of timm's network",
}
"""Own encoders that are not read -> why."""


def known_encoder(name: str) -> Encoder | None:
    """An encoder of the library's own, and of timm under the old names ("timm-..."); None for one that is no such.

    Raises ValueError, with the reason, for one that cannot be read.
    """
    if reason := next((why for form, why in _REFUSED.items() if re.fullmatch(form, name)), None):
        raise ValueError(f"the encoder {name!r} of config.json has no counterpart here: {reason}")
    if re.fullmatch(_SAME, name):
        return Encoder(name)
    if found := re.fullmatch(r"densenet\d+", name):
        return Encoder(name, same_levels=False)
    if found := re.fullmatch(r"se_res(net\d+|next\d+_32x4d)", name):
        return Encoder(f"legacy_seres{found[1]}")
    if name == "senet154":
        return Encoder("legacy_senet154")
    if name == "mobilenet_v2":
        return Encoder("mobilenetv2_100", same_levels=False)
    if found := re.fullmatch(r"efficientnet-(b[0-7])", name):
        return Encoder(f"tf_efficientnet_{found[1]}", same_levels=False)
    if found := re.fullmatch(r"timm-(?:tf_)?efficientnet[-_](b[0-8]|l2|lite[0-4])", name):
        return Encoder(f"efficientnet_{found[1]}", same_levels=False)
    if found := re.fullmatch(r"timm-(skresnet\d+|skresnext50_32x4d)", name):
        return Encoder(found[1], options=_SK50 if "next" in name else _SK18)
    if found := re.fullmatch(r"timm-((?:regnet|res2ne|resnest|gernet)\w+)", name):
        return Encoder(found[1], as_timm=True)
    if found := re.fullmatch(r"timm-(mobilenetv3\w+)", name):
        return Encoder(f"tf_{found[1]}", as_timm=True)
    if found := re.fullmatch(r"mit_b([0-5])", name):
        return Encoder("", mit={"embed_dims": 32 if found[1] == "0" else 64, "num_layers": _MIT_LAYERS[found[1]]})
    return None


_OTHERWISE = {
    "an EfficientNet": r"encoder\.(_blocks\.\d|blocks\.\d+\.\d)\.",
    "a MobileNetV2": r"encoder\.features\.18\.0\.weight",
    "a DenseNet": r"encoder\.features\.denseblock1\.",
}
"""Own encoders whose levels or borders are not those of timm's network -> how a tensor of them is called."""


def note_of(names: Iterable[str]) -> str | None:
    """What is to be said of a file of tensors alone, which fit a network of timm that computes something else."""
    names = tuple(names)
    own = next((kind for kind, form in _OTHERWISE.items() if any(re.match(form, name) for name in names)), None)
    if own is None:
        return None
    return (
        f"the encoder is {own} of segmentation_models.pytorch, which has other levels or borders than timm's network "
        "of the same tensors: logits are that library's in a TIMM with smp_encoder=True only, as `intarsia.smp` and a "
        "folder with config.json have it (docs/trunks.md)"
    )


# --- Names --------------------------------------------------------------------------------------------------------


def timm_names(names: Iterable[str]) -> dict[str, str]:
    """Each tensor's name -> the same with what is behind "encoder." as timm publishes it, or a MiT's behind "mit."."""
    names = tuple(names)
    blocks = _efficientnet_blocks(names)
    mobile = "encoder.features.18.0.weight" in names
    mit = "encoder.patch_embed1.proj.weight" in names
    return {name: _timm_name(name, blocks, mobile=mobile, mit=mit) for name in names}


def _timm_name(name: str, blocks: Mapping[int, str], *, mobile: bool, mit: bool) -> str:
    if name.startswith(_INSIDE):
        return ENCODER + published_name(WRAPPER + name.removeprefix(_INSIDE))
    if not name.startswith(ENCODER):
        return name
    inner = name.removeprefix(ENCODER)
    if mit:
        return MIT + inner
    if blocks:
        return ENCODER + _of_efficientnet(inner, blocks)
    return ENCODER + _of_mobilenet(inner) if mobile else name


_REPEATS, _DEPTHS = (1, 2, 2, 3, 3, 4, 1), (1.0, 1.1, 1.2, 1.4, 1.8, 2.2, 2.6, 3.1)
"""Blocks of the stages of EfficientNet-B0, and by how much the other sizes multiply them (arXiv:1905.11946)."""

_EXPANDING = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_se_reduce": "se.conv_reduce", "_se_expand": "se.conv_expand", "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_FIRST = {**_EXPANDING, "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""The layers of a block, and of one of the first stage, which does not expand."""

_ENDS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}


def _efficientnet_blocks(names: Iterable[str]) -> dict[int, str]:
    """The blocks of an EfficientNet, counted throughout -> stage and block; {} for another encoder."""
    counted = {int(found[1]) for name in names if (found := re.match(r"encoder\._blocks\.(\d+)\.", name))}
    for depth in _DEPTHS:
        repeats = [math.ceil(depth * blocks) for blocks in _REPEATS]
        if sum(repeats) == len(counted):
            places = [f"{stage}.{block}" for stage, blocks in enumerate(repeats) for block in range(blocks)]
            return dict(enumerate(places))
    return {}


def _of_efficientnet(inner: str, blocks: Mapping[int, str]) -> str:
    found = re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", inner)
    if found is None:
        part, _, kind = inner.partition(".")
        return f"{_ENDS.get(part, part)}.{kind}"
    place = blocks.get(int(found[1]), found[1])
    layers = _FIRST if place.startswith("0.") else _EXPANDING
    return f"blocks.{place}.{layers.get(found[2], found[2])}.{found[3]}"


_MOBILE_REPEATS = (1, 2, 3, 4, 3, 3, 1)
_MOBILE_PLACES = [f"{stage}.{block}" for stage, blocks in enumerate(_MOBILE_REPEATS) for block in range(blocks)]
_MOBILE_FIRST = {"0.0": "conv_dw", "0.1": "bn1", "1": "conv_pw", "2": "bn2"}
_MOBILE = {"0.0": "conv_pw", "0.1": "bn1", "1.0": "conv_dw", "1.1": "bn2", "2": "conv_pwl", "3": "bn3"}


def _of_mobilenet(inner: str) -> str:
    for place, (conv, norm) in {"0": ("conv_stem", "bn1"), "18": ("conv_head", "bn2")}.items():
        for i, part in enumerate((conv, norm)):
            if inner.startswith(f"features.{place}.{i}."):
                return part + inner.removeprefix(f"features.{place}.{i}")
    found = re.fullmatch(r"features\.(\d+)\.conv\.(\d(?:\.\d)?)\.(\w+)", inner)
    if found is None or not 1 <= int(found[1]) <= len(_MOBILE_PLACES):
        return inner
    layers = _MOBILE_FIRST if found[1] == "1" else _MOBILE
    return f"blocks.{_MOBILE_PLACES[int(found[1]) - 1]}.{layers.get(found[2], found[2])}.{found[3]}"


MIT_RULES = (
    *rules(
        "mit.block{stage}.{block}.",
        "backbone.layers.{stage-1}.1.{block}.",
        {
            "norm{i}.*": "norm{i}.*",
            ("attn.q.weight", "attn.kv.weight"): "attn.attn.in_proj_weight",
            ("attn.q.bias", "attn.kv.bias"): "attn.attn.in_proj_bias",
            "attn.proj.*": "attn.attn.out_proj.*",
            "attn.sr.*": "attn.sr.*",
            "attn.norm.*": "attn.norm.*",
            "mlp.fc1.weight": ("ffn.layers.0.weight", as_convolution),
            "mlp.fc1.bias": "ffn.layers.0.bias",
            "mlp.dwconv.dwconv.*": "ffn.layers.1.*",
            "mlp.fc2.weight": ("ffn.layers.4.weight", as_convolution),
            "mlp.fc2.bias": "ffn.layers.4.bias",
        },
    ),
    *rules(
        "mit.",
        "backbone.layers.",
        {
            "patch_embed{stage}.proj.*": "{stage-1}.0.projection.*",
            "patch_embed{stage}.norm.*": "{stage-1}.0.norm.*",
            "norm{stage}.*": "{stage-1}.2.*",
        },
    ),
)
