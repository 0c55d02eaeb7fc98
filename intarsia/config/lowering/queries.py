"""A `decode_head` that classifies masks -> the head, and the objective that OpenMMLab writes inside it.

OpenMMLab describes these heads layer by layer, in dicts within dicts; here they have a few numbers. What is not one of
these numbers must be as in the paper: `vocabulary_queries` says of every key which it is. Keys whose default in
OpenMMLab is not the paper's value must be written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.parts import component
from intarsia.config.schema.fates import bare
from intarsia.spec import Component

QUERY_HEADS = ("EoMTHead", "MaskFormerHead", "Mask2FormerHead", "PMTHead", "SideAdapterCLIPHead")
PIXEL_DECODERS = {"MaskFormerHead": "PixelDecoder", "Mask2FormerHead": "MSDeformAttnPixelDecoder"}
MASK_LOSSES = {
    "EoMTHead": "CrossEntropyLoss",
    "MaskFormerHead": "FocalLoss",
    "Mask2FormerHead": "CrossEntropyLoss",
    "PMTHead": "CrossEntropyLoss",
}
MASK_COSTS = {
    "EoMTHead": "CrossEntropyLossCost",
    "MaskFormerHead": "FocalLossCost",
    "Mask2FormerHead": "CrossEntropyLossCost",
    "PMTHead": "CrossEntropyLossCost",
    "SideAdapterCLIPHead": "CrossEntropyLossCost",
}
ALPHA, GAMMA = 0.25, 2.0
"""OpenMMLab's defaults of the focal loss, and of its cost."""


@dataclass(frozen=True)
class LoweredQueryHead:
    """A head that classifies masks, and what it is trained on."""

    component: Component
    objective: Component
    num_classes: int
    ignore_index: int
    align_corners: bool


def is_query_head(values: Any) -> bool:
    """Whether a `decode_head` of a config is one of these."""
    return isinstance(values, Mapping) and isinstance(values.get("type"), str) and bare(values["type"]) in QUERY_HEADS


def lower_query_head(context: Context, values: Mapping[str, Any], path: str) -> LoweredQueryHead:
    """The head at `path`: a MaskFormerHead or Mask2FormerHead."""
    name = bare(values["type"])
    fields = Fields(context, path, values, name)
    for key in ("in_channels", "num_classes", "pixel_decoder", "transformer_decoder", "positional_encoding"):
        fields.require(key, None, present=values)
    width = fields.get("feat_channels", 256)
    own = ("in_channels", "in_index", "num_classes", "num_queries")
    args = {key: _plain(fields.get(key)) for key in own if key in fields}
    renamed = {"feat_channels": "channels", "out_channels": "mask_channels"}
    args |= {argument: fields.get(key) for key, argument in renamed.items() if key in fields}
    args |= _pixel_decoder(fields, name, width) | _transformer_decoder(fields, width)
    _positions(fields, width)
    if name == "MaskFormerHead" and "enforce_decoder_input_project" in fields:
        args["enforce_decoder_input_project"] = fields.get("enforce_decoder_input_project")
    origin = context.origin(path)
    return LoweredQueryHead(
        component=Component("head", values["type"], args, path, origin),
        objective=Component("objective", "SetCriterion", lower_objective(fields, name), path, origin),
        num_classes=fields.get("num_classes", 0),
        ignore_index=fields.get("ignore_index", 255),
        align_corners=fields.get("align_corners", False),
    )


# --- The network --------------------------------------------------------------------------------------------------


