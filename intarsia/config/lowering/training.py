"""Optimizer, schedules, length of training: `optim_wrapper`, `param_scheduler`, `train_cfg`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from intarsia import catalog
from intarsia.config.checking.signatures import accepts
from intarsia.config.lowering.fields import Context, Fields, nearest, shown
from intarsia.config.lowering.names import LOOPS
from intarsia.config.lowering.parts import component
from intarsia.config.lowering.plateau import PLATEAU, plateau_args
from intarsia.config.schema.fates import bare, to
from intarsia.config.schema.training import PARAMWISE, SCHEDULES, SCHEDULES_NEED, WRAPPERS
from intarsia.config.schema.vocabulary import AREAS
from intarsia.spec import Component, Duration, OptimSpec, ScheduleSpec

HALF: dict[str | None, Literal["16-mixed", "bf16-mixed"]] = {
    None: "16-mixed",
    "float16": "16-mixed",
    "bfloat16": "bf16-mixed",
}

# --- Optimizer ----------------------------------------------------------------------------------------------------


def lower_optim(
    context: Context,
    values: Mapping[str, Any],
    schedules: Any,
    duration: Duration | None,
    metric: Component | None = None,
) -> OptimSpec:
    """`optim_wrapper` and `param_scheduler`. metric: of the validation, whose scores a schedule may wait for."""
    wrapper = bare(str(values.get("type", "OptimWrapper")))
    apex = AREAS["optim_wrapper (apex)"] if wrapper == "ApexOptimWrapper" else {}
    fields = Fields(context, "optim_wrapper", values, "optim_wrapper", table={**AREAS["optim_wrapper"], **apex})
    if wrapper not in WRAPPERS:
        context.problem(fields.at("type"), f"unknown optimizer wrapper {wrapper!r}", nearest(wrapper, WRAPPERS))
    elif WRAPPERS[wrapper].outcome == "refused":
        context.problem(fields.at("type"), f"{wrapper!r} is not supported: {WRAPPERS[wrapper].text}")
    optimizer = fields.require("optimizer", {"type": "SGD"}, present=values)
    half = wrapper == "AmpOptimWrapper" or bool(apex and fields.get("opt_level", "O1") != "O0" and _enabled(fields))
    for key in ("loss_scale", "dtype"):
        if key in fields and not half and not apex:
            context.problem(fields.at(key), f"{key!r} needs type='AmpOptimWrapper', found {wrapper!r}")
    precision = HALF[fields.get("dtype")] if half else "32-true"
    constructor = _constructor(fields)
    accumulate = _accumulate(fields, duration)
    return OptimSpec(
        optimizer=_optimizer(context, optimizer, fields.at("optimizer")),
        schedules=_schedules(context, schedules, duration, metric),
        paramwise=_paramwise(fields, constructor),
        constructor=constructor,
        clip=_clip(fields),
        accumulate=accumulate,
        iterations_per_step=accumulate,
        precision=precision,
        loss_scale=_loss_scale(fields) if precision == "16-mixed" else None,
    )


def _enabled(apex: Fields) -> bool:
    """Whether apex's half precision is switched on."""
    return apex.get("enabled", True) is not False


def _optimizer(context: Context, values: Mapping[str, Any], path: str) -> Component:
    """The optimizer, or the one that `ZeroRedundancyOptimizer` shares out among processes."""
    inner = values.get("optimizer_type")
    if bare(str(values.get("type"))) != "ZeroRedundancyOptimizer" or not isinstance(inner, str):
        return component(context, "optimizer", values, path)
    context.note(f"{path}: each process has the whole {inner}; --strategy fsdp shares out its state, and the network")
    left = {key: value for key, value in values.items() if key != "optimizer_type"}
    return component(context, "optimizer", {**left, "type": inner}, path)


