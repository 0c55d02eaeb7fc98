"""Training, inference and metrics on every kind of device that is there."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import CLASSES, PALETTE, SGD, Pictures, stop_after, tiny_run, tiny_task

from intarsia.data.pipeline import Pipeline
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.loop import train
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import EmaSpec, InferenceSpec

METRICS = ("mIoU", "mBoundaryIoU", "imageIoU", "interval", "ECE")


def losses(folder: Path) -> list[float]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


def test_a_training_with_evaluations_between_lines_and_a_stop(tmp_path: Path, device: torch.device) -> None:
    settings: dict[str, Any] = {
        "ema": EmaSpec(momentum=0.2), "optim": replace(SGD, accumulate=2, clip={"max_norm": 1.0}), "log_every": 7,
        "evaluate_every": 4, "save_every": 5,
    }  # fmt: skip

    def start(name: str, **changes: Any) -> Any:
        return tiny_run(tmp_path / name, runtime=FabricRuntime(accelerator=device.type), **settings, **changes)

    assert train(start("whole")).finished
    parts = start("parts")
    stop_after(parts, 23)
    assert not train(parts).finished
    assert train(start("parts", resume=True)).finished
    assert losses(tmp_path / "parts") == pytest.approx(losses(tmp_path / "whole"), rel=1e-4)
    assert losses(tmp_path / "whole")[-1] < losses(tmp_path / "whole")[0]


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_scores_are_those_of_the_processor(mode: Any, device: torch.device) -> None:
    inference = InferenceSpec(num_classes=3, mode=mode, crop_size=(16, 20), stride=(9, 11))

    def scores(where: torch.device) -> dict[str, float]:
        task = tiny_task()
        predictor = Predictor(task, inference=inference, classes=CLASSES, palette=PALETTE, device=where)
        pipeline = Pipeline(Pictures(5, size=(32, 44)), (), label_size="original")
        report = evaluate(predictor, pipeline, IoUMetric(num_classes=3, metrics=METRICS), batch_size=2, task=task)
        return {**report.summary, **report.losses}

    assert scores(device) == pytest.approx(scores(torch.device("cpu")), rel=1e-3, abs=1e-3, nan_ok=True)


def test_predictions_are_those_of_the_processor(device: torch.device) -> None:
    image = Pictures(1, size=(40, 52)).load(0).image

    def shares(where: torch.device) -> Any:
        predictor = Predictor(
            tiny_task(), inference=InferenceSpec(num_classes=3), classes=CLASSES, palette=PALETTE, device=where
        )
        return predictor.predict(image, probabilities=True).probabilities

    assert shares(device) == pytest.approx(shares(torch.device("cpu")), abs=1e-3)
