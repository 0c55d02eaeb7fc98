"""Which images the networks of timm take: a table by the file of timm that a network is defined in.

Measured with timm 1.0.31 at sizes that are no multiple of anything: a network of each file with numbers, all others
that take images of any size without (on torch's device "meta"). What is in no table takes them by itself, with levels
that are rounded up or down.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_ELSEWHERE = "take a convolutional network, Swin, PVTv2 or a ViT of timm instead"

_ANY_POSITIONS: Mapping[str, Any] = {"dynamic_img_size": True}
_ANY_WINDOWS: Mapping[str, Any] = {"strict_img_size": False}

ARGUMENTS: dict[str, Mapping[str, Any]] = {
    "deit": _ANY_POSITIONS,
    "eva": _ANY_POSITIONS,
    "swin_transformer": _ANY_WINDOWS,
    "swin_transformer_v2": _ANY_WINDOWS,
    "swin_transformer_v2_cr": _ANY_WINDOWS,
    "vision_transformer": _ANY_POSITIONS,
    "vision_transformer_hybrid": _ANY_POSITIONS,
}
"""File -> arguments by which its networks take images of other sizes than those that they were trained with."""

MULTIPLES: dict[str, int] = {
    "csatv2": 64,
    "dla": 32,
    "hieradet_sam2": 32,
    "hrnet": 32,
    "swin_transformer": 4,
    "swin_transformer_v2": 4,
    "swin_transformer_v2_cr": 32,
    "tresnet": 32,
}
"""File -> of what an image's sides must be multiples, where that is not the patch of the network."""

PATCHES = frozenset(
    {
        "deepseek_vit", "deit", "eva", "gemma4_vit", "naflexvit", "qwen3_vit", "vision_transformer",
        "vision_transformer_hybrid", "vision_transformer_sam",
    }
)  # fmt: skip
"""Files whose networks want whole patches."""

_POSITIONS = "its positions, or the attention between them, are learnt for one size of image"
_WINDOWS = "its windows and grids divide images of one size"

FIXED: dict[str, str] = {
    **dict.fromkeys(
        (
            "beit", "cait", "coat", "convit", "efficientformer_v2", "hiera", "mlp_mixer", "nest", "tnt",
            "vision_transformer_relpos", "visformer", "vitamin", "volo",
        ),
        _POSITIONS,
    ),
    **dict.fromkeys(("gcvit", "maxxvit"), _WINDOWS),
}  # fmt: skip
"""File -> why its networks take images of one size only, which `img_size` says."""

REFUSED: dict[str, str] = {
    "crossvit": "it has two branches of other patches, whose levels lie on no common grid",
    **dict.fromkeys(
        ("efficientformer", "levit"), "its positions are learnt for one size of image, which cannot be changed"
    ),
    **dict.fromkeys(
        ("inception_resnet_v2", "inception_v3", "inception_v4", "pit", "xception"),
        "its convolutions cut off the border of the image, so that levels do not lie where their strides say",
    ),
}
"""File -> why its networks cannot segment images."""

ONE_SIZE = frozenset({"BottleneckAttn"})
"""Layers of otherwise convolutional networks that are made for images of one size."""

IN_BLOCKS: dict[str, int] = {"BatNonLocalAttn": 256, "HaloAttn": 32, "LambdaLayer": 32}
"""Layers of otherwise convolutional networks -> of what an image's sides must be multiples for them; where they have a
`block_size`, of as many times that.
"""

FLOORED = frozenset({"byobnet", "resnet"})
"""Files whose blocks round sizes up, but down where they average (`resnetaa50d`, `resnet50_clip`), which wants
multiples of 32.
"""

STRIDES: dict[str, Mapping[int, int]] = {"tresnet": {0: 4}}
"""File -> level -> its stride, where timm says another one than there is."""


@dataclass(frozen=True)
class SizePolicy:
    """How a network is given images of any size.

    arguments: of its constructor. multiple: what sides are padded to multiples of; 0 stands for its patch.
    fixed: why it takes one size only, "" if it takes any.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    multiple: int = 1
    fixed: str = ""


def size_policy(file: str, name: str) -> SizePolicy:
    """Of a network of timm, by the file that defines it. Raises ValueError for one that cannot segment images."""
    if file in REFUSED:
        raise ValueError(f"{name} cannot be a backbone here: {REFUSED[file]}; {_ELSEWHERE}")
    multiple = 0 if file in PATCHES else MULTIPLES.get(file, 1)
    return SizePolicy(ARGUMENTS.get(file, {}), multiple, FIXED.get(file, ""))


def one_size_only(name: str, why: str, usual: tuple[int, int] | None) -> ValueError:
    """What to say of a network that takes one size, where none is given."""
    example = usual or (512, 512)
    return ValueError(
        f"{name} does not take images of any size: {why}. Give the size of the training crops, as in "
        f"img_size={example}, and predict in windows of that size (test_cfg=dict(mode='slide', "
        f"crop_size={example}, stride=...)); or {_ELSEWHERE}"
    )
