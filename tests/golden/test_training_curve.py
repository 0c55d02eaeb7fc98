"""The first step of a real network on real images, against the original's curve (`golden/training.json`).

The record says that every dropout was off, and its decode head agrees to 1e-10 at the first step: images, trunk,
fusion, loss and accuracy are exact. Its auxiliary heads do not agree, at that very step, although the same heads do in
`test_golden_models.py`. Their config leaves `dropout_ratio` at its default of 0.1, while the decode head's writes it,
so that setting every written ratio to 0 would miss them. Their losses are 2.3153 and 2.4248, where 2.3026 and 2.4210
are computed without dropout; with it they are 2.318 and 2.435 on average, with a deviation of 0.021.

With the random state of that run the curve could be followed, but it is not recorded. Its masks are neither those of
the torch seeds 0 to 19,999, nor those of the seeds 0, 1 and 42 after up to 10,000 other draws, nor those that common
seeds leave after such a network has been built and initialised. Excluded as causes: alignment of corners, denominator
of the mean, running statistics, epsilons of the norms, activations, scaled logits, weights filled under other names.
From the second step on the weights have learned from those heads, so nothing after it can be compared.
"""

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


def prepared(recipe: dict[str, Any]) -> SemanticSegmentation:
    task = building.task({**recipe["model"], "data_preprocessor": recipe["preprocessor"]}, preprocessed=False)
    filling.fill(task.double().model)  # in this order: weights filled in single precision would be rounded
    for module in task.modules():
        if isinstance(module, nn.Dropout2d):
            module.p = 0.0
    return task.train()


def batches(recipe: dict[str, Any], root: Path) -> list[Batch]:
    width, height = recipe["resize"]
    images = [cv2.resize(cv2.imread(str(root / name)), (width, height))[..., ::-1] for name in recipe["images"]]
    labels = [
        cv2.resize(cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE), (width, height), interpolation=cv2.INTER_NEAREST)
        for name in recipe["labels"]
    ]
    stacked = torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()), torch.from_numpy(np.stack(labels))
    return [
        Batch(stacked[0][step["samples"]], stacked[1][step["samples"]], ((height, width),) * recipe["batch"], ())
        for step in recipe["curve"]
    ]


def test_decode_head_is_exact_at_the_first_step(recipe: dict[str, Any], realdata: Path) -> None:
    with torch.no_grad():
        terms = {term.name: term.value.item() for term in prepared(recipe).training_terms(batches(recipe, realdata)[0])}
    expected = recipe["curve"][0]
    np.testing.assert_allclose(terms["decode.loss_ce"], expected["decode.loss_ce"], rtol=comparing.DOUBLE)
    np.testing.assert_allclose(terms["decode.acc_seg"], expected["decode.acc_seg"], rtol=comparing.SINGLE)
