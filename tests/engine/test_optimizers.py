from __future__ import annotations

import inspect
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from intarsia import catalog, consent
from intarsia.engine.optim.optimizers import build_groups, optimizer_for, set_schedule
from intarsia.engine.optim.param_groups import Parameter, by_rules
from intarsia.engine.optim.schedules import Schedule
from intarsia.spec import Component, OptimSpec, ScheduleSpec


class Parts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4))
        self.head = nn.Linear(4, 2)


def spec(name: str, *, schedules: tuple[ScheduleSpec, ...] = (), **args: object) -> OptimSpec:
    return OptimSpec(Component("optimizer", name, args), schedules)


def test_equal_settings_share_a_group() -> None:
    rules = {"custom_keys": {"head": {"lr_mult": 10.0}}, "norm_decay_mult": 0.0}
    groups = build_groups(Parts(), by_rules, rules, 0.1, 0.01)
    assert [(len(g["params"]), g["lr"], g["initial_lr"], g["weight_decay"]) for g in groups] == [
        (2, 0.1, 0.1, 0.01),
        (2, 0.1, 0.1, 0.0),
        (2, 1.0, 1.0, 0.01),
    ]
    frozen = Parts().requires_grad_(False)
    with pytest.raises(ValueError, match="no parameter to train"):
        build_groups(frozen, by_rules, {}, 1.0, None)


# --- Optimizers ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(set(catalog.names("optimizer")) - {"Muon"}))
def test_every_optimizer_learns_a_line(name: str) -> None:
    torch.manual_seed(0)
    line = nn.Linear(3, 1)
    x = torch.randn(64, 3)
    y = x @ torch.tensor([[1.0], [-2.0], [0.5]]) + 0.3
    rate = {"Adadelta": 5.0, "Adagrad": 0.5, "ASGD": 0.1, "SGD": 0.1}.get(name, 0.05)
    optimizer = optimizer_for(line, spec(name, lr=rate))
    assert type(optimizer) is getattr(torch.optim, name)
    losses = []
    for _ in range(300):
        loss = (line(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.02 * losses[0]


def test_options_pass_through() -> None:
    args = {"lr": 0.1, "weight_decay": 0.01, "betas": (0.9, 0.99), "foreach": False}
    optimizer = optimizer_for(Parts(), spec("AdamW", **args))
    assert optimizer.param_groups[0]["betas"] == (0.9, 0.99)
    assert optimizer.param_groups[0]["foreach"] is False
    assert optimizer_for(Parts(), spec("SGD", lr=0.1, fused=True)).defaults["fused"] is True
    assert optimizer_for(Parts(), spec("SGD", lr=0.1), fused=True).defaults["fused"] is True
    assert optimizer_for(Parts(), spec("SGD", lr=0.1, foreach=True), fused=True).defaults["fused"] is None
    assert "fused" not in optimizer_for(Parts(), spec("RAdam", lr=0.1), fused=True).defaults


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (spec("AdamWW", lr=0.1), "unknown optimizer 'AdamWW'; did you mean 'AdamW'"),
        (spec("LBFGS", lr=0.1), "'LBFGS' cannot be used: it evaluates the loss several times"),
        (spec("SparseAdam", lr=0.1), "'SparseAdam' cannot be used: it takes sparse gradients"),
        (spec("SGD"), "needs a learning rate"),
        (spec("SGD", lr=0.1, beta=1), "SGD takes no beta; it takes: params, lr, momentum"),
        (OptimSpec(Component("optimizer", "SGD", {"lr": 0.1}), constructor="MyRules"), "unknown constructor 'MyRules'"),
    ],
)
def test_optimizers_that_make_no_sense(wrong: OptimSpec, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        optimizer_for(Parts(), wrong)


def test_muon_trains_matrices_and_says_what_it_does_not() -> None:
    with pytest.raises(ValueError, match=r"5 of the 6 parameters .* first is backbone.0.weight, of shape \(4, 4, 3"):
        optimizer_for(Parts(), spec("Muon", lr=0.1))
    matrices = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 2, bias=False))
    assert type(optimizer_for(matrices, spec("Muon", lr=0.1))) is torch.optim.Muon


def test_own_optimizer_class() -> None:
    class Own(torch.optim.SGD): ...

    assert type(optimizer_for(Parts(), spec("Own", lr=0.1), optimizer_class=Own)) is Own


@catalog.register("constructor")
def only_heads(parameters: Any, rules: Any, lr: float, weight_decay: float | None) -> list[dict[str, float]]:
    """A constructor of the user's own."""
    return [{"lr": lr if parameter.name.startswith(rules["part"]) else 0.0} for parameter in parameters]


def test_own_constructor_by_its_import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(consent.TRUST, __name__)
    own = OptimSpec(
        Component("optimizer", "SGD", {"lr": 0.1}), paramwise={"part": "head"}, constructor=f"{__name__}:only_heads"
    )
    assert [(len(g["params"]), g["lr"]) for g in optimizer_for(Parts(), own).param_groups] == [(4, 0.0), (2, 0.1)]
    assert list(inspect.signature(only_heads).parameters) == list(inspect.signature(by_rules).parameters)
    assert only_heads([Parameter("head.bias", (2,))], {"part": "head"}, 1.0, None) == [{"lr": 1.0}]


