"""Optimizer, schedules, length of training, evaluation: `optim_wrapper`, `param_scheduler`, `train_cfg`, evaluators."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from intarsia.config.fate import bare
from intarsia.config.fields import Context, Fields, nearest
from intarsia.config.lower_parts import component, see
from intarsia.config.names import CONSTRUCTORS, LOOPS, SCHEDULES, SCHEDULES_NEED
from intarsia.config.vocabulary import AREAS
from intarsia.spec import Component, Duration, OptimSpec, ScheduleSpec

WRAPPERS = ("OptimWrapper", "AmpOptimWrapper")
HALF: dict[str | None, Literal["16-mixed", "bf16-mixed"]] = {
    None: "16-mixed",
    "float16": "16-mixed",
    "bfloat16": "bf16-mixed",
}

# --- Optimizer ----------------------------------------------------------------------------------------------------


def lower_optim(context: Context, values: Mapping[str, Any], schedules: Any, duration: Duration | None) -> OptimSpec:
    """`optim_wrapper` and `param_scheduler`."""
    fields = Fields(context, "optim_wrapper", values, "optim_wrapper")
    wrapper = bare(fields.get("type", WRAPPERS[0]))
    if wrapper not in WRAPPERS:
        context.problem(fields.at("type"), f"unknown optimizer wrapper {wrapper!r}", nearest(wrapper, WRAPPERS))
    optimizer = fields.require("optimizer", {"type": "SGD"}, present=values)
    constructor = fields.get("constructor") or CONSTRUCTORS[0]
    if bare(constructor) not in CONSTRUCTORS:
        hint = nearest(constructor, CONSTRUCTORS)
        context.problem(fields.at("constructor"), f"unknown constructor {constructor!r} of parameter groups", hint)
    half = wrapper == "AmpOptimWrapper"
    for key in ("loss_scale", "dtype"):
        if key in fields and not half:
            context.problem(fields.at(key), f"{key!r} needs type='AmpOptimWrapper', found {wrapper!r}")
    accumulate = fields.get("accumulative_counts", 1)
    if accumulate < 1:
        context.problem(fields.at("accumulative_counts"), f"expected 1 or more, found {accumulate}")
    precision = HALF[fields.get("dtype")] if half else "32-true"
    return OptimSpec(
        optimizer=component(context, "optimizer", optimizer, fields.at("optimizer")),
        schedules=_schedules(context, schedules, duration),
        paramwise=dict(fields.get("paramwise_cfg") or {}),
        constructor=bare(constructor),
        clip=_clip(fields),
        accumulate=accumulate,
        precision=precision,
        loss_scale=fields.get("loss_scale", "dynamic") if precision == "16-mixed" else None,
    )


def _clip(fields: Fields) -> Mapping[str, float] | None:
    given = fields.get("clip_grad")
    if not given:
        return None
    clip = Fields(fields.context, fields.at("clip_grad"), given, "clip_grad")
    limit = clip.require("max_norm", 1.0, present=given)
    settings = {key: clip.get(key) for key in ("norm_type", "error_if_nonfinite") if key in clip}
    return {"max_norm": limit, **settings, **({"norm_type": float("inf")} if clip.get("norm_type") == "inf" else {})}


# --- Schedules ----------------------------------------------------------------------------------------------------


def _schedules(context: Context, given: Any, duration: Duration | None) -> tuple[ScheduleSpec, ...]:
    if given is None:
        return ()
    context.opened("param_scheduler")
    if isinstance(given, Mapping):
        return (_schedule(context, given, "param_scheduler", duration),)
    return tuple(_schedule(context, item, f"param_scheduler.{i}", duration) for i, item in enumerate(given))


def _schedule(context: Context, values: Mapping[str, Any], path: str, duration: Duration | None) -> ScheduleSpec:
    written = values.get("type")
    name, parameter = _schedule_type(written)
    own = SCHEDULES.get(name, {})
    fields = Fields(context, path, values, "param_scheduler", table={**AREAS["param_scheduler"], **own}, others=not own)
    fields.require("type", "", present=values)
    if not own and isinstance(written, str):
        momenta = [key.removesuffix("LR") + "Momentum" for key in SCHEDULES if key.endswith("LR")]
        hint = nearest(written, [*SCHEDULES, *momenta])
        context.problem(f"{path}.type", f"unknown schedule {written!r}", hint)
    needed = SCHEDULES_NEED.get(name)
    if needed is not None and needed not in values:
        context.problem(path, f"{needed!r} is missing", f"{written} needs it")
    begin, end, by_epoch = fields.get("begin", 0), fields.get("end"), fields.get("by_epoch", True)
    if begin < 0 or (end is not None and end <= begin):
        context.problem(path, f"a schedule must begin at 0 or later and end after it begins, found [{begin}, {end})")
    _compare_with_run(context, path, end, by_epoch, duration)
    return ScheduleSpec(
        type=name,
        begin=begin,
        end=end,
        by_epoch=by_epoch,
        parameter=parameter,
        args={key: tuple(v) if isinstance(v := fields.get(key), list) else v for key in own if key in fields},
    )


def _schedule_type(written: Any) -> tuple[str, Literal["lr", "momentum"]]:
    """The table's name for a schedule, and what it moves: "PolyMomentum" is PolyLR of the momentum."""
    name = bare(written) if isinstance(written, str) else ""
    if name.endswith("Momentum"):
        return name.removesuffix("Momentum") + "LR", "momentum"
    return name, "lr"


