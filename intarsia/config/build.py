"""From components to objects: the only place where a part of a config becomes something that runs.

Arguments are built before the part that takes them. What a constructor refuses is reported as a ConfigError with the
place in the config. Torch is imported by the functions here, never by this module.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from intarsia import catalog, consent
from intarsia.config import network_size
from intarsia.config.checking.foreign_code import require_consent
from intarsia.config.checking.signatures import signature_of
from intarsia.config.errors import ConfigError, Problem
from intarsia.spec import Component, DataSpec, HeadLossSpec, RunSpec, TermSpec

if TYPE_CHECKING:
    from intarsia.contracts import Dataset, Metric, Task
    from intarsia.data.pipeline import Pipeline
    from intarsia.tasks.semantic import HeadLoss, HeadTerm


def build(component: Component) -> Any:
    """The object that a component describes, its parts first.

    Raises ConfigError naming the component's path: it is unknown, or its constructor refuses its arguments.
    """
    if component.kind in network_size.KINDS:
        with network_size.bounded():
            return _build(component)
    return _build(component)


def _build(component: Component) -> Any:
    args = {name: _built(value) for name, value in component.args.items()}
    try:
        if component.kind in network_size.KINDS:
            network_size.check_numbers(component)
        return catalog.resolve(component.kind, component.type)(**args)
    except Exception as error:  # whatever a constructor raises, also a user's own, is about what the config says
        kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
        message = f"{component.type} cannot be built: {kind}{error}"
        raise ConfigError([Problem(component.path, message, component.origin)]) from error


def _built(value: Any) -> Any:
    if isinstance(value, Component):
        return build(value)
    if isinstance(value, Mapping):
        return {key: _built(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return tuple(map(_built, value))
    return value


def import_parts(spec: RunSpec) -> None:
    """Import the user's own modules (`custom_imports`), so that the parts they register are known.

    Raises ConfigError where the config names code that nobody has agreed to run, with every place that does, or a
    module that cannot be imported.
    """
    require_consent(spec)
    for module in spec.imports:
        consent.look_here()
        try:
            importlib.import_module(module)
        except Exception as error:  # whatever the user's own module raises, while it is imported
            message = f"the module {module!r} cannot be imported: {type(error).__name__}: {error}"
            hint = "Is its folder on PYTHONPATH?" if isinstance(error, ImportError) else ""
            raise ConfigError([Problem("custom_imports", message, None, hint)]) from error


def build_task(spec: RunSpec) -> Task:
    """The network with its preprocessing and what it is trained on: losses of its heads, or one objective."""
    from intarsia.tasks.preprocess import Preprocess

    import_parts(spec)
    trained: dict[str, Any]
    if spec.objective is None:
        trained = {"losses": [head_loss(head) for head in spec.losses]}
    else:
        trained = {"objective": build(spec.objective)}
    if spec.inference.answer == "classes":
        trained["multi_label"] = True
    task: Task = catalog.resolve("task", spec.task)(
        build(spec.model),
        preprocess=Preprocess(spec.preprocess),
        num_classes=spec.inference.num_classes,
        ignore_index=spec.losses[0].ignore_index if spec.losses else _ignored_by(spec.objective),
        **trained,
    )
    return task


def _ignored_by(objective: Component | None) -> int:
    return 255 if objective is None else int(objective.args.get("ignore_index", 255))


def head_loss(spec: HeadLossSpec) -> HeadLoss:
    """What a head is trained on. Raises ValueError for parts that do not go together."""
    from intarsia.tasks.semantic import HeadLoss, HeadTerm

    def part(component: Component | None, ignore_index: int = spec.ignore_index) -> Any:
        return None if component is None else build(_with(component, ignore_index=ignore_index))

    def term(term: TermSpec) -> HeadTerm:
        target = part(term.target)
        loss = part(term.loss, getattr(target, "ignore_index", spec.ignore_index))
        return HeadTerm(term.name, loss, term.weight, term.output, target)

    return HeadLoss(
        head=spec.head,
        terms=list(map(term, spec.terms)),
        ignore_index=spec.ignore_index,
        align_corners=spec.align_corners,
        sampler=part(spec.sampler),
        accuracy=spec.accuracy,
    )


def _with(component: Component, **known: Any) -> Component:
    """The component with what the run knows, where its constructor takes it and the config does not say it."""
    signature = signature_of(catalog.locate(component.kind, component.type))
    names = () if signature is None else signature.names
    extra = {name: value for name, value in known.items() if name in names}
    return replace(component, args={**extra, **component.args})


def build_dataset(spec: DataSpec) -> Dataset:
    """The data set of a stream, its files listed."""
    return cast("Dataset", build(spec.dataset))


def build_pipeline(spec: DataSpec, *, processes: int = 1) -> Pipeline:
    """The data set of a stream with what is done to each sample. processes: that share a batch."""
    from intarsia.data.datasets.wrappers import SubsetDataset
    from intarsia.data.pipeline import Pipeline

    transforms, dataset = [build(transform) for transform in spec.transforms], build_dataset(spec)
    if spec.first_batches is not None:
        dataset = SubsetDataset(dataset, most=spec.first_batches * spec.batch_size * processes, evenly=False)
    return Pipeline(dataset, transforms, label_size=spec.label_size, rare=spec.rare)


def build_metric(spec: RunSpec, classes: Sequence[str]) -> Metric:
    """A fresh metric over the classes of the data."""
    return cast("Metric", build(_of_classes(metric_of(spec), classes)))


def _of_classes(metric: Component, classes: Sequence[str]) -> Component:
    """The metric, or each of several, with the classes that it counts."""
    several = metric.args.get("metrics", ())
    if any(isinstance(part, Component) for part in several):
        return replace(metric, args={**metric.args, "metrics": tuple(_of_classes(part, classes) for part in several)})
    return _with(metric, num_classes=len(classes), classes=tuple(classes))


def of_split(spec: RunSpec, split: str) -> RunSpec:
    """The run with the metric that a split is evaluated with: `test_evaluator` may be another than `val_evaluator`."""
    return replace(spec, metric=spec.test_metric) if split == "test" and spec.test_metric is not None else spec


def first_metric_of(spec: RunSpec) -> Component:
    """The config's metric, or the first of several."""
    metric = metric_of(spec)
    several = metric.args.get("metrics", ())
    return several[0] if several and isinstance(several[0], Component) else metric


def metric_of(spec: RunSpec) -> Component:
    """The config's metric. Without one, it is IoUMetric."""
    ignore_index = spec.losses[0].ignore_index if spec.losses else 255
    return spec.metric or Component("metric", "IoUMetric", {"ignore_index": ignore_index})