def _pixel_decoder(head: Fields, name: str, width: int) -> dict[str, Any]:
    fields = section(head, "pixel_decoder", f"{name}: pixel_decoder", "type", "norm_cfg")
    expect(fields, "type", PIXEL_DECODERS[name])
    args: dict[str, Any] = {}
    if "norm_cfg" in fields:
        args["norm"] = component(head.context, "norm", fields.get("norm_cfg"), fields.at("norm_cfg"))
    if name == "MaskFormerHead":
        return args
    _positions(fields, width)
    area = f"{name}: pixel_decoder.encoder"
    encoder = section(fields, "encoder", area, "num_layers", "layer_cfg")
    layer = section(encoder, "layer_cfg", f"{area}.layer_cfg", "self_attn_cfg", "ffn_cfg")
    needed = ("num_heads", "num_points", "num_levels", "dropout")
    attention = section(layer, "self_attn_cfg", f"{area}.layer_cfg.self_attn_cfg", *needed)
    perceptron = section(layer, "ffn_cfg", "mask classifier: ffn_cfg", "feedforward_channels")
    expect(attention, "num_levels", 3)
    expect(attention, "dropout", 0.0)
    expect(perceptron, "ffn_drop", 0.0)
    for part in (attention, perceptron):
        expect(part, "embed_dims", width)
    found = {
        "encoder_layers": encoder.get("num_layers"),
        "encoder_heads": attention.get("num_heads"),
        "encoder_points": attention.get("num_points"),
        "encoder_hidden": perceptron.get("feedforward_channels"),
    }
    return args | {key: value for key, value in found.items() if value is not None}


def _transformer_decoder(head: Fields, width: int) -> dict[str, Any]:
    area = "mask classifier: transformer_decoder"
    fields = section(head, "transformer_decoder", area, "num_layers", "layer_cfg")
    layer = section(fields, "layer_cfg", f"{area}.layer_cfg", "self_attn_cfg", "cross_attn_cfg", "ffn_cfg")
    attentions = [
        section(layer, key, "mask classifier: self_attn_cfg, cross_attn_cfg", "num_heads")
        for key in ("self_attn_cfg", "cross_attn_cfg")
    ]
    perceptron = section(layer, "ffn_cfg", "mask classifier: ffn_cfg", "feedforward_channels")
    for part in (*attentions, perceptron):
        expect(part, "embed_dims", width)
    num_heads = attentions[0].get("num_heads")
    expect(attentions[1], "num_heads", num_heads)
    dropout = perceptron.get("ffn_drop", 0.0)
    for part in attentions:
        for key in ("attn_drop", "proj_drop"):
            if part.get(key, 0.0) != dropout:
                message = f"{key} is {part.get(key, 0.0)}, but ffn_drop is {dropout}"
                head.context.problem(part.at(key), message, "There is one dropout for the whole decoder")
    found = {
        "num_layers": fields.get("num_layers"),
        "num_heads": num_heads,
        "hidden": perceptron.get("feedforward_channels"),
        "dropout": float(dropout),
    }
    return {key: value for key, value in found.items() if value is not None}