def _compare_with_run(context: Context, path: str, end: int | None, by_epoch: bool, duration: Duration | None) -> None:
    if duration is None:
        return
    unit = "epochs" if by_epoch else "steps"
    if unit != duration.unit:
        context.note(f"{path} counts {unit} while train_cfg counts {duration.unit}")
    elif end is not None and end > duration.value:
        context.note(f"{path} ends at {end} {unit}, after the run, which has {duration.value:g}")


# --- Length of training -------------------------------------------------------------------------------------------


def lower_train_cfg(context: Context, values: Mapping[str, Any]) -> tuple[Duration | None, Duration | None]:
    """How long the run is, and how often it is evaluated."""
    fields = Fields(context, "train_cfg", values, "train_cfg")
    loop = bare(fields.get("type", "EpochBasedTrainLoop" if fields.get("by_epoch") else "IterBasedTrainLoop"))
    if loop not in LOOPS:
        context.problem(fields.at("type"), f"unknown loop {loop!r}", nearest(loop, LOOPS))
        return None, None
    epochs = LOOPS[loop] == "epochs"
    key, other, default = ("max_epochs", "max_iters", 1) if epochs else ("max_iters", "max_epochs", 1000)
    unit: Literal["steps", "epochs"] = "epochs" if epochs else "steps"
    if other in fields:
        context.problem(fields.at(other), f"{other!r} does not go with {loop}", f"It counts {key!r}")
    elif fields.get("by_epoch") is not None and fields.get("by_epoch") != epochs:
        context.problem(fields.at("by_epoch"), f"{loop} counts {unit}, but by_epoch is {fields.get('by_epoch')}")
    length = fields.require(key, None, present=values)
    interval = fields.get("val_interval", default)
    for name, number in ((key, length), ("val_interval", interval)):
        if number is not None and number < 1:
            context.problem(fields.at(name), f"expected 1 or more, found {number}")
    return None if length is None else Duration(length, unit), Duration(interval, unit)


def lower_loop(context: Context, values: Mapping[str, Any], path: str, loop: str) -> None:
    """`val_cfg` and `test_cfg` of the top level: they ask for the one evaluation loop there is."""
    fields = Fields(context, path, values, "val_cfg, test_cfg")
    if bare(fields.get("type", loop)) != loop:
        context.problem(fields.at("type"), f"unknown loop {fields.get('type')!r}", nearest(fields.get("type"), [loop]))


# --- Evaluation ---------------------------------------------------------------------------------------------------


def lower_metric(context: Context, value: Mapping[str, Any] | Sequence[Mapping[str, Any]], path: str) -> Component:
    """`val_evaluator` or `test_evaluator`."""
    if not isinstance(value, Mapping):
        context.opened(path)
        if len(value) != 1:
            context.problem(path, f"expected one metric, found {len(value)}", "IoUMetric takes several iou_metrics")
        return lower_metric(context, value[0] if value else {"type": "IoUMetric"}, f"{path}.0")
    if bare(str(value.get("type"))) != "IoUMetric":
        return component(context, "metric", value, path)
    fields = Fields(context, path, value, "IoUMetric")
    see(context, "metric", "IoUMetric", "type", fields.at("type"))
    args: dict[str, Any] = {}
    if "iou_metrics" in fields:
        args["metrics"] = tuple(fields.get("iou_metrics"))
    args |= {key: fields.get(key) for key in ("ignore_index", "nan_to_num", "beta") if key in fields}
    if "ignore_index" not in args and context.ignore_index not in (None, 255):
        args["ignore_index"] = context.ignore_index
    return Component("metric", fields.get("type"), args, path, context.origin(path))
