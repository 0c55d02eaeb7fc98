"""Scores and labels of the device beside those of the processor, and images a second from files to scores."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from PIL import Image

from gpu_parts import runs
from gpu_parts.networks import peak_gigabytes, task_of
from gpu_parts.notes import Notes
from intarsia.api import load
from intarsia.contracts import Report
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.pipeline import Pipeline
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.predictor import Predictor
from intarsia.metrics.iou import IoUMetric
from intarsia.spec import InferenceSpec
from intarsia.workflows.evaluate import EvaluationRequest, evaluate_model

RECIPES = ("segformer_mit-b0", "pidnet-s")
CLASSES = 19


def _trained(notes: Notes) -> Path:
    out = runs.request(notes, "run", steps=4 if notes.small else 60)
    runs.train(out)
    return out.out


def scores(notes: Notes, _: str) -> None:
    """The whole table of `intarsia eval`, whole images, windows and views. One pixel in a thousand may lie at a tie."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    run = _trained(notes)
    ways: dict[str, dict[str, Any]] = {
        "whole": {}, "windows": {"slide": "64,43" if notes.small else "128,85"}, "views": {"augment": "0.75,1.25"},
    }  # fmt: skip
    for name, way in ways.items():
        with notes.attempt(name):
            here, there = (
                _table(evaluate_model(EvaluationRequest(
                    weights=run, device=device, out=notes.folder / f"{name}_{device}", pictures=0, **way
                )))
                for device in ("cpu", notes.device.type)
            )  # fmt: skip
            notes.is_true(f"{name}: the same rows", here.keys() == there.keys())
            for key, value in here.items():
                notes.holds(f"{name}: {key}", abs(there[key] - value), 1e-3)


def _table(report: Report | None) -> dict[str, float]:
    assert report is not None
    table = {key: value for key, value in report.summary.items() if value == value}
    for score in report.classes:
        table |= {f"{score.name} {key}": value for key, value in score.values.items() if value == value}
    return table


def labels(notes: Notes, _: str) -> None:
    """`intarsia.load(...).predict` on both, where the two likeliest classes are not as good as equal."""
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    run = _trained(notes)
    here, there = load(run, device="cpu"), load(run, device=notes.device.type)
    for file in sorted((notes.folder / "scenes" / "images" / "val").iterdir())[:4]:
        expected = here.predict(str(file), probabilities=True)
        best = np.sort(expected.probabilities, axis=0)
        clear = best[-1] - best[-2] > 1e-3
        found, again = there.predict(str(file)), there.predict(str(file), probabilities=True)
        notes.holds(f"{file.name}: labels that differ", float(((found.label != expected.label) & clear).sum()), 0.0)
        notes.holds(f"{file.name}: with probabilities", float(((again.label != found.label) & clear).sum()), 0.0)
        notes.holds(f"{file.name}: probabilities", float(abs(again.probabilities - expected.probabilities).max()), 1e-3)


# --- Speed --------------------------------------------------------------------------------------------------------


def speed(notes: Notes, _: str) -> None:
    """From PNG files of 1024 x 2048 to mIoU, with as many workers as there are processors, up to eight."""
    count, size = (4, (64, 128)) if notes.small else (48, (1024, 2048))
    folder = _photos(notes.folder / "photos", count, size)
    names = tuple(f"class {k}" for k in range(CLASSES))
    palette = [(k, k, k) for k in range(CLASSES)]
    dataset = FolderDataset(
        root=str(folder), images="images", labels="labels", image_suffix=".png", classes=names, palette=palette
    )
    workers = 0 if notes.small else min(8, torch.get_num_threads())
    for recipe in RECIPES[:1] if notes.small else RECIPES:
        with notes.attempt(recipe):
            task = task_of(recipe, notes.device)
            outputs = task.num_classes
            predictor = Predictor(
                task, inference=InferenceSpec(num_classes=outputs), classes=[str(k) for k in range(outputs)],
                palette=[(k % 256,) * 3 for k in range(outputs)], device=notes.device,
            )  # fmt: skip
            pipeline = Pipeline(dataset, (), label_size="original")
            metric = IoUMetric(num_classes=outputs)
            evaluate(predictor, pipeline, metric, batch_size=2, workers=workers)  # makes what is made once
            peak_gigabytes(notes)
            began = time.perf_counter()
            evaluate(predictor, pipeline, metric, batch_size=2, workers=workers)
            seconds = time.perf_counter() - began
            notes.figure(
                **{"network": recipe, "workers": workers, "images/s": count / seconds, "peak GB": peak_gigabytes(notes)}
            )


def _photos(folder: Path, count: int, size: tuple[int, int]) -> Path:
    """Images that look like photos to a decoder, and labels."""
    for kind in ("images", "labels"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 256, (size[0] // 16, size[1] // 16, 3), dtype=np.uint8)
        picture = cv2.resize(coarse, (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / "images" / f"{number:03}.png"), picture, [cv2.IMWRITE_PNG_COMPRESSION, 1])
        label = cv2.resize(coarse[..., 0] % CLASSES, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        Image.fromarray(label).save(folder / "labels" / f"{number:03}.png", compress_level=1)
    return folder
