"""How a model looks at images, by the options of the command line: through windows, and in several views."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Literal, cast, get_args

from intarsia.contracts import Size
from intarsia.inference.threshold import at_threshold
from intarsia.spec import AugmentedInference, InferenceSpec, RunSpec

if TYPE_CHECKING:
    from intarsia.workflows.trained_model import OpenModel

Blend = Literal["average", "gaussian", "linear"]

AUTO = "auto"
"""What an option without numbers has as its value; see `arguments.prepare`."""


def with_views(
    model: OpenModel, *, slide: str | None, blend: str | None, augment: str | None, threshold: float | None = None
) -> OpenModel:
    """The model with another way of looking at images.

    slide: "CROP,STRIDE", "CROP", "auto", or None for what the config says. blend: of `Blend`, or None for that of the
    config. augment: scales, "auto", or None.
    threshold: of a model of two classes, the probability of the second above which a pixel gets it.

    Raises ValueError for numbers that make no sense, or if `slide` is "auto" and nothing says a size.
    """
    inference = model.spec.inference
    if blend is not None and blend not in get_args(Blend):
        raise ValueError(f"--blend is {', '.join(get_args(Blend))}, found {blend!r}")
    if blend is not None:
        inference = dataclasses.replace(inference, blend=cast("Blend", blend))
    if threshold is not None:
        inference = at_threshold(inference, threshold)
    if slide is not None:
        inference = _sliding(inference, model.spec, slide)
    if augment is not None:
        inference = dataclasses.replace(inference, augmented=_augmented(inference, augment))
    return dataclasses.replace(model, spec=dataclasses.replace(model.spec, inference=inference))


def _sliding(inference: InferenceSpec, spec: RunSpec, text: str) -> InferenceSpec:
    sizes = [] if text == AUTO else [_size(word) for word in text.split(",")]
    crop = sizes[0] if sizes else inference.crop_size or spec.preprocess.train_size
    if crop is None:
        raise ValueError("--slide: the config says no size of windows; give one: --slide 512, or --slide 512 341")
    if sizes:  # windows of one's own are seen once
        inference = dataclasses.replace(inference, mirror=False)
    if inference.mode == "slide_even" and inference.stride is None and len(sizes) < 2:
        return dataclasses.replace(inference, crop_size=crop)
    if len(sizes) == 2:
        stride = sizes[1]
    elif crop == inference.crop_size and inference.stride is not None:
        stride = inference.stride
    else:
        stride = (max(1, crop[0] * 2 // 3), max(1, crop[1] * 2 // 3))  # as in nearly all published settings
    if inference.mode in ("whole", "slide_even"):
        inference = dataclasses.replace(inference, mode="slide")
    return dataclasses.replace(inference, crop_size=crop, stride=stride)


def _size(word: str) -> Size:
    height, _, width = word.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"--slide takes pixels, one number or HEIGHTxWIDTH, found {word!r}") from None


def _augmented(inference: InferenceSpec, text: str) -> AugmentedInference:
    from intarsia.inference.tta import USUAL

    named = inference.augmented or USUAL
    if text == AUTO:
        return named
    try:
        scales = tuple(float(word) for word in text.split(","))
    except ValueError:
        raise ValueError(f"--augment takes scales, such as 0.75 1 1.25, found {text!r}") from None
    return dataclasses.replace(named, scales=scales, first=None)
