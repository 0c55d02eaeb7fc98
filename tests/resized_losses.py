"""Losses of logits that nobody enlarges, beside the same losses of enlarged ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from intarsia.losses.accuracy import accuracy_of_resized, pixel_accuracy
from intarsia.losses.resized_logits import ResizedLogits

SIZES = [((4, 5), (16, 20)), ((7, 3), (9, 23)), ((1, 6), (5, 6)), ((6, 8), (6, 8)), ((12, 10), (5, 7))]
"""Of logits, and of labels."""


def example(
    classes: int, low: tuple[int, int], size: tuple[int, int], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (2, K, h, w) with a gradient, labels and weights (2, H, W); a third of the labels is ignored."""
    generator = torch.Generator().manual_seed(classes + low[0])
    logits = 4 * torch.randn(2, classes, *low, generator=generator, dtype=torch.float64)
    labels = torch.randint(0, max(classes, 2), (2, *size), generator=generator)
    labels[torch.rand(2, *size, generator=generator) < 0.3] = 255
    weights = torch.rand(2, *size, generator=generator, dtype=torch.float64)
    return logits.to(dtype).requires_grad_(), labels, weights.to(dtype)


def value_and_gradient(logits: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    own = logits.detach().clone().requires_grad_()
    value = loss(own)
    (3 * value).backward()
    assert own.grad is not None
    return value.detach(), own.grad


def assert_as_plain(
    loss: Any, logits: Tensor, labels: Tensor, *, align_corners: bool = False, **weight: Tensor
) -> None:
    """Value, gradient and, of several logits, accuracy: to 1e-6 beyond what rounding does to the plain way itself.

    How far that is from the truth is taken from the plain way in double precision.
    """
    size = (labels.shape[1], labels.shape[2])
    passes = []

    def in_pieces(low: Tensor) -> Tensor:
        passes.append(ResizedLogits(low, size, align_corners, labels))
        return loss.of_resized(passes[0], labels, **weight)  # type: ignore[no-any-return]

    def plain(low: Tensor) -> Tensor:
        precise = {name: each.to(low.dtype) for name, each in weight.items()}
        return loss(ResizedLogits(low, size, align_corners).whole, labels, **precise)  # type: ignore[no-any-return]

    found, expected = value_and_gradient(logits, in_pieces), value_and_gradient(logits, plain)
    exact = value_and_gradient(logits.double(), plain)
    tolerance = {torch.float32: 1e-6, torch.float64: 1e-13}[logits.dtype]
    rounding = [float((one - other).abs().max()) for one, other in zip(expected, exact, strict=True)]
    torch.testing.assert_close(found[0], expected[0], rtol=tolerance, atol=tolerance + rounding[0])
    largest = float(expected[1].abs().max())
    torch.testing.assert_close(found[1], expected[1], rtol=0, atol=tolerance * largest + rounding[1])
    assert rounding[1] < 1e-4 * largest or largest == 0, "so that the allowance stays one for rounding"
    assert "whole" not in vars(passes[0])
    if logits.shape[1] == 1:
        return
    whole = ResizedLogits(logits.detach(), size, align_corners).whole
    accuracy = accuracy_of_resized(passes[0], labels, ignore_index=255)
    assert accuracy.equal(pixel_accuracy(whole, labels, ignore_index=255))
