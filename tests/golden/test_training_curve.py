"""A real network trained on real images, step by step, beside the original's curve (`golden/training.json`).

Without dropout nothing in the record is random, but rounding grows tenfold and more with every step. The steps are
compared as long as one rounding of one layer moves them by about 1e-9 at most: six of them. That the two recorded runs
of the original lie closer together in the seventh (`repeat_error`) is luck, and a torch that rounds otherwise lacks it.
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
from torch import Tensor, nn

from intarsia.config.language.reader import Config
from intarsia.config.lowering.fields import Context
from intarsia.config.lowering.training import lower_optim
from intarsia.contracts import Batch, LossTerm, Sample, SampleMeta
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.layers.drop_path import DropPath
from intarsia.spec import Duration
from intarsia.tasks.semantic import SemanticSegmentation

REPEATABLE = 1e-9
"""How closely the steps are compared, relative."""

COMPARED = 6
"""Steps before rounding has grown beyond that."""


@pytest.fixture(scope="module")
def recipe(shared: Path) -> dict[str, Any]:
    return json.loads((shared / "golden" / "training.json").read_text())


def prepared(recipe: dict[str, Any]) -> SemanticSegmentation:
    task = building.task({**recipe["model"], "data_preprocessor": recipe["preprocessor"]}, preprocessed=False)
    filling.fill(task.double().model)  # in this order: weights filled in single precision would be rounded
    for module in task.modules():
        assert not isinstance(module, DropPath)
        if isinstance(module, nn.modules.dropout._DropoutNd):
            module.p = 0.0
    return task.train()


class Listed:
    """The images and labels of the record, in the order of its steps."""

    def __init__(self, recipe: dict[str, Any], root: Path) -> None:
        size = tuple(recipe["resize"])
        self.images = [cv2.resize(cv2.imread(str(root / name)), size)[..., ::-1] for name in recipe["images"]]
        labels = [cv2.imread(str(root / name), cv2.IMREAD_GRAYSCALE) for name in recipe["labels"]]
        self.labels = [cv2.resize(label, size, interpolation=cv2.INTER_NEAREST) for label in labels]
        self.order = [index for step in recipe["curve"] for index in step["samples"]]
        self.classes = tuple(f"class {index}" for index in range(recipe["model"]["decode_head"]["num_classes"]))
        self.palette = ((0, 0, 0),) * len(self.classes)
        self.ignore_index = recipe["model"]["decode_head"]["ignore_index"]

    def __len__(self) -> int:
        return len(self.order)

    def load(self, index: int) -> Sample:
        image, label = (arrays[self.order[index]] for arrays in (self.images, self.labels))
        height, width = label.shape
        return Sample(image.copy(), label, meta=SampleMeta(str(index), original_size=(height, width)))


def followed(
    recipe: dict[str, Any], task: SemanticSegmentation, root: Path, out: Path, steps: int
) -> list[dict[str, float]]:
    """The values of every term of each step, by the recipe of the record; the log keeps single precision alone."""
    context = Context(Config.from_values(recipe, file="training.json"))
    optim = lower_optim(context, recipe["optim_wrapper"], recipe["param_scheduler"], Duration(recipe["steps"], "steps"))
    terms_of, seen = task.training_terms, []

    def training_terms(batch: Batch) -> list[LossTerm]:
        terms = terms_of(batch)
        seen.append({term.name: term.value.item() for term in terms})
        return terms

    task.training_terms = training_terms  # type: ignore[method-assign]
    train(
        Run(
            task=task,
            pipeline=Pipeline(Listed(recipe, root), ()),
            optim=optim,
            steps=steps,
            batch=recipe["batch"],
            shuffle=False,
            workers=0,
            log_every=1,
            out=out,
            runtime=FabricRuntime(accelerator="cpu"),
        )
    )
    return seen


def test_the_loop_follows_the_originals_curve(recipe: dict[str, Any], realdata: Path, tmp_path: Path) -> None:
    """Every loss term and accuracy of three heads; hence momentum, weight decay, clipping and the falling rate too."""
    steps = recipe["curve"][:COMPARED]
    assert max(step["repeat_error"] for step in steps) < REPEATABLE
    seen = followed(recipe, prepared(recipe), realdata, tmp_path / "run", COMPARED)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if "lr" in line]
    np.testing.assert_allclose(rates, [step["lr"][0] for step in steps], rtol=comparing.DOUBLE)
    for number, (found, step) in enumerate(zip(seen, steps, strict=True), start=1):
        expected = {name: value for name, value in step.items() if "." in name}
        assert list(found) == list(expected)
        for name, value in expected.items():
            # Accuracies are single precision in the original.
            rtol = comparing.SINGLE if name.endswith("acc_seg") else REPEATABLE
            np.testing.assert_allclose(found[name], value, rtol=rtol, err_msg=f"{name} of step {number}")


def test_one_rounding_of_one_layer_is_seen_after_the_compared_steps_alone(
    recipe: dict[str, Any], realdata: Path, tmp_path: Path
) -> None:
    """Why no further step is compared, and why the compared ones may be."""
    straight = followed(recipe, prepared(recipe), realdata, tmp_path / "straight", COMPARED + 1)
    moved = prepared(recipe)
    with torch.no_grad():
        next(moved.model.parameters()).mul_(1 + torch.finfo(torch.float64).eps)
    shifted = followed(recipe, moved, realdata, tmp_path / "moved", COMPARED + 1)
    apart = [
        max(abs(value / before[name] - 1) for name, value in after.items() if not name.endswith("acc_seg"))
        for before, after in zip(straight, shifted, strict=True)
    ]
    assert max(apart[:-1]) < 5 * REPEATABLE < apart[-1]


def test_normalisation_in_float64_is_not_rounded_to_float32(recipe: dict[str, Any]) -> None:
    """What it takes to follow the curve beyond the second step: 123.675 is no number of float32."""
    mean, std = (torch.tensor(recipe["preprocessor"][key], dtype=torch.float64) for key in ("mean", "std"))
    task = prepared(recipe)
    images = torch.arange(3 * 4 * 5, dtype=torch.uint8).view(1, 3, 4, 5)
    normalised: Tensor = (images - mean[:, None, None]) / std[:, None, None]
    assert task.preprocess(images, [(4, 5)], train=False)[..., :4, :5].equal(normalised)
