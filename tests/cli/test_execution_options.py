"""`--precision` and `--compile` of predict, eval and bench."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import intarsia
from intarsia.cli.main import main
from intarsia.inference import compiled, kept_code, precision


@pytest.fixture(autouse=True)
def without_inductor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Graphs are run as they are, on a processor that is fast in half precision."""

    def as_it_is(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> Callable[..., Any]:
        return graph.forward

    torch.compiler.reset()
    monkeypatch.setenv(kept_code.FOLDER, str(tmp_path))
    monkeypatch.setattr(compiled, "make_code", as_it_is)
    monkeypatch.setattr(compiled, "check_compiler", lambda device: None)
    monkeypatch.setattr(precision, "_capabilities", lambda: {"architecture": "x86_64", "avx512_bf16": True})


def test_predict_notes_its_precision(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Results of another precision are not mixed in."""
    plain, half = tmp_path / "plain", tmp_path / "half"
    words = ["predict", str(weights), str(photos), "--device", "cpu", "--save", "label", "-o"]
    assert main([*words, str(plain)]) == 0
    assert main([*words, str(half), "--precision", "bf16", "--compile"]) == 0
    assert "torch.compile: the network was compiled, and is kept in" in capsys.readouterr().err
    same = [np.array(Image.open(folder / "a_1.png")) for folder in (plain, half)]
    assert (same[0] == same[1]).mean() > 0.9
    noted = [json.loads((folder / "intarsia.json").read_text())["options"]["precision"] for folder in (plain, half)]
    assert noted == ["32", "bf16"]
    assert main([*words, str(half), "--skip-existing"]) == 2
    assert "precision: bf16 then, 32 now" in capsys.readouterr().err


def test_bench_says_how_it_computes(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["bench", str(weights), "--size", "96", "--passes", "1", "--device", "cpu", "--json"]
    assert main([*words, "--precision", "bf16", "--compile"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["runs_on"] for one in found["measurements"]} == {"torch, cpu, bf16, compiled"}


def test_an_exported_file_has_decided(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["export", str(weights), "-o", str(tmp_path), "--count", "1"]) == 0
    file = str(tmp_path / "model.onnx")
    for words, said in (
        (["--precision", "bf16"], "its precision is in it, and stays. `intarsia export` makes files of another one"),
        (["--compile"], "its runtime has a program of its own, and --compile is for weights"),
    ):
        capsys.readouterr()
        assert main(["bench", file, "--passes", "1", *words]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    with pytest.raises(ValueError, match="is an exported file: its precision is in it"):
        intarsia.load(file, precision="16")
    with pytest.raises(ValueError, match="is an exported file: its runtime has a program of its own"):
        intarsia.load(file, compile=True)
