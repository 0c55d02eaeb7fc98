"""Recipes for own data on any network of timm: HEAD_timm:NAME, such as ``upernet_timm:convnext_tiny.in12k``.

There are too many networks to list, so that these recipes are no rows: the name says the head and the network, and the
network itself, built without memory, what levels it gives.

    upernet          all levels of a pyramid from stride 4 on; of a plain transformer, four blocks made into one
    segformer        the same levels, each through one layer, put together at the finest
    fpn              the same levels, summed from the coarsest down and brought to the finest
    deeplabv3plus    a network that can be dilated to stride 16
    deeplabv3, pspnet
                     a network that can be dilated to stride 8
    dpt              four blocks of a plain transformer, with its class token, made into a pyramid
    unet, unetplusplus, manet, linknet
                     all levels from stride 2 on, of a plain transformer its pyramid, and on to the size of the image
    linear           one layer on the last level of a network that stands still, to see what it has learnt
    multilevel       one layer on the last four blocks of a plain transformer, or all levels of a pyramid, side by side
    eomt             queries in the last blocks of a plain transformer
    pan              levels from stride 4 on, weighed by attention to the last, dilated to stride 16 where that can be
    efficientvit     levels of strides 8, 16 and 32 added up; made for efficientvit_b0 to b3, l1 and l2
    lraspp           next to nothing on levels of strides 4 and 8 and the last, dilated to stride 16 where that can be
    pmt              queries in blocks of their own, on a plain transformer that stands still
    mask2former      four levels from stride 4 on, of a plain transformer its pyramid

Where HEAD_timm:NAME makes a pyramid of four blocks of a plain transformer, HEAD-sfp_timm:NAME takes the simple feature
pyramid of ViTDet, from its last map, and HEAD-adapter_timm:NAME the levels of a ViT-Adapter.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from intarsia.recipes import efficientvit, eomt, mask2former, pmt
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family, Method
from intarsia.recipes.schedules import adamw
from intarsia.recipes.timm_facts import (
    depth_of,
    has_tokens,
    heads_of,
    is_plain,
    levels_of,
    of_strides,
    patches_of_16,
    trunk,
)  # fmt: skip
from intarsia.recipes.timm_shown import MARK, METHODS

FORM = re.compile(r"(\w+?)(-sfp|-adapter)?_timm:([\w.-]+)")
PLAIN_RATE, PYRAMID_RATE, LINEAR_RATE = 1e-4, 3e-4, 1e-3
_FINEST, _MOST = 4, 4
"""Stride of the finest level that most heads read, and how many they read at most."""
_FINEST_OF_UNETS, _MOST_OF_UNETS = 2, 5
_SIMPLE_CHANNELS = 256


def network_name(name: str) -> str | None:
    """The network of timm that a recipe is on, or None for another recipe."""
    found = FORM.fullmatch(name)
    return found[3] if found is not None and found[1] in HEADS else None


def method(name: str) -> Method | None:
    """The paper that the head of a recipe is of, or None for another recipe. Builds nothing."""
    return METHODS[name.partition(MARK)[0].partition("-")[0]] if network_name(name) is not None else None


def family(name: str) -> Family | None:
    """The recipe as a family of one; None for another name.

    Raises ValueError for a network that timm does not know, or that takes no images of any size; for a pyramid of a
    network, or for a head, that has no use for one; and where timm is not installed.
    """
    network = network_name(name)
    if network is None:
        return None
    head, _, pyramid = name.partition(MARK)[0].partition("-")
    plain, rate = is_plain(network), PYRAMID_RATE
    others: Config = {}
    if head == "eomt":
        depth = depth_of(network)
        return Family(
            own={name: partial(_eomt, network)},
            learning_rate=eomt.LEARNING_RATE,
            method=METHODS[head],
            others=eomt.training(depth),
            schedule=eomt.own_stages,
        )
    if head == "pmt":
        return Family(
            own={name: partial(_pmt, network)},
            learning_rate=pmt.LEARNING_RATE,
            method=METHODS[head],
            others=pmt.training(),
            schedule=pmt.own_schedule,
        )
    schedule = None
    if head in ("linear", "multilevel"):
        rate, schedule = LINEAR_RATE, warm_up_and_cosine
        others = {"intarsia": {"freeze": ["backbone"]}, "optim_wrapper": adamw(LINEAR_RATE, 1e-3)}
    elif plain or head == "mask2former":
        rate = PLAIN_RATE
    build = partial(HEADS[head], network)
    if pyramid:
        _check_plain(head, pyramid, network)
        build = partial(PYRAMIDS[pyramid], build)
    return Family(own={name: build}, learning_rate=rate, method=METHODS[head], others=others, schedule=schedule)


def warm_up_and_cosine(steps: int) -> list[Config]:
    """As DINOv3 trains its linear heads: a linear warm-up over 1500 of 40,000 steps, then half a cosine to nothing."""
    warm_up = max(steps * 1500 // 40_000, 2)
    cosine: Config = {
        "type": "CosineAnnealingLR",
        "T_max": steps - warm_up,
        "eta_min": 0.0,
        "begin": warm_up,
        "end": steps,
        "by_epoch": False,
    }
    if warm_up >= steps:
        return [{**cosine, "T_max": steps, "begin": 0}]
    return [{"type": "LinearLR", "start_factor": 1e-6, "by_epoch": False, "begin": 0, "end": warm_up}, cosine]


def _pyramid(network: str, bands: int, finest: int = _FINEST, most: int = _MOST) -> tuple[Config, list[int]]:
    """Backbone, and neck where it takes one to get levels of several strides; and the channels of the levels."""
    levels = levels_of(network)
    if not is_plain(network):
        last = {stride: index for index, (_, stride) in enumerate(levels) if stride >= finest}
        indices = [last[stride] for stride in sorted(last)][-most:]
        backbone = trunk(network, bands, out_indices=tuple(indices))
        return {"backbone": backbone}, [levels[index][0] for index in indices]
    width, stride = levels[0]
    neck = {"type": "Feature2Pyramid", "embed_dim": width, "rescales": [4, 2, 1, 0.5], "norm_cfg": NORM}
    return {"backbone": trunk(network, bands, **patches_of_16(stride)), "neck": neck}, [width] * 4


def _check_plain(head: str, pyramid: str, network: str) -> None:
    """Raises ValueError where HEAD_timm makes no pyramid of blocks, whose place another could take."""
    if "neck" not in HEADS[head](network, 2, 3):
        has = f"{head} reads none" if is_plain(network) else f"{network} has levels of several strides"
        raise ValueError(f"-{pyramid} makes a pyramid of a plain transformer, but {has}: take {head}{MARK}{network}")


def _with_simple_pyramid(build: Callable[[int, int], Config], num_logits: int, bands: int) -> Config:
    """The same heads on the levels of a `SimpleFeaturePyramid`."""
    parts = build(num_logits, bands)
    width = parts["neck"]["embed_dim"]
    parts["backbone"] |= {"out_indices": (-1,)}
    parts["neck"] = {"type": "SimpleFeaturePyramid", "embed_dim": width, "out_channels": _SIMPLE_CHANNELS}
    for head in (parts["decode_head"], parts.get("auxiliary_head") or {"in_channels": ()}):
        given = head["in_channels"]
        head["in_channels"] = _SIMPLE_CHANNELS if isinstance(given, int) else [_SIMPLE_CHANNELS for _ in given]
    return parts


def _with_adapter(build: Callable[[int, int], Config], num_logits: int, bands: int) -> Config:
    """The same heads on the levels of a `ViTAdapter`, whose settings are the authors' by the transformer's width."""
    parts = build(num_logits, bands)
    width = parts.pop("neck")["embed_dim"]
    heads = next(heads for heads in (*((16, 12) if width >= 768 else ()), 6, 4, 2, 1) if width % (2 * heads) == 0)
    settings = {"deform_num_heads": 12 if width == 768 else heads, "deform_ratio": 0.5 if width >= 768 else 1.0}
    parts["backbone"] = {**parts["backbone"], "type": "ViTAdapter", **settings, "norm_cfg": NORM}
    return parts


def _common(num_logits: int, **head: Any) -> Config:
    return {
        "dropout_ratio": 0.1,
        "num_classes": num_logits,
        "norm_cfg": NORM,
        "align_corners": False,
        "loss_decode": cross_entropy(),
        **head,
    }


def _auxiliary(num_logits: int, channels: list[int]) -> Config:
    """The usual second head, on the level before the last."""
    if len(channels) < 2:
        return {}
    index = len(channels) - 2
    head = _common(num_logits, type="FCNHead", in_channels=channels[index], in_index=index, channels=256)
    return {"auxiliary_head": {**head, "num_convs": 1, "concat_input": False, "loss_decode": cross_entropy(0.4)}}


def _upernet(network: str, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="UPerHead", **levels, channels=512, pool_scales=(1, 2, 3, 6))
    return {**parts, "decode_head": head, **_auxiliary(num_logits, channels)}


def _segformer(network: str, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    return {**parts, "decode_head": _common(num_logits, type="SegformerHead", **levels, channels=256)}


def _deeplabv3plus(network: str, num_logits: int, bands: int) -> Config:
    levels = levels_of(network, output_stride=16)
    fine = max((index for index, (_, stride) in enumerate(levels) if stride <= _FINEST), default=None)
    if fine is None or fine == len(levels) - 1:
        raise ValueError(
            f"deeplabv3plus reads a level of stride 4 and a coarser one; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    backbone = trunk(network, bands, output_stride=16, out_indices=(fine, len(levels) - 1))
    width = levels[-1][0]
    head = _common(num_logits, type="DepthwiseSeparableASPPHead", in_channels=width, in_index=1, channels=256)
    head |= {"dilations": (1, 6, 12, 18), "c1_in_channels": levels[fine][0], "c1_channels": 48}
    return {"backbone": backbone, "decode_head": head}


def _dilated(head: str, network: str, num_logits: int, bands: int) -> Config:
    """One head on the last level, and the usual second one on the level before it, both at the stride of the papers."""
    stride = 8
    try:
        levels = levels_of(network, output_stride=stride)
    except ValueError as error:
        raise ValueError(
            f"pspnet and deeplabv3 are for networks that can be dilated to stride {stride}: {error}; take upernet or "
            "segformer, or dpt for a plain transformer"
        ) from error
    channels = [width for width, _ in levels[-2:]]
    own: Config = {"channels": 512, "pool_scales": (1, 2, 3, 6)}
    if head == "ASPPHead":
        own = {"channels": 256, "dilations": (1, 12, 24, 36)}
    backbone = trunk(network, bands, output_stride=stride, out_indices=(len(levels) - 2, len(levels) - 1))
    decode_head = _common(num_logits, type=head, in_channels=channels[-1], in_index=1, **own)
    return {"backbone": backbone, "decode_head": decode_head, **_auxiliary(num_logits, channels)}


def _fpn(network: str, num_logits: int, bands: int) -> Config:
    """With the group norms of Panoptic FPN, which do not mind small batches."""
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="SmpFPNHead", **levels, align_corners=True)
    return {**parts, "decode_head": head | {"norm_cfg": {"type": "GN", "num_groups": 32}}}


def _dpt(network: str, num_logits: int, bands: int) -> Config:
    levels = levels_of(network)
    if not is_plain(network):
        raise ValueError(
            f"dpt is for plain transformers; {network} has levels of strides {[stride for _, stride in levels]}: take "
            "fpn, upernet or unet"
        )
    width, stride = levels[0]
    parts = patches_of_16(stride)
    stride = 16 if parts else stride
    tokens = {"tokens": "class"} if has_tokens(network) else {}
    head = _common(num_logits, type="SmpDPTHead", in_channels=[width] * 4, in_index=[0, 1, 2, 3], align_corners=True)
    head |= {"feature_strides": [stride] * 4, "readout_type": "project" if tokens else "ignore"}
    head["post_process_channels"] = [max(width >> shift, 32) for shift in (3, 2, 1, 0)]
    return {"backbone": trunk(network, bands, **parts, **tokens), "decode_head": head}


def _unet(head: str, network: str, num_logits: int, bands: int) -> Config:
    """A decoder that ends at the size of the image, without dropout, as those of segmentation_models.pytorch."""
    parts, channels = _pyramid(network, bands, _FINEST_OF_UNETS, _MOST_OF_UNETS)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    blocks = _doublings(network)
    size: Config = {"decoder_channels": tuple(max(256 >> block, 16) for block in range(blocks))}
    if head == "LinknetHead":
        size = {"num_blocks": blocks, "channels": 32}
    return {**parts, "decode_head": _common(num_logits, type=head, **levels, **size, dropout_ratio=0.0)}


def _linear(network: str, num_logits: int, bands: int) -> Config:
    width, _ = levels_of(network)[-1]
    backbone = trunk(network, bands, out_indices=(-1,), **_last_norm(network))
    return {"backbone": backbone, "decode_head": _linear_head(num_logits, in_channels=width, in_index=0)}


def _multilevel(network: str, num_logits: int, bands: int) -> Config:
    """DINOv2's "+ms" reads the last four blocks."""
    levels = levels_of(network)
    if is_plain(network):
        backbone = trunk(network, bands, out_indices=(-4, -3, -2, -1), norm=True)
        channels = [levels[0][0]] * 4
    else:
        parts, channels = _pyramid(network, bands)
        backbone = parts["backbone"]
    head = _linear_head(num_logits, in_channels=channels, in_index=list(range(len(channels))))
    return {"backbone": backbone, "decode_head": head}


