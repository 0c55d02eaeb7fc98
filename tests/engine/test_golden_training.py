"""Twelve steps of a real network on real images, against the original's curve (`golden/training.json`)."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from intarsia.contracts import Batch, Sample, SampleMeta
from intarsia.data.pipeline import Pipeline
from intarsia.engine.optim import optimizer_for, set_learning_rates
from intarsia.engine.run import Run
from intarsia.engine.runtime import FabricRuntime
from intarsia.engine.schedule import LearningRate
from intarsia.engine.train import load, one_step
from intarsia.spec import Component, OptimSpec, PreprocessSpec, ScheduleSpec

CLASSES = tuple(f"class {i}" for i in range(11))


@dataclass(frozen=True)
class Resized:
    """Images and labels of the recipe, resized once, in the listed order."""

    root: Path
    images: tuple[str, ...]
    labels: tuple[str, ...]
    size: tuple[int, int]
    classes: tuple[str, ...] = CLASSES
    palette: tuple[tuple[int, int, int], ...] = tuple((i, i, i) for i in range(11))
    ignore_index: int = 11

    def __len__(self) -> int:
        return len(self.images)

    def load(self, index: int) -> Sample:
        image = cv2.imread(str(self.root / self.images[index]))
        label = cv2.imread(str(self.root / self.labels[index]), cv2.IMREAD_UNCHANGED)
        image = cv2.resize(image, self.size, interpolation=cv2.INTER_LINEAR)[..., ::-1]
        label = cv2.resize(label, self.size, interpolation=cv2.INTER_NEAREST)
        return Sample(np.ascontiguousarray(image), label, meta=SampleMeta(name=self.images[index]))


def task_of(recipe: dict[str, Any], shared: Path) -> nn.Module:
    from intarsia.layers.norm import Norm
    from intarsia.losses.cross_entropy import CrossEntropyLoss
    from intarsia.methods.fast_scnn import DepthwiseSeparableFCNHead, FastSCNN
    from intarsia.methods.fcn import FCNHead
    from intarsia.models.encoder_decoder import EncoderDecoder
    from intarsia.tasks.preprocess import Preprocess
    from intarsia.tasks.semantic import HeadLoss, SemanticSegmentation

    own = ("type", "norm_cfg", "loss_decode", "ignore_index", "dropout_ratio")
    backbone = {k: v for k, v in recipe["model"]["backbone"].items() if k not in own}
    decode, *aux = [
        {k: v for k, v in head.items() if k not in own} | {"norm": Norm("BN"), "dropout_ratio": 0.0}
        for head in (recipe["model"]["decode_head"], *recipe["model"]["auxiliary_head"])
    ]
    model = EncoderDecoder(
        backbone=FastSCNN(**backbone, norm=Norm("BN")),
        decode_head=DepthwiseSeparableFCNHead(**decode),
        auxiliary_head=[FCNHead(**head) for head in aux],
    )
    given = recipe["preprocessor"]
    preprocess = PreprocessSpec(
        mean=tuple(given["mean"]),
        std=tuple(given["std"]),
        label_pad_value=given["seg_pad_val"],
        train_size_divisor=given["size_divisor"],
    )
    loss = CrossEntropyLoss(ignore_index=11, avg_non_ignore=True)
    task = SemanticSegmentation(
        model,
        preprocess=Preprocess(preprocess),
        losses=[HeadLoss(name, [("loss_ce", loss, 1.0)], 11, False) for name in ("decode", "aux_0", "aux_1")],
        num_classes=11,
        ignore_index=11,
    )
    found = importlib.util.spec_from_file_location("fill", shared / "golden/fill.py")
    assert found is not None
    assert found.loader is not None
    fill = importlib.util.module_from_spec(found)
    found.loader.exec_module(fill)
    task.double()
    for name, value in model.state_dict().items():
        if value.is_floating_point():
            value.copy_(torch.from_numpy(fill.value(name, value.shape)))
    return task


def test_the_curve_of_the_original(shared: Path, realdata: Path, tmp_path: Path) -> None:
    recipe = json.loads((shared / "golden/training.json").read_text())
    given = recipe["optim_wrapper"]["optimizer"]
    optim = OptimSpec(
        optimizer=Component("optimizer", given["type"], {k: v for k, v in given.items() if k != "type"}),
        schedules=tuple(
            ScheduleSpec(s["type"], s["begin"], s["end"], args={"power": s["power"], "eta_min": s["eta_min"]})
            for s in recipe["param_scheduler"]
        ),
        clip=recipe["optim_wrapper"]["clip_grad"],
    )
    task = task_of(recipe, shared)
    run = Run(
        task=task,  # type: ignore[arg-type]
        pipeline=Pipeline(
            Resized(realdata, tuple(recipe["images"]), tuple(recipe["labels"]), tuple(recipe["resize"])), ()
        ),
        optim=optim,
        steps=recipe["steps"],
        batch=recipe["batch"],
        out=tmp_path,
        workers=0,
        shuffle=False,
        runtime=FabricRuntime(accelerator="cpu", precision="64-true"),
    )
    task.train()
    optimizer = optimizer_for(task.get_submodule("model"), optim)
    model, (wrapped,) = run.runtime.setup(task, optimizer)
    rate = LearningRate(optim.schedules)
    batches: Iterator[Batch] = load(run, 0)
    for step, expected in enumerate(recipe["curve"]):
        assert set_learning_rates(optimizer, rate, step) == pytest.approx(expected["lr"][0], rel=1e-12)
        terms, _ = one_step(run, step, model, wrapped, batches)
        for term in terms:
            tolerance = 1e-5 if "acc" in term.name else 1e-8
            assert float(term.value) == pytest.approx(expected[term.name], rel=tolerance), f"{term.name}, step {step}"
        assert sum(float(t.value) for t in terms if t.weight) == pytest.approx(expected["total"], rel=1e-8)
    state = task.get_submodule("model").state_dict()
    for name, digest in recipe["final"].items():
        value = state[name].double()
        assert list(value.shape) == digest["shape"]
        assert float(value.mean()) == pytest.approx(digest["mean"], rel=1e-7, abs=1e-9), name
        assert float(value.std(correction=0)) == pytest.approx(digest["std"], rel=1e-7, abs=1e-9), name
