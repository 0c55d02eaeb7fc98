"""`model` -> the tree of its parts, the losses of its heads, preprocessing and inference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from intarsia.config.lowering.batch_augments import lower_batch_augments
from intarsia.config.lowering.eomt import lower_eomt
from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.losses import lower_losses
from intarsia.config.lowering.names import DEFAULT_THRESHOLD, WITHOUT_EFFECT
from intarsia.config.lowering.parts import SKIPPED, argument, arguments, component, weights
from intarsia.config.lowering.queries import is_query_head, lower_query_head
from intarsia.config.lowering.side_adapter import lower_side_adapter
from intarsia.config.schema.fates import bare
from intarsia.spec import Component, HeadLossSpec, InferenceSpec, PreprocessSpec

TASKS = {"DepthEstimator": "DepthEstimation"}
NAMING_HEAD, NAMING_MODEL = "SideAdapterCLIPHead", "MultimodalEncoderDecoder"
"""The head that compares masks with words, and the model that it is a head of."""
OWN_FORMS = {NAMING_HEAD: lower_side_adapter, "EoMTHead": lower_eomt, "PMTHead": lower_eomt}
"""Heads that classify masks and are not written as MaskFormer's and Mask2Former's."""
PARTS_WITH_WEIGHTS = {NAMING_MODEL: ("image_encoder", "text_encoder", "decode_head")}
"""Where `model.pretrained` goes, if not to the backbone."""


@dataclass(frozen=True)
class LoweredModel:
    """What a `model` section says."""

    model: Component
    losses: tuple[HeadLossSpec, ...]
    preprocess: PreprocessSpec
    inference: InferenceSpec
    task: str
    objective: Component | None = None


@dataclass(frozen=True)
class _Head:
    """A head without what is not its own. num_classes: as the user counts them."""

    component: Component
    loss: HeadLossSpec
    num_classes: int
    threshold: float | None


def _whole_weights(context: Context, fields: Fields) -> str | None:
    """`init_cfg` of the model: a file with weights of all of it."""
    given, path = fields.get("init_cfg"), fields.at("init_cfg")
    if given is None:
        return None
    known = len(context.pretrained)
    weights(context, "init_cfg", given, path, part="")
    found = context.pretrained[known:]
    del context.pretrained[known:]
    if given.get("prefix"):
        hint = "Write load_from, and give --prefix to the command"
        context.problem(f"{path}.prefix", "a prefix is read of weights of parts, not of the whole model", hint)
    return found[0][1] if found else None


def lower_model(context: Context, values: Mapping[str, Any], preprocessor: Mapping[str, Any] | None) -> LoweredModel:
    """The model section. preprocessor: `data_preprocessor` of the top level, for a model that has none."""
    fields = Fields(context, "model", values, "model", others=True)
    name = fields.require("type", "", present=values)
    context.whole = _whole_weights(context, fields)
    training = fields.child("train_cfg", "model.train_cfg")
    inference = fields.child("test_cfg", "model.test_cfg")
    if is_query_head(fields.get("decode_head")):
        return _mask_classifier(context, fields, training, inference, preprocessor)
    if bare(name) == NAMING_MODEL:
        context.problem(fields.at("decode_head"), f"the head of a {NAMING_MODEL} is a {NAMING_HEAD}")
    decode = _heads(context, fields, "decode_head", "decode", _for_last_head(training, inference))
    auxiliary = _heads(context, fields, "auxiliary_head", "aux", {})
    args = arguments(context, "model", name, fields.others(), fields.path)
    for key, heads in (("decode_head", decode), ("auxiliary_head", auxiliary)):
        if fields.get(key) is not None:
            parts = tuple(head.component for head in heads)
            args[key] = parts[0] if isinstance(fields.get(key), Mapping) else parts
    if fields.get("pretrained") is not None:
        context.pretrained.append(("backbone", fields.get("pretrained")))
    losses = tuple(head.loss for head in (*decode, *auxiliary))
    ignored = {loss.ignore_index for loss in losses}
    context.ignore_index = ignored.pop() if len(ignored) == 1 else None
    return LoweredModel(
        model=Component("model", name, args, "model", context.origin("model")),
        losses=losses,
        preprocess=_preprocess(context, fields, preprocessor),
        inference=replace(_inference(inference, decode), answer="depth" if bare(name) in TASKS else "class"),
        task=TASKS.get(bare(name), "SemanticSegmentation"),
    )


def _mask_classifier(
    context: Context, fields: Fields, training: Fields, inference: Fields, preprocessor: Mapping[str, Any] | None
) -> LoweredModel:
    """A model whose head classifies masks: its upsampling and its objective are others than those of pixels."""
    name, path = fields.get("type", "EncoderDecoder"), fields.at("decode_head")
    written = fields.get("decode_head")
    kind = bare(written["type"])
    lower_head = OWN_FORMS.get(kind, lower_query_head)
    head = lower_head(context, written, path)
    own, *others = (NAMING_MODEL,) if kind == NAMING_HEAD else ("MaskClassifier", "EncoderDecoder")
    if bare(name) not in (own, *others):
        expected = f"an {others[0]}" if others else f"a {own}"
        context.problem(fields.at("type"), f"{kind} is a head of {expected}, not of {name!r}")
    if fields.get("auxiliary_head") is not None:
        context.problem(fields.at("auxiliary_head"), f"there are no auxiliary heads beside {kind}", "Leave it out")
    for key in _for_last_head(training, inference):
        at = (training if key in training else inference).at(key)
        context.problem(at, f"{kind} has no use for {key!r} here", f"What it has is in {path}.train_cfg")
    args = arguments(context, "model", own, fields.others(), fields.path)
    if fields.get("pretrained") is not None:
        for part in PARTS_WITH_WEIGHTS.get(own, ("backbone",)):
            context.pretrained.append((part, fields.get("pretrained")))
    context.ignore_index = head.ignore_index
    # Names no loss, since the objective is one of all queries; says what labels and inference must know of the head.
    labels = HeadLossSpec("decode", (), head.ignore_index, head.align_corners)
    args["decode_head"] = head.component
    return LoweredModel(
        model=Component("model", own, args, "model", context.origin("model")),
        losses=(labels,),
        preprocess=_preprocess(context, fields, preprocessor),
        inference=_inference(inference, [_Head(head.component, labels, head.num_classes, None)]),
        task="MaskClassification",
        objective=head.objective,
    )


# --- Heads --------------------------------------------------------------------------------------------------------


def _for_last_head(training: Fields, inference: Fields) -> dict[str, Any]:
    """The arguments of the last head that stand in the model's train_cfg and test_cfg."""
    points = ("num_points", "oversample_ratio", "importance_sample_ratio")
    refinement = ("scale_factor", "subdivision_steps", "subdivision_num_points")
    return {
        key: section.get(key)
        for section, keys in ((training, points), (inference, refinement))
        for key in keys
        if key in section
    }


