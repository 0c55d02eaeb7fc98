"""The names of what an evaluation gives, for keys that wait for one of them: `monitor`, `save_best`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from intarsia.config.lowering.fields import Context, nearest
from intarsia.config.lowering.names import SCORES
from intarsia.config.schema.fates import bare
from intarsia.spec import Component

LOWER_IS_BETTER = frozenset({"abs_rel", "rmse", "rmse_log", "silog", "sq_rel", "log10", "ECE", "loss"})
OF_DEPTHS = ("d1", "d2", "d3", "abs_rel", "sq_rel", "rmse", "rmse_log", "log10", "silog")
OF_CITYSCAPES = (
    "averageScoreClasses", "averageScoreCategories", "averageScoreInstClasses", "averageScoreInstCategories",
)  # fmt: skip
REPEATED = {("CityscapesMetric", "mIoU"), ("CityscapesMetric", "miIoU")}
"""Scores that another name of the same metric gives, too; left out beside a metric that has them."""

FRACTIONS = frozenset({*LOWER_IS_BETTER, *OF_DEPTHS, *OF_CITYSCAPES})
"""Scores that MMSegmentation gives as they are; its others are per cent, where ours are fractions."""

NO_DATA = "Give val_dataloader, or remove it"


def known_scores(metric: Component | None) -> tuple[str, ...] | None:
    """What is known to be in a report of a metric, its own scores first; None where that is not known.

    Names such as "IoU(building)" are left out: they depend on the classes.
    """
    own = None if metric is None else _own(metric)
    return None if own is None else (*own, "loss")


def _own(metric: Component) -> tuple[str, ...] | None:
    name = bare(metric.type)
    if name == "Evaluator":
        each = [(prefix, _own(part)) for part, prefix in _parts(metric)]
        known = [_named(prefix, score) for prefix, scores in each for score in scores or ()]
        return None if any(scores is None for _, scores in each) else tuple(dict.fromkeys(known))
    if name == "IoUMetric":
        asked: Any = metric.args.get("metrics", ("mIoU",))
        return tuple(dict.fromkeys(score for entry in asked for score in SCORES.get(entry, ())))
    if name == "CityscapesMetric":
        return ("mIoU", "miIoU", *OF_CITYSCAPES)
    if name == "DepthMetric":
        return tuple(metric.args.get("depth_metrics") or OF_DEPTHS)
    return None


def _parts(metric: Component) -> Iterator[tuple[Component, str | None]]:
    """The metrics of an Evaluator, each with its prefix."""
    parts = metric.args["metrics"]
    yield from zip(parts, metric.args.get("prefixes") or (None,) * len(parts), strict=True)


def _named(prefix: str | None, score: str) -> str:
    return f"{prefix}/{score}" if prefix else score


def given_twice(
    metrics: Sequence[Component], prefixes: Sequence[str | None]
) -> Iterator[tuple[Component, Component, list[str]]]:
    """Metrics of one evaluator that give scores of names which one before them gives, that one first, and the names."""
    owner: dict[str, Component] = {}
    for metric, prefix in zip(metrics, prefixes, strict=True):
        own = [score for score in _own(metric) or () if (bare(metric.type), score) not in REPEATED]
        names = [_named(prefix, score) for score in own]
        taken = [name for name in names if name in owner]
        if taken:
            yield owner[taken[0]], metric, taken
        for name in names:
            owner.setdefault(name, metric)


def first_score(metric: Component) -> str | None:
    """The one that "auto" stands for: the first that is asked for."""
    if bare(metric.type) == "Evaluator":
        part, prefix = next(_parts(metric))
        score = first_score(part)
        return None if score is None else _named(prefix, score)
    scores = known_scores(metric) if bare(metric.type) == "DepthMetric" else metric.args.get("metrics", ("mIoU",))
    return str(scores[0]) if scores else None


def score_name(given: str, metric: Component | None) -> str:
    """The name in our reports of what a config calls `given`: a prefix that they do not have is left out.

    The names of several metrics have their prefixes.
    """
    several = metric is not None and bare(metric.type) == "Evaluator"
    return given if several or given in (known_scores(metric) or ()) else given.rpartition("/")[2]


def is_fraction(name: str) -> bool:
    """Whether MMSegmentation, too, gives a score as it is and not in per cent."""
    return name.rpartition("/")[2] in FRACTIONS


def check_score(context: Context, path: str, given: str, metric: Component | None) -> None:
    """Report a name at `path` that no evaluation of the run gives, with those that there are."""
    known, name = known_scores(metric), score_name(given, metric)
    if known is not None and name not in known and not name.endswith(")"):
        context.problem(path, f"{given!r} is watched, but the evaluation does not give it", nearest(name, known))
