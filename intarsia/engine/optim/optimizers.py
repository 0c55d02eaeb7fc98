"""The optimizer of a run, and what it is told before each step.

Every optimizer of torch works by its name, but for those that need more than a gradient per step. `param_groups.py`
says which parameter gets which settings; parameters with equal ones share a group, so that fused and foreach optimizers
see few of them.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn
from torch.optim import Optimizer

from intarsia import catalog
from intarsia.engine.optim.param_groups import Constructor, Parameter, Rules, Settings, trained_parameters
from intarsia.engine.optim.schedules import Schedule, parts_of
from intarsia.spec import OptimSpec

MATRICES_ONLY = "Muon"
"""The optimizer that takes parameters with two dimensions and no others."""


def parameter_settings(
    module: nn.Module, constructor: Constructor, rules: Rules, lr: float, weight_decay: float | None
) -> Iterator[tuple[Parameter, nn.Parameter, Settings]]:
    """Every trained parameter of a module, with its settings ("lr", "weight_decay" and others)."""
    described = list(trained_parameters(module))
    settings = constructor([parameter for parameter, _ in described], rules, lr, weight_decay)
    for (parameter, tensor), own in zip(described, settings, strict=True):
        yield parameter, tensor, own


def build_groups(
    module: nn.Module,
    constructor: Constructor,
    rules: Rules,
    lr: float,
    weight_decay: float | None,
    *,
    parts: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer, in the order in which their first parameter appears.

    Each has "params", "lr", "initial_lr" (what schedules multiply) and, unless `weight_decay` is None, "weight_decay".
    parts: those of the network that have schedules of their own; groups then have "part", too, None for all others.
    Parameters that need no gradient are left out. Raises ValueError if none is left.
    """
    groups: dict[tuple[tuple[str, str], ...], dict[str, Any]] = {}
    for parameter, tensor, settings in parameter_settings(module, constructor, rules, lr, weight_decay):
        if parts:
            settings["part"] = _part_of(parameter.name, parts)
        key = tuple((name, repr(value)) for name, value in sorted(settings.items()))
        group = groups.setdefault(key, {"params": [], **settings, "initial_lr": settings["lr"]})
        group["params"].append(tensor)
    if not groups:
        raise ValueError("the model has no parameter to train: every one is frozen (requires_grad=False)")
    return list(groups.values())


def _part_of(name: str, parts: Sequence[str]) -> str | None:
    """The innermost of the parts that a parameter is in."""
    return max((part for part in parts if f"{name}.".startswith(f"{part}.")), key=len, default=None)


def _check_parts(module: nn.Module, parts: Sequence[str]) -> None:
    names = [name for name, _ in module.named_parameters()]
    for part in parts:
        if not any(_part_of(name, [part]) for name in names):
            known = ", ".join(dict.fromkeys(name.partition(".")[0] for name in names))
            raise ValueError(
                f"param_scheduler has a schedule of the part {part!r}, and no parameter's name begins with it; parts "
                f"of this network are {known}, and what is inside of them"
            )


def optimizer_for(
    module: nn.Module,
    spec: OptimSpec,
    *,
    optimizer_class: type[Optimizer] | None = None,
    fused: bool = False,
) -> Optimizer:
    """The optimizer of `spec` over the parameters of `module`.

    optimizer_class: a class of the user's own; None takes the catalogue's by its name. fused: one kernel for the whole
    step where the optimizer has one; only for parameters on an accelerator, and not together with gradient scaling and
    clipping.

    Raises ValueError for an optimizer that is unknown or cannot train this network, for arguments it does not take,
    for schedules of a momentum that it does not have, and of parts that the network does not have.
    """
    kind: type[Optimizer] = optimizer_class or catalog.resolve("optimizer", spec.optimizer.type)
    args = dict(spec.optimizer.args)
    if "lr" not in args:
        raise ValueError(f"optimizer {spec.optimizer.type} needs a learning rate: lr=...")
    parameters = inspect.signature(kind).parameters
    unknown = [name for name in args if name not in parameters]
    if unknown:
        raise ValueError(f"optimizer {kind.__name__} takes no {', '.join(unknown)}; it takes: {', '.join(parameters)}")
    if fused and "fused" in parameters and not {"fused", "foreach"} & args.keys():
        args["fused"] = True
    if kind.__name__ == MATRICES_ONLY:
        _check_matrices([parameter for parameter, _ in trained_parameters(module)])
    constructor = catalog.resolve("constructor", spec.constructor)
    parts = parts_of(spec.schedules)
    _check_parts(module, parts)
    groups = build_groups(module, constructor, spec.paramwise, args["lr"], args.get("weight_decay"), parts=parts)
    optimizer = kind(groups, **args)
    if any(schedule.parameter == "momentum" for schedule in spec.schedules):
        for group in optimizer.param_groups:
            group["initial_momentum"] = _momentum(group, kind.__name__)
    return optimizer


def _check_matrices(parameters: Sequence[Parameter]) -> None:
    other = [parameter for parameter in parameters if len(parameter.shape) != 2]
    if other:
        raise ValueError(
            f"{MATRICES_ONLY} trains matrices only, and {len(other)} of the {len(parameters)} parameters here are none "
            f"(the first is {other[0].name}, of shape {other[0].shape}); convolutions, norms and biases need another "
            "optimizer, such as AdamW"
        )


def _momentum(group: Mapping[str, Any], name: str) -> float:
    """The momentum of a group as it was built: that of SGD and its like, the first beta of Adam and its like."""
    if "momentum" in group:
        return float(group["momentum"])
    if "betas" in group:
        return float(group["betas"][0])
    raise ValueError(f"param_scheduler schedules a momentum, but the optimizer {name} has neither momentum nor betas")


def set_schedule(optimizer: Optimizer, schedule: Schedule, step: int) -> float:
    """Give every group its learning rate, and its momentum if that is scheduled, for this step.

    Returns the learning rate of the first group, for the log; of the first that has no schedule of its own, if any.
    """
    for group in optimizer.param_groups:
        own = schedule.parts.get(group.get("part") or "", schedule)
        group["lr"] = own.lr(group["initial_lr"], step)
        if own.momentum is not None:
            momentum = own.momentum(group["initial_momentum"], step)
            if "momentum" in group:
                group["momentum"] = momentum
            else:
                group["betas"] = (momentum, *group["betas"][1:])
    groups = optimizer.param_groups
    return float(next((group for group in groups if group.get("part") is None), groups[0])["lr"])
