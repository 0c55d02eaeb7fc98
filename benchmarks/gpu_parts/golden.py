"""Networks beside the reference's numbers (tests/golden/figures): on the device, in float64, float32 and bfloat16.

In float64 the numbers are the reference's to 1e-8, as on a processor: what differs there is no rounding. In float32
(without TF32) and in bfloat16 the logits may be no more than so many times as far from those of float64 as they are
on a processor: networks with random weights blow rounding up, each by a factor of its own, and sums have other orders.
"""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gpu_parts.notes import Notes
from intarsia.contracts import Batch, Task

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
NETWORKS = (
    "fast_scnn", "segformer_mit-b0", "pidnet-s", "swin_small", "mask2former_small", "upernet_small", "stdc1",
    "bisenetv2", "ddrnet_small", "deeplabv3plus_r18", "ocrnet_hr18", "segnext_mscan-t", "convnext_small", "beit_small",
    "vit_small", "svt_small", "knet_small", "maskformer_small", "pointrend_small", "unet_small", "dpt_small",
    "segmenter_vit-t", "san_small", "isanet_small", "psanet_small", "emanet_small", "encnet_small", "ccnet_small",
    "resnest_small", "cgnet", "icnet_small", "erfnet", "mobilenetv3_lraspp", "bisenetv1_r18", "setr_mla_small",
)  # fmt: skip
"""In the order in which they are compared, which ends with the time."""

DOUBLE = 1e-8
"""Tolerance of float64 against the reference, relative to the largest."""
TIMES = 4
"""How many times as far as on a processor logits may be from those of float64, in the mean."""
LEAST = {torch.float32: 1e-6, torch.bfloat16: 2e-3}
"""What is allowed in any case, relative to the largest."""


def networks(notes: Notes, _: str) -> None:
    """Each network by itself, so that one that fails hides no other."""
    sys.path.insert(0, str(GOLDEN))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for name in NETWORKS[:2] if notes.small else NETWORKS:
        with notes.attempt(name):
            _compare(notes, name, json.loads((GOLDEN / "figures" / f"{name}.json").read_text()))


def _compare(notes: Notes, name: str, record: dict[str, Any]) -> None:
    import building
    import comparing
    import filling

    task = building.task(record["model"]).double()
    comparing.prepare(task.model)
    task.to(notes.device)
    images = filling.images(*record["input"]).to(notes.device)
    logits = _run(task.model, images)
    at_size = comparing.at_size_of(images, logits, task).cpu()
    for finding in comparing.compare_digest("logits", "logits", at_size, record["logits"], DOUBLE):
        notes.holds(f"{name}, float64: {finding.name}", finding.error, finding.tolerance)
    for precision, least in LEAST.items():
        there = _distance(task.model, images, logits, precision)
        here = there if not notes.on_gpu else _distance(task.model.cpu(), images.cpu(), logits.cpu(), precision)
        task.model.to(notes.device)
        notes.holds(f"{name}, {precision}".replace("torch.", ""), there, max(TIMES * here, least))
    if "losses" in record:
        _compare_training(notes, name, task, images, record)


def _compare_training(notes: Notes, name: str, task: Task, images: Tensor, record: dict[str, Any]) -> None:
    """Losses and norms of gradients in float64, where nothing is drawn at random."""
    import comparing
    import filling

    n, _, h, w = images.shape
    labels = filling.labels(n, h, w, task.num_classes)
    if record.get("labels_without_ignored"):
        labels = labels.where(labels != task.ignore_index, 0)
    for module in task.model.modules():
        if isinstance(module, comparing.OTHERWISE_IN_TRAINING):
            module.train()
    batch = Batch(images, labels, ((h, w),) * n, (), {"edge": filling.edges(n, h, w)}).to(notes.device)
    terms = task.training_terms(batch)
    torch.stack([term.value * term.weight for term in terms if term.weight]).sum().backward()
    for term in terms:
        if (expected := record["losses"].get(term.name)) is not None:
            # The reference has accuracies and sums of sigmoids in single precision.
            found = term.value.item() * (term.weight or 1.0)
            notes.holds(f"{name}, float64: {term.name}", comparing.relative(found, expected), comparing.SINGLE)
    for child, expected in record["grads"].items():
        own = task.model.get_submodule(child).parameters()
        norm = torch.stack([p.grad.norm() for p in own if p.grad is not None]).norm().item()
        error = comparing.relative(norm, expected["norm"])
        notes.holds(f"{name}, float64: gradient of {child}", error, comparing.SINGLE)


def _run(model: nn.Module, images: Tensor) -> Tensor:
    torch.manual_seed(0)
    with torch.no_grad():
        return model(images)  # type: ignore[no-any-return]


def _distance(model: nn.Module, images: Tensor, exact: Tensor, precision: torch.dtype) -> float:
    """The mean, relative to the largest logit."""
    with torch.autocast(images.device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
        found = _run(copy.deepcopy(model).float(), images.float())
    return float((found.double() - exact).abs().mean() / exact.abs().max())
