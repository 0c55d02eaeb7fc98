"""`intarsia models profile`: what a network costs, by part, and how fast it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from intarsia.cli.main import main
from intarsia.guide import facts
from intarsia.guide.counting import flop_counter, multiply_adds_by_part
from intarsia.workflows import profile_model
from intarsia.workflows.profile_model import WARM_UP, Timing, measured

SMALL = ["--size", "64", "64"]
Found = Callable[..., dict[str, Any]]


@pytest.fixture
def found(capsys: pytest.CaptureFixture[str]) -> Found:
    def call(*words: str) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["models", "profile", *words, "--json"]) == 0, capsys.readouterr().err
        values: dict[str, Any] = json.loads(capsys.readouterr().out)
        return values

    return call


def test_the_figures_are_those_of_the_guide(found: Found) -> None:
    cost, profile = facts.cost("fast_scnn"), found("fast_scnn")
    assert (profile["parameters"], profile["multiply_adds"]) == (cost.parameters, cost.multiply_adds)
    assert profile["peak_bytes"] == pytest.approx(cost.forward_bytes, rel=0.1)
    for figure in ("parameters", "multiply_adds"):
        assert sum(part[figure] for part in profile["parts"]) == profile[figure]
    auxiliary = [part for part in profile["parts"] if part["training_only"]]
    assert [part["name"] for part in auxiliary] == ["auxiliary_head.0", "auxiliary_head.1"]
    assert sum(part["parameters"] for part in auxiliary) == cost.auxiliary
    assert not any(part["multiply_adds"] for part in auxiliary)


def test_convolutions_grow_with_pixels_and_images(found: Found) -> None:
    one, wider, two = (
        found("small_r18", *words) for words in (SMALL, ["--size", "64", "128"], [*SMALL, "--batch", "2"])
    )
    assert wider["multiply_adds"] == two["multiply_adds"] == 2 * one["multiply_adds"]
    assert one["parameters"] == wider["parameters"]
    assert two["peak_bytes"] > one["peak_bytes"]


def test_configs_runs_and_weights(found: Found, weights: Path, tmp_path: Path) -> None:
    of_weights = found(str(weights), *SMALL)
    assert [part["name"] for part in of_weights["parts"]] == ["backbone", "decode_head"]
    assert of_weights["num_classes"] == 3
    assert main(["config", "dump", str(weights), "-o", str(tmp_path / "config.py")]) == 0
    assert {**found(str(tmp_path / "config.py"), *SMALL), "model": ""} == {**of_weights, "model": ""}
    assert found(str(tmp_path), *SMALL)["parameters"] == of_weights["parameters"]
    torch.save({"state_dict": {"x": torch.zeros(1)}}, tmp_path / "old.pth")
    named = found(str(tmp_path / "old.pth"), "--config", str(tmp_path / "config.py"), *SMALL)
    assert named["multiply_adds"] == of_weights["multiply_adds"]


def test_settings_change_what_is_counted(found: Found) -> None:
    """Eight classes more are eight times 256 weights and a bias each, in a head of 256 channels."""
    plain = found("segformer_mit-b0", *SMALL)
    more = found("segformer_mit-b0", *SMALL, "--set", "model.decode_head.num_classes=158")
    assert more["parameters"] - plain["parameters"] == 8 * (256 + 1)


def test_what_never_learns_is_said(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    frozen = ["--set", "model.backbone.frozen_stages=1"]
    assert main(["models", "profile", "pspnet_r18-d8_4xb2-80k_cityscapes-512x1024", *SMALL, *frozen]) == 0
    assert re.search(r"^[\d,]+ parameters are never trained$", capsys.readouterr().out, re.MULTILINE)
    assert main(["models", "profile", str(weights), *SMALL]) == 0
    assert "never trained" not in capsys.readouterr().out


def test_a_network_that_needs_numbers_is_counted_with_them(
    found: Found, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without = found(str(weights), *SMALL)

    def refuse(spec: object) -> Any:
        raise RuntimeError("no number")

    monkeypatch.setattr(profile_model, "_without_numbers", refuse)
    assert found(str(weights), *SMALL) == without


def test_what_no_part_computes_is_counted_elsewhere() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Linear(3, 5, bias=False)
            self.heads = nn.ModuleList([nn.Linear(5, 7, bias=False), nn.Linear(5, 11, bias=False)])

        def forward(self, x: Tensor) -> Tensor:
            x = self.backbone(x)
            first, second = (head(x) for head in self.heads)
            return torch.as_tensor(first.mT @ second)

    model = Odd()
    with flop_counter() as counter:
        model(torch.zeros(2, 3))
    assert multiply_adds_by_part(model, counter) == {
        "backbone": 2 * 3 * 5, "heads.0": 2 * 5 * 7, "heads.1": 2 * 5 * 11, "": 2 * 7 * 11,
    }  # fmt: skip


# --- time ---------------------------------------------------------------------------------------------------------


def test_time_is_measured_of_the_network_and_of_the_whole_way(found: Found, weights: Path) -> None:
    timed = found(str(weights), *SMALL, "--batch", "2", "--time", "--passes", "4", "--device", "cpu")
    assert set(timed["timings"]) == {"network", "pixels to labels"}
    for one in timed["timings"].values():
        low, high = one["quartiles_seconds"]
        assert len(one["passes"]) == 4
        assert min(one["passes"]) <= low <= one["median_seconds"] <= high <= max(one["passes"])
        assert one["images_per_second"] == pytest.approx(2 / one["median_seconds"])
    assert timed["measured_on"]["threads"] == str(torch.get_num_threads())
    assert timed["measured_on"]["precision"] == "32"
    assert timed["measured_on"]["device"].startswith("cpu: ")


def test_the_table_of_times_says_where(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["models", "profile", str(weights), *SMALL, "--time", "--passes", "1", "--device", "cpu"]
    assert main([*words, "--precision", "bf16"]) == 0
    said = capsys.readouterr().out
    for line in ("images/s", "pixels to labels", "precision: bf16", f"passes: 1, after {WARM_UP} that warm up"):
        assert line in said


def test_passes_that_warm_up_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    now, events = [0.0], []
    monkeypatch.setattr(profile_model.time, "perf_counter", lambda: now[0])

    def work() -> None:
        events.append("work")
        now[0] += 100.0 if events.count("work") <= WARM_UP else 0.5

    def wait() -> None:
        events.append("wait")
        now[0] += 0.25  # what a device still has to do belongs to the pass

    assert measured(work, 3, wait) == (0.75, 0.75, 0.75)
    assert events == ["wait", "work", "wait"] * (WARM_UP + 3)


def test_the_middle_half() -> None:
    timing = Timing("network", (5.0, 1.0, 2.0, 4.0, 3.0))
    assert timing.median == 3.0
    assert timing.quartiles == (2.0, 4.0)
    assert Timing("network", (7.0,)).quartiles == (7.0, 7.0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["segformer_mit-b9"], "Did you mean segformer_mit-b"),
        (["small_r18", "--precision", "8"], "--precision is 32, 16, bf16, found '8'"),
        (["small_r18", "--size", "0", "5"], "greater than or equal to 1"),
        (["segformer_mit-b0", "--size", "1", "1"], "the network fails on 1 x 1 pixels"),
        (["nowhere.py"], "nowhere.py does not exist"),
    ],
)
def test_what_cannot_be(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "profile", *words]) == 2
    assert said in capsys.readouterr().err
