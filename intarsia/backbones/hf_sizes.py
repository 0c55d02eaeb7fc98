"""Which images the backbones of transformers take: a table by the `model_type` of their configs.

Measured with transformers 5.24.0 and 4.48.0, a network of each type, at sizes that are no multiple of anything. A type
that is in no table here has not been tried, and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

FREE = frozenset(
    {
        "bit", "convnext", "convnextv2", "dinov3_convnext", "focalnet", "hgnet_v2", "maskformer-swin", "pp_lcnet",
        "pp_lcnet_v3", "pvt_v2", "resnet", "rt_detr_resnet", "swin", "swinv2", "textnet",
    }
)  # fmt: skip
"""Take images of any size by themselves, with levels that are rounded up or down."""

PATCHES = frozenset(
    {
        "beit", "dinov2", "dinov2_with_registers", "dinov3_vit", "lw_detr_vit", "pixio", "sapiens2",
        "tipsv2_vision_model", "vitdet",
    }
)  # fmt: skip
"""Cut images into patches and leave the remainder away, or fail at one: images are padded to whole patches."""

FIXED: dict[str, str] = {"hiera": "its positions are learnt for one size of image"}
"""Types of one size, the `image_size` of their config -> why."""

_WINDOWS = "its windows divide images of the sizes of one detector only"
_NATTEN = "it needs natten, a package with kernels of its own"

REFUSED: dict[str, str] = {
    "dinat": _NATTEN,
    "nat": _NATTEN,
    "pp_lcnet_v4": "it is for lines of text, and has other strides down than across",
    "rf_detr_dinov2": f"{_WINDOWS}; take dinov2_with_registers",
    "timm_backbone": "it is a network of timm: take the backbone TIMM",
    "tipsv2": "it describes text, too; give its vision_config, whose model_type is tipsv2_vision_model",
    "uvdoc_backbone": "all its levels are the same map",
    "vitpose_backbone": "its levels are rows of tokens of one size of image; take vitdet or dinov2",
}
"""Types that cannot segment images -> why."""

THREE_BANDS = frozenset({"hgnet_v2", "pp_lcnet", "pp_lcnet_v3", "textnet"})
"""Types whose first convolution is for three bands, whatever their config says."""

FIRST: dict[str, int] = {"maskformer-swin": 1}
"""Types that do not give the first of the stages that they name -> the first one that they do give."""


@dataclass(frozen=True)
class SizePolicy:
    """How a network is given images of any size.

    multiple: what sides are padded to multiples of; 1 is nothing. size: (height, width), of a network of one size.
    first: the first stage that it gives.
    """

    multiple: int = 1
    size: tuple[int, int] | None = None
    first: int = 0


def size_policy(kind: str, values: Mapping[str, Any]) -> SizePolicy:
    """Of a type, by its config's values. Raises ValueError for one that cannot segment images or has not been tried."""
    if kind in REFUSED:
        raise ValueError(f"{kind} of transformers cannot be a backbone here: {REFUSED[kind]}")
    first = FIRST.get(kind, 0)
    if kind in FREE:
        return SizePolicy(first=first)
    if kind in FIXED:
        return SizePolicy(size=pair(values["image_size"], "image_size"), first=first)
    if kind in PATCHES:
        patch = math.lcm(*pair(values["patch_size"], "patch_size"))
        windows = math.isqrt(values["num_windows"]) if kind == "lw_detr_vit" else 1
        return SizePolicy(patch * windows, first=first)
    known = ", ".join(sorted({*FREE, *FIXED, *PATCHES}))
    raise ValueError(f"{kind} of transformers has not been tried as a backbone; those that have: {known}")


def pair(value: Any, name: str) -> tuple[int, int]:
    """(height, width) of a setting that is one number or two. Raises ValueError for anything else."""
    sides = (value, value) if isinstance(value, int) else tuple(value)
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise ValueError(f"{name} is a whole number or two, found {value!r}")
    return sides
