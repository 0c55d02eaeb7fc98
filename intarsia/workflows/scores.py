"""What an evaluation counts, by the options of the command line: which scores, of which groups, where in the image."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia import catalog
from intarsia.config.build import metric_of
from intarsia.config.schema.fates import bare
from intarsia.spec import Component

if TYPE_CHECKING:
    from intarsia.data.pipeline import Pipeline
    from intarsia.workflows.trained_model import OpenModel


CITYSCAPES = "cityscapes"
"""Name of the benchmark's own evaluation, on the command line."""


def with_scores(
    model: OpenModel, *, metrics: str | None, groups: Sequence[str] | None, empty_images: str | None = None
) -> OpenModel:
    """The model with other scores than its config asks for. As `chosen_scores`."""
    if metrics is None and not groups and empty_images is None:
        return model
    metric = chosen_scores(metric_of(model.spec), metrics=metrics, groups=groups, empty_images=empty_images)
    return dataclasses.replace(model, spec=dataclasses.replace(model.spec, metric=metric))


def chosen_scores(
    metric: Component, *, metrics: str | None, groups: Sequence[str] | None, empty_images: str | None = None
) -> Component:
    """The metric of a config with other scores.

    metrics: names, with commas between them, instead of the config's; "cityscapes" alone is that benchmark's own
    evaluation. groups: each "NAME=CLASS,CLASS". empty_images: see `metrics.foreground`.

    Raises ValueError for a group without a class, or if the metric of the config is one that has neither.
    """
    if metrics is None and not groups and empty_images is None:
        return metric
    if bare(metric.type) == "Evaluator":  # its IoUMetric, which is then the only one
        several = metric.args["metrics"]
        metric = next((part for part in several if bare(part.type) == "IoUMetric"), several[0])
    names = [] if metrics is None else [name.strip() for name in metrics.split(",") if name.strip()]
    common = {key: metric.args[key] for key in ("ignore_index", "num_classes", "classes") if key in metric.args}
    if CITYSCAPES in names and metric.type != "MultiLabelMetric":
        if len(names) > 1 or groups:
            raise ValueError(f"--metrics {CITYSCAPES} is the whole evaluation of the benchmark; name it alone")
        return Component("metric", "CityscapesMetric", common)
    if names and catalog.locate("metric", metric.type) == "intarsia.metrics.cityscapes:CityscapesMetric":
        metric = Component("metric", "IoUMetric", common)
    sets = catalog.locate("metric", metric.type) == "intarsia.metrics.multi_label:MultiLabelMetric"
    if sets and (groups or empty_images is not None):
        raise ValueError("--group and --empty-images are for one class a pixel; here a pixel may have several")
    if not sets and catalog.locate("metric", metric.type) != "intarsia.metrics.iou:IoUMetric":
        raise ValueError(
            "--metrics, --group and --empty-images choose scores of IoUMetric, but the config's metric is "
            f"{metric.type}"
        )
    args: dict[str, Any] = dict(metric.args)
    if metrics is not None:
        args["metrics"] = tuple(names)
    if groups:
        args["groups"] = {**args.get("groups", {}), **dict(map(_group, groups))}
    if empty_images is not None:
        args["empty_images"] = empty_images
    return dataclasses.replace(metric, args=args)


def _group(written: str) -> tuple[str, tuple[str, ...]]:
    name, _, members = written.partition("=")
    classes = tuple(member.strip() for member in members.split(",") if member.strip())
    if not name or not classes:
        raise ValueError(f"--group takes NAME=CLASS,CLASS, found {written!r}")
    return name, classes


def within(pipeline: Pipeline, masks: Path | None) -> Pipeline:
    """The pipeline with labels that count inside masks only: a file, or a folder of them; None leaves it as it is."""
    if masks is None:
        return pipeline
    from intarsia.data.datasets.region import RegionDataset
    from intarsia.data.pipeline import Pipeline

    return Pipeline(
        RegionDataset(pipeline.dataset, masks=str(masks)), pipeline.transforms, label_size=pipeline.label_size
    )
