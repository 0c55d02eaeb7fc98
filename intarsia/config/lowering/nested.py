"""Dicts within single parts, which become arguments of the part's constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from intarsia.config.lowering import diffusion
from intarsia.config.lowering.fields import Context, Fields, shown
from intarsia.config.schema.fates import Fate, to
from intarsia.config.schema.vocabulary import AREAS


def _stages(context: Context, values: Any, path: str) -> dict[str, Any]:
    """HRNet's `extra`, a dict for each stage, as arguments with an entry for each stage."""
    context.saw(path, "backbone HRNet", "extra", Fate("lowered", "arguments `channels`, `num_blocks`, `num_modules`"))
    extra = _section(context, values, path, "HRNet: extra")
    if extra is None:
        return {}
    args: dict[str, Any] = {"channels": (), "num_blocks": (), "num_modules": ()}
    for number, name in enumerate((name for name in AREAS["HRNet: extra"] if name in extra), start=1):
        stage = Fields(context, extra.at(name), extra.get(name), "HRNet: a stage of extra")
        block = "BOTTLENECK" if number == 1 else "BASIC"
        if stage.get("block", block) != block:
            context.problem(stage.at("block"), f"expected {block!r} in {name}, found {stage.get('block')!r}")
        for key, argument in zip(("num_channels", "num_blocks", "num_modules"), args, strict=True):
            value = stage.require(key, None, present=extra.get(name))
            args[argument] += (tuple(value) if isinstance(value, list | tuple) else value,)
    return args


def _feat_transform(context: Context, values: Any, path: str) -> dict[str, Any]:
    """K-Net's layer before each round: a dict or None, as a switch, since there is one such layer."""
    context.saw(path, "head_part KernelUpdateHead", "feat_transform_cfg", to("argument `feat_transform`"))
    if values is None:
        return {"feat_transform": False}
    fields = _section(context, values, path, "KernelUpdateHead: feat_transform_cfg", "dict | None")
    if fields is not None:
        fields.require("act_cfg", None, present=values)
    return {"feat_transform": True}


def _upsample(context: Context, values: Any, path: str) -> dict[str, Any]:
    """UNet's layer that enlarges a map, as settings of the network."""
    context.saw(path, "backbone UNet", "upsample_cfg", Fate("lowered", "arguments `upsample` ..."))
    fields = _section(context, values, path, "UNet: upsample_cfg")
    if fields is None:
        return {}
    kinds = {"InterpConv": "interpolation", "DeconvModule": "deconvolution"}
    kind = fields.require("type", "InterpConv", present=values)
    if kind not in kinds:
        context.problem(fields.at("type"), f"expected {' or '.join(map(repr, kinds))}, found {kind!r}")
        return {}
    args: dict[str, Any] = {"upsample": kinds[kind]}
    if "kernel_size" in fields:
        args["upsample_kernel_size"] = fields.get("kernel_size")
    if "padding" in fields and fields.get("padding") != fields.get("kernel_size", 1) // 2:
        context.problem(fields.at("padding"), "the padding is half of kernel_size, so that the map keeps its size")
    if "conv_first" in fields:
        args["upsample_conv_first"] = fields.get("conv_first")
    inner = fields.child("upsample_cfg", "UNet: upsample_cfg of upsample_cfg")
    if "align_corners" in inner:
        args["upsample_align_corners"] = inner.get("align_corners")
    return args


def _ham(context: Context, values: Any, path: str) -> dict[str, Any]:
    """LightHamHead's settings of the factorisation."""
    context.saw(path, "head LightHamHead", "ham_kwargs", Fate("lowered", "arguments `num_bases` ..."))
    fields = _section(context, values, path, "LightHamHead: ham_kwargs")
    if fields is None:
        return {}
    names = {"MD_R": "num_bases", "train_steps": "train_steps", "eval_steps": "eval_steps"}
    return {argument: fields.get(key) for key, argument in names.items() if key in fields}


def _fusion(context: Context, values: Any, path: str) -> dict[str, Any]:
    """STDC's fusion of detail and context, as settings of the network."""
    context.saw(path, "backbone STDCContextPathNet", "ffm_cfg", Fate("lowered", "arguments `ffm_in_channels` ..."))
    fields = _section(context, values, path, "STDCContextPathNet: ffm_cfg")
    if fields is None:
        return {}
    return {f"ffm_{key}": fields.get(key) for key in AREAS["STDCContextPathNet: ffm_cfg"] if key in fields}


def _section(context: Context, values: Any, path: str, area: str, expected: str = "dict") -> Fields | None:
    """The dict under its path; anything else is reported."""
    if isinstance(values, Mapping):
        return Fields(context, path, values, area)
    context.problem(path, f"expected {expected}, found {shown(values)}")
    return None


Lower = Callable[[Context, Any, str], dict[str, Any]]

NESTED: dict[tuple[str, str], Lower] = {
    ("HRNet", "extra"): _stages,
    ("KernelUpdateHead", "feat_transform_cfg"): _feat_transform,
    ("LightHamHead", "ham_kwargs"): _ham,
    ("STDCContextPathNet", "ffm_cfg"): _fusion,
    ("UNet", "upsample_cfg"): _upsample,
    ("VPD", "class_embed_path"): diffusion.class_embeddings,
    ("VPD", "diffusion_cfg"): diffusion.diffusion,
    ("VPD", "unet_cfg"): diffusion.wrapper,
}
"""(Part, key) -> what makes arguments of the dict that stands there."""