def _heads(context: Context, fields: Fields, key: str, name: str, extra: Mapping[str, Any]) -> tuple[_Head, ...]:
    value = fields.get(key)
    if value is None:
        return ()
    if isinstance(value, Mapping):
        return (_head(context, value, fields.at(key), name, extra),)
    context.opened(fields.at(key))
    last = len(value) - 1
    return tuple(
        _head(context, item, f"{fields.at(key)}.{index}", f"{name}_{index}", extra if index == last else {})
        for index, item in enumerate(value)
    )


def _head(context: Context, values: Mapping[str, Any], path: str, name: str, extra: Mapping[str, Any]) -> _Head:
    if is_query_head(values):
        context.problem(f"{path}.type", f"{bare(values['type'])} is the one decode_head of its model, or none of it")
    fields = Fields(context, path, values, "head", others=True)
    own = {key: value for key, value in fields.others().items() if key not in SKIPPED}
    part = component(context, "head", {"type": values.get("type"), **own}, path)
    args = {**part.args, **extra}
    inner = None
    if "kernel_generate_head" in fields:
        at = fields.at("kernel_generate_head")
        if "classifier" in fields.get("kernel_generate_head"):
            context.problem(f"{at}.classifier", "kernels begin as the weights of a convolution", "Leave it out")
        inner = _head(context, fields.get("kernel_generate_head"), at, name, {})
        args["kernel_generate_head"] = inner.component
    if "dropout_ratio" in fields:
        without_effect = WITHOUT_EFFECT.get((bare(part.type), "dropout_ratio"))
        if without_effect is None:
            args["dropout_ratio"] = max(fields.get("dropout_ratio"), 0.0)
        else:
            context.saw(fields.at("dropout_ratio"), f"head {bare(part.type)}", "dropout_ratio", without_effect)
    if "align_corners" in fields:
        args["align_corners"] = fields.get("align_corners")
    for key, settings in _settings(context, fields).items():
        if settings:
            args[key] = settings
    num_classes, threshold = _classes(context, fields, bare(part.type), args)
    losses = lower_losses(context, fields, bare(part.type), name)
    if inner is not None and not losses.terms:
        num_classes = num_classes or inner.num_classes
        threshold = inner.threshold if threshold is None else threshold
        losses = inner.loss
    if args.get("logits_align_corners") is not None:  # of heads that resize their levels in another way than these
        losses = replace(losses, align_corners=bool(args["logits_align_corners"]))
    return _Head(_classified(context, fields, replace(part, args=args)), losses, num_classes, threshold)


def _classified(context: Context, fields: Fields, head: Component) -> Component:
    """The head, inside what replaces its last layer, where the config asks for that."""
    if fields.get("classifier") is None:
        return head
    part = component(context, "classifier", fields.get("classifier"), fields.at("classifier"))
    return replace(part, args={**part.args, "head": head})


