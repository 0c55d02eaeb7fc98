"""What networks cost: the file is complete, and its figures are those of independent counts."""

from __future__ import annotations

import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from intarsia.guide import facts
from intarsia.guide.networks import networks

SIDE = 512


def test_every_network_is_counted() -> None:
    names = [name for one in networks() for name in one.names]
    missing = [name for name in names if facts.cost(name) is None]
    assert not missing, "run `python benchmarks/models.py`"
    assert facts.torch_version()


COUNTED_IN_TRAINING = ("real-time", "convolutional", "context")
"""Kinds of which every network's training step is counted; of the others some are, and the page says how many not."""


def test_training_is_counted_for_each_network() -> None:
    firsts = [one.first for one in networks() if one.method and one.method.kind in COUNTED_IN_TRAINING]
    assert not [name for name in firsts if facts.cost(name).step_bytes is None], "run `python benchmarks/models.py`"
    assert facts.cost(facts.REFERENCE).step_bytes is not None


def test_counted_recipes_are_recipes() -> None:
    names = {name for one in networks() for name in one.names}
    written = json.loads((Path(facts.__file__).parent / "costs.json").read_text())
    assert set(written["counted"]) <= names
    assert set(written["timed"]) <= {one.first for one in networks()}


def test_parameters_are_those_of_the_reference(shared: Path) -> None:
    """As MMSegmentation 1.2.2 counts them, where its network was recorded as its config says."""
    compared = 0
    for path in (shared / "golden" / "models").glob("*.json"):
        recorded = json.loads(path.read_text())
        name = recorded["config"].split("/")[1]
        cost = facts.cost(name)
        if not recorded["override"] and cost is not None:
            assert cost.parameters == recorded["params"], name
            compared += 1
    assert compared > 70


class ByHand(TorchFunctionMode):
    """Adds up multiply-adds from the sizes of what torch's functions are given and give back."""

    def __init__(self) -> None:
        super().__init__()
        self.total = self.attention = 0

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in (F.conv2d, torch.conv2d):  # each number of the result is a sum over one kernel
            self.total += result.numel() * args[1][0].numel()
        elif func in (F.conv_transpose2d, torch.conv_transpose2d):  # each number given is spread by one kernel
            self.total += args[0].numel() * args[1][0].numel()
        elif func is F.linear:
            self.total += result.numel() * args[1].shape[1]
        elif func is F.scaled_dot_product_attention:
            query, key, value = args[:3]
            products = query.shape[:-1].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
            self.attention += products
            self.total += products
        return result


def counted_by_hand(recipe: str, counting: ModuleType) -> ByHand:
    model = counting.task_of(recipe, "cpu").eval().model.double()  # in single precision some products are saved
    with torch.no_grad(), ByHand() as hand:
        model(torch.zeros(1, 3, SIDE, SIDE, dtype=torch.float64))
    return hand


@pytest.mark.parametrize(
    "recipe",
    [
        "fast_scnn_8xb4-160k_cityscapes-512x1024",
        "bisenetv2_fcn_4xb4-160k_cityscapes-1024x1024",
        "erfnet_fcn_4xb4-160k_cityscapes-512x1024",
        "ddrnet_23-slim_in1k-pre_2xb6-120k_cityscapes-1024x1024",
        "small_r18",
        facts.REFERENCE,
    ],
)
def test_multiply_adds_are_those_counted_call_by_call(recipe: str, counting: ModuleType) -> None:
    assert facts.cost(recipe).multiply_adds == counted_by_hand(recipe, counting).total


