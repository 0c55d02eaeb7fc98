"""SAN's `decode_head` -> the head, and the objective that OpenMMLab writes inside it as a list of losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intarsia.config.lowering.fields import Context, Fields, nearest
from intarsia.config.lowering.parts import component
from intarsia.config.lowering.queries import LoweredQueryHead, expect, match_weights, section
from intarsia.config.schema.fates import bare
from intarsia.spec import Component

NAME = "SideAdapterCLIPHead"
LOSSES = {
    "loss_cls_ce": ("SideAdapterCLIPHead: loss_cls", "CrossEntropyLoss"),
    "loss_mask_ce": ("SideAdapterCLIPHead: loss_mask", "CrossEntropyLoss"),
    "loss_mask_dice": ("SideAdapterCLIPHead: loss_dice", "DiceLoss"),
}
"""Name in the log -> section of the vocabulary, and kind. The names say which loss it is."""
SIDE = ("clip_channels", "embed_dims", "patch_size", "patch_bias", "num_queries")
ENCODER = {"num_encode_layer": "num_layers", "num_heads": "num_heads", "mlp_ratio": "mlp_ratio"}
DECODER = {
    "num_heads": "bias_heads",
    "num_layers": "bias_layers",
    "embed_channels": "mask_channels",
    "mlp_channels": "mask_hidden",
    "num_mlp": "mask_layers",
    "rescale": "rescale_bias",
}
RECOGNITION = {
    "num_layers": "clip_layers",
    "num_heads": "clip_heads",
    "mlp_ratio": "clip_mlp_ratio",
    "qkv_bias": "clip_qkv_bias",
    "out_dims": "out_dims",
    "final_norm": "final_norm",
}
"""Key -> argument."""


def lower_side_adapter(context: Context, values: Mapping[str, Any], path: str) -> LoweredQueryHead:
    """The head at `path`."""
    fields = Fields(context, path, values, NAME)
    for key in ("num_classes", "san_cfg", "maskgen_cfg", "deep_supervision_idxs"):
        fields.require(key, None, present=values)
    layers = tuple(fields.get("deep_supervision_idxs", ()))
    args: dict[str, Any] = {"num_classes": fields.get("num_classes"), "deep_supervision_idxs": layers}
    if "align_corners" in fields:
        args["align_corners"] = fields.get("align_corners")
    args |= _side(fields) | _recognition(fields)
    origin = context.origin(path)
    objective = {**_objective(fields), "layers": tuple(f"d{index}" for index in layers)}
    return LoweredQueryHead(
        component=Component("head", values["type"], args, path, origin),
        objective=Component("objective", "SetCriterion", objective, path, origin),
        num_classes=fields.get("num_classes", 0),
        ignore_index=fields.get("ignore_index", 255),
        align_corners=fields.get("align_corners", False),
    )


def _side(head: Fields) -> dict[str, Any]:
    """The network beside CLIP."""
    fields = section(head, "san_cfg", f"{NAME}: san_cfg", "cfg_encoder", "cfg_decoder")
    args = {key: fields.get(key) for key in SIDE if key in fields}
    if "in_channels" in fields:
        args["image_channels"] = fields.get("in_channels")
    if "fusion_index" in fields:
        places = tuple(fields.get("fusion_index"))
        args |= {"fusion_index": places, "in_index": tuple(range(len(places)))}
    if "norm_cfg" in fields:
        args["norm"] = component(head.context, "norm", fields.get("norm_cfg"), fields.at("norm_cfg"))
    for key, names in (("cfg_encoder", ENCODER), ("cfg_decoder", DECODER)):
        part = section(fields, key, f"{NAME}: {key}", *names)
        args |= {argument: part.get(written) for written, argument in names.items() if written in part}
    return args


def _recognition(head: Fields) -> dict[str, Any]:
    """CLIP's last layers."""
    fields = section(head, "maskgen_cfg", f"{NAME}: maskgen_cfg")
    side = head.get("san_cfg") or {}
    expect(fields, "sos_token_num", side.get("num_queries", 100))
    expect(fields, "embed_dims", side.get("clip_channels", 768))
    args = {argument: fields.get(key) for key, argument in RECOGNITION.items() if key in fields}
    if "frozen_exclude" in fields:
        args["frozen_exclude"] = tuple(fields.get("frozen_exclude"))
    for key, kind in (("norm_cfg", "norm"), ("act_cfg", "activation")):
        if key in fields:
            args[f"clip_{kind}"] = component(head.context, kind, fields.get(key), fields.at(key))
    return args


