"""The first step of a real network on real images, against the original's curve (`golden/training.json`).

The record says that every dropout was off, and its decode head agrees to 1e-10 at the first step: images, trunk,
fusion, loss and accuracy are exact. Its auxiliary heads do not agree, at that very step, although the same heads do in
`test_golden_models.py`. Their config leaves `dropout_ratio` at its default of 0.1, while the decode head's writes it,
so that setting every written ratio to 0 would miss them. Their losses are 2.3153 and 2.4248, where 2.3026 and 2.4210
are computed without dropout; with it they are 2.318 and 2.435 on average, with a deviation of 0.021.

With the random state of that run the curve could be followed, but it is not recorded. Its masks are neither those of
the torch seeds 0 to 19,999, nor those of 23 common seeds (0 to 10, 42, 100, 1234 ...) after any number of other draws
up to 40 million, which is more than building and initialising such a network takes. Excluded as causes: alignment of
corners, denominator of the mean, running statistics, epsilons of the norms, activations, scaled logits, weights filled
under other names.
From the second step on the weights have learned from those heads, so nothing after it can be compared to the digit.
With dropout in those heads the record is one draw of many: its 270 final weights and statistics lie 1.25 standard
deviations from the mean of six runs of ours with other seeds (root mean square), each of these 1.3 to 1.7 from the mean
of the other five.

So the recipe's first steps are run by the engine's loop, and beside it by a plain one that shares nothing with engine,
losses and preprocessing but the network. Only the first, since rounding grows: the two agree to 1e-9 up to the sixth
step, and no longer to 1e-8 from the seventh on.
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
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.config.language.reader import Config
from intarsia.config.lowering.fields import Context
from intarsia.config.lowering.training import lower_optim
from intarsia.contracts import Batch, LossTerm, Sample, SampleMeta
from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import Run
from intarsia.spec import Duration
from intarsia.tasks.semantic import SemanticSegmentation

STEPS = 5


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
        for step in recipe["curve"][:STEPS]
    ]


def test_decode_head_is_exact_at_the_first_step(recipe: dict[str, Any], realdata: Path) -> None:
    with torch.no_grad():
        terms = {term.name: term.value.item() for term in prepared(recipe).training_terms(batches(recipe, realdata)[0])}
    expected = recipe["curve"][0]
    np.testing.assert_allclose(terms["decode.loss_ce"], expected["decode.loss_ce"], rtol=comparing.DOUBLE)
    np.testing.assert_allclose(terms["decode.acc_seg"], expected["decode.acc_seg"], rtol=comparing.SINGLE)


class Listed:
    """The images and labels of the record, in its order."""

    def __init__(self, recipe: dict[str, Any], root: Path) -> None:
        pairs = {}
        for step, batch in zip(recipe["curve"][:STEPS], batches(recipe, root), strict=True):
            assert isinstance(batch.labels, Tensor)
            pairs.update(zip(step["samples"], zip(batch.images, batch.labels, strict=True), strict=True))
        self.pairs = [pairs[index] for index in sorted(pairs)]
        self.classes = tuple(f"class {index}" for index in range(recipe["model"]["decode_head"]["num_classes"]))
        self.palette = ((0, 0, 0),) * len(self.classes)
        self.ignore_index = recipe["model"]["decode_head"]["ignore_index"]

    def __len__(self) -> int:
        return len(self.pairs)

    def load(self, index: int) -> Sample:
        image, label = self.pairs[index]
        size = (label.shape[0], label.shape[1])
        return Sample(image.permute(1, 2, 0).numpy(), label.numpy(), meta=SampleMeta(str(index), original_size=size))


def plain_loop(recipe: dict[str, Any], root: Path) -> tuple[list[dict[str, float]], dict[str, Tensor]]:
    """The same recipe in a dozen lines of PyTorch: its loss terms at each step, and what is learned."""
    network = prepared(recipe).model
    mean, std = (torch.tensor(recipe["preprocessor"][key]).double()[:, None, None] for key in ("mean", "std"))
    settings = {key: value for key, value in recipe["optim_wrapper"]["optimizer"].items() if key != "type"}
    optimizer = torch.optim.SGD(network.parameters(), **settings)
    curve = []
    for step, batch in zip(recipe["curve"][:STEPS], batches(recipe, root), strict=True):
        optimizer.param_groups[0]["lr"] = step["lr"][0]
        outputs = network.training_outputs((batch.images - mean) / std)  # type: ignore[operator]
        labels = batch.labels.long()
        losses = {}
        for head, logits in outputs.items():
            enlarged = F.interpolate(logits, labels.shape[1:], mode="bilinear")
            values = F.cross_entropy(enlarged, labels, ignore_index=11, reduction="none")
            losses[f"{head}.loss_ce"] = values.sum() / (labels != 11).sum()
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), recipe["optim_wrapper"]["clip_grad"]["max_norm"])
        optimizer.step()
        curve.append({name: value.item() for name, value in losses.items()})
    return curve, network.state_dict()


def test_the_loop_trains_as_a_plain_one(recipe: dict[str, Any], realdata: Path, tmp_path: Path) -> None:
    """Momentum, weight decay, clipping, the falling rate, running statistics, three heads."""
    context = Context(Config.from_values(recipe, file="training.json"))
    optim = lower_optim(context, recipe["optim_wrapper"], recipe["param_scheduler"], Duration(recipe["steps"], "steps"))
    task = prepared(recipe)
    terms_of, seen = task.training_terms, []

    def training_terms(batch: Batch) -> list[LossTerm]:
        terms = terms_of(batch)
        seen.append({term.name: term.value.item() for term in terms})  # the log keeps single precision
        return terms

    task.training_terms = training_terms  # type: ignore[method-assign]
    train(
        Run(
            task=task,
            pipeline=Pipeline(Listed(recipe, realdata), ()),
            optim=optim,
            steps=STEPS,
            batch=recipe["batch"],
            shuffle=False,
            workers=0,
            log_every=1,
            out=tmp_path / "run",
            runtime=FabricRuntime(accelerator="cpu"),
        )
    )
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    rates = [line["lr"] for line in lines if "lr" in line]
    np.testing.assert_allclose(rates, [step["lr"][0] for step in recipe["curve"][:STEPS]], rtol=comparing.DOUBLE)
    expected, learned = plain_loop(recipe, realdata)
    for found, terms in zip(seen, expected, strict=True):
        np.testing.assert_allclose([found[name] for name in terms], list(terms.values()), rtol=comparing.DOUBLE)
    for name, value in task.model.state_dict().items():
        torch.testing.assert_close(
            value,
            learned[name],
            rtol=comparing.DOUBLE,
            atol=comparing.DOUBLE,
            msg=lambda said, name=name: f"{name}: {said}",
        )
