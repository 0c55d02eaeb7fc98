"""What stands on a trunk of timm or transformers in recipes for own data: HEAD_timm:NAME and HEAD_hf:NAME.

There are too many networks to list, so that these recipes are no rows: the name says the head and the network, and the
network itself, built without memory, what levels it gives (`timm_trunks.py`, `hf_trunks.py`).

    upernet          all levels of a pyramid from stride 4 on; of a plain transformer, four blocks made into one
    segformer        the same levels, each through one layer, put together at the finest
    fpn              the same levels, summed from the coarsest down and brought to the finest
    deeplabv3plus    a network that can be dilated to stride 16; of transformers, its last level as it is
    deeplabv3, pspnet
                     a network that can be dilated to stride 8
    dpt              four blocks of a plain transformer, with its class token, made into a pyramid
    unet, unetplusplus, manet, linknet
                     all levels from stride 2 on, of a plain transformer its pyramid, and on to the size of the image
    linear           one layer on the last level of a network that stands still, to see what it has learnt
    multilevel       one layer on the last four blocks of a plain transformer, or all levels of a pyramid, side by side
    eomt             queries in the last blocks of a plain transformer of timm
    pan              levels from stride 4 on, weighed by attention to the last, dilated to stride 16 where that can be
    efficientvit     levels of strides 8, 16 and 32 added up; made for efficientvit_b0 to b3, l1 and l2
    lraspp           next to nothing on levels of strides 4 and 8 and the last, dilated to stride 16 where that can be
    pmt              queries in blocks of their own, on a plain transformer of timm that stands still
    mask2former      four levels from stride 4 on, of a plain transformer its pyramid

Where HEAD_timm:NAME makes a pyramid of four blocks of a plain transformer, HEAD-sfp_timm:NAME takes the simple feature
pyramid of ViTDet, from its last map, and HEAD-adapter_timm:NAME the levels of a ViT-Adapter.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from intarsia.recipes import efficientvit, eomt, mask2former, pmt
from intarsia.recipes.benchmarks import Config
from intarsia.recipes.dilated import NORM, cross_entropy
from intarsia.recipes.published import Family
from intarsia.recipes.schedules import adamw
from intarsia.recipes.timm_shown import METHODS
from intarsia.recipes.trunk_facts import Network, dilated_levels, of_strides

PLAIN_RATE, PYRAMID_RATE, LINEAR_RATE = 1e-4, 3e-4, 1e-3
_FINEST, _MOST = 4, 4
"""Stride of the finest level that most heads read, and how many they read at most."""
_FINEST_OF_UNETS, _MOST_OF_UNETS = 2, 5
_SIMPLE_CHANNELS = 256


def family_on(network: Network, name: str, head: str, pyramid: str) -> Family:
    """A recipe as a family of one. pyramid: "", or one of PYRAMIDS.

    Raises ValueError for a pyramid of a network, or for a head, that has no use for one, and for a head that the
    network is not made for.
    """
    plain, rate = network.is_plain, PYRAMID_RATE
    others: Config = {}
    if head == "eomt":
        depth = network.depth()
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


def _pyramid(network: Network, bands: int, finest: int = _FINEST, most: int = _MOST) -> tuple[Config, list[int]]:
    """Backbone, and neck where it takes one to get levels of several strides; and the channels of the levels."""
    levels = network.levels()
    if not network.is_plain:
        last = {stride: index for index, (_, stride) in enumerate(levels) if stride >= finest}
        indices = [last[stride] for stride in sorted(last)][-most:]
        backbone = network.backbone(bands, out_indices=tuple(indices))
        return {"backbone": backbone}, [levels[index][0] for index in indices]
    width, _ = levels[0]
    neck = {"type": "Feature2Pyramid", "embed_dim": width, "rescales": [4, 2, 1, 0.5], "norm_cfg": NORM}
    return {"backbone": network.backbone(bands, **network.patches_of_16()), "neck": neck}, [width] * 4


def _check_plain(head: str, pyramid: str, network: Network) -> None:
    """Raises ValueError where HEAD_timm makes no pyramid of blocks, whose place another could take."""
    if "neck" not in HEADS[head](network, 2, 3):
        has = f"{head} reads none" if network.is_plain else f"{network} has levels of several strides"
        raise ValueError(
            f"-{pyramid} makes a pyramid of a plain transformer, but {has}: take {head}{network.mark}{network}"
        )


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


def _upernet(network: Network, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="UPerHead", **levels, channels=512, pool_scales=(1, 2, 3, 6))
    return {**parts, "decode_head": head, **_auxiliary(num_logits, channels)}


def _segformer(network: Network, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    return {**parts, "decode_head": _common(num_logits, type="SegformerHead", **levels, channels=256)}


def _deeplabv3plus(network: Network, num_logits: int, bands: int) -> Config:
    """A coarser last level has smaller rates: as wide in pixels as those of the paper, which are for stride 16."""
    options: Config = {"output_stride": 16} if network.dilates else {}
    levels = dilated_levels("deeplabv3plus is", network, 16) if options else network.levels()
    fine = max((index for index, (_, stride) in enumerate(levels) if stride <= _FINEST), default=None)
    if fine is None or fine == len(levels) - 1:
        raise ValueError(
            f"deeplabv3plus reads a level of stride 4 and a coarser one; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    backbone = network.backbone(bands, out_indices=(fine, len(levels) - 1), **options)
    width, stride = levels[-1]
    rates = (1, *(max(rate * 16 // max(stride, 16), 1) for rate in (6, 12, 18)))
    head = _common(num_logits, type="DepthwiseSeparableASPPHead", in_channels=width, in_index=1, channels=256)
    head |= {"dilations": rates, "c1_in_channels": levels[fine][0], "c1_channels": 48}
    return {"backbone": backbone, "decode_head": head}


def _dilated(head: str, network: Network, num_logits: int, bands: int) -> Config:
    """One head on the last level, and the usual second one on the level before it, both at the stride of the papers."""
    stride = 8
    levels = dilated_levels("pspnet and deeplabv3 are", network, stride)
    channels = [width for width, _ in levels[-2:]]
    own: Config = {"channels": 512, "pool_scales": (1, 2, 3, 6)}
    if head == "ASPPHead":
        own = {"channels": 256, "dilations": (1, 12, 24, 36)}
    backbone = network.backbone(bands, output_stride=stride, out_indices=(len(levels) - 2, len(levels) - 1))
    decode_head = _common(num_logits, type=head, in_channels=channels[-1], in_index=1, **own)
    return {"backbone": backbone, "decode_head": decode_head, **_auxiliary(num_logits, channels)}


def _fpn(network: Network, num_logits: int, bands: int) -> Config:
    """With the group norms of Panoptic FPN, which do not mind small batches."""
    parts, channels = _pyramid(network, bands)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="SmpFPNHead", **levels, align_corners=True)
    return {**parts, "decode_head": head | {"norm_cfg": {"type": "GN", "num_groups": 32}}}


def _dpt(network: Network, num_logits: int, bands: int) -> Config:
    levels = network.levels()
    if not network.is_plain:
        raise ValueError(
            f"dpt is for plain transformers; {network} has levels of strides {[stride for _, stride in levels]}: take "
            "fpn, upernet or unet"
        )
    width, stride = levels[0]
    parts = network.patches_of_16()
    stride = 16 if parts else stride
    tokens = {"tokens": "class"} if network.has_tokens else {}
    head = _common(num_logits, type="SmpDPTHead", in_channels=[width] * 4, in_index=[0, 1, 2, 3], align_corners=True)
    head |= {"feature_strides": [stride] * 4, "readout_type": "project" if tokens else "ignore"}
    head["post_process_channels"] = [max(width >> shift, 32) for shift in (3, 2, 1, 0)]
    return {"backbone": network.backbone(bands, **parts, **tokens), "decode_head": head}


def _unet(head: str, network: Network, num_logits: int, bands: int) -> Config:
    """A decoder that ends at the size of the image, without dropout, as those of segmentation_models.pytorch."""
    parts, channels = _pyramid(network, bands, _FINEST_OF_UNETS, _MOST_OF_UNETS)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    blocks = _doublings(network)
    size: Config = {"decoder_channels": tuple(max(256 >> block, 16) for block in range(blocks))}
    if head == "LinknetHead":
        size = {"num_blocks": blocks, "channels": 32}
    return {**parts, "decode_head": _common(num_logits, type=head, **levels, **size, dropout_ratio=0.0)}


def _linear(network: Network, num_logits: int, bands: int) -> Config:
    width, _ = network.levels()[-1]
    backbone = network.backbone(bands, out_indices=(-1,), **network.last_norm)
    return {"backbone": backbone, "decode_head": _linear_head(num_logits, in_channels=width, in_index=0)}


def _multilevel(network: Network, num_logits: int, bands: int) -> Config:
    """DINOv2's "+ms" reads the last four blocks."""
    levels = network.levels()
    if network.is_plain:
        backbone = network.backbone(bands, out_indices=(-4, -3, -2, -1), **network.last_norm)
        channels = [levels[0][0]] * 4
    else:
        parts, channels = _pyramid(network, bands)
        backbone = parts["backbone"]
    head = _linear_head(num_logits, in_channels=channels, in_index=list(range(len(channels))))
    return {"backbone": backbone, "decode_head": head}


