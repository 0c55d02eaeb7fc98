"""Lovász-Softmax of logits that nobody enlarges: the numbers and gradients of the plain way, a class at a time."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resized_losses import SIZES, assert_as_plain, example, value_and_gradient

from intarsia.guide.counting import peak_counter
from intarsia.losses import strips
from intarsia.losses.lovasz import LovaszLoss
from intarsia.losses.resized_logits import ResizedLogits, takes_resized


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few rows are one, of which the last has fewer."""
    monkeypatch.setattr(strips, "_STRIP", 700)


@settings(max_examples=40)
@given(
    sizes=st.sampled_from(SIZES), align_corners=st.booleans(), dtype=st.sampled_from([torch.float32, torch.float64]),
    classes=st.sampled_from([2, 5, 19]), chosen=st.sampled_from(["present", "all", [1, 0]]), per_image=st.booleans(),
    weighted=st.booleans(), ignore_index=st.sampled_from([255, 1]), reduction=st.sampled_from(["mean", "sum"]),
)  # fmt: skip
def test_every_form_is_as_plain(
    sizes: Any, align_corners: bool, dtype: torch.dtype, classes: int, chosen: Any, per_image: bool, weighted: bool,
    ignore_index: int, reduction: Any,
) -> None:  # fmt: skip
    logits, labels, _ = example(classes, *sizes, dtype)
    if ignore_index != 255:
        labels = labels.where(labels != 255, ignore_index)
    loss = LovaszLoss(
        classes=chosen, per_image=per_image, ignore_index=ignore_index, reduction=reduction,
        class_weight=[0.5 + k for k in range(classes)] if weighted else None,
    )  # fmt: skip
    assert_as_plain(loss, logits, labels, align_corners=align_corners)


def test_a_single_logit_is_enlarged() -> None:
    logits, labels, _ = example(1, (4, 5), (16, 20))
    loss = LovaszLoss(loss_type="binary")
    whole = ResizedLogits(logits, (16, 20))
    assert loss.of_resized(whole, labels).equal(loss(whole.whole, labels))


def test_without_a_labelled_pixel_it_is_zero_with_a_gradient() -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    value, gradient = value_and_gradient(
        logits, lambda low: LovaszLoss().of_resized(ResizedLogits(low, (16, 20)), torch.full_like(labels, 255))
    )
    assert value == 0
    assert not gradient.any()


def test_what_is_wrong_is_said_as_of_enlarged_logits() -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    resized = ResizedLogits(logits, (16, 20))
    assert takes_resized(LovaszLoss())
    with pytest.raises(ValueError, match="has 2 entries for 5 logits"):
        LovaszLoss(class_weight=[1.0, 2.0]).of_resized(resized, labels)
    with pytest.raises(ValueError, match="classes of LovaszLoss"):
        LovaszLoss(classes=[7]).of_resized(resized, labels)
    with pytest.raises(ValueError, match="9"):
        LovaszLoss().of_resized(resized, labels.where(labels != 2, 9))


def test_without_gradients_it_is_the_same_number() -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    expected = LovaszLoss().of_resized(ResizedLogits(logits, (16, 20)), labels)
    with torch.no_grad():
        assert LovaszLoss().of_resized(ResizedLogits(logits, (16, 20)), labels).equal(expected.detach())


def test_a_second_derivative_is_refused() -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    value = LovaszLoss().of_resized(ResizedLogits(logits, (16, 20)), labels)
    with pytest.raises(RuntimeError, match="no second derivative"):
        torch.autograd.grad(value, logits, create_graph=True)


def test_memory_does_not_grow_with_the_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strips, "_STRIP", 2**14)
    peaks = []
    for classes in (8, 64):
        logits = torch.randn(1, classes, 32, 32, requires_grad=True)
        labels = torch.randint(0, 8, (1, 128, 128))
        with peak_counter([logits, labels]) as memory:
            LovaszLoss().of_resized(ResizedLogits(logits, (128, 128)), labels).backward()
        peaks.append(memory.peak)
    assert peaks[1] < peaks[0] + 6 * 4 * 64 * 32 * 32, "but for the logits' own size"
