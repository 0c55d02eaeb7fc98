"""Kernels of Triton beside plain formulations: the same numbers, and how much faster."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from gpu_parts.networks import peak_gigabytes, seconds_of
from gpu_parts.notes import Notes
from intarsia.contracts import Size
from intarsia.inference.logits.lazy import HeadLogits, LogitMap, Resized
from intarsia.inference.logits.postprocess import TIE, Geometry, RequestedFields, at_original, postprocess
from intarsia.layers.triton import available

CASES: tuple[tuple[int, Size, Size, Size, Size, torch.dtype], ...] = (
    (19, (128, 256), (512, 1024), (512, 1024), (1024, 2048), torch.bfloat16),
    (19, (128, 256), (1024, 2048), (1024, 2048), (1024, 2048), torch.float16),
    (150, (128, 171), (512, 684), (512, 683), (1500, 2000), torch.float32),
    (300, (64, 64), (256, 256), (250, 256), (333, 517), torch.float32),
    (2, (256, 256), (1024, 1024), (1000, 1024), (1000, 1024), torch.float32),
    (1, (256, 256), (1024, 1024), (1000, 1024), (777, 801), torch.bfloat16),
)
"""Classes, sizes of the head's logits, the network's input, the part that is image, and the image; type of logits."""


def argmax(notes: Notes, _: str) -> None:
    """Labels and confidence from one kernel; from strips; and from all classes at once."""
    notes.is_true("Triton runs here", available(notes.device) or not notes.on_gpu)
    for classes, head, network, valid, original, dtype in CASES[-2:] if notes.small else CASES:
        logits = (3 * torch.randn(classes, *head, device=notes.device)).to(dtype)
        geometry = Geometry(network, valid, original, ("horizontal",) if classes == 19 else ())
        what = f"{classes} classes, {original[0]} x {original[1]}, {dtype}".replace("torch.", "")
        with notes.attempt(what):
            _compare_labels(notes, what, logits, geometry)


def _compare_labels(notes: Notes, what: str, logits: Tensor, geometry: Geometry) -> None:
    threshold = 0.4 if logits.shape[0] == 1 else None
    wanted = RequestedFields(confidence=True)

    def source() -> LogitMap:
        at_input = Resized(HeadLogits(logits), geometry.network, align_corners=False)
        return at_original(at_input, geometry, align_corners=False)

    whole = _at_once(logits, geometry)
    unit = torch.finfo(torch.float32).eps * float(whole.abs().max()) * max(TIE, max(geometry.original))
    if threshold is None:
        best = whole.topk(2, dim=0)
        expected, clear = best.indices[0], best.values[0] - best.values[1] > unit
        share = whole.softmax(dim=0).amax(dim=0)
    else:
        foreground = whole.sigmoid()[0]
        expected, clear = (foreground > threshold).long(), (foreground - threshold).abs() > unit
        share = torch.where(expected.bool(), foreground, 1 - foreground)
    budgets = {"strips": 64 * 2**20, **({"kernel": None} if available(notes.device) else {})}
    for how, budget in budgets.items():
        found = postprocess([source()], threshold=threshold, wanted=wanted, budget=budget)
        different = ((found.label.long() != expected) & clear).sum()
        assert found.confidence is not None
        notes.holds(f"{what}: {how}, labels that differ away from ties", float(different), 0.0)
        notes.holds(f"{what}: {how}, confidence", float(((found.confidence - share).abs() * clear).max()), unit)
    del whole, share, expected, clear
    ways: dict[str, Callable[[], Any]] = {
        how: lambda budget=budget: postprocess([source()], threshold=threshold, budget=budget)  # type: ignore[misc]
        for how, budget in budgets.items()
    }
    ways["all at once"] = lambda: _at_once(logits, geometry).max(dim=0)
    for how, work in ways.items():
        peak_gigabytes(notes)
        seconds = seconds_of(work, notes, repeat=1 if notes.small else 10)
        notes.figure(**{"labels": what, "way": how, "ms": 1000 * seconds, "peak GB": peak_gigabytes(notes)})


def _at_once(logits: Tensor, geometry: Geometry) -> Tensor:
    """Every class at the original size, (K, H, W)."""
    values = F.interpolate(logits[None].float(), size=geometry.network, mode="bilinear")
    values = values[:, :, : geometry.valid[0], : geometry.valid[1]]
    for flip in reversed(geometry.flips):
        values = values.flip(3 if flip == "horizontal" else 2)
    return F.interpolate(values, size=geometry.original, mode="bilinear")[0]


def loss(notes: Notes, _: str) -> None:
    """Cross entropy, weighted, of a softmax and of sigmoids, and Dice; with gradients, of logits never enlarged."""

    from intarsia.losses.cross_entropy import CrossEntropyLoss
    from intarsia.losses.dice import DiceLoss

    for classes, low, size in (
        (19, (128, 256), (512, 1024)),
        (150, (128, 128), (512, 512)),
        (150, (33, 33), (129, 131)),
    ):
        shape = (2, classes, *(side // 4 for side in low)) if notes.small else (4, classes, *low)
        target_size = tuple(side // 4 for side in size) if notes.small else size
        values = torch.randn(shape, device=notes.device)
        labels = torch.randint(0, classes, (shape[0], *target_size), device=notes.device)
        labels[:, :7] = 255
        weights = [1.0 + k % 3 for k in range(classes)]
        losses = {
            "plain": CrossEntropyLoss(),
            "weighted": CrossEntropyLoss(class_weight=weights),
            "sigmoid": CrossEntropyLoss(use_sigmoid=True, class_weight=weights),
            "Dice": DiceLoss(use_sigmoid=False),
        }
        for name, function in losses.items():
            what = f"{name}, {classes} classes, {size[0]} x {size[1]}"
            found = _with_gradient(function.of_resized, values, labels, whole=False)
            plain = _with_gradient(function, values, labels, whole=True)
            notes.holds(f"{what}: loss", float((found[0] - plain[0]).abs() / plain[0]), 1e-5)
            notes.holds(f"{what}: gradient", float((found[1] - plain[1]).norm() / plain[1].norm()), 1e-4)


def _with_gradient(
    function: Callable[[Any, Tensor], Tensor], values: Tensor, labels: Tensor, *, whole: bool
) -> tuple[Tensor, Tensor]:
    """Loss and gradient of logits (N, K, h, w), which the loss gets at the size of the labels, or as they are."""
    from intarsia.losses.resized_logits import ResizedLogits

    low = values.clone().requires_grad_()
    resized = ResizedLogits(low, tuple(labels.shape[1:]))
    result = function(resized.whole if whole else resized, labels)
    result.backward()
    assert low.grad is not None
    return result.detach(), low.grad
