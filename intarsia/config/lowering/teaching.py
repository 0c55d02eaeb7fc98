"""Section `intarsia`, what a training learns from besides its labels: unlabelled images, and a teacher."""

from __future__ import annotations

from intarsia.config.lowering.fields import Fields
from intarsia.config.lowering.parts import component
from intarsia.config.schema.fates import bare
from intarsia.spec import EmaSpec, TeacherSpec, UnlabelledSpec

COLOURS = frozenset({
    "AdjustGamma", "CLAHE", "CoarseDropout", "GaussianBlur", "GaussianNoise", "JpegCompression", "MotionBlur",
    "PhotoMetricDistortion", "PoissonNoise", "RandomBrightnessContrast", "RandomColorJitter", "RandomCutOut", "Rerange",
    "RGB2Gray",
})  # fmt: skip
"""Transforms that leave every pixel where it is: what a strong view may be made by."""

TASK = "SemanticSegmentation"
"""The kind of network that can be taught."""


def lower_unlabelled(own: Fields, task: str, ema: EmaSpec | None) -> UnlabelledSpec | None:
    """`intarsia.unlabelled`. ema: the average that is the teacher where `intarsia.teacher` names none."""
    if own.get("unlabelled") is None:
        return None
    fields, default = own.child("unlabelled", "intarsia.unlabelled"), UnlabelledSpec("")
    context = fields.context
    images = fields.require("images", "", present=own.get("unlabelled"))
    _check_task(fields, task)
    if ema is None and own.get("teacher") is None:
        context.problem(
            fields.path,
            "nobody makes the pseudo labels: the config has neither averaged weights nor a teacher",
            "Add custom_hooks=[dict(type='EMAHook', momentum=0.01)], or intarsia.teacher.weights",
        )
    for key in ("confidence", "cut_mix", "ramp_up"):
        if isinstance(value := fields.get(key, 0), float | int) and not 0 <= value <= 1:
            context.problem(fields.at(key), f"expected a number from 0 to 1, found {value}")
    for key in ("ratio", "weight"):
        if not fields.get(key, 1) > 0:
            context.problem(fields.at(key), f"expected a number above 0, found {fields.get(key)}")
    strong = []
    context.opened(fields.at("strong"))
    for index, step in enumerate(fields.get("strong", ())):
        part = component(context, "transform", step, f"{fields.at('strong')}.{index}")
        strong.append(part)
        if part.type and bare(part.type) not in COLOURS and ":" not in part.type:
            context.problem(
                part.path,
                f"{part.type} may move pixels, and the labels are those of another view",
                f"A strong view is made by {', '.join(sorted(COLOURS))}; the training's own pipeline moves both views",
            )
    confidence = fields.get("confidence", default.confidence)
    return UnlabelledSpec(
        images=images,
        ratio=float(fields.get("ratio", default.ratio)),
        confidence=confidence if confidence == "adaptive" else float(confidence),
        weight=float(fields.get("weight", default.weight)),
        ramp_up=float(fields.get("ramp_up", default.ramp_up)),
        cut_mix=float(fields.get("cut_mix", default.cut_mix)),
        strong=tuple(strong),
    )


def lower_teacher(own: Fields, task: str) -> TeacherSpec | None:
    """`intarsia.teacher`."""
    if own.get("teacher") is None:
        return None
    fields, default = own.child("teacher", "intarsia.teacher"), TeacherSpec("")
    weights = fields.require("weights", "", present=own.get("teacher"))
    _check_task(fields, task)
    if not fields.get("temperature", 1) > 0:
        fields.context.problem(fields.at("temperature"), f"expected more than 0, found {fields.get('temperature')}")
    if fields.get("weight", 1) < 0:
        fields.context.problem(fields.at("weight"), f"expected 0 or more, found {fields.get('weight')}")
    return TeacherSpec(
        weights=weights,
        weight=float(fields.get("weight", default.weight)),
        loss=fields.get("loss", default.loss),
        temperature=float(fields.get("temperature", default.temperature)),
    )


def _check_task(fields: Fields, task: str) -> None:
    if task != TASK:
        fields.context.problem(
            fields.path,
            f"networks of {task} cannot be taught: they have no classes of pixels to compare in training",
            "As a teacher, a mask classifier serves; as a student take one with a head of classes, such as segformer",
        )