def _doublings(network: Network) -> int:
    """How many blocks lead from the coarsest level to the size of the image."""
    if network.is_plain:
        return 5
    strides = sorted({stride for _, stride in network.levels() if stride >= _FINEST_OF_UNETS})[-_MOST_OF_UNETS:]
    return len(strides) - 1 + (strides[0] - 1).bit_length()


def _linear_head(num_logits: int, **levels: Any) -> Config:
    return _common(num_logits, type="LinearHead", **levels)


def _mask2former(network: Network, num_logits: int, bands: int) -> Config:
    parts, channels = _pyramid(network, bands)
    if len(channels) < _MOST:
        raise ValueError(
            f"mask2former reads levels of strides 4, 8, 16 and 32; {network} has levels of strides "
            f"{[stride for _, stride in network.levels()]}: take upernet or segformer"
        )
    return {**parts, "decode_head": mask2former.head(channels, num_logits)}


def _eomt(network: Network, num_logits: int, bands: int) -> Config:
    width, stride = network.levels()[-1]
    options, depth = network.patches_of_16(), network.depth()
    stride = 16 if options else stride
    backbone = network.backbone(bands, open_blocks=eomt.blocks(depth), **options)
    return {"backbone": backbone, "decode_head": eomt.head(width, stride, depth, num_logits)}


