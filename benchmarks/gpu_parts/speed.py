"""Training steps of whole networks: images a second and memory, by what makes them faster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from typing import Any
from unittest import mock

import torch

from gpu_parts.networks import batch_of, peak_gigabytes, seconds_of, task_of
from gpu_parts.notes import Notes
from intarsia.contracts import Batch, Size, Task

SIZES: dict[str, tuple[int, Size]] = {
    "segformer_mit-b0": (16, (512, 512)),
    "upernet_swin-b": (8, (512, 512)),
    "deeplabv3plus_r101": (8, (512, 1024)),
    "segformer_mit-b5": (8, (512, 512)),
    "mask2former_swin-l-in22k-384x384-pre": (4, (640, 640)),
}
"""Recipe -> images of a step, and their height and width, which are those of its published training or near them."""

WAYS = (
    {"precision": "bfloat16"},
    {"precision": "bfloat16", "one_pass_loss": False},
    {"precision": "bfloat16", "channels_last": True},
    {"precision": "bfloat16", "channels_last": True, "compile": True},
    {"precision": "float32"},
)
"""What is measured, in this order; float32 with TF32."""


def training(notes: Notes, recipe: str) -> None:
    """Steps with AdamW, without the loader."""
    images, size = (2, (64, 64)) if notes.small else SIZES[recipe]
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    for way in WAYS[:2] if notes.small else WAYS:
        with notes.attempt(", ".join(f"{key} {value}" for key, value in way.items())):
            _measure(notes, recipe, images, size, way)
        if notes.on_gpu:
            torch.cuda.empty_cache()


def _measure(notes: Notes, recipe: str, images: int, size: Size, way: dict[str, Any]) -> None:
    has_one_pass = find_spec("intarsia.losses.resized_logits") is not None
    if not has_one_pass and not way.get("one_pass_loss", True):
        return
    one_pass = has_one_pass and way.get("one_pass_loss", True)
    task = task_of(recipe, notes.device)
    batch = batch_of(task, images, size, notes.device)
    if way.get("channels_last"):
        task.model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    if way.get("compile"):
        task.compile_training()
    peak_gigabytes(notes)
    with _plain_loss() if has_one_pass and not one_pass else nullcontext():
        seconds = seconds_of(_step(task, batch, way["precision"]), notes, repeat=2 if notes.small else 8)
    row = {"network": recipe, "images": f"{images} x {size[0]} x {size[1]}", "precision": way["precision"]}
    switches = {"channels last": way.get("channels_last", False), "compiled": way.get("compile", False)}
    words = {name: "yes" if on else "" for name, on in {**switches, "loss in one pass": one_pass}.items()}
    notes.figure(**row, **words, **{"images/s": images / seconds, "peak GB": peak_gigabytes(notes)})


def _step(task: Task, batch: Batch, precision: str) -> Callable[[], None]:
    module: Any = task
    module.train()
    on_gpu = batch.images.device.type == "cuda"
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1e-5, fused=on_gpu)
    half = precision != "float32"

    def step() -> None:
        with torch.autocast(batch.images.device.type, torch.bfloat16, enabled=half):
            terms = task.training_terms(batch)
        torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


@contextmanager
def _plain_loss() -> Iterator[None]:
    """Logits are enlarged before they are compared with the labels."""
    from intarsia.losses.resized_logits import ResizedLogits

    with mock.patch.object(ResizedLogits, "worthwhile", False):
        yield
