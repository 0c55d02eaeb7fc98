"""What weights say about themselves, completed from the data sets that their config names."""

from __future__ import annotations

import inspect
from dataclasses import replace
from typing import Any

from intarsia import catalog, recipes
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.config.lowering.names import FAMILIES
from intarsia.config.schema.fates import bare
from intarsia.data.datasets.family import Family
from intarsia.guide.published import LOWER_IS_BETTER, Checkpoint
from intarsia.spec import Component, RunSpec
from intarsia.weights.file import WeightsMeta
from intarsia.workflows.label_words import label_words

_NAMED = (*FAMILIES, "NYUDataset")
"""Data sets whose classes are known without their files."""


def completed(meta: WeightsMeta, spec: RunSpec) -> WeightsMeta:
    """`meta` with config, classes, palette and label values of `spec`, where it does not say them itself.

    Classes that nothing names are numbered.
    """
    stream = spec.val or spec.test or spec.train
    dataset = None if stream is None else stream.dataset
    names, colours = ((), ()) if dataset is None else _classes_of(dataset)
    outputs = spec.inference.num_classes
    numbered = tuple(f"class {index}" for index in range(max(outputs, 1)))
    classes = meta.classes or (names if outputs in (0, len(names)) else ()) or numbered
    ignore_index = meta.ignore_index if dataset is None else dataset.args.get("ignore_index", meta.ignore_index)
    return replace(
        meta,
        config=spec.source,
        classes=classes,
        palette=meta.palette or (colours if classes == names else ()),
        ignore_index=ignore_index,
        labels=meta.labels or ({} if dataset is None else label_words(dataset, classes, ignore_index)),
    )


def meta_of(checkpoint: Checkpoint) -> WeightsMeta:
    """What is known of a published checkpoint: config and classes are those of its recipe, scores as published."""
    values = checkpoint.scores.items()
    scores = {name: value if name in LOWER_IS_BETTER else round(value / 100, 6) for name, value in values}
    config = Config.from_values(recipes.get(checkpoint.recipe), file=f"recipe {checkpoint.recipe}")
    return completed(WeightsMeta(scores=scores), lower(config))


def _classes_of(dataset: Component) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Names and colours of the classes of a data set, without its files; empty where they are not known."""
    classes, palette = dataset.args.get("classes"), dataset.args.get("palette")
    if bare(dataset.type) in _NAMED:
        source: Any = catalog.resolve("dataset", bare(dataset.type))
        if isinstance(source, Family):
            classes, palette = classes or source.classes, source.colours(classes, palette)
        else:
            classes = classes or inspect.signature(source).parameters["classes"].default
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette or ())
    names = tuple(classes or ())
    return names, colours if len(colours) == len(names) else ()