def _efficientvit(network: Network, num_logits: int, bands: int) -> Config:
    levels = network.levels()
    indices = of_strides(levels, efficientvit.STRIDES)
    if None in indices or network.is_plain:
        raise ValueError(
            f"efficientvit reads levels of strides 8, 16 and 32; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    channels = [levels[index][0] for index in indices if index is not None]
    backbone = network.backbone(bands, out_indices=tuple(indices))
    return {"backbone": backbone, "decode_head": efficientvit.head(network.name, channels, num_logits)}


def _pan(network: Network, num_logits: int, bands: int) -> Config:
    """As segmentation_models.pytorch has it: a last level of stride 16, where the network can be dilated."""
    parts, channels = _pyramid(network, bands)
    if not network.is_plain:
        parts["backbone"] |= _to_stride_16_as_smp(network) or _to_stride_16(network)
    levels = {"in_channels": channels, "in_index": list(range(len(channels)))}
    head = _common(num_logits, type="PANHead", **levels, channels=32, dropout_ratio=0.0, align_corners=True)
    return {**parts, "decode_head": head}


def _to_stride_16_as_smp(network: Network) -> Config:
    """The same for networks that are encoders there with the same levels, whose checkpoints fit then."""
    options: Config = {"output_stride": 16, "smp_encoder": True}
    with suppress(ValueError):
        if [width for width, _ in network.levels(**options)] == [width for width, _ in network.levels()]:
            return options
    return {}


def _to_stride_16(network: Network) -> Config:
    """What dilates a network whose last level is coarser, or nothing where it cannot be dilated."""
    if network.levels()[-1][1] > 16:
        with suppress(ValueError):
            network.levels(output_stride=16)
            return {"output_stride": 16}
    return {}


def _lraspp(network: Network, num_logits: int, bands: int) -> Config:
    """As torchvision has it, a last level of stride 16, where the network can be dilated."""
    options = _to_stride_16(network)
    levels = network.levels(**options)
    fine, finer = of_strides(levels, (8, 4))
    last = len(levels) - 1
    if fine is None or finer is None or fine == last:
        raise ValueError(
            f"lraspp reads levels of strides 4 and 8 and a coarser one; {network} has levels of strides "
            f"{[stride for _, stride in levels]}: take upernet or segformer"
        )
    indices = (finer, fine, last)
    backbone = network.backbone(bands, out_indices=indices, **options)
    channels = [levels[index][0] for index in indices]
    head = _common(num_logits, type="LRASPPHead", in_channels=channels, in_index=[0, 1, 2], channels=128)
    return {"backbone": backbone, "decode_head": head}


def _pmt(network: Network, num_logits: int, bands: int) -> Config:
    if not network.is_plain:
        raise ValueError(
            f"pmt reads tokens of a plain transformer; {network} is a pyramid: take mask2former or upernet"
        )
    width, stride = network.levels()[-1]
    options, stride = ({}, stride) if stride % 4 == 0 else ({"options": {"patch_size": 16}}, 16)
    heads = network.heads()
    return {
        "backbone": pmt.trunk(network.name, bands, **options),
        "decode_head": pmt.head(width, heads, stride, num_logits),
    }


PYRAMIDS = {"sfp": _with_simple_pyramid, "adapter": _with_adapter}
"""What stands behind a head in a name -> the model's parts with such a pyramid of a plain transformer."""


HEADS: dict[str, Callable[[Network, int, int], Config]] = {
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
