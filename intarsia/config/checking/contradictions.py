"""Values of a run that are fine one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator

from intarsia.config.errors import FindOrigin, Problem
from intarsia.config.lowering.names import FAMILIES, OWN_LABELS
from intarsia.config.schema.fates import bare
from intarsia.spec import Component, RunSpec


def contradictions(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Everything in a run that contradicts something else in it. origin: where a path was written."""
    yield from _windows(spec, origin)
    yield from _classes(spec, origin)
    yield from _single_logit(spec, origin)
    yield from _bands(spec, origin)


def _windows(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Sliding windows need a size and a step that leave no gaps."""
    path, inference = "model.test_cfg", spec.inference
    window, step = inference.crop_size, inference.stride
    for key, value in (("crop_size", window), ("stride", step)):
        place = f"{path}.{key}"
        if inference.mode != "whole" and value is None:
            message = f"mode {inference.mode!r} needs {key!r}, which is missing"
            yield Problem(path, message, origin(path), f"Write {key}=(height, width)")
        elif value is not None and min(value) < 1:
            yield Problem(place, f"expected pixels, 1 or more, found {value}", origin(place))
    if inference.mode != "whole" and window and step and (step[0] > window[0] or step[1] > window[1]):
        place = f"{path}.stride"
        message = f"a stride of {step} leaves gaps between windows of {window}"
        yield Problem(place, message, origin(place), "Make it smaller than the window; two thirds are usual")


def _heads(spec: RunSpec) -> Iterator[Component]:
    """Every head, or the head inside it that classifies."""
    for key in ("decode_head", "auxiliary_head"):
        part = spec.model.args.get(key)
        for head in part if isinstance(part, tuple) else (part,):
            if isinstance(head, Component):
                inner = head.args.get("kernel_generate_head")
                yield inner if isinstance(inner, Component) else head


def _classes(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Heads agree on the number of classes, and with the data where its classes are known."""
    last = None
    for head in _heads(spec):
        count = head.args.get("num_classes")
        if bare(head.type) in OWN_LABELS or not isinstance(count, int):
            continue
        if count < 1:
            path = f"{head.path}.num_classes"
            yield Problem(path, f"expected 1 or more, found {count}", origin(path))
        elif last is None:
            last = head
        elif count != last.args["num_classes"] and 1 not in (count, last.args["num_classes"]):
            path = f"{head.path}.num_classes"
            message = f"num_classes is {count}, but {last.path} has {last.args['num_classes']}"
            yield Problem(path, message, origin(path), "All heads learn from the same labels")
    count = spec.inference.num_classes
    if last is None or not count:
        return
    streams = [stream.dataset for stream in (spec.train, spec.val, spec.test) if stream is not None]
    counts = {leaf.path: (leaf, _known_classes(leaf)) for dataset in streams for leaf in _leaves(dataset)}
    known = [(leaf, number) for leaf, number in counts.values() if number is not None]
    if known and not any(number == count or (count == 1 and number == 2) for _, number in known):
        dataset, number = known[0]
        path = f"{last.path}.num_classes"
        message = f"the heads predict {count} classes, but {dataset.type} at {dataset.path} has {number}"
        yield Problem(path, message, origin(path), f"Set num_classes={number} in every head")


def _leaves(dataset: Component) -> Iterator[Component]:
    inner = dataset.args.get("datasets") or dataset.args.get("dataset")
    parts = [part for part in (inner if isinstance(inner, tuple) else (inner,)) if isinstance(part, Component)]
    if not parts:
        yield dataset
    for part in parts:
        yield from _leaves(part)


def _known_classes(dataset: Component) -> int | None:
    classes = dataset.args.get("classes")
    if isinstance(classes, tuple):
        return len(classes)
    return FAMILIES[bare(dataset.type)][0] if bare(dataset.type) in FAMILIES else None


def _single_logit(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """The softmax of a single logit is always 1: nothing would be learned."""
    for head, losses in zip(_heads(spec), spec.losses, strict=False):
        for loss in losses.losses:
            softmax = bare(loss.type) == "CrossEntropyLoss" and not loss.args.get("use_sigmoid", False)
            if head.args.get("num_classes") == 1 and softmax:
                message = "a softmax cross entropy of one logit is always 0, so that nothing is learned"
                hint = "Set use_sigmoid=True, or predict two classes: num_classes=2"
                yield Problem(loss.path, message, origin(loss.path), hint)


def _bands(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """The trunk takes as many bands as there are means."""
    backbone = spec.model.args.get("backbone")
    bands = backbone.args.get("in_channels", 3) if isinstance(backbone, Component) else None
    if isinstance(bands, int) and bands != len(spec.preprocess.mean):
        path = "model.data_preprocessor.mean"
        message = f"mean has {len(spec.preprocess.mean)} entries, but the backbone takes {bands} bands"
        yield Problem(path, message, origin(path), f"Set model.backbone.in_channels={len(spec.preprocess.mean)}")
