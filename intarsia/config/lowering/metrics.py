"""What evaluation counts: `val_evaluator` and `test_evaluator`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from intarsia.config.lowering.fields import Context, Fields
from intarsia.config.lowering.parts import component, see
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


def lower_metrics(context: Context, values: Mapping[str, Any], test_data: DataSpec | None) -> LoweredMetrics:
    """Both evaluators of a config. values: those that are there, by key."""
    found: dict[str, Component] = {}
    submission = None
    for key, value in values.items():
        fields, lowered = _metric(context, value, key)
        if fields is not None and _formats_only(context, fields):
            if key == "test_evaluator":
                submission = SubmissionSpec(fields.get("output_dir"), _format(lowered, test_data))
            else:
                context.problem(
                    fields.at("format_only"),
                    "'format_only' gives no scores, by which a validation judges",
                    "It belongs into test_evaluator",
                )
            continue
        found[key] = lowered
    val, test = found.get("val_evaluator"), found.get("test_evaluator")
    if val is None or test is None:
        return LoweredMetrics(val or test, None, submission)
    return LoweredMetrics(val, None if (val.type, val.args) == (test.type, test.args) else test, submission)


def _metric(context: Context, value: Any, path: str) -> tuple[Fields | None, Component]:
    """One metric, and its keys where they have a table."""
    if not isinstance(value, Mapping):
        context.opened(path)
        if len(value) != 1:
            context.problem(path, f"expected one metric, found {len(value)}", "IoUMetric takes several iou_metrics")
        return _metric(context, value[0] if value else {"type": "IoUMetric"}, f"{path}.0")
    name = bare(str(value.get("type")))
    if name not in _ARGUMENTS:
        return None, component(context, "metric", value, path)
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
    return fields, Component("metric", fields.get("type"), args, path, context.origin(path))


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