# --- Schedules on optimizers --------------------------------------------------------------------------------------

HALVED = ScheduleSpec("ConstantLR", 0, 5, args={"factor": 0.5})
HALVED_MOMENTUM = ScheduleSpec("ConstantLR", 0, 5, args={"factor": 0.5}, parameter="momentum")


def momenta(name: str, **args: object) -> Iterator[float]:
    optimizer = optimizer_for(Parts(), spec(name, lr=0.1, schedules=(HALVED_MOMENTUM,), **args))
    schedule = Schedule.of([HALVED, HALVED_MOMENTUM])
    for step in (0, 4, 0):
        assert set_schedule(optimizer, schedule, step) == pytest.approx(0.1 if step == 4 else 0.05)
        group = optimizer.param_groups[0]
        assert group["betas"][1:] == (0.99,) if "betas" in group else True
        yield group["momentum"] if "momentum" in group else group["betas"][0]


def test_momentum_is_scheduled_whatever_it_is_called() -> None:
    assert list(momenta("SGD", momentum=0.8)) == pytest.approx([0.4, 0.8, 0.4])
    assert list(momenta("AdamW", betas=(0.9, 0.99))) == pytest.approx([0.45, 0.9, 0.45])
    with pytest.raises(ValueError, match="the optimizer Adagrad has neither momentum nor betas"):
        next(momenta("Adagrad"))


def test_momentum_is_left_alone_otherwise() -> None:
    optimizer = optimizer_for(Parts(), spec("SGD", lr=0.1, momentum=0.8))
    set_schedule(optimizer, Schedule.of([HALVED]), 0)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]) == (0.05, 0.8)


def test_scheduled_momentum_goes_on_from_a_saved_state() -> None:
    """The state dict holds what the momentum was at first, not only what it is now."""
    plan, schedule = (
        spec("AdamW", lr=0.1, betas=(0.9, 0.99), schedules=(HALVED_MOMENTUM,)),
        Schedule.of([HALVED_MOMENTUM]),
    )
    first, second = optimizer_for(Parts(), plan), optimizer_for(Parts(), plan)
    set_schedule(first, schedule, 0)
    second.load_state_dict(first.state_dict())
    set_schedule(second, schedule, 5)
    assert second.param_groups[0]["betas"] == pytest.approx((0.9, 0.99))


# --- Parts with schedules of their own ----------------------------------------------------------------------------

TWO_STAGES = (
    ScheduleSpec("WarmupPolyLR", 0, 100, args={"warm_up": 10, "power": 0.9}),
    ScheduleSpec("WarmupPolyLR", 0, 100, part="backbone", args={"delay": 10, "warm_up": 20, "power": 0.9}),
)


def published(base: float, step: int, delay: int, warm_up: int, total: int, power: float = 0.9) -> float:
    """The rate at a step of EoMT's two stages."""
    if step < delay:
        return 0.0
    if step < delay + warm_up:
        return base * (step - delay) / warm_up
    return base * (1 - (step - delay - warm_up) / (total - delay - warm_up)) ** power


def test_the_backbone_stands_still_while_the_head_warms_up() -> None:
    plan = spec("AdamW", lr=0.1, schedules=TWO_STAGES)
    plan = replace(plan, paramwise={"custom_keys": {"backbone.0": {"lr_mult": 0.5}}})
    optimizer, schedule = optimizer_for(Parts(), plan), Schedule.of(TWO_STAGES)
    assert {(group["part"], group["initial_lr"]) for group in optimizer.param_groups} == {
        ("backbone", 0.05), ("backbone", 0.1), (None, 0.1)
    }  # fmt: skip
    for step in (0, 1, 9, 10, 11, 29, 30, 31, 60, 99, 5):
        logged = set_schedule(optimizer, schedule, step)
        assert logged == pytest.approx(published(0.1, step, 0, 10, 100), rel=1e-12)
        for group in optimizer.param_groups:
            delay, warm_up = (10, 20) if group["part"] else (0, 10)
            assert group["lr"] == pytest.approx(published(group["initial_lr"], step, delay, warm_up, 100), rel=1e-12)


def test_a_part_without_a_schedule_of_its_momentum_takes_that_of_all() -> None:
    schedules = (HALVED, HALVED_MOMENTUM, replace(HALVED, part="backbone", args={"factor": 0.2}))
    optimizer = optimizer_for(Parts(), spec("SGD", lr=0.1, momentum=0.8, schedules=schedules))
    set_schedule(optimizer, Schedule.of(schedules), 0)
    assert {(group["part"], group["momentum"]) for group in optimizer.param_groups} == {("backbone", 0.4), (None, 0.4)}
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.02, 0.05])


def test_parameters_are_in_the_innermost_part() -> None:
    schedules = (replace(HALVED, part="backbone"), replace(HALVED, part="backbone.0"), replace(HALVED, part="back"))
    with pytest.raises(
        ValueError, match="a schedule of the part 'back', and no parameter's name begins with it; parts"
    ):
        optimizer_for(Parts(), spec("SGD", lr=0.1, schedules=schedules))
    optimizer = optimizer_for(Parts(), spec("SGD", lr=0.1, schedules=schedules[:2]))
    assert {group["part"] for group in optimizer.param_groups} == {"backbone", "backbone.0", None}
