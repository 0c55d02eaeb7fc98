"""Optimizer and parameter groups.

The rules are those of OpenMMLab's `paramwise_cfg`: which parameter gets which multiple of the learning rate and of the
weight decay. Parameters with equal settings share a group, so that fused and foreach optimizers see few of them.
"""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm
from torch.optim import Optimizer

from intarsia.engine.schedule import LearningRate
from intarsia.spec import OptimSpec

RULES = (
    "custom_keys", "norm_decay_mult", "bias_lr_mult", "bias_decay_mult", "dwconv_decay_mult", "flat_decay_mult",
    "bypass_duplicate",
)  # fmt: skip
"""Everything `paramwise` may say.

custom_keys: part of a parameter's name -> {"lr_mult", "decay_mult"}. Of the keys that occur in the name, the longest
wins, and the first in the alphabet among equally long ones; a parameter with a custom key takes no other rule.
norm_decay_mult: weights and biases of norm layers. bias_lr_mult, bias_decay_mult: biases of all other layers.
dwconv_decay_mult: depthwise convolutions. flat_decay_mult: every other parameter with one dimension.
bypass_duplicate: accepted and always true: a parameter with two names counts under the first.
"""

DEFAULT_CONSTRUCTORS = ("DefaultOptimWrapperConstructor", "DefaultOptimizerConstructor")

_NORMS = (_BatchNorm, _InstanceNorm, nn.GroupNorm, nn.LayerNorm)


def build_groups(
    module: nn.Module, paramwise: Mapping[str, Any], base_lr: float, base_weight_decay: float | None
) -> list[dict[str, Any]]:
    """Parameter groups for a torch optimizer, in the order in which their first parameter appears.

    Each has "params", "lr", "initial_lr" (what schedules multiply) and, unless `base_weight_decay` is None,
    "weight_decay". Parameters that need no gradient are left out.
    """
    groups: dict[tuple[tuple[str, Any], ...], dict[str, Any]] = {}
    for _, parameter, settings in parameter_settings(module, paramwise, base_lr, base_weight_decay):
        key = tuple((name, repr(value)) for name, value in sorted(settings.items()))
        group = groups.setdefault(key, {"params": [], **settings, "initial_lr": settings["lr"]})
        group["params"].append(parameter)
    if not groups:
        raise ValueError("the model has no parameter to train: every one is frozen (requires_grad=False)")
    return list(groups.values())


def parameter_settings(
    module: nn.Module, paramwise: Mapping[str, Any], base_lr: float, base_weight_decay: float | None
) -> Iterator[tuple[str, nn.Parameter, dict[str, Any]]]:
    """Name, parameter and its settings ("lr", "weight_decay", others from custom_keys), for each that is trained."""
    _check_rules(paramwise)
    custom = paramwise.get("custom_keys", {})
    keys = sorted(sorted(custom), key=len, reverse=True)
    seen: set[int] = set()
    for prefix, owner in module.named_modules():
        for leaf, parameter in owner.named_parameters(recurse=False):
            if not parameter.requires_grad or id(parameter) in seen:
                continue
            seen.add(id(parameter))
            name = f"{prefix}.{leaf}" if prefix else leaf
            key = next((key for key in keys if key in name), None)
            extra: dict[str, Any] = {}
            if key is not None:
                rule = custom[key]
                lr_mult, decay_mult = rule.get("lr_mult", 1.0), rule.get("decay_mult", 1.0)
                extra = {k: v for k, v in rule.items() if k in _PASSED_ON}
            else:
                lr_mult, decay_mult = _multiples(owner, leaf, parameter, paramwise)
            settings = {"lr": base_lr * lr_mult, **extra}
            if base_weight_decay is not None:
                settings["weight_decay"] = base_weight_decay * decay_mult
            yield name, parameter, settings


_PASSED_ON = ("betas", "eps", "momentum", "nesterov", "dampening", "amsgrad")
"""Options of torch's optimizers that a custom key may set for its parameters."""


