"""`make gpu` on a processor, with toy sizes: that each check runs, and that what goes wrong is told."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from gpu_parts.checks import CHECKS, REAL_TIME, TRAINED, chosen  # noqa: E402
from gpu_parts.report import markdown, verdict  # noqa: E402

from intarsia.guide.networks import networks  # noqa: E402


def run(out: Path, *words: str) -> tuple[int, dict[str, Any], str]:
    """Exit code, results, report."""
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--device", "cpu", "--small", "--out", str(out), *words], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
    )  # fmt: skip
    assert (out / "results.json").is_file(), done.stdout + done.stderr
    return done.returncode, json.loads((out / "results.json").read_text()), (out / "report.md").read_text()


@pytest.mark.slow
def test_each_check_runs_and_passes(tmp_path: Path) -> None:
    code, results, report = run(tmp_path, "--minutes", "60")
    found = {check["name"]: check for check in results["checks"]}
    assert list(found) == [check.name for check in chosen(None, small=True)]
    assert {name: check["result"] for name, check in found.items()} == dict.fromkeys(found, "passed"), report
    assert code == 0
    for check in found.values():
        # A check of correctness has compared something, and one of figures has figures.
        assert check["comparisons"] if check["kind"] == "correctness" else check["figures"], check["name"]
    assert "| segformer_mit-b0 | 2 x 64 x 64 | bfloat16 |" in report


def test_what_goes_wrong_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    code, results, report = run(tmp_path, "--only", "selftest")
    found = {check["name"].partition("_")[2]: check for check in results["checks"]}
    assert {name: check["result"] for name, check in found.items()} == {
        "wrong": "failed", "raises": "failed", "crash": "crashed", "hang": "out of time",
    }  # fmt: skip
    assert code == 1
    assert found["wrong"]["comparisons"] == [{"what": "one is two", "error": 1.0, "tolerance": 0.5, "holds": False}]
    assert "RuntimeError: broken on purpose" in found["raises"]["broken"][0]["traceback"]
    assert all(found[name]["figures"] == [{"before": "kept"}] for name in ("raises", "crash", "hang"))
    assert "| selftest_wrong | failed | 0 of 1 | one is two: 1 of 0.5 |" in report


def test_no_gpu_is_said(tmp_path: Path) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is one")
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", "--only", "selftest_wrong", "--out", str(tmp_path)], cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 2
    assert "torch sees no GPU here; to try the script: --device cpu --small" in done.stdout


def test_every_network_is_a_recipe() -> None:
    assert {name for name, *_ in (*TRAINED, *REAL_TIME)} <= {network.name for network in networks()}
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names))
    order = [check.kind for check in CHECKS]
    assert order == sorted(order, key=["correctness", "figures", "self-test"].index), "what is wrong is known first"


def test_a_check_that_was_not_reached_is_no_failure() -> None:
    entry = {"name": "a", "kind": "correctness", "about": "", "result": "not reached", "seconds": 0.0, "broken": []}
    entry |= {"comparisons": [], "figures": []}
    results = {"machine": {}, "checks": [entry, {**entry, "name": "b", "result": "passed"}]}
    assert verdict(results) == 0
    assert "| a | not reached |" in markdown(results)
    assert verdict({"machine": {}, "checks": [{**entry, "result": "crashed"}]}) == 1
    assert verdict({"machine": {}, "checks": [{**entry, "kind": "figures", "result": "crashed"}]}) == 0
