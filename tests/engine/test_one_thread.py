"""Training a network whose wide convolutions go to oneDNN, as they do with one thread."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import TinyTask, stop_after, tiny_run
from torch import Tensor, nn

from intarsia.contracts import FeatureSpec
from intarsia.engine.training.checkpoint import load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.layers import onednn
from intarsia.models.encoder_decoder import EncoderDecoder

pytestmark = pytest.mark.usefixtures("one_thread")


class Trunk(nn.Module):
    features = (FeatureSpec(384, 1),)

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 384, 1), nn.BatchNorm2d(384)
        self.wide = nn.Conv2d(384, 384, 1)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        return (self.wide(self.norm(self.stem(images)).relu()),)


class Last(nn.Conv2d):
    """Logits of the only level."""

    def forward(self, features: Sequence[Tensor]) -> Tensor:  # type: ignore[override]
        return super().forward(features[0])


def wide_task() -> TinyTask:
    torch.manual_seed(0)
    task = TinyTask()
    task.model = EncoderDecoder(backbone=Trunk(), decode_head=Last(384, 3, 1))  # type: ignore[assignment]
    return task


def trained(out: Path, **changes: Any) -> dict[str, Any]:
    run = tiny_run(out, task=wide_task(), validate=False, steps=6, save_every=3, **changes)
    assert train(run).finished
    return load_checkpoint(out / "checkpoints/step_00000006.pt")


def test_a_resumed_run_has_the_bits_of_one_that_was_never_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = trained(tmp_path / "whole")
    run = tiny_run(tmp_path / "parts", task=wide_task(), validate=False, steps=6, save_every=3)
    stop_after(run, 4)
    assert not train(run).finished
    parts = trained(tmp_path / "parts", resume=True)
    for name, value in whole["task"].items():
        assert parts["task"][name].equal(value), name
    for index, state in whole["optimizer"]["state"].items():
        assert parts["optimizer"]["state"][index]["momentum_buffer"].equal(state["momentum_buffer"])

    if torch.backends.mkldnn.is_available() and torch.backends.cpu.get_cpu_capability() in onednn.PROCESSORS:
        monkeypatch.setattr(onednn, "LEAST_WORK", 10**9)
        plain = trained(tmp_path / "plain")["task"]
        assert any(not plain[name].equal(value) for name, value in whole["task"].items())  # another kernel
        for name, value in whole["task"].items():
            torch.testing.assert_close(plain[name], value, rtol=1e-3, atol=1e-5)


def test_a_network_is_after_a_training_what_it_was(tmp_path: Path) -> None:
    run = tiny_run(tmp_path / "run", task=wide_task(), validate=False, steps=1)
    train(run)
    layers = [layer for layer in run.task.modules() if isinstance(layer, nn.Conv2d)]
    assert {layer.dilation for layer in layers} == {(1, 1)}
    assert not any(layer._forward_hooks or layer._forward_pre_hooks for layer in layers)
    assert {type(layer) for layer in layers} == {nn.Conv2d, Last}