def _doublings(network: str) -> int:
    """How many blocks lead from the coarsest level to the size of the image."""
    if is_plain(network):
        return 5
    strides = sorted({stride for _, stride in levels_of(network) if stride >= _FINEST_OF_UNETS})[-_MOST_OF_UNETS:]
    return len(strides) - 1 + (strides[0] - 1).bit_length()


def _last_norm(network: str) -> Config:
    return {"norm": True} if is_plain(network) else {}


def _linear_head(num_logits: int, **levels: Any) -> Config:
    return _common(num_logits, type="LinearHead", **levels)


def _mask2former(network: str, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    if len(channels) < _MOST:
        raise ValueError(
            f"mask2former reads levels of strides 4, 8, 16 and 32; {network} has levels of strides "
            f"{[stride for _, stride in levels_of(network)]}: take upernet or segformer"
        )
    return {**parts, "decode_head": mask2former.head(channels, num_logits)}


def _eomt(network: str, num_logits: int, bands: int) -> Config:
    width, stride = levels_of(network)[-1]
    options, depth = patches_of_16(stride), depth_of(network)
    stride = 16 if options else stride
    backbone = trunk(network, bands, open_blocks=eomt.blocks(depth), **options)
    return {"backbone": backbone, "decode_head": eomt.head(width, stride, depth, num_logits)}


def _efficientvit(network: str, num_logits: int, bands: int) -> Config:
    levels = levels_of(network)
    indices = of_strides(levels, efficientvit.STRIDES)
    if None in indices or is_plain(network):
        raise ValueError(
            f"efficientvit reads levels of strides 8, 16 and 32; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    channels = [levels[index][0] for index in indices if index is not None]
    backbone = trunk(network, bands, out_indices=tuple(indices))
    return {"backbone": backbone, "decode_head": efficientvit.head(network, channels, num_logits)}


def _pan(network: str, num_logits: int, bands: int) -> Config:
    """As segmentation_models.pytorch has it: a last level of stride 16, where the network can be dilated."""
    parts, channels = _pyramid(network, bands)
    if not is_plain(network):
        parts["backbone"] |= _to_stride_16_as_smp(network) or _to_stride_16(network)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="PANHead", **levels, channels=32, dropout_ratio=0.0, align_corners=True)
    return {**parts, "decode_head": head}


def _to_stride_16_as_smp(network: str) -> Config:
    """The same for networks that are encoders there with the same levels, whose checkpoints fit then."""
    options: Config = {"output_stride": 16, "smp_encoder": True}
    with suppress(ValueError):
        if [width for width, _ in levels_of(network, **options)] == [width for width, _ in levels_of(network)]:
            return options
    return {}


def _to_stride_16(network: str) -> Config:
    """What dilates a network whose last level is coarser, or nothing where it cannot be dilated."""
    if levels_of(network)[-1][1] > 16:
        with suppress(ValueError):
            levels_of(network, output_stride=16)
            return {"output_stride": 16}
    return {}


def _lraspp(network: str, num_logits: int, bands: int) -> Config:
    """As torchvision has it, a last level of stride 16, where the network can be dilated."""
    options = _to_stride_16(network)
    levels = levels_of(network, **options)
    fine, finer = of_strides(levels, (8, 4))
    last = len(levels) - 1
    if fine is None or finer is None or fine == last:
        raise ValueError(
            f"lraspp reads levels of strides 4 and 8 and a coarser one; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    indices = (finer, fine, last)
    backbone = trunk(network, bands, out_indices=indices, **options)
    channels = [levels[index][0] for index in indices]
    head = _common(num_logits, type="LRASPPHead", in_channels=channels, in_index=[0, 1, 2], channels=128)
    return {"backbone": backbone, "decode_head": head}


def _pmt(network: str, num_logits: int, bands: int) -> Config:
    if not is_plain(network):
        raise ValueError(
            f"pmt reads tokens of a plain transformer; {network} is a pyramid: take mask2former or upernet"
        )
    width, stride = levels_of(network)[-1]
    options, stride = ({}, stride) if stride % 4 == 0 else ({"options": {"patch_size": 16}}, 16)
    heads = heads_of(network)
    return {
        "backbone": pmt.trunk(network, bands, **options),
        "decode_head": pmt.head(width, heads, stride, num_logits),
    }


PYRAMIDS = {"sfp": _with_simple_pyramid, "adapter": _with_adapter}
"""What stands behind a head in a name -> the model's parts with such a pyramid of a plain transformer."""


HEADS: dict[str, Callable[[str, int, int], Config]] = {
    "upernet": _upernet,
    "segformer": _segformer,
    "fpn": _fpn,
    "deeplabv3plus": _deeplabv3plus,
    "deeplabv3": partial(_dilated, "ASPPHead"),
    "pspnet": partial(_dilated, "PSPHead"),
    "dpt": _dpt,
    "unet": partial(_unet, "UNetHead"),
    "unetplusplus": partial(_unet, "UNetPlusPlusHead"),
    "linknet": partial(_unet, "LinknetHead"),
    "manet": partial(_unet, "MANetHead"),
    "pan": _pan,
    "efficientvit": _efficientvit,
    "lraspp": _lraspp,
    "linear": _linear,
    "eomt": _eomt,
    "pmt": _pmt,
    "mask2former": _mask2former,
    "multilevel": _multilevel,
}
"""What stands before the mark in a name -> (network, number of logits, bands) -> the model's parts."""