def _positions(fields: Fields, width: int) -> None:
    """Nothing remains of a positional encoding that is the paper's."""
    needed = ("num_feats", "normalize")
    positions = section(fields, "positional_encoding", "mask classifier: positional_encoding", *needed)
    expect(positions, "type", "SinePositionalEncoding")
    expect(positions, "num_feats", width // 2)
    expect(positions, "normalize", True)


# --- The objective ------------------------------------------------------------------------------------------------


def lower_objective(head: Fields, name: str) -> dict[str, Any]:
    """The arguments of the objective: three losses, and how masks are matched."""
    training = section(head, "train_cfg", f"{name}: train_cfg")
    classes = section(head, "loss_cls", "mask classifier: loss_cls")
    masks = section(head, "loss_mask", f"{name}: loss_mask")
    dice = section(head, "loss_dice", "mask classifier: loss_dice", "naive_dice", "eps")
    expect(classes, "type", "CrossEntropyLoss")
    expect(masks, "type", MASK_LOSSES[name])
    expect(dice, "type", "DiceLoss")
    expect(dice, "naive_dice", True)
    args: dict[str, Any] = {
        "num_classes": head.get("num_classes"),
        "ignore_index": head.get("ignore_index", 255),
        "dice_eps": float(dice.get("eps", 1.0)),
        "loss_weights": tuple(float(part.get("loss_weight", 1.0)) for part in (classes, masks, dice)),
    }
    if "class_weight" in classes:
        args["class_weight"] = _class_weight(classes, head.get("num_classes"))
    if name == "MaskFormerHead":
        args |= {"mask_loss": "focal", "num_points": None}
        args |= {"focal_alpha": float(masks.get("alpha", ALPHA)), "focal_gamma": float(masks.get("gamma", GAMMA))}
    else:
        if "loss_mask" in head:
            masks.require("use_sigmoid", None, present=head.get("loss_mask"))
        expect(masks, "use_sigmoid", True)
        renamed = {"importance_sample_ratio": "importance_ratio"}
        for key in ("num_points", "oversample_ratio", "importance_sample_ratio"):
            if key in training:
                args[renamed.get(key, key)] = training.get(key)
    args["match_weights"] = match_weights(training, name, args)
    return args


def _class_weight(fields: Fields, num_classes: int | None) -> tuple[float, ...]:
    weights = tuple(map(float, fields.get("class_weight")))
    if num_classes is not None and len(weights) != num_classes + 1:
        fields.context.problem(
            fields.at("class_weight"),
            f"class_weight has {len(weights)} entries, but {num_classes} classes and 'nothing' need {num_classes + 1}",
            f"Write [1.0] * {num_classes} + [0.1], or leave class_weight out",
        )
    return weights


def match_weights(training: Fields, name: str, objective: Mapping[str, Any]) -> tuple[float, float, float]:
    """Factors of class, mask and Dice in the matching; those of the losses where nothing is said."""
    if "assigner" not in training:
        first, second, third = objective["loss_weights"]
        return first, second, third
    assigner = section(training, "assigner", "mask classifier: assigner", "match_costs")
    expect(assigner, "type", "HungarianAssigner")
    context, kinds = training.context, ("ClassificationCost", MASK_COSTS[name], "DiceCost")
    weights = dict.fromkeys(kinds, 0.0)
    context.opened(assigner.at("match_costs"))
    for index, values in enumerate(assigner.get("match_costs", ())):
        path = f"{assigner.at('match_costs')}.{index}"
        kind = bare(str(values.get("type", "")))
        if kind not in kinds:
            message = f"{name} is not matched by {values.get('type')!r}"
            context.problem(f"{path}.type", message, nearest(kind, kinds))
            continue
        fields = Fields(context, path, values, kind)
        weights[kind] += float(fields.get("weight", 1.0))
        if kind == "FocalLossCost":
            fields.require("binary_input", None, present=values)
            expect(fields, "binary_input", True)
            _agrees(fields, "alpha", ALPHA, objective["focal_alpha"], "loss_mask")
            _agrees(fields, "gamma", GAMMA, objective["focal_gamma"], "loss_mask")
        elif kind == "DiceCost":
            fields.require("pred_act", None, present=values)
            expect(fields, "pred_act", True)
            fields.require("eps", None, present=values)
            expect(fields, "eps", objective["dice_eps"])
    for_class, for_mask, for_dice = weights.values()
    return for_class, for_mask, for_dice


# --- Reading ------------------------------------------------------------------------------------------------------


def section(parent: Fields, key: str, area: str, *needed: str) -> Fields:
    """The section under a key. needed: keys that must be in it, where there is one."""
    values = parent.get(key) or {}
    fields = Fields(parent.context, parent.at(key), values, area)
    for name in needed if key in parent else ():
        fields.require(name, None, present=values)
    return fields


def expect(fields: Fields, key: str, expected: Any) -> None:
    """Report a value that is there and is not the one that is supported. Of names, registries do not count."""
    found = fields.get(key)
    if key in fields and (bare(found) if isinstance(found, str) else found) != expected:
        fields.context.problem(fields.at(key), f"expected {expected!r} here, found {shown(found)}")


def _agrees(fields: Fields, key: str, default: float, expected: float, loss: str) -> None:
    """Report a number of a cost that is not that of its loss."""
    found = fields.get(key, default)
    if found != expected:
        message = f"{key} is {found}, but that of {loss} is {expected}; masks are matched by what is learnt"
        fields.context.problem(fields.at(key), message, f"Write {key}={expected}")


def _plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value