def _accumulate(fields: Fields, duration: Duration | None) -> int:
    """Batches per optimizer step. OpenMMLab counts batches: a run of 160,000 is one of 80,000 steps of two."""
    found: int = fields.get("accumulative_counts", 1)
    if found < 1:
        fields.context.problem(fields.at("accumulative_counts"), f"expected 1 or more, found {found}")
        return 1
    if found > 1 and duration is not None and duration.unit == "steps":
        fields.context.note(
            f"accumulative_counts={found}: the config counts batches, so its {duration.value:,g} iterations are "
            f"{math.ceil(duration.value / found):,} optimizer steps"
        )
    return found


def _clip(fields: Fields) -> Mapping[str, float] | None:
    given = fields.get("clip_grad")
    if not given:
        return None
    clip = Fields(fields.context, fields.at("clip_grad"), given, "clip_grad")
    by_value = clip.get("type", "norm") == "value"
    for key in ("max_norm", "norm_type") if by_value else ("clip_value",):
        if key in clip:
            fitting = "norm" if by_value else "value"
            clip.context.problem(clip.at(key), f"{key!r} belongs to clipping by {fitting}", f"Write type='{fitting}'")
    if by_value:
        return {"clip_value": clip.require("clip_value", 1.0, present=given)}
    settings = {"max_norm": clip.require("max_norm", 1.0, present=given)}
    return settings | ({"norm_type": float(clip.get("norm_type"))} if "norm_type" in clip else {})


def _loss_scale(fields: Fields) -> float | Literal["dynamic"] | Mapping[str, Any]:
    given: float | Literal["dynamic"] | Mapping[str, Any] = fields.get("loss_scale") or "dynamic"
    if not isinstance(given, Mapping):
        return given
    scale = Fields(fields.context, fields.at("loss_scale"), given, "loss_scale")
    for key, test, wanted in _SCALES:
        if key in scale and not test(scale.get(key)):
            scale.context.problem(scale.at(key), f"expected {wanted}, found {scale.get(key)}")
    if not scale.get("enabled", True):
        return 1.0
    return {key: scale.get(key) for key in given if key in scale and key != "enabled"}


_SCALES: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("init_scale", lambda x: x > 0, "a number above 0"),
    ("growth_factor", lambda x: x > 1, "a factor above 1"),
    ("backoff_factor", lambda x: 0 < x < 1, "a factor between 0 and 1"),
    ("growth_interval", lambda x: x > 0, "1 or more steps"),
)


# --- Parameter groups ---------------------------------------------------------------------------------------------


def _constructor(fields: Fields) -> str:
    """Who reads `paramwise_cfg`. What the user's own modules register is not known before they are imported."""
    name: str = bare(fields.get("constructor") or next(iter(PARAMWISE)))
    known = catalog.names("constructor")
    own = ":" in name or bool(fields.context.config.values.get("custom_imports"))
    if name not in known and not own:
        message = f"unknown constructor {name!r} of parameter groups"
        fields.context.problem(fields.at("constructor"), message, nearest(name, known))
    return name


def _paramwise(fields: Fields, constructor: str) -> Mapping[str, Any]:
    """The rules of `paramwise_cfg`, without those that have no effect."""
    given = fields.get("paramwise_cfg") or {}
    area = PARAMWISE.get(constructor)
    if area is None:
        return dict(given)
    rules = Fields(fields.context, fields.at("paramwise_cfg"), given, area)
    lowered = {key: rules.get(key) for key in given if key in rules}
    if area == PARAMWISE["LayerDecayOptimizerConstructor"]:
        rules.require("num_layers", None, present=given)
        if not {"decay_rate", "layer_decay_rate"} & set(given):
            rules.require("decay_rate", None, present=given)
    if area == PARAMWISE["LayerWiseDecay"]:
        rules.require("decay_rate", None, present=given)
    if lowered.get("custom_keys"):
        rules.context.opened(rules.at("custom_keys"))
        lowered["custom_keys"] = {key: _custom(rules, key, own) for key, own in lowered["custom_keys"].items()}
    return lowered


