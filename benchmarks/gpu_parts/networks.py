"""Networks of the recipes, with random weights and without a file, as they are measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gpu_parts.notes import Notes
from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, Size, Task

PADDING = ("size", "size_divisor", "test_cfg")
"""Keys of a recipe's preprocessing that would enlarge images to the size that it trains on."""


def task_of(recipe: str, device: torch.device) -> Task:
    """The recipe's task, made on the device."""
    model = recipes.network(recipe)
    given = model["data_preprocessor"].items()
    model["data_preprocessor"] = {key: value for key, value in given if key not in PADDING}
    spec = lower(Config.from_values({"model": model}, file=recipe))
    torch.manual_seed(0)
    with device:
        task = build_task(spec)
    return task.to(device)  # type: ignore[no-any-return]


def batch_of(task: Task, images: int, size: Size, device: torch.device) -> Batch:
    """Random images, and labels of ten classes in squares, with the map of edges that some methods learn."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (images, 3, *size), dtype=torch.uint8, generator=generator)
    cells = torch.randint(0, min(task.num_classes, 10), (images, size[0] // 32, size[1] // 32), generator=generator)
    labels = cells.repeat_interleave(32, 1).repeat_interleave(32, 2).to(torch.uint8)
    return Batch(pixels, labels, (size,) * images, (), {"edge": torch.zeros_like(labels)}).to(device)


def shown(batch: Batch, task: Task) -> Tensor:
    """What the network sees of a batch."""
    return task.preprocess(batch.images, batch.sizes, train=False)  # type: ignore[no-any-return]


def seconds_of(work: Callable[[], Any], notes: Notes, *, repeat: int, warm_up: int = 3) -> float:
    """The median of so many passes, each waited for."""
    times = []
    for number in range(warm_up + repeat):
        notes.synchronise()
        began = time.perf_counter()
        work()
        notes.synchronise()
        if number >= warm_up:
            times.append(time.perf_counter() - began)
    return statistics.median(times)


def peak_gigabytes(notes: Notes) -> float | str:
    """Of tensors on the device since this was last asked."""
    if not notes.on_gpu:
        return ""
    peak = torch.cuda.max_memory_allocated() / 1e9
    torch.cuda.reset_peak_memory_stats()
    return peak
