"""Networks beside the reference's numbers (tests/golden/figures): on the device, in float64, float32 and bfloat16.

In float64 the numbers are the reference's to 1e-8, as on a processor: what differs there is no rounding. In float32 and
bfloat16 what is compared is how far the logits are from those of float64 on the same device, relative to the largest:
the mean distance, since single pixels of a random network flip over thresholds.
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

DOUBLE, SINGLE, HALF = 1e-8, 1e-4, 5e-2
"""Tolerances: of float64 against the reference, of float32 and bfloat16 against float64."""


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
    single = _run(copy.deepcopy(task.model).float(), images.float())
    notes.holds(f"{name}, float32", _distance(single, logits), SINGLE)
    with torch.autocast(notes.device.type, torch.bfloat16):
        half = _run(copy.deepcopy(task.model).float(), images.float())
    notes.holds(f"{name}, bfloat16", _distance(half, logits), HALF)
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


def _distance(found: Tensor, exact: Tensor) -> float:
    return float((found.double() - exact).abs().mean() / exact.abs().max())
