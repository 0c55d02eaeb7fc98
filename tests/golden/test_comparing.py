"""The comparison itself: it must see what is wrong, and where."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import building
import comparing
import pytest
import references
import torch
from table import Row

from intarsia.contracts import MaskPredictions

SMALLEST = references.figures()["fast_scnn"]


def columns_that_differ(record: dict[str, Any]) -> list[str]:
    findings = comparing.compare(building.task(record["model"]), record)
    return [column for column in comparing.COLUMNS if any(f.column == column and not f.holds for f in findings)]


def spoil_logits(record: dict[str, Any]) -> None:
    record["logits"]["values"][2] *= 1 + 1e-6


def spoil_stage(record: dict[str, Any]) -> None:
    record["stages"]["backbone:1"]["std"] *= 1 + 1e-6


def spoil_shape(record: dict[str, Any]) -> None:
    record["stages"]["backbone:0"]["shape"][1] += 1


def add_stage(record: dict[str, Any]) -> None:
    record["stages"]["backbone:7"] = record["stages"]["backbone:0"]


def spoil_loss(record: dict[str, Any]) -> None:
    record["losses"]["aux_0.loss_ce"] += 1e-4


def rename_loss(record: dict[str, Any]) -> None:
    record["losses"] = {name.replace("aux_1", "aux_2"): value for name, value in record["losses"].items()}


def spoil_gradient(record: dict[str, Any]) -> None:
    record["grads"]["backbone"]["with_grad"] += 1


def spoil_parameters(record: dict[str, Any]) -> None:
    record["params"] += 1


@pytest.mark.parametrize(
    ("spoil", "column"),
    [
        (spoil_parameters, "state names"),
        (spoil_logits, "logits"),
        (spoil_stage, "stages"),
        (spoil_shape, "stages"),
        (add_stage, "stages"),
        (spoil_loss, "losses"),
        (rename_loss, "losses"),
        (spoil_gradient, "gradients"),
    ],
)
def test_every_column_sees_its_own(spoil: Callable[[dict[str, Any]], None], column: str) -> None:
    record = copy.deepcopy(SMALLEST)
    spoil(record)
    assert columns_that_differ(record) == [column]


def test_names_and_shapes_of_the_state() -> None:
    module = torch.nn.Linear(3, 2)
    good = {"weight": [2, 3], "bias": [2]}
    assert not comparing.different(comparing.compare_state(module, good))
    assert "missing bias2" in comparing.different(comparing.compare_state(module, {"weight": [2, 3], "bias2": [2]}))
    assert "shape" in comparing.different(comparing.compare_state(module, {"weight": [3, 2], "bias": [2]}))
    assert "order" in comparing.different(comparing.compare_state(module, dict(reversed(good.items()))))


def test_random_points_leave_names_and_finite_values() -> None:
    record = {key: value for key, value in copy.deepcopy(SMALLEST).items() if key not in ("losses", "grads")}
    assert columns_that_differ({**record, "loss_names": sorted(SMALLEST["losses"])}) == []
    assert columns_that_differ({**record, "loss_names": ["decode.loss_ce"]}) == ["losses"]


def test_stages_by_the_names_of_records() -> None:
    x, y, z = (torch.full((2,), float(i)) for i in range(3))
    layers = (MaskPredictions(x.clone(), y.clone()), MaskPredictions(y.clone(), z.clone()))
    outputs = comparing.run(Spy(layers), torch.zeros(1), ["head"])[1]
    assert comparing.stage_of(outputs, "head:0.1").equal(y)
    assert comparing.stage_of(outputs, "head:1.0").equal(y)
    assert comparing.stage_of(outputs, "head:1").equal(torch.stack([y, z]))
    assert comparing.stage_of(outputs, "head:2") is None
    assert comparing.stage_of(outputs, "neck:0") is None


class Spy(torch.nn.Module):
    """A network whose head gives what it is told, and writes into it afterwards."""

    def __init__(self, output: tuple[MaskPredictions, ...]) -> None:
        super().__init__()
        self.head = torch.nn.Identity()
        self.output = output

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.head(self.output)
        for layer in self.output:
            layer.class_logits.mul_(7)
        return images


def test_a_row_of_the_table() -> None:
    same = comparing.Finding("logits", "logits", 1e-12, 1e-8)
    row = Row("pspnet", (comparing.equal("state names", "names"), same))
    assert row.agrees
    assert row.cells() == ["[green]ok[/]", "[green]ok[/]", "-", "-", "-", "1.0e-12"]
    far = Row("pspnet", (same, comparing.Finding("losses", "decode.loss_ce", 3e-4, 1e-8)))
    assert not far.agrees
    assert far.cells()[3] == "[red]3.0e-04[/]"
    assert far.differences() == ["losses, decode.loss_ce: relative error 3.0e-04, 1e-08 allowed"]
    assert Row("pspnet", (comparing.Finding("logits", "logits", math.inf, 1e-8),)).cells()[1] == "[red]differs[/]"
    assert not Row("pspnet", failure="ValueError: no").agrees


def test_short_names_are_unique(shared: Path) -> None:
    names = [references.short_name(name) for name in references.records()]
    assert len(set(names)) == len(names) == 83
