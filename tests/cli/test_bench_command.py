"""`intarsia bench`: weights and exported files beside each other."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from intarsia.cli.main import main
from intarsia.workflows import bench
from intarsia.workflows.gpu_memory import IN_TORCH


def test_weights_and_a_file_of_them(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    assert main(["export", str(weights), "-o", str(tmp_path), "--count", "1", "--output", "logits"]) == 0
    capsys.readouterr()
    models = [str(weights), str(tmp_path / "model.onnx")]
    words = ["bench", *models, "--size", "64x96,80", "--batch", "1,2", "--passes", "3", "--threads", "1"]
    assert main([*words, "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["measured_on"]["threads"] == "1"
    measured = [
        (one["model"], one["runs_on"], one["what"], tuple(one["size"]), one["batch"]) for one in found["measurements"]
    ]
    assert measured == [
        (model, runs_on, what, size, batch)
        for model, runs_on in zip(models, ("torch, cpu", "onnxruntime"), strict=True)
        for size in ((64, 96), (80, 80))
        for batch in (1, 2)
        for what in ("pixels to labels", "network")
    ]
    for one in found["measurements"]:
        assert len(one["passes"]) == 3
        assert 0 < min(one["passes"]) <= one["p50_seconds"] <= one["p90_seconds"] <= one["p99_seconds"]
        assert one["grown_bytes"] > 10_000
        assert one["images_per_second"] == pytest.approx(one["batch"] / one["p50_seconds"])


def test_it_prints_a_table(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(weights), "--size", "64", "--passes", "1", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "64x64" in shown
    assert "99 %" in shown
    assert "GPU" not in shown


def test_memory_of_a_gpu_has_a_column(
    weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With torch's counters for a GPU that is not there."""
    for name, value in {"memory_allocated": 10e6, "max_memory_allocated": 110e6, "memory_reserved": 20e6,
                        "max_memory_reserved": 270e6}.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda value=value: int(value))
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: None)
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(bench, "_program", lambda model, device: ("torch, cuda", True))
    assert main(["bench", str(weights), "--size", "64", "--passes", "1", "--device", "cpu"]) == 0
    shown = capsys.readouterr().out
    assert "GPU MB" in shown
    assert "100 (250)" in shown
    assert f"memory of the GPU: {IN_TORCH}" in shown


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--size", "64x0"], "--size: expected sizes such as 512x512"),
        (["--size", "wide"], "--size: expected sizes"),
        (["--batch", "two"], "--batch: expected numbers of images"),
    ],
)
def test_words_that_mean_nothing(
    weights: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", str(weights), *words]) == 2
    assert message in capsys.readouterr().err
