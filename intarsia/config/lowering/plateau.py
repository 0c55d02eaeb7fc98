"""Schedules that wait for a score of the evaluations: `ReduceOnPlateauLR` and its like."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from intarsia.config.lowering.fields import Fields
from intarsia.config.lowering.scores import NO_DATA, check_score, is_fraction, score_name
from intarsia.spec import Component

PLATEAU = "ReduceOnPlateauLR"

_LEAST: tuple[tuple[str, Callable[[float], bool], str], ...] = (
    ("factor", lambda x: 0 < x < 1, "a factor between 0 and 1"),
    ("patience", lambda x: x >= 0, "0 or more evaluations"),
    ("cooldown", lambda x: x >= 0, "0 or more evaluations"),
    ("threshold", lambda x: x >= 0, "0 or more"),
    ("min_value", lambda x: x >= 0, "0 or more"),
    ("eps", lambda x: x >= 0, "0 or more"),
)


def plateau_args(fields: Fields, given: dict[str, Any], metric: Component | None) -> dict[str, Any]:
    """The arguments of such a schedule, as the engine has them.

    An absolute threshold is in the unit of the scores: per cent of a score of MMSegmentation, fractions in ours.
    """
    context, monitor = fields.context, given.get("monitor", "loss")
    if context.config.values.get("val_dataloader") is None:
        context.problem(fields.path, "nothing is evaluated, so that nothing can lower the rate", NO_DATA)
    else:
        check_score(context, fields.at("monitor"), monitor, metric)
    args = {**given, "monitor": score_name(monitor, metric)}
    if "min_value" in args and isinstance(args["min_value"], tuple):
        args["min_value"] = _one_for_all(fields, args["min_value"])
    for key, test, wanted in _LEAST:
        if key in args and not test(args[key]):
            context.problem(fields.at(key), f"expected {wanted}, found {args[key]}")
    if args.get("threshold_rule") == "abs" and not is_fraction(monitor):
        args["threshold"] = args.get("threshold", 1e-4) / 100
    return args


def _one_for_all(fields: Fields, values: tuple[float, ...]) -> float:
    """Parameters with equal settings are one group here, so that a list has no groups to belong to."""
    if len(set(values)) != 1:
        message = f"expected one number for all groups of parameters, found {len(values)}"
        fields.context.problem(fields.at("min_value"), message, "Groups are made of parameters with equal settings")
    return values[0] if values else 0.0
