"""Test-time augmentation of a config: tta_pipeline and tta_model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from intarsia import catalog
from intarsia.config.lowering.data import PLUMBING
from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.schema.fates import Fate, bare
from intarsia.spec import AugmentedInference


def lower_augmented(
    context: Context, steps: Sequence[Mapping[str, Any]], model: Mapping[str, Any]
) -> AugmentedInference:
    """tta_pipeline and tta_model: the scales and flips over which probabilities are averaged."""
    fields = Fields(context, "tta_model", model, "tta_model")
    if bare(fields.get("type", "SegTTAModel")) != "SegTTAModel":
        context.problem(fields.at("type"), f"expected 'SegTTAModel', found {fields.get('type')!r}")
    context.opened("tta_pipeline")
    scales: list[float] = []
    flips: list[str | None] = []
    for index, step in enumerate(steps):
        at = f"tta_pipeline.{index}"
        if bare(str(step.get("type"))) != "TestTimeAug":
            _pipeline_step(context, step, at)
            continue
        augmentation = Fields(context, at, step, "TestTimeAug")
        context.opened(augmentation.at("transforms"))
        for row, alternatives in enumerate(augmentation.get("transforms", [])):
            for column, alternative in enumerate(alternatives):
                where = f"{augmentation.at('transforms')}.{row}.{column}"
                name = bare(str(alternative.get("type")))
                if name == "Resize":
                    scales += _scale(context, alternative, where)
                elif name == "RandomFlip":
                    flips += _flip(context, alternative, where)
                else:
                    _pipeline_step(context, alternative, where)
    return AugmentedInference(tuple(scales) or (1.0,), tuple(dict.fromkeys(flips)) or (None,))


def _pipeline_step(context: Context, step: Mapping[str, Any], path: str) -> None:
    """A step that every augmented copy shares with the test pipeline."""
    name = bare(str(step.get("type")))
    if name in PLUMBING:
        Fields(context, path, step, name)
        return
    known = set(catalog.names("transform"))
    if name not in known:
        context.problem(f"{path}.type", f"unknown transform {shown(step.get('type'))}", nearest(name, known))
    context.saw(path, "tta_pipeline", name, Fate("no effect", "as in the test pipeline"))


def _scale(context: Context, step: Mapping[str, Any], path: str) -> list[float]:
    fields = Fields(context, path, step, "TestTimeAug: Resize")
    factor = fields.get("scale_factor", 1.0)
    if factor <= 0:
        context.problem(fields.at("scale_factor"), f"expected a factor above 0, found {factor}")
    return [float(factor)]


def _flip(context: Context, step: Mapping[str, Any], path: str) -> list[str | None]:
    fields = Fields(context, path, step, "TestTimeAug: RandomFlip")
    chance = fields.get("prob", 0.0)
    if chance not in (0, 1):
        context.problem(fields.at("prob"), f"expected 0 (as it is) or 1 (flipped), found {chance}")
    return [fields.get("direction", "horizontal") if chance == 1 else None]
