"""From a resolved config to a RunSpec.

Every key of the config language is either lowered into a field of the RunSpec, known to have no effect here, or refused
by name with the reason; `vocabulary` says which. Everything that is wrong is reported at once. Imports no torch.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.lowering.augmented import lower_augmented
from intarsia.config.lowering.data import lower_data
from intarsia.config.lowering.fields import Context, Fields, Seen, TooMuchError
from intarsia.config.lowering.metrics import lower_metrics
from intarsia.config.lowering.model import LoweredModel, lower_model
from intarsia.config.lowering.multi_label import lower_multi_label, multi_label_metrics, refused_transforms
from intarsia.config.lowering.runtime import (
    Hooks,
    lower_environment,
    lower_imports,
    lower_safeguards,
    lower_scaling,
    lower_start,
    lower_visualizer,
)
from intarsia.config.lowering.strategy import lower_strategy
from intarsia.config.lowering.teaching import lower_teacher, lower_unlabelled
from intarsia.config.lowering.training import Length, lower_loop, lower_optim, lower_train_cfg
from intarsia.config.lowering.trunk import lower_features
from intarsia.config.schema.fates import Fate, bare
from intarsia.config.schema.vocabulary import AREAS, DATALOADERS, LEFTOVERS, OLD
from intarsia.spec import AugmentedInference, DataSpec, Origin, RunSpec

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config

TOP = AREAS["top level"]
VARIABLE = Fate("no effect", "a variable of the file: where it is used, its value is there already")
MISSPELT = Fate("no effect", "a variable of the file; the user is told which key its name resembles")
MOST_COMPARED = 500
"""Variables of a file that are looked at for a misspelt key."""
SIMILAR = 0.85
"""difflib's ratio from which a name counts as a misspelt key: `trian_cfg`, `models`."""


@dataclass(frozen=True)
class Lowered:
    """All that lowering finds. spec: None where there is no model to speak of; usable only without problems."""

    spec: RunSpec | None
    problems: tuple[Problem, ...]
    seen: Mapping[str, Seen]
    notes: tuple[str, ...]


def lower(config: Config) -> RunSpec:
    """The run that a config describes. Raises ConfigError with every problem."""
    found = lower_all(config)
    if found.problems or found.spec is None:
        raise ConfigError(found.problems)
    return found.spec


def lower_all(config: Config) -> Lowered:
    """As `lower`, with the problems beside whatever could be read in spite of them."""
    context = Context(config)
    try:
        spec = _all(context)
    except TooMuchError as error:
        context.problems.append(Problem("", str(error), Origin(config.file, 0)))
        spec = None
    return Lowered(spec, tuple(context.problems), context.seen, tuple(context.notes))


def _all(context: Context) -> RunSpec | None:
    values = context.config.values
    top = Fields(context, "", values, "top level", others=True)
    resembling = _leftovers(context, top)
    model = None
    if top.get("model") is not None:
        model = lower_model(context, top.get("model"), top.get("data_preprocessor"))
    elif "model" not in values:
        _missing(context, "model", "every run needs one", resembling)
    return None if model is None else _run(context, top, model, resembling)


def _run(context: Context, top: Fields, model: LoweredModel, resembling: Mapping[str, str]) -> RunSpec:
    streams = {key: lower_data(context, top.get(key), key) for key in DATALOADERS if top.get(key) is not None}
    evaluators = {key: top.get(key) for key in ("val_evaluator", "test_evaluator") if top.get(key) is not None}
    metrics = lower_metrics(context, evaluators, streams.get(DATALOADERS[2]))
    own = top.child("intarsia", "intarsia")
    model = lower_multi_label(context, own, model)
    several = model.inference.answer == "classes"
    if several:
        metrics = multi_label_metrics(context, metrics)
        refused_transforms(context, tuple(step for stream in streams.values() for step in stream.steps))
    length = Length() if top.get("train_cfg") is None else lower_train_cfg(context, top.get("train_cfg"))
    duration = length.duration
    for key, loop in (("val_cfg", "ValLoop"), ("test_cfg", "TestLoop")):
        if top.get(key) is not None:
            lower_loop(context, top.get(key), key, loop)
    optim = None
    if top.get("optim_wrapper") is not None:
        schedules = top.get("param_scheduler")
        optim = lower_optim(context, top.get("optim_wrapper"), schedules, duration, metrics.val)
    strategy = lower_strategy(context, top)
    optim = strategy.applied(optim)
    if top.get("resume"):
        context.note("resume: a run in --out is gone on with by `intarsia train ... --resume auto`")
    _complete(context, top, resembling)
    unit: Literal["steps", "epochs"] = "epochs" if duration is not None and duration.unit == "epochs" else "steps"
    hooks = Hooks(context, unit, metrics.val)
    hooks.default(top.get("default_hooks") or {})
    hooks.custom(top.get("custom_hooks") or [])
    services = lower_visualizer(context, top)
    written_for = lower_scaling(context, top)
    imports = lower_imports(top)
    runtime, seed = lower_environment(context, top, strategy.sharing)
    train, val, test = (streams.get(key) for key in DATALOADERS)
    if train is not None:
        train = replace(train, transforms=(*train.transforms, *context.batch_transforms))
    return RunSpec(
        model=model.model,
        preprocess=model.preprocess,
        losses=model.losses,
        inference=replace(model.inference, augmented=_augmented(context, top, test or val)),
        task=model.task,
        objective=model.objective,
        train=train,
        val=val,
        test=test,
        metric=metrics.val,
        test_metric=metrics.test,
        submission=metrics.submission,
        optim=optim,
        duration=duration,
        evaluate_every=length.evaluate_every if val is not None else None,
        evaluate_from=length.evaluate_from,
        evaluate_changes=length.evaluate_changes,
        log_every=hooks.log_every,
        checkpoint=hooks.checkpoint,
        ema=hooks.ema,
        early_stop=hooks.early_stop,
        safeguards=replace(lower_safeguards(own, unit), draw_every=hooks.draw_every),
        runtime=replace(runtime, average_statistics=hooks.average_statistics),
        seed=seed,
        written_for=written_for,
        load_from=top.get("load_from") or context.whole,
        pretrained=tuple(context.pretrained),
        start=lower_start(own),
        unlabelled=lower_unlabelled(own, model.task, hooks.ema),
        teacher=lower_teacher(own, model.task),
        features=lower_features(own),
        cache=own.get("cache"),
        augment_on=own.get("augment_on", "workers"),
        imports=imports,
        observers=(*hooks.observers, *services),
        notes=tuple(context.notes),
        source=context.config.values,
    )


