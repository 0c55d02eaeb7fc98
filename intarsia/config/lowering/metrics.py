"""What evaluation counts: `val_evaluator` and `test_evaluator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.parts import component, see, without_places
from intarsia.config.lowering.scores import given_twice
from intarsia.config.schema.fates import bare
from intarsia.spec import Component, DataSpec, SubmissionSpec

FORMATS = {
    "ADE20KDataset": "ade20k",
    "CityscapesDataset": "cityscapes",
    "LoveDADataset": "loveda",
    "iSAIDDataset": "isaid",
}
"""Data sets of benchmarks whose label maps are written with other values than class indices."""

_ARGUMENTS = {
    "CityscapesMetric": ("ignore_index",),
    "DepthMetric": ("depth_metrics", "min_depth_eval", "max_depth_eval", "crop_type"),
    "IoUMetric": ("ignore_index", "nan_to_num", "beta", "empty_images"),
}
"""Keys that are arguments of the same name."""


@dataclass(frozen=True)
class LoweredMetrics:
    """val: of the validation, or of whatever is evaluated. test: of the test data, if it is another."""

    val: Component | None
    test: Component | None = None
    submission: SubmissionSpec | None = None


@dataclass(frozen=True)
class _Metric:
    """One metric of an evaluator. fields: its keys, where they have a table. prefix: of its scores' names."""

    component: Component
    fields: Fields | None = None
    prefix: str | None = None


def lower_metrics(context: Context, values: Mapping[str, Any], test_data: DataSpec | None) -> LoweredMetrics:
    """Both evaluators of a config. values: those that are there, by key."""
    found: dict[str, Component] = {}
    submission = None
    for key, value in values.items():
        metrics = _metrics(context, value, key)
        written = [m for m in metrics if m.fields is not None and _formats_only(context, m.fields)]
        counted = [m for m in metrics if m not in written]
        if counted:
            found[key] = _together(context, counted, key)
        for metric in written:
            assert metric.fields is not None
            if counted:
                context.note(
                    f"{metric.fields.at('format_only')}: nothing is written beside scores; a test_evaluator that has "
                    "this metric alone writes the files for a server"
                )
            elif key == "test_evaluator":
                submission = SubmissionSpec(metric.fields.get("output_dir"), _format(metric.component, test_data))
            else:
                context.problem(
                    metric.fields.at("format_only"),
                    "'format_only' gives no scores, by which a validation judges",
                    "It belongs into test_evaluator",
                )
    val, test = found.get("val_evaluator"), found.get("test_evaluator")
    if val is None or test is None:
        return LoweredMetrics(val or test, None, submission)
    return LoweredMetrics(val, None if without_places(val) == without_places(test) else test, submission)


def _metrics(context: Context, value: Any, path: str) -> list[_Metric]:
    """Those of an evaluator: one, a list of them, or an `Evaluator` of either."""
    if not isinstance(value, Mapping):
        context.opened(path)
        if not value:
            context.problem(path, "expected a metric, found none", "IoUMetric is usual")
        parts = [_metric(context, one, f"{path}.{index}", several=len(value) > 1) for index, one in enumerate(value)]
    elif bare(str(value.get("type"))) == "Evaluator":
        fields = Fields(context, path, value, "Evaluator")
        return _metrics(context, fields.require("metrics", {"type": "IoUMetric"}, present=value), f"{path}.metrics")
    else:
        parts = [_metric(context, value, path, several=False)]
    kept = [part for part in parts if part is not None]
    return kept or [_Metric(Component("metric", "IoUMetric", {}, path, context.origin(path)))]


def _metric(context: Context, value: Mapping[str, Any], path: str, *, several: bool) -> _Metric | None:
    """One metric; None where it gives no scores. several: there are others beside it."""
    context.part()
    name = bare(str(value.get("type")))
    if name == "Evaluator":
        context.problem(path, "an Evaluator holds metrics and is none of several", "Put its metrics here")
        return None
    if name == "DumpResults":
        Fields(context, path, value, name)
        context.note(f"{path}: predictions are written by `intarsia predict WEIGHTS IMAGES -o OUT`")
        return None
    if name not in _ARGUMENTS:
        if not several or "prefix" not in value:
            return _Metric(component(context, "metric", value, path))
        others = {key: item for key, item in value.items() if key != "prefix"}
        fields = Fields(context, path, {"prefix": value["prefix"]}, "metric of one's own")
        return _Metric(component(context, "metric", others, path), None, fields.get("prefix"))
    fields = Fields(context, path, value, name)
    see(context, "metric", name, "type", fields.at("type"))
    args: dict[str, Any] = {}
    if name == "IoUMetric" and "iou_metrics" in fields:
        args["metrics"] = tuple(fields.get("iou_metrics"))
    if name == "IoUMetric" and "groups" in fields:
        args["groups"] = {group: tuple(members) for group, members in fields.get("groups").items()}
    given = {key: fields.get(key) for key in _ARGUMENTS[name] if key in fields}
    args |= {key: tuple(item) if isinstance(item, list) else item for key, item in given.items()}
    if "ignore_index" in _ARGUMENTS[name] and "ignore_index" not in args and context.ignore_index not in (None, 255):
        args["ignore_index"] = context.ignore_index
    made = Component("metric", fields.get("type"), args, path, context.origin(path))
    return _Metric(made, fields, fields.get("prefix"))


def _together(context: Context, metrics: Sequence[_Metric], path: str) -> Component:
    """One metric as it is, and several as one."""
    if len(metrics) == 1:
        return metrics[0].component
    types = [bare(metric.component.type) for metric in metrics]
    if 0 < types.count("DepthMetric") < len(types):
        message = f"DepthMetric compares depths, {next(t for t in types if t != 'DepthMetric')} classes"
        wrong = metrics[types.index("DepthMetric")].component.path
        context.problem(wrong, message, "A network answers with one of both; leave the other out")
    parts = tuple(metric.component for metric in metrics)
    prefixes = tuple(metric.prefix for metric in metrics)
    args = {"metrics": parts} | ({"prefixes": prefixes} if any(prefixes) else {})
    for first, second, names in given_twice(parts, prefixes):
        context.problem(
            second.path,
            f"{bare(first.type)} at {first.path} and {bare(second.type)} both give {', '.join(names)}",
            "Give one of them prefix='...', or one IoUMetric all iou_metrics",
        )
    return Component("metric", "Evaluator", args, path, context.origin(path))


def _formats_only(context: Context, fields: Fields) -> bool:
    """Whether the evaluator only writes files. One that writes them beside its scores is told what does so here."""
    of_depths = fields.area == "DepthMetric"
    if fields.get("format_only") and not of_depths:
        return True
    wanted = "keep_results" if fields.area == "CityscapesMetric" else "output_dir"
    if fields.get(wanted):
        what = "depths" if of_depths else "label maps"
        context.note(
            f"{fields.at(wanted)}: evaluation counts without files; {what} are written by "
            "`intarsia predict WEIGHTS IMAGES -o OUT`"
        )
    return False


def _format(metric: Component, data: DataSpec | None) -> str:
    """What label files are to hold for the server of a benchmark."""
    if bare(metric.type) == "CityscapesMetric":
        return "cityscapes"
    dataset: Any = None if data is None else data.dataset
    while isinstance(dataset, Component):  # what wraps one data set, or several of a kind
        if bare(dataset.type) in FORMATS:
            return FORMATS[bare(dataset.type)]
        inner = dataset.args.get("dataset", dataset.args.get("datasets"))
        dataset = inner[0] if isinstance(inner, Sequence) and not isinstance(inner, str) and inner else inner
    return "indices"