def _settings(context: Context, fields: Fields) -> dict[str, dict[str, Any]]:
    """What belongs to the training or inference of a head that is not one prediction per pixel."""
    found: dict[str, dict[str, Any]] = {"training": {}, "inference": {}}
    for key, section in (("train_cfg", "training"), ("test_cfg", "inference")):
        if fields.get(key):
            found[section] |= argument(context, key, fields.get(key), fields.at(key))
    return found


def _classes(context: Context, fields: Fields, name: str, args: dict[str, Any]) -> tuple[int, float | None]:
    """Classes as the user counts them, and the threshold of a single logit; sets the head's number of logits."""
    num_classes = fields.get("num_classes", 0)
    out_channels = fields.get("out_channels")
    if "num_classes" in fields:
        args["num_classes"] = num_classes
    if out_channels is not None:
        if out_channels != num_classes and not (out_channels == 1 and num_classes == 2):
            context.problem(
                fields.at("out_channels"),
                f"out_channels is {out_channels} but num_classes is {num_classes}",
                "They agree, except that two classes may share one logit: num_classes=2, out_channels=1",
            )
        args["num_classes"] = out_channels
    threshold = fields.get("threshold")
    if args.get("num_classes") == 1:
        return num_classes, DEFAULT_THRESHOLD if threshold is None else threshold
    if threshold is not None:
        context.note(f"{fields.at('threshold')} has no effect: the head has {args.get('num_classes')} logits, not one")
    return num_classes, None


# --- Inference and preprocessing ----------------------------------------------------------------------------------


def _inference(settings: Fields, decode: Sequence[_Head]) -> InferenceSpec:
    last = decode[-1] if decode else None
    return InferenceSpec(
        mode=settings.get("mode", "whole"),
        crop_size=_pair(settings.get("crop_size")),
        stride=_pair(settings.get("stride")),
        blend=settings.get("blend", "average"),
        mirror=settings.get("mirror", False),
        num_classes=0 if last is None else last.num_classes,
        align_corners=last is not None and last.loss.align_corners,
        threshold=None if last is None else last.threshold,
    )


def _pair(value: Any) -> tuple[int, int] | None:
    if value is None:
        return None
    height, width = (value, value) if isinstance(value, int) else value
    return height, width


def _preprocess(context: Context, model: Fields, top: Mapping[str, Any] | None) -> PreprocessSpec:
    """Normalising and padding. The means are in the order of the channels that the network sees.

    OpenMMLab reads images as BGR, so `bgr_to_rgb` and `rgb_to_bgr`, which both swap, mean that the network sees RGB;
    without them it sees BGR. Our samples are RGB. Images with other than three bands are never swapped.
    """
    own = model.get("data_preprocessor")
    path = model.at("data_preprocessor") if own is not None or top is None else "data_preprocessor"
    values = own if own is not None else top or {}
    if not values:
        context.note("there is no data_preprocessor: images go into the network as they are stored")
        return PreprocessSpec(mean=(0.0,) * 3, std=(1.0,) * 3)
    fields = Fields(context, path, values, "data_preprocessor")
    if bare(fields.get("type", "SegDataPreProcessor")) != "SegDataPreProcessor":
        context.problem(fields.at("type"), f"expected 'SegDataPreProcessor', found {fields.get('type')!r}")
    test = fields.child("test_cfg", "data_preprocessor.test_cfg")
    mean, std = _normalisation(context, fields)
    swap, back = fields.get("bgr_to_rgb", False), fields.get("rgb_to_bgr", False)
    if swap and back:
        context.problem(fields.at("rgb_to_bgr"), "bgr_to_rgb and rgb_to_bgr exclude each other", "Keep one of them")
    sizes: dict[str, Any] = {}
    for section, prefix in ((fields, "train"), (test, "eval")):
        if section.get("size") is not None and section.get("size_divisor") is not None:
            context.problem(section.at("size_divisor"), "size and size_divisor exclude each other", "Keep one of them")
        size = section.get("size")
        sizes[f"{prefix}_size"] = None if size is None else tuple(size)
        sizes[f"{prefix}_size_divisor"] = section.get("size_divisor")
    padded = lower_batch_augments(context, fields)
    if padded is not None:
        sizes["train_size"] = padded
    return PreprocessSpec(
        mean=mean,
        std=std,
        channel_order="rgb" if swap or back or len(mean) != 3 else "bgr",
        pad_value=float(fields.get("pad_val", 0)),
        label_pad_value=fields.get("seg_pad_val", 255),
        **sizes,
    )


def _normalisation(context: Context, fields: Fields) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = fields.get("mean"), fields.get("std")
    if (mean is None) != (std is None):
        context.problem(fields.path, "mean and std are given together or not at all")
    if mean is None or std is None:
        context.note("data_preprocessor has no mean and std: images are not normalised")
        return (0.0,) * 3, (1.0,) * 3
    if len(mean) != len(std):
        context.problem(fields.at("std"), f"mean has {len(mean)} entries, one a band, but std has {len(std)}")
    if any(value == 0 for value in std):
        context.problem(fields.at("std"), "a standard deviation of 0 cannot be divided by")
    return tuple(map(float, mean)), tuple(map(float, std))
