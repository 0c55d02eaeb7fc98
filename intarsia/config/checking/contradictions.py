"""Values of a run that are fine one by one and wrong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from intarsia.catalog import MASK_HEADS, OWN_LABELS
from intarsia.config.errors import FindOrigin, Problem
from intarsia.config.lowering.names import FAMILIES, ONLY_OF_BACKEND, OWN_LOSS
from intarsia.config.schema.fates import bare
from intarsia.spec import Component, RunSpec

IGNORE_INDEX = 255
"""What labels of pixels that do not count are, where a config says nothing. (`contracts` would load numpy.)"""


def contradictions(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Everything in a run that contradicts something else in it. origin: where a path was written."""
    yield from _windows(spec, origin)
    yield from _classes(spec, origin)
    yield from _single_logit(spec, origin)
    yield from _bands(spec, origin)
    yield from _ignored_labels(spec, origin)
    yield from _class_weights(spec, origin)
    yield from _interpolations(spec, origin)
    yield from _escaped_paths(spec.source, "", origin)


def _windows(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Sliding windows need a size and a step that leave no gaps, or no step where they are spread evenly."""
    path, inference = "model.test_cfg", spec.inference
    window, step = inference.crop_size, inference.stride
    even = inference.mode == "slide_even"
    if inference.mirror and inference.mode == "whole":
        message = "mirror is of windows, and mode 'whole' has none"
        yield Problem(f"{path}.mirror", message, origin(f"{path}.mirror"), "Write a sliding mode, or leave it out")
    for key, value in (("crop_size", window), ("stride", step)):
        place = f"{path}.{key}"
        if inference.mode != "whole" and value is None and not (even and key == "stride"):
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
                inner = head.args.get("kernel_generate_head", head.args.get("head"))
                yield inner if isinstance(inner, Component) else head


def _classes(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """Heads agree on the number of classes, and with the data where its classes are known."""
    last = None
    for head in _heads(spec):
        count = head.args.get("num_classes")
        if bare(head.type) in OWN_LABELS or not isinstance(count, int):
            continue
        of_images = bare(head.type) == "ImageClassHead"
        if of_images and spec.train is None:
            continue  # whatever labels of images it was taught; our training teaches it the classes of pixels
        if count < 1:
            path = f"{head.path}.num_classes"
            yield Problem(path, f"expected 1 or more, found {count}", origin(path))
        elif last is None:
            last = head
        elif count != last.args["num_classes"] and (of_images or 1 not in (count, last.args["num_classes"])):
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
    classes = dataset.args.get("used_labels", dataset.args.get("classes"))
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
    """The backbone takes as many bands as there are means."""
    key = "image_encoder" if "image_encoder" in spec.model.args else "backbone"
    backbone = spec.model.args.get(key)
    if isinstance(backbone, Component):  # one may be inside another, as in STDC
        backbone = backbone.args.get("backbone", backbone)
    bands = backbone.args.get("in_channels", 3) if isinstance(backbone, Component) else None
    if isinstance(bands, int) and bands != len(spec.preprocess.mean):
        path = "model.data_preprocessor.mean"
        message = f"mean has {len(spec.preprocess.mean)} entries, but the {key} takes {bands} bands"
        yield Problem(path, message, origin(path), f"Set model.{key}.in_channels={len(spec.preprocess.mean)}")


def _ignored_labels(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """What padding writes into labels is what the losses ignore. In a run that trains; others pad no labels."""
    if spec.train is None:
        return
    written = {"model.data_preprocessor.seg_pad_val": spec.preprocess.label_pad_value}
    for transform in spec.train.steps:
        if bare(transform.type) == "Pad":
            value = transform.args.get("pad_val")
            label = value.get("seg", IGNORE_INDEX) if isinstance(value, Mapping) else IGNORE_INDEX
            written[f"{transform.path}.pad_val"] = label
    depth = any(bare(head.type) in OWN_LOSS for head in _heads(spec))  # a depth of 0 is one that is not known
    for losses in () if depth else spec.losses:
        for path, value in written.items() if losses.losses else ():
            if isinstance(value, int) and value != losses.ignore_index:
                head = "decode_head" if losses.head == "decode" else "auxiliary_head"
                message = f"padding writes {value} into labels, but model.{head} ignores {losses.ignore_index}"
                hint = f"Let both be the same; {IGNORE_INDEX} is usual, and no class"
                yield Problem(path, message, origin(path) or origin(f"model.{head}.ignore_index"), hint)


def _class_weights(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """There is a weight for each class."""
    for head, losses in zip(_heads(spec), spec.losses, strict=False):
        count = head.args.get("num_classes")
        if bare(head.type) in MASK_HEADS:
            continue  # their class "nothing" has a weight, too
        for loss in losses.losses:
            weights = loss.args.get("class_weight")
            if isinstance(count, int) and isinstance(weights, tuple | list) and len(weights) != count:
                path = f"{loss.path}.class_weight"
                message = f"class_weight has {len(weights)} entries, but {head.path} predicts {count} classes"
                yield Problem(path, message, origin(path), "Give one weight for each class, in their order")


PATHS = (
    "ann_file", "checkpoint", "class_weight", "data_root", "depth_map_path", "img_path", "img_path2", "load_from",
    "pretrained", "seg_map_path", "work_dir",
)  # fmt: skip
"""Keys whose values, where they are strings, are paths."""

ESCAPES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v"}


def _interpolations(spec: RunSpec, origin: FindOrigin) -> Iterator[Problem]:
    """A transform's interpolation is one of its backend."""
    for data in (spec.train, spec.val, spec.test):
        for step in () if data is None else data.steps:
            backend = ONLY_OF_BACKEND.get(str(step.args.get("interpolation")), "")
            if backend and backend != step.args.get("backend", "cv2"):
                path = f"{step.path}.interpolation"
                message = f"{step.args['interpolation']!r} is an interpolation of backend={backend!r} alone"
                yield Problem(path, message, origin(path), f"Write backend={backend!r}, or 'bilinear'")


def _escaped_paths(value: Any, path: str, origin: FindOrigin) -> Iterator[Problem]:
    """A path of Windows typed between ordinary quotes, in which backslash and n are a line feed."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, tuple | list) else ()
    for key, item in items:
        below = f"{path}.{key}" if path else str(key)
        if key in PATHS and isinstance(item, str):
            found = [ESCAPES[letter] for letter in item if letter in ESCAPES]
            if found:
                said = f"{' and '.join(dict.fromkeys(found))} in this path became control characters: {item!r}"
                yield Problem(below, said, origin(below), "Write r'...', or / instead of the backslashes")
        else:
            yield from _escaped_paths(item, below, origin)