def _objective(head: Fields) -> dict[str, Any]:
    """The arguments of the objective: three losses, and how masks are matched."""
    classes, masks, dice = _losses(head)
    training = section(head, "train_cfg", f"{NAME}: train_cfg")
    num_classes = head.get("num_classes")
    expect(masks, "use_sigmoid", True)
    expect(dice, "naive_dice", True)
    args: dict[str, Any] = {
        "num_classes": num_classes,
        "ignore_index": head.get("ignore_index", 255),
        "dice_eps": float(dice.get("eps", 1e-3)),
        "loss_weights": tuple(float(part.get("loss_weight", 1.0)) for part in (classes, masks, dice)),
        "names": tuple(LOSSES),
    }
    if "class_weight" in classes and num_classes is not None:
        args["class_weight"] = _class_weight(classes, num_classes)
    renamed = {"importance_sample_ratio": "importance_ratio"}
    for key in ("num_points", "oversample_ratio", "importance_sample_ratio"):
        if key in training:
            args[renamed.get(key, key)] = training.get(key)
    args["match_weights"] = match_weights(training, NAME, args)
    return args


def _losses(head: Fields) -> list[Fields]:
    """The three losses by their names; what is there twice, missing or of another kind is reported."""
    context, path = head.context, head.at("loss_decode")
    context.opened(path)
    given = head.get("loss_decode")
    values = [given] if isinstance(given, Mapping) else given or []
    found: dict[str, Fields] = {}
    for index, loss in enumerate(values):
        place = f"{path}.{index}"
        name = loss.get("loss_name")
        if name not in LOSSES or name in found:
            message = f"expected one loss each of {', '.join(LOSSES)}, found {name!r}"
            context.problem(f"{place}.loss_name", message, nearest(str(name), LOSSES))
            continue
        area, kind = LOSSES[name]
        fields = found[name] = Fields(context, place, loss, area)
        if bare(str(fields.get("type"))) != kind:
            context.problem(fields.at("type"), f"{name} is a {kind}, found {fields.get('type')!r}")
        if kind == "DiceLoss":
            fields.require("naive_dice", None, present=loss)
        if name == "loss_mask_ce":
            fields.require("use_sigmoid", None, present=loss)
    if missing := [name for name in LOSSES if name not in found]:
        context.problem(path, f"there is no {' and no '.join(missing)}", f"{NAME} is trained on {', '.join(LOSSES)}")
    return [found.get(name, Fields(context, path, {}, area)) for name, (area, _) in LOSSES.items()]


def _class_weight(fields: Fields, num_classes: int) -> tuple[float, ...]:
    """The weights; those of a network with other names serve here too, where all its names have the same."""
    *named, nothing = map(float, fields.get("class_weight"))
    if len(named) == num_classes:
        return (*named, nothing)
    path, count = fields.at("class_weight"), len(named) + 1
    if len(set(named)) != 1:
        message = f"class_weight has {count} entries, but {num_classes} classes and 'nothing' need {num_classes + 1}"
        fields.context.problem(path, message, f"Write [1.0] * {num_classes} + [0.1], or leave class_weight out")
        return (*[1.0] * num_classes, nothing)
    fields.context.note(
        f"{path} has {count} entries for {num_classes} classes and 'nothing': every class weighs {named[0]:g}, "
        f"'nothing' {nothing:g}"
    )
    return (*[named[0]] * num_classes, nothing)