def _multiples(owner: nn.Module, leaf: str, parameter: nn.Parameter, rules: Mapping[str, Any]) -> tuple[float, float]:
    """lr_mult and decay_mult of a parameter without a custom key. The first rule that applies decides the decay."""
    is_norm, is_bias = isinstance(owner, _NORMS), leaf == "bias"
    is_depthwise = isinstance(owner, nn.Conv2d) and owner.in_channels == owner.groups
    lr_mult = rules.get("bias_lr_mult", 1.0) if is_bias and not is_norm else 1.0
    for rule, applies in (
        ("norm_decay_mult", is_norm),
        ("bias_decay_mult", is_bias and not is_norm),
        ("dwconv_decay_mult", is_depthwise),
        ("flat_decay_mult", parameter.ndim == 1),
    ):
        if applies and rules.get(rule) is not None:
            return lr_mult, rules[rule]
    return lr_mult, 1.0


def _check_rules(paramwise: Mapping[str, Any]) -> None:
    for name in paramwise:
        if name not in RULES:
            near = difflib.get_close_matches(name, RULES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(RULES)}"
            raise ValueError(f"unknown rule {name!r} in paramwise_cfg; {hint}")
    for key, rule in paramwise.get("custom_keys", {}).items():
        for name in rule:
            if name not in ("lr_mult", "decay_mult", *_PASSED_ON):
                warnings.warn(
                    f"paramwise_cfg: {name!r} of the custom key {key!r} has no effect; known: lr_mult, decay_mult",
                    stacklevel=4,
                )


def optimizer_for(
    module: nn.Module,
    spec: OptimSpec,
    *,
    optimizer_class: type[Optimizer] | None = None,
    fused: bool = False,
) -> Optimizer:
    """The optimizer of `spec` over the parameters of `module`.

    optimizer_class: a class of the user's own; None takes torch's by name. fused: one kernel for the whole step where
    the optimizer has one; only for parameters on an accelerator, and not together with gradient scaling and clipping.
    """
    if spec.constructor not in DEFAULT_CONSTRUCTORS:
        raise ValueError(
            f"optimizer constructor {spec.constructor!r} is not available; known: {DEFAULT_CONSTRUCTORS[0]} "
            "(paramwise_cfg with custom_keys and the norm, bias, depthwise and flat multiples)"
        )
    kind = optimizer_class or _by_name(spec.optimizer.type)
    args = dict(spec.optimizer.args)
    if "lr" not in args:
        raise ValueError(f"optimizer {spec.optimizer.type} needs a learning rate: lr=...")
    parameters = inspect.signature(kind).parameters
    unknown = [name for name in args if name not in parameters]
    if unknown:
        raise ValueError(f"optimizer {kind.__name__} takes no {', '.join(unknown)}; it takes: {', '.join(parameters)}")
    if fused and "fused" in parameters and not {"fused", "foreach"} & args.keys():
        args["fused"] = True
    return kind(build_groups(module, spec.paramwise, args["lr"], args.get("weight_decay")), **args)


def _by_name(name: str) -> type[Optimizer]:
    kind = getattr(torch.optim, name, None)
    if isinstance(kind, type) and issubclass(kind, Optimizer) and kind is not Optimizer:
        return kind
    known = [
        n for n, c in vars(torch.optim).items() if isinstance(c, type) and issubclass(c, Optimizer) and n[0].isupper()
    ]
    near = difflib.get_close_matches(name, known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(sorted(known))}"
    raise ValueError(f"torch has no optimizer {name!r}; {hint}")


def set_learning_rates(optimizer: Optimizer, rate: LearningRate, step: int) -> float:
    """Give every group its rate for this step. Returns that of the first group, for the log."""
    for group in optimizer.param_groups:
        group["lr"] = rate(group["initial_lr"], step)
    return float(optimizer.param_groups[0]["lr"])
