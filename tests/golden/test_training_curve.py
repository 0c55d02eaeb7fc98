"""A short deterministic training, step by step: preprocessing, losses, gradients and batch-norm statistics together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import building
import comparing
import cv2
import filling
import numpy as np
import pytest
import torch
from torch import nn

from intarsia.contracts import Batch
from intarsia.tasks.semantic import SemanticSegmentation


@pytest.fixture(scope="module")
def recipe(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "golden" / "training.json").read_text())


def without_randomness(task: SemanticSegmentation) -> None:
    for module in task.modules():
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0


def read(path: Path, size: list[int], *, label: bool) -> torch.Tensor:
    pixels = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE if label else cv2.IMREAD_COLOR_RGB)
    pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_NEAREST if label else cv2.INTER_LINEAR)
    return torch.from_numpy(pixels if label else np.ascontiguousarray(pixels.transpose(2, 0, 1)))


def test_every_loss_of_every_step(recipe: dict[str, Any], realdata: Path) -> None:
    task = building.task({**recipe["model"], "data_preprocessor": recipe["preprocessor"]}, preprocess=None)
    filling.fill(task.double().model)  # in this order: weights filled in single precision would be rounded
    without_randomness(task.train())
    images = [read(realdata / name, recipe["resize"], label=False) for name in recipe["images"]]
    labels = [read(realdata / name, recipe["resize"], label=True) for name in recipe["labels"]]
    optimizer = torch.optim.SGD(task.parameters(), lr=0.0, momentum=0.9, weight_decay=4e-5)
    for step, expected in enumerate(recipe["curve"]):
        chosen = [(step * recipe["batch"] + j) % len(images) for j in range(recipe["batch"])]
        assert chosen == expected["samples"]
        stacked = torch.stack([images[i] for i in chosen])
        batch = Batch(stacked, torch.stack([labels[i] for i in chosen]), (tuple(stacked.shape[2:]),) * len(chosen), ())
        terms = task.training_terms(batch)
        for term in terms:
            limit = comparing.SINGLE if term.name.endswith("acc_seg") else comparing.DOUBLE
            np.testing.assert_allclose(term.value.item(), expected[term.name], rtol=limit, err_msg=f"step {step}")
        total = torch.stack([term.value * term.weight for term in terms if term.weight]).sum()
        np.testing.assert_allclose(total.item(), expected["total"], rtol=comparing.DOUBLE)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(task.parameters(), max_norm=5.0)
        optimizer.param_groups[0]["lr"] = expected["lr"][0]
        optimizer.step()
    state = task.model.state_dict()
    for name, digest in recipe["final"].items():
        comparing.check_digest(name, state[name], digest)