# --- The top level ------------------------------------------------------------------------------------------------


def _leftovers(context: Context, top: Fields) -> dict[str, str]:
    """Names that no one reads: variables of the file, unless they look like a misspelt key -> that key."""
    resembling: dict[str, str] = {}
    compared = 0
    for key in top.others():
        if key in OLD:
            _old(context, top, key)
        elif key in LEFTOVERS:
            context.saw(key, "top level", key, VARIABLE)
        elif (compared := compared + 1) <= MOST_COMPARED and (
            near := difflib.get_close_matches(str(key), TOP, n=1, cutoff=SIMILAR)
        ):
            context.saw(str(key), "top level", str(key), MISSPELT)
            context.note(f"{context.origin(str(key)) or 'config'}: nothing reads {key!r}; did you mean {near[0]!r}?")
            resembling.setdefault(near[0], str(key))
        else:
            context.saw(str(key), "top level", str(key), VARIABLE)
    return resembling


def _old(context: Context, top: Fields, key: str) -> None:
    """A key of MMSegmentation 0.x: a leftover beside its successor, an error in its place."""
    new = OLD[key]
    if new in top:
        context.saw(key, "top level", key, Fate("no effect", f"of MMSegmentation 0.x; {new!r} is read instead"))
        if key == "fp16" and top.get(new, {}).get("type") != "AmpOptimWrapper":
            context.note(f"{key} is of MMSegmentation 0.x and has no effect; half precision is type='AmpOptimWrapper'")
    else:
        context.saw(key, "top level", key, Fate("refused", f"of MMSegmentation 0.x; write {new!r}"))
        if isinstance(top.others()[key], Mapping):
            context.problem(key, f"{key!r} is of MMSegmentation 0.x", f"Write {new!r} as in MMSegmentation 1.x")


def _missing(context: Context, key: str, reason: str, resembling: Mapping[str, str], written: str = "") -> None:
    near = resembling.get(key)
    hint = f"Did you mean {key!r} where {near!r} stands?" if near else f"It sets {TOP[key].text}"
    context.problem(key, f"{key!r} is missing: {reason}", hint, written=near or written)


def _complete(context: Context, top: Fields, resembling: Mapping[str, str]) -> None:
    """Training needs data, length and optimizer; evaluation needs data and metric."""
    training = ("train_dataloader", "train_cfg", "optim_wrapper")
    there = [key for key in training if top.get(key) is not None]
    values = context.config.values
    for key in training:
        if there and key not in values:
            _missing(context, key, f"there is {there[0]!r}", resembling, there[0])
    for split in ("val", "test"):
        loader, evaluator = f"{split}_dataloader", f"{split}_evaluator"
        if top.get(loader) is not None and evaluator not in values:
            _missing(context, evaluator, f"there is {loader!r}", resembling, loader)


def _augmented(context: Context, top: Fields, data: DataSpec | None) -> AugmentedInference | None:
    """data: those of the test, whose pipeline views are made behind."""
    pipeline, model = top.get("tta_pipeline"), top.get("tta_model")
    if pipeline is None and model is None:
        return None
    tested = None if data is None else {bare(step.type) for step in data.steps}
    augmented = lower_augmented(context, pipeline or [], model or {}, tested)
    return None if pipeline is None else augmented