def _custom(rules: Fields, key: str, given: Any) -> Mapping[str, Any]:
    path = f"{rules.at('custom_keys')}.{key}"
    if not isinstance(given, Mapping):
        rules.context.problem(path, f"expected dict(lr_mult=..., decay_mult=...), found {shown(given)}")
        return {}
    rules.context.saw(path, "paramwise_cfg.custom_keys", "(part of a parameter's name)", to("optim.paramwise"))
    own = Fields(rules.context, path, given, "paramwise_cfg.custom_keys")
    return {name: tuple(v) if isinstance(v := own.get(name), list) else v for name in given if name in own}


# --- Schedules ----------------------------------------------------------------------------------------------------


def _schedules(
    context: Context, given: Any, duration: Duration | None, metric: Component | None
) -> tuple[ScheduleSpec, ...]:
    if given is None:
        return ()
    context.opened("param_scheduler")
    if isinstance(given, Mapping):
        return (_schedule(context, given, "param_scheduler", duration, metric),)
    return tuple(_schedule(context, item, f"param_scheduler.{i}", duration, metric) for i, item in enumerate(given))


def _schedule(
    context: Context, values: Mapping[str, Any], path: str, duration: Duration | None, metric: Component | None
) -> ScheduleSpec:
    written = values.get("type")
    name = bare(written) if isinstance(written, str) else ""
    own = SCHEDULES.get(name, {})
    fields = Fields(context, path, values, "param_scheduler", table={**AREAS["param_scheduler"], **own}, others=not own)
    fields.require("type", "", present=values)
    if not own and isinstance(written, str):
        context.problem(f"{path}.type", f"unknown schedule {written!r}", nearest(written, SCHEDULES))
    for needed in (SCHEDULES_NEED.get(name), "param_name" if "param_name" in own else None):
        if needed is not None and needed not in values:
            context.problem(path, f"{needed!r} is missing", f"{written} needs it")
    begin, end, by_epoch = fields.get("begin", 0), fields.get("end"), fields.get("by_epoch", True)
    if begin < 0 or (end is not None and end <= begin):
        context.problem(path, f"a schedule must begin at 0 or later and end after it begins, found [{begin}, {end})")
    every_step = fields.get("convert_to_iter_based", False)
    if every_step and not by_epoch:
        message = "'convert_to_iter_based' turns epochs into steps, but by_epoch is False"
        context.problem(fields.at("convert_to_iter_based"), message, "Remove it; begin and end are steps already")
    curve, moved = _curve(name, fields.get("param_name", "lr") if "param_name" in own else "lr")
    args = {key: tuple(v) if isinstance(v := fields.get(key), list) else v for key in own if key in fields}
    args.pop("param_name", None)
    if curve == PLATEAU:
        args = plateau_args(fields, args, metric)
    if curve != PLATEAU or begin or end is not None:
        _compare_with_run(context, path, end, by_epoch, duration)
    return ScheduleSpec(
        type=curve,
        begin=begin,
        end=end,
        by_epoch=by_epoch,
        every_step=every_step and by_epoch,
        parameter=moved,
        part=fields.get("part"),
        args=args,
    )


def _curve(name: str, param_name: Literal["lr", "momentum"]) -> tuple[str, Literal["lr", "momentum"]]:
    """The curve of a schedule, and what it moves: "PolyMomentum" is PolyLR of the momentum."""
    if name.endswith("ParamScheduler"):
        return f"{name.removesuffix('ParamScheduler')}LR", param_name
    if not name.endswith("Momentum"):
        return name, "lr"
    return name if name == "OneCycleMomentum" else f"{name.removesuffix('Momentum')}LR", "momentum"


