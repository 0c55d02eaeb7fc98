"""Test-time augmentation of a config: tta_pipeline and tta_model."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from intarsia import catalog
from intarsia.config.lowering.data import PLUMBING
from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.names import ONLY_OF_BACKEND
from intarsia.config.schema.fates import Fate, bare
from intarsia.spec import AugmentedInference, ViewSize

RESIZING = ("RandomChoiceResize", "RandomResize", "RandomScale", "ResizeShortestEdge", "ResizeToMultiple")
"""Transforms that size images otherwise than views are sized."""

Scale = float | ViewSize
Step = Mapping[str, Any]


def lower_augmented(
    context: Context, steps: Sequence[Step], model: Mapping[str, Any], tested: Collection[str] | None
) -> AugmentedInference:
    """tta_pipeline and tta_model: the sizes and flips over which probabilities are averaged.

    tested: the transforms of the pipeline that views are made behind; None where there are no test data.
    """
    fields = Fields(context, "tta_model", model, "tta_model")
    if bare(fields.get("type", "SegTTAModel")) != "SegTTAModel":
        context.problem(fields.at("type"), f"expected 'SegTTAModel', found {fields.get('type')!r}")
    context.opened("tta_pipeline")
    lowering = _Views(context, tested)
    for index, step in enumerate(steps):
        lowering.step(step, f"tta_pipeline.{index}")
    return AugmentedInference(tuple(lowering.scales) or (1.0,), tuple(lowering.flips) or (None,), lowering.first)


class _Views:
    """What the steps read so far say of the views."""

    def __init__(self, context: Context, tested: Collection[str] | None) -> None:
        self.context, self.tested = context, tested
        self.scales: list[Scale] = []
        self.flips: list[str | None] = []
        self.first: Scale | None = None
        self._made = ""

    def step(self, step: Step, path: str) -> None:
        """One step of tta_pipeline."""
        name = bare(str(step.get("type")))
        if self._made:
            self.context.problem(path, f"{name} comes after {self._made}, which makes several images of one", "Move it")
        elif name == "TestTimeAug":
            self._made = name
            self._product(step, path)
        elif name == "MultiScaleFlipAug":
            self._made = name
            self._multi_scale_flip(step, path)
        elif name == "Resize" and self.first is None:
            self.first = _size(self.context, step, path)
        else:
            self._shared(step, path)

    def _product(self, step: Step, path: str) -> None:
        """TestTimeAug: a view for every choice of one transform from each of its lists."""
        fields = Fields(self.context, path, step, "TestTimeAug")
        self.context.opened(fields.at("transforms"))
        for row, alternatives in enumerate(fields.get("transforms", [])):
            where = f"{fields.at('transforms')}.{row}"
            names = {bare(str(alternative.get("type"))) for alternative in alternatives}
            places = [f"{where}.{column}" for column in range(len(alternatives))]
            if names == {"Resize"} and not self.scales:
                self.scales = [_size(self.context, *one) for one in zip(alternatives, places, strict=True)]
            elif names == {"RandomFlip"} and not self.flips:
                self.flips = [_flip(self.context, *one) for one in zip(alternatives, places, strict=True)]
            elif len(alternatives) != 1 or names <= {"Resize", "RandomFlip"}:
                found = " and ".join(sorted(names)) or "nothing"
                hint = "Views differ by one list of Resize and one of RandomFlip; every other list has one transform"
                self.context.problem(where, f"a list of alternatives with {found}", hint)
            else:
                self._shared(alternatives[0], places[0])

    def _multi_scale_flip(self, step: Step, path: str) -> None:
        """MultiScaleFlipAug: every scale as it is and in each direction."""
        fields = Fields(self.context, path, step, "MultiScaleFlipAug")
        base = Fields(self.context, fields.at("resize_cfg"), fields.get("resize_cfg", {}), "TestTimeAug: Resize")
        key = "scale_factor" if fields.get("scales") is None else "scales"
        given = fields.get(key, 1.0) or 1.0
        for item in [given] if isinstance(given, int | float) or _is_pair(given, key) else given:
            size = {"scale_factor": item} if key == "scale_factor" else {"scale": item}
            self.scales.append(_view_size(base, fields.at(key), keep_ratio=base.get("keep_ratio", True), **size))
        directions = fields.get("flip_direction", "horizontal")
        directions = [directions] if isinstance(directions, str) else list(directions)
        self.flips = [None, *directions] if fields.get("allow_flip", False) else [None]
        self.context.opened(fields.at("transforms"))
        for index, inner in enumerate(fields.get("transforms", [])):
            self._shared(inner, f"{fields.at('transforms')}.{index}")

    def _shared(self, step: Step, path: str) -> None:
        """A step that every view shares with the test pipeline."""
        name = bare(str(step.get("type")))
        if name in PLUMBING:
            Fields(self.context, path, step, name)
            return
        known = {*catalog.names("transform"), *(self.tested or ())}
        if name not in known:
            self.context.problem(f"{path}.type", f"unknown transform {shown(step.get('type'))}", nearest(name, known))
        elif name in RESIZING or name == "Resize":
            message = f"{name} does not size views here" if name in RESIZING else "there is a Resize before it"
            self.context.problem(path, message, "Write one Resize before TestTimeAug, or a list of them in it")
        elif self.tested is not None and name not in self.tested:
            message = f"{name} is not in the pipeline of the test data, which views are made behind"
            self.context.problem(path, message, "Write it there, too, or leave it out here")
        self.context.saw(path, "tta_pipeline", name, Fate("no effect", "as in the test pipeline"))


def _is_pair(value: Sequence[Any], key: str) -> bool:
    """Whether a list is one size in pixels and not several."""
    return key == "scales" and len(value) == 2 and all(isinstance(side, int) for side in value)


def _size(context: Context, step: Step, path: str) -> Scale:
    fields = Fields(context, path, step, "TestTimeAug: Resize")
    if "scale" not in step and "scale_factor" not in step:
        context.problem(path, "'scale' or 'scale_factor' is missing", "Write scale=(width, height) in pixels")
        return 1.0
    scale, factor = fields.get("scale"), fields.get("scale_factor")
    return _view_size(fields, path, scale=scale, scale_factor=factor, keep_ratio=fields.get("keep_ratio", False))


def _view_size(fields: Fields, path: str, *, keep_ratio: bool, scale: Any = None, scale_factor: Any = None) -> Scale:
    """A size as views have it. fields: of the Resize that says the rest. As in MMCV, `scale` counts where both are."""
    context = fields.context
    given = scale_factor if scale is None else scale
    pair = tuple(given) if isinstance(given, list | tuple) else (given, given)
    wanted, numbers = ("a factor", int | float) if scale is None else ("pixels, (width, height),", int)
    if len(pair) != 2 or not all(isinstance(side, numbers) and 0 < side < math.inf for side in pair):
        context.problem(path, f"expected {wanted} above 0, found {shown(given)}")
        return 1.0
    interpolation, backend = fields.get("interpolation", "bilinear"), fields.get("backend", "cv2")
    if ONLY_OF_BACKEND.get(interpolation, backend) != backend:
        only = ONLY_OF_BACKEND[interpolation]
        context.problem(fields.at("interpolation"), f"{interpolation!r} is an interpolation of backend={only!r} alone")
    if scale is not None:
        return ViewSize(pair, None, keep_ratio, interpolation, backend)
    factors = float(pair[0]), float(pair[1])
    if keep_ratio and factors[0] == factors[1] and (interpolation, backend) == ("bilinear", "cv2"):
        return factors[0]
    return ViewSize(None, factors, keep_ratio, interpolation, backend)


def _flip(context: Context, step: Step, path: str) -> str | None:
    fields = Fields(context, path, step, "TestTimeAug: RandomFlip")
    chance = fields.get("prob", 0.0)
    if chance not in (0, 1):
        context.problem(fields.at("prob"), f"expected 0 (as it is) or 1 (flipped), found {chance}")
    direction: str = fields.get("direction", "horizontal")
    return direction if chance == 1 else None
