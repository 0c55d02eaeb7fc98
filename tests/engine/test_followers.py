"""Parts of a network that change as the training goes on are told how much of it is done, before each step."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from standins import tiny_run, tiny_task
from torch import nn

from intarsia.engine.training.loop import train
from intarsia.engine.training.trainer import Trainer
from intarsia.methods.eomt import EoMTHead
from intarsia.methods.pmt import PMTHead


class Fading(nn.Module):
    """Notes what it is told."""

    share: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("share", torch.zeros(()))
        self.told: list[float] = []

    def set_training_progress(self, progress: float) -> None:
        self.told.append(progress)
        self.share.fill_(progress)


def test_parts_are_told_what_lies_behind_before_each_step(tmp_path: Path) -> None:
    task, part = tiny_task(), Fading()
    task.model.fading = part
    train(tiny_run(tmp_path, task=task, validate=False, steps=5))
    assert part.told == [0.0, 0.2, 0.4, 0.6, 0.8]
    assert task.model.state_dict()["fading.share"].item() == torch.tensor(0.8).item()


def test_a_resumed_training_goes_on_where_it_was() -> None:
    task, part = tiny_task(), Fading()
    task.model.fading = part
    trainer = Trainer(tiny_run(Path("unused"), task=task, validate=False, steps=10))
    trainer.steps_done = 7
    trainer.step()
    assert part.told == [0.7]


@pytest.mark.parametrize("name", ["EoMT", "PMT"])
def test_telling_it_waits_for_no_gpu(name: str) -> None:
    """The shares of masked attention are sent while the device still computes the step before."""
    with simulated_gpu() as waits:
        head = (
            EoMTHead(in_channels=8, num_classes=3, num_queries=2, num_blocks=2)
            if name == "EoMT"
            else PMTHead(
                in_channels=(8, 8), in_index=(0, 1), num_classes=3, num_queries=2, num_blocks=2, num_heads=2,
                hidden_channels=8,
            )
        ).to(DEVICE)  # fmt: skip
        waits.found.clear()
        head.set_training_progress(0.3)
        assert waits.found == []
        assert 0 < head.attn_mask_probs.cpu()[0] < 1