def _compare_with_run(context: Context, path: str, end: int | None, by_epoch: bool, duration: Duration | None) -> None:
    if duration is None:
        return
    unit = "epochs" if by_epoch else "steps"
    if unit != duration.unit:
        context.note(f"{path} counts {unit} while train_cfg counts {duration.unit}")
    elif end is not None and end > duration.value:
        context.note(f"{path} ends at {end} {unit}, after the run, which has {duration.value:g}")


# --- Length of training -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Length:
    """What `train_cfg` says; the fields of RunSpec of these names."""

    duration: Duration | None = None
    evaluate_every: Duration | None = None
    evaluate_from: Duration | None = None
    evaluate_changes: tuple[tuple[Duration, Duration], ...] = ()


def lower_train_cfg(context: Context, values: Mapping[str, Any]) -> Length:
    """How long the run is, and when it is evaluated."""
    fields = Fields(context, "train_cfg", values, "train_cfg")
    loop = bare(fields.get("type", "EpochBasedTrainLoop" if fields.get("by_epoch") else "IterBasedTrainLoop"))
    if loop not in LOOPS:
        context.problem(fields.at("type"), f"unknown loop {loop!r}", nearest(loop, LOOPS))
        return Length()
    epochs = LOOPS[loop] == "epochs"
    key, other, default = ("max_epochs", "max_iters", 1) if epochs else ("max_iters", "max_epochs", 1000)
    unit: Literal["steps", "epochs"] = "epochs" if epochs else "steps"
    if other in fields:
        context.problem(fields.at(other), f"{other!r} does not go with {loop}", f"It counts {key!r}")
    elif fields.get("by_epoch") is not None and fields.get("by_epoch") != epochs:
        context.problem(fields.at("by_epoch"), f"{loop} counts {unit}, but by_epoch is {fields.get('by_epoch')}")
    length = fields.require(key, None, present=values)
    interval = fields.get("val_interval", default)
    begin = fields.get("val_begin")
    for name, number, least in ((key, length, 1), ("val_interval", interval, 1), ("val_begin", begin, 0)):
        if number is not None and number < least:
            context.problem(fields.at(name), f"expected {least} or more, found {number}")
    return Length(
        duration=None if length is None else Duration(length, unit),
        evaluate_every=Duration(interval, unit),
        evaluate_from=Duration(begin, unit) if begin else None,
        evaluate_changes=_changes(fields, unit),
    )


def _changes(fields: Fields, unit: Literal["steps", "epochs"]) -> tuple[tuple[Duration, Duration], ...]:
    """`dynamic_intervals`: from when on evaluations are how far apart.

    MMEngine decides after each iteration (or epoch) by the number of the next, counted from 1. So the interval of
    milestone m holds from the moment when m - 1 are done.
    """
    found: list[tuple[Duration, Duration]] = []
    before = 0
    for index, item in enumerate(fields.get("dynamic_intervals") or ()):
        path = f"{fields.at('dynamic_intervals')}.{index}"
        if not accepts(item, "tuple[int, int]"):
            fields.context.problem(path, f"expected (milestone, interval), found {shown(item)}")
            return ()
        milestone, interval = item
        if milestone <= before:
            wanted = "1 or more" if not found else f"a milestone after {before}, the one before it"
            fields.context.problem(path, f"expected {wanted}, found {milestone}")
        if interval < 1:
            fields.context.problem(path, f"expected an interval of 1 or more, found {interval}")
        found.append((Duration(milestone - 1, unit), Duration(interval, unit)))
        before = milestone
    return tuple(found)


def lower_loop(context: Context, values: Mapping[str, Any], path: str, loop: str) -> None:
    """`val_cfg` and `test_cfg` of the top level: they ask for the one evaluation loop there is."""
    fields = Fields(context, path, values, "val_cfg, test_cfg")
    if fields.get("fp16"):
        context.note(f"{path}.fp16: evaluation has the precision of the run (--precision)")
    if bare(fields.get("type", loop)) != loop:
        context.problem(fields.at("type"), f"unknown loop {fields.get('type')!r}", nearest(fields.get("type"), [loop]))
