"""`intarsia.multi_label`: a pixel may have several classes, each a yes or no with a sigmoid of its own.

Losses become those of each class, the metric counts each class, and what has no such form is refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.metrics import LoweredMetrics
from intarsia.config.lowering.model import LoweredModel
from intarsia.config.schema.fates import bare
from intarsia.label_sets import MOST, ignored_value, set_count
from intarsia.spec import Component, HeadLossSpec, TermSpec

REFUSED_HEADS: Mapping[str, str] = {
    "IterativeDecodeHead": "its kernels share the pixels out among the classes",
    "PointHead": "it chooses its points by how close the two best classes are",
    "SideAdapterCLIPHead": "CLIP names its masks by a softmax over all names, and was taught one name for an image",
}
"""Head -> why it takes one class for each pixel to be true. Those that make targets of labels are refused for
that."""

REFUSED_TRANSFORMS: Mapping[str, str] = {"RandomCrop": "rare", "CopyPaste": "classes"}
"""Transform -> its argument that names class indices, which labels of sets do not hold."""

_FAMILIES = ("mIoU", "mDice", "mFscore")
_OF_SINGLE_LOGIT = ("CrossEntropyLoss", "DiceLoss", "BatchDiceLoss", "FocalLoss", "LovaszLoss")
_OF_CLASSES = ("class_weight", "alpha")
"""Arguments of losses that may have a number for each class."""


def lower_multi_label(context: Context, own: Fields, model: LoweredModel) -> LoweredModel:
    """The model as it is if the section `intarsia` does not ask for it."""
    if not own.get("multi_label", False):
        return model
    at, count = own.at("multi_label"), model.inference.num_classes
    of_masks = model.objective is not None and bare(model.objective.type) == "SetCriterion"
    if not of_masks and (model.task != "SemanticSegmentation" or model.objective is not None):
        head = model.model.args.get("decode_head")
        name = bare(head.type if isinstance(head, Component) else model.model.type)
        context.problem(at, f"{name} does not give logits of pixels that a sigmoid could be made of", _OTHER)
        return model
    if not 2 <= count <= MOST:
        context.problem(at, f"expected 2 to {MOST} classes, found {count}", "Labels have a bit for each, 16 in all")
        return model
    for problem in _heads(model):
        context.problem(at, problem, _OTHER)
    if of_masks:
        return _of_masks(context, at, model, count)
    return replace(
        model,
        losses=tuple(_head_loss(context, at, head, count) for head in model.losses),
        inference=replace(model.inference, answer="classes"),
    )


def _of_masks(context: Context, at: str, model: LoweredModel, count: int) -> LoweredModel:
    """A network of queries: each class that is there is a mask, and masks may cover each other."""
    assert model.objective is not None
    ignored = model.objective.args.get("ignore_index", 255)
    if ignored < set_count(count):
        context.problem(
            at,
            f"{count} classes take the label values 0 to {set_count(count) - 1}, and decode_head ignores {ignored} "
            "among them",
            f"Set ignore_index={ignored_value(count)} in decode_head, and seg_pad_val={ignored_value(count)} in "
            "data_preprocessor",
        )
    return replace(
        model,
        model=replace(model.model, args={**model.model.args, "multi_label": True}),
        objective=replace(model.objective, args={**model.objective.args, "multi_label": True}),
        inference=replace(model.inference, answer="classes"),
    )


_OTHER = "Take another recipe, such as segformer, upernet, deeplabv3plus or unet, or leave out multi_label"


def _heads(model: LoweredModel) -> Iterator[str]:
    for key in ("decode_head", "auxiliary_head"):
        part = model.model.args.get(key)
        for head in part if isinstance(part, tuple) else (part,):
            if isinstance(head, Component) and (reason := REFUSED_HEADS.get(bare(head.type))):
                yield f"{bare(head.type)} cannot learn several classes of a pixel: {reason}"


# --- Losses -------------------------------------------------------------------------------------------------------


def _head_loss(context: Context, at: str, head: HeadLossSpec, count: int) -> HeadLossSpec:
    ignored = ignored_value(count)
    if head.ignore_index < set_count(count):
        context.problem(
            at,
            f"{count} classes take the label values 0 to {set_count(count) - 1}, and the head {head.head!r} ignores "
            f"{head.ignore_index} among them",
            f"Set ignore_index={ignored} in every head, and seg_pad_val={ignored} in data_preprocessor",
        )
    if head.sampler is not None:
        message = "a sampler chooses pixels by the softmax of their one class"
        context.problem(head.sampler.path or at, message, "Leave the sampler out, or multi_label")
    terms = [_term(context, at, term, head, count) for term in head.terms if term.loss is not None]
    if head.accuracy or len(terms) < len(head.terms):
        right = Component("loss", "RightAnswers", {"ignore_index": head.ignore_index}, at)
        terms.append(TermSpec("acc_seg", right, 0.0))
    return replace(head, terms=tuple(terms), sampler=None, accuracy=False)


def _term(context: Context, at: str, term: TermSpec, head: HeadLossSpec, count: int) -> TermSpec:
    loss = term.loss
    assert loss is not None
    if term.target is not None:
        message = f"the term {term.name} of {head.head!r} learns {term.target.type}, of labels of one class a pixel"
        context.problem(at, message, _OTHER)
        return term
    if (problem := _softmax(loss)) is not None:
        context.problem(loss.path or at, *problem)
        return term
    of_class = _for_each(context, at, loss, head.ignore_index, count)
    args = {"losses": of_class, "ignore_index": head.ignore_index}
    return replace(term, loss=Component("loss", "EachClass", args, loss.path, loss.origin))


def _softmax(loss: Component) -> tuple[str, str] | None:
    """What is wrong with a loss, and what to write instead."""
    name, args = bare(loss.type), loss.args
    contradicts = "compares the classes of a pixel with each other, and multi_label lets it have several"
    if name == "CrossEntropyLoss" and not args.get("use_sigmoid", False):
        return f"the softmax of CrossEntropyLoss {contradicts}", "Set use_sigmoid=True"
    if name == "DiceLoss" and not args.get("use_sigmoid", True):
        return f"the softmax of DiceLoss {contradicts}", "Set use_sigmoid=True"
    if name == "LovaszLoss" and args.get("loss_type", "multi_class") != "binary":
        return f"Lovász-Softmax {contradicts}", "Set loss_type='binary', which is of each class"
    if name not in _OF_SINGLE_LOGIT:
        return f"{name} {contradicts}", f"Take one of {', '.join(_OF_SINGLE_LOGIT)}"
    return None


def _for_each(context: Context, at: str, loss: Component, ignore_index: int, count: int) -> tuple[Component, ...]:
    """The loss of a single logit: one for all classes, or one for each where something weighs them."""
    args = {"ignore_index": ignore_index, **loss.args}
    split = {key: args[key] for key in _OF_CLASSES if isinstance(args.get(key), tuple | list)}
    for key, values in split.items():
        if len(values) != count:
            message = f"{key} has {len(values)} entries for {count} classes"
            context.problem(f"{loss.path or at}.{key}", message, "Give one for each class, in their order")
            return (loss,)
    if not split:
        return (replace(loss, args=args),)
    return tuple(
        replace(loss, args={**args, **{key: (values[k],) for key, values in split.items()}}) for k in range(count)
    )


# --- Metrics ------------------------------------------------------------------------------------------------------


def multi_label_metrics(context: Context, metrics: LoweredMetrics) -> LoweredMetrics:
    """The same evaluations, of each class; an `IoUMetric` says which scores."""
    if metrics.submission is not None:
        context.problem(
            "test_evaluator", "servers of benchmarks take one class for each pixel", "Leave out multi_label"
        )
    return replace(metrics, val=_metric(context, metrics.val), test=_metric(context, metrics.test))


def _metric(context: Context, metric: Component | None) -> Component | None:
    if metric is None or bare(metric.type) == "MultiLabelMetric":
        return metric
    if bare(metric.type) == "Evaluator":
        parts = tuple(_metric(context, part) for part in metric.args["metrics"])
        return replace(metric, args={**metric.args, "metrics": parts})
    if bare(metric.type) != "IoUMetric":
        message = f"{bare(metric.type)} counts one class for each pixel"
        context.problem(metric.path, message, "Write IoUMetric, which then counts each class, or leave out multi_label")
        return metric
    args: dict[str, Any] = {key: value for key, value in metric.args.items() if key in ("metrics", "ignore_index")}
    for key in metric.args.keys() - args.keys() - {"num_classes", "classes"}:
        message = f"{key} has no meaning where a pixel may have several classes"
        context.problem(f"{metric.path}.{key}", message, "Leave it out, or multi_label")
    for name in args.get("metrics", ()):
        if name not in _FAMILIES:
            context.problem(
                f"{metric.path}.iou_metrics", f"{name} counts one class for each pixel", f"Take {', '.join(_FAMILIES)}"
            )
    return replace(metric, type="MultiLabelMetric", args=args)


def refused_transforms(context: Context, transforms: tuple[Component, ...]) -> None:
    """Report transforms that look for class indices in labels."""
    for transform in transforms:
        key = REFUSED_TRANSFORMS.get(bare(transform.type))
        if key is not None and transform.args.get(key) is not None:
            message = f"{key} of {bare(transform.type)} are class indices, and with multi_label labels hold sets"
            context.problem(f"{transform.path}.{key}", message, "Leave it out")
