"""Limits on gradients, and loss scales."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import SGD, tiny_run
from torch import nn

from intarsia.distributed.loss_scale import FixedScaler, scaler_for
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.loop import train

GRADIENTS = torch.tensor([3.0, -4.0, 0.5])


def limited(**clip: Any) -> tuple[list[float], float]:
    """What clipping makes of the gradients, and the norm that it reports."""
    parameter = nn.Parameter(torch.zeros(3))
    parameter.grad = GRADIENTS.clone()
    norm = FabricRuntime(accelerator="cpu").clip_gradients(torch.optim.SGD([parameter], lr=0.1), **clip)
    return parameter.grad.tolist(), norm.item()


@pytest.mark.parametrize(("norm_type", "norm"), [(2.0, math.sqrt(25.25)), (1.0, 7.5), (math.inf, 4.0)])
def test_by_any_norm(norm_type: float, norm: float) -> None:
    found, reported = limited(max_norm=1.0, norm_type=norm_type)
    assert reported == pytest.approx(norm)
    assert found == pytest.approx((GRADIENTS / norm).tolist(), rel=1e-5)
    assert limited(max_norm=2 * norm, norm_type=norm_type)[0] == GRADIENTS.tolist()


def test_by_value() -> None:
    found, reported = limited(clip_value=1.0)
    assert found == [1.0, -1.0, 0.5]
    assert reported == pytest.approx(math.sqrt(25.25))


def test_without_a_limit_the_norm_is_only_measured() -> None:
    found, reported = limited()
    assert found == GRADIENTS.tolist()
    assert reported == pytest.approx(math.sqrt(25.25))


def test_training_with_limited_values_moves_no_weight_further(tmp_path: Path) -> None:
    plain = replace(SGD, optimizer=replace(SGD.optimizer, args={"lr": 1.0}), schedules=(), clip={"clip_value": 1e-4})
    run = tiny_run(tmp_path / "run", optim=plain, validate=False)
    before = [parameter.detach().clone() for parameter in run.network.parameters()]
    train(run)
    moved = [(p.detach() - b).abs().max().item() for p, b in zip(run.network.parameters(), before, strict=True)]
    rounding = run.steps * torch.finfo(torch.float32).eps
    assert 1e-4 * run.steps - rounding <= max(moved) <= 1e-4 * run.steps + rounding


# --- Loss scales --------------------------------------------------------------------------------------------------


def scales(scaler: torch.amp.GradScaler, gradients: list[float]) -> list[float]:
    """The scale after each step, for gradients that are finite or not; the weight moves only where they are."""
    weight = nn.Parameter(torch.zeros(()))
    optimizer = torch.optim.SGD([weight], lr=1.0)
    found = []
    for gradient in gradients:
        before = weight.item()
        scaler.scale(weight * gradient).backward()
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert weight.item() == pytest.approx(before - gradient if math.isfinite(gradient) else before)
        found.append(scaler.get_scale())
    return found


def test_a_fixed_scale_stays_whatever_happens() -> None:
    scaler = scaler_for(512.0, "cpu")
    assert isinstance(scaler, FixedScaler)
    assert scales(scaler, [1.0, math.inf, 1.0, math.nan, 1.0]) == [512.0] * 5


def test_a_dynamic_scale_takes_the_arguments_of_the_config() -> None:
    scaler = scaler_for({"init_scale": 64.0, "growth_interval": 2, "growth_factor": 4.0, "backoff_factor": 0.25}, "cpu")
    assert scales(scaler, [1.0, 1.0, math.inf, 1.0]) == [64.0, 256.0, 64.0, 64.0]
    assert scaler_for("dynamic", "cpu").get_scale() == 2.0**16
    with pytest.raises(ValueError, match="growth_factor"):
        scaler_for({"growth_factor": 0.5}, "cpu")
    with pytest.raises(ValueError, match="init_scal"):
        scaler_for({"init_scal": 0.5}, "cpu")
