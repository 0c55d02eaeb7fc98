"""Builds parts and tasks from the `model` section of a resolved MMSegmentation config, the way a run does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from intarsia import catalog
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Task
from intarsia.spec import Component, PreprocessSpec, RunSpec, TermSpec


def described(model: Mapping[str, Any], *, as_the_original: bool = True) -> RunSpec:
    """What a config says. as_the_original: the Dice loss counts ignored pixels, which is not the default here."""
    spec = lower(Config.from_values({"model": model}, file="reference"))
    if not as_the_original:
        return spec
    return replace(spec, losses=tuple(replace(head, terms=tuple(map(_counted, head.terms))) for head in spec.losses))


def _counted(term: TermSpec) -> TermSpec:
    if term.loss is None or not term.loss.type.endswith("DiceLoss"):
        return term
    return replace(term, loss=replace(term.loss, args={**term.loss.args, "ignored": "no_class"}))


def known(model: Mapping[str, Any]) -> bool:
    """Whether every part of the network, and its losses, exist here."""
    try:
        spec = described(model)
        losses = [(head.terms, head.sampler) for head in spec.losses]
        for component in components([spec.model, spec.objective, losses]):
            catalog.locate(component.kind, component.type)
    except ValueError:
        return False
    return True


def components(value: Any) -> Iterator[Component]:
    """Every component within plain values."""
    if isinstance(value, Component):
        yield value
        value = value.args
    if isinstance(value, TermSpec):
        value = [value.loss, value.target]
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            yield from components(item)


def task(model: Mapping[str, Any], *, preprocessed: bool = True) -> Task:
    """The task. preprocessed: its inputs stand for images after preprocessing, so that nothing is left to be done."""
    spec = described(model)
    if preprocessed:
        bands = model.get("backbone", model.get("image_encoder", {})).get("in_channels", 3)
        spec = replace(spec, preprocess=PreprocessSpec((0.0,) * bands, (1.0,) * bands))
    return build_task(spec)