def test_attention_is_counted_by_its_formula(counting: ModuleType) -> None:
    """MiT-B0: each of two layers multiplies queries with fewer keys, and the result with as many values."""
    attention = 0
    for stride, channels, reduction in ((4, 32, 8), (8, 64, 4), (16, 160, 2), (32, 256, 1)):
        queries = (SIDE // stride) ** 2
        attention += 2 * 2 * queries * (queries // reduction**2) * channels
    assert counted_by_hand(facts.REFERENCE, counting).attention == attention


@pytest.mark.parametrize("recipe", ["small_r18", "segnext_mscan-t_1xb16-adamw-160k_ade20k-512x512"])
def test_the_file_has_what_is_counted_today(recipe: str, counting: ModuleType) -> None:
    found, cost = counting.count(recipe, real=False), facts.cost(recipe)
    assert found["parameters"] == cost.parameters
    assert found["multiply_adds"] == cost.multiply_adds
    assert found["forward_bytes"] == pytest.approx(cost.forward_bytes, rel=0.1)  # other versions of torch keep others


# --- counting -----------------------------------------------------------------------------------------------------


def test_the_peak_is_of_tensors_alive_together(counting: ModuleType) -> None:
    known = torch.zeros(1000)  # 4,000 bytes
    with counting.peak_counter([known]) as memory:
        first = known + 1
        view = first[:10]
        first.mul_(2)
        assert memory.peak == 8000, "a view and a change in place take nothing"
        del first
        second = known + 2
        assert memory.peak == 12000, "the view keeps its tensor"
        del view, second
        third = torch.cat([known, known])
    assert memory.peak == 12000
    assert memory.alive == 12000
    assert third.numel() == 2000


def test_tensors_without_numbers_count_as_real_ones_do(counting: ModuleType) -> None:
    fake, real = (counting.count_step("small_r18", real=real)["step_bytes"] for real in (False, True))
    assert fake == pytest.approx(real, rel=0.01)
    assert counting.count("small_r18", real=False) == counting.count("small_r18", real=True)


def test_what_needs_numbers_is_counted_with_them(counting: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def in_own_process(*arguments: str) -> list[str]:
        asked.append(arguments)
        return ['{"step_bytes":', "5}"]

    def needs_numbers(recipe: str, *, real: bool) -> dict[str, int]:
        raise RuntimeError("no number")

    monkeypatch.setattr(counting, "in_own_process", in_own_process)
    assert counting.without_numbers_if_possible(needs_numbers, "--step", "unet") == {"step_bytes": 5}
    assert asked == [("--step", "unet")]


def test_memory_of_training_holds_weights_gradients_and_both_moments(counting: ModuleType) -> None:
    cost = facts.cost("small_r18")
    assert cost.step_bytes > 4 * 4 * cost.parameters
    assert cost.forward_bytes > 4 * cost.parameters


def test_counting_goes_on_where_it_stopped(
    counting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[str] = []

    def count(name: str, *, real: bool) -> dict[str, int]:
        counted.append(name)
        return {"parameters": 1, "auxiliary": 0, "multiply_adds": 2, "forward_bytes": 3}

    def count_step(name: str, *, real: bool) -> dict[str, int]:
        if not real:
            counted.append(f"step of {name}")
        return {"step_bytes": 4}

    monkeypatch.setattr(counting, "TARGET", tmp_path / "costs.json")
    monkeypatch.setattr(counting, "count", count)
    monkeypatch.setattr(counting, "count_step", count_step)
    counting.main(["--only", "small_r18"])
    assert counted == ["small_r18", "step of small_r18"]
    counting.main(["--only", "small_r18"])
    assert len(counted) == 2
    written = json.loads((tmp_path / "costs.json").read_text())
    assert written["counted"]["small_r18"]["step_bytes"] == 4
    written["counted"] |= {"no_such_recipe": {}}
    (tmp_path / "costs.json").write_text(json.dumps(written))
    counting.main(["--only", "small_r18"])
    assert "no_such_recipe" in json.loads((tmp_path / "costs.json").read_text())["counted"], "nothing to do, no change"
    counting.main(["--only", "fast_scnn"])
    assert "no_such_recipe" not in json.loads((tmp_path / "costs.json").read_text())["counted"]


ROW = {"parameters": 1, "auxiliary": 0, "multiply_adds": 2, "forward_bytes": 3}


FAST = "fast_scnn_8xb4-160k_cityscapes-512x1024"


def said(forward: float) -> list[str]:
    """What a process prints that has measured: a step takes four times as long as a forward pass."""
    return json.dumps({"forward": forward, "step": 4 * forward}).split()


@pytest.fixture
def timing(counting: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Forward seconds that processes measure, taken from the front; the file has the reference and two networks."""
    answers: list[float] = []

    def in_own_process(*arguments: str, limit: float | None = None) -> list[str]:
        asked.append(arguments[1])
        if not answers:
            raise RuntimeError("killed")
        return said(answers.pop(0))

    asked: list[str] = []
    monkeypatch.setattr(counting, "TARGET", tmp_path / "costs.json")
    monkeypatch.setattr(counting, "in_own_process", in_own_process)
    monkeypatch.setattr(counting, "asked", asked, raising=False)
    counting.write({"torch": "2", "counted": dict.fromkeys((facts.REFERENCE, FAST, "small_r18"), ROW)})
    return answers


def written(counting: ModuleType) -> dict[str, Any]:
    return json.loads(counting.TARGET.read_text())["timed"]


def test_times_are_multiples_of_the_reference_measured_around_them(counting: ModuleType, timing: list[float]) -> None:
    timing += [0.5, 2.0, 0.52]
    counting.time_all("small_r18", 1, 60)
    assert counting.asked == [facts.REFERENCE, "small_r18", facts.REFERENCE]
    expected = {facts.REFERENCE: 0.5, "small_r18": 2.0 * 0.5 / 0.51}
    for name, forward in expected.items():
        row = {"forward_seconds": forward, "step_seconds": 4 * forward}
        assert written(counting)[name] == pytest.approx(row, abs=1e-4)


def test_what_was_measured_while_the_machine_changed_is_measured_again(
    counting: ModuleType, timing: list[float]
) -> None:
    timing += [1.0, 9.0, 1.5, 5.0, 1.8, 7.0, 1.0]
    counting.time_all("small_r18", 1, 60)
    assert counting.asked == [facts.REFERENCE, *["small_r18", facts.REFERENCE] * counting.ATTEMPTS]
    assert written(counting)["small_r18"]["forward_seconds"] == pytest.approx(5 / 1.65, rel=1e-4), "the steadiest"


def test_the_reference_after_a_group_is_the_one_before_the_next(
    counting: ModuleType, timing: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "GROUP", 1)
    timing += [1.0, 2.0, 1.05, 2.0, 1.05]
    counting.time_all("", 1, 60)
    assert counting.asked == [facts.REFERENCE, FAST, facts.REFERENCE, "small_r18", facts.REFERENCE]
    found = written(counting)
    assert found[FAST]["forward_seconds"] == pytest.approx(2 / 1.025, rel=1e-4)
    assert found["small_r18"]["forward_seconds"] == pytest.approx(2 / 1.05, rel=1e-4), "as multiples of the first"


def test_small_networks_are_measured_between_the_same_two(counting: ModuleType, timing: list[float]) -> None:
    timing += [1.0, 2.0, 3.0, 1.05]
    counting.time_all("", 1, 60)
    assert counting.asked == [facts.REFERENCE, FAST, "small_r18", facts.REFERENCE]
    assert written(counting)["small_r18"]["forward_seconds"] == pytest.approx(3 / 1.025, rel=1e-4)


def test_groups_begin_with_the_cheapest(counting: ModuleType) -> None:
    cost = {"a": 200, "b": 10**6, "c": 100, "d": 150, "e": 1}
    adds = {name: value * 10**9 for name, value in cost.items()}
    assert list(counting.groups(list(cost), adds)) == [["e", "c", "d", "a"], ["b"]]
    assert list(counting.groups(["a", "c", "b"], adds)) == [["c", "a"], ["b"]]
    assert list(counting.groups(["e"], adds)) == [["e"]]


def test_measuring_goes_on_where_it_stopped(
    counting: ModuleType, timing: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "GROUP", 1)
    timing += [1.0, 2.0, 1.0]
    counting.time_all("", 1, 60)  # the process of the second is killed
    assert sorted(written(counting)) == sorted([FAST, facts.REFERENCE])
    timing += [2.0, 3.0, 2.0]
    counting.time_all("", 1, 60)
    assert written(counting)[facts.REFERENCE]["forward_seconds"] == 1.0
    assert written(counting)["small_r18"]["forward_seconds"] == 1.5
    known = len(counting.asked)
    counting.time_all("", 1, 60)
    assert len(counting.asked) == known, "nothing is left"
    monkeypatch.setattr(counting, "this_machine", lambda: "another")
    timing += [4.0]
    counting.time_all("small_r18", 1, 60)
    assert written(counting) == {facts.REFERENCE: {"forward_seconds": 4.0, "step_seconds": 16.0}}, "all anew"


def test_networks_that_memory_cannot_hold_are_passed_over(counting: ModuleType, timing: list[float]) -> None:
    costs = counting.read()
    costs["counted"]["small_r18"] = {**ROW, "step_bytes": 10**15}
    counting.write(costs)
    timing += [1.0]
    counting.time_all("small_r18", 1, 60)
    assert counting.asked == [facts.REFERENCE]


def test_the_clock_stands_still_while_nothing_is_computed(counting: ModuleType) -> None:
    waiting = counting.fastest(lambda: counting.time.sleep(0.05), 1)
    assert waiting < 0.03


@pytest.mark.parametrize(("seconds", "passes"), [(1, 10), (3, 4), (6, 2), (50, 1)])
def test_long_passes_are_not_repeated(
    counting: ModuleType, monkeypatch: pytest.MonkeyPatch, seconds: int, passes: int
) -> None:
    """Until ten seconds are spent, and where one pass takes them it is the one that counts."""
    clock = iter(range(0, 10_000, seconds))
    monkeypatch.setattr(counting.time, "process_time", lambda: next(clock))
    done: list[int] = []
    assert counting.fastest(lambda: done.append(1), 9) == seconds
    assert len(done) == passes


def test_a_process_that_takes_too_long_is_ended(counting: ModuleType) -> None:
    with pytest.raises(RuntimeError, match=r"longer than 0\.01 seconds; more with --limit"):
        counting.in_own_process("--help", limit=0.01)


def test_measuring_prints_the_times_of_a_network(
    counting: ModuleType, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "SIDE", 64)
    monkeypatch.setattr(torch, "set_num_threads", lambda _: None)  # not for the tests that follow
    counting.measure("small_r18", 1)
    word, _, figures = capsys.readouterr().out.partition(" ")
    assert word == "figures"
    measured = json.loads(figures)
    assert 0 < measured["forward"] < measured["step"]
