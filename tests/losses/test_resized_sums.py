"""Dice and Tversky losses of logits that nobody enlarges: the numbers and gradients of the plain way, in strips."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from resized_losses import SIZES, assert_as_plain, example, value_and_gradient
from simulated_gpu import DEVICE, simulated_gpu
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.guide.counting import peak_counter
from intarsia.losses import strips
from intarsia.losses.batch_dice import BatchDiceLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.resized_logits import ResizedLogits, takes_resized
from intarsia.losses.tversky import TverskyLoss


@pytest.fixture(autouse=True)
def small_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that a few rows are one, of which the last has fewer."""
    monkeypatch.setattr(strips, "_STRIP", 700)
    monkeypatch.setattr(strips, "_STRIP_ON_DEVICES", 700)


CASES: dict[str, Any] = {
    "sizes": st.sampled_from(SIZES),
    "align_corners": st.booleans(),
    "dtype": st.sampled_from([torch.float32, torch.float64]),
}


@settings(max_examples=80)
@given(
    **CASES,
    classes=st.sampled_from([1, 2, 5, 19]), use_sigmoid=st.booleans(), activate=st.booleans(), naive=st.booleans(),
    ignore_index=st.sampled_from([255, 0, None]), left_out=st.booleans(), reduction=st.sampled_from(["mean", "sum"]),
)  # fmt: skip
def test_every_dice_is_as_plain(
    sizes: Any, align_corners: bool, dtype: torch.dtype, classes: int, use_sigmoid: bool, activate: bool, naive: bool,
    ignore_index: int | None, left_out: bool, reduction: Any,
) -> None:  # fmt: skip
    logits, labels, _ = example(classes, *sizes, dtype)
    if ignore_index != 255:
        labels = labels.where(labels != 255, 0)
    loss = DiceLoss(
        use_sigmoid=use_sigmoid, activate=activate, naive_dice=naive, ignore_index=ignore_index,
        ignored="left_out" if left_out else "no_class", reduction=reduction,
    )  # fmt: skip
    if not activate:
        logits = logits.detach().sigmoid().requires_grad_()
    assert_as_plain(loss, logits, labels, align_corners=align_corners)


@settings(max_examples=30)
@given(
    **CASES,
    classes=st.sampled_from([1, 2, 5]),
    ignore_index=st.sampled_from([255, 1]),
    background=st.sampled_from([0, None]),
)
def test_dice_of_a_batch_is_as_plain(
    sizes: Any, align_corners: bool, dtype: torch.dtype, classes: int, ignore_index: int, background: int | None
) -> None:
    logits, labels, _ = example(classes, *sizes, dtype)
    if ignore_index != 255:
        labels = labels.where(labels != 255, ignore_index)
        background = None
    loss = BatchDiceLoss(ignore_index=ignore_index, background=background)
    assert_as_plain(loss, logits, labels, align_corners=align_corners)


@settings(max_examples=30)
@given(**CASES, classes=st.sampled_from([2, 5]), ignore_index=st.sampled_from([255, 1]), weighted=st.booleans())
def test_tversky_is_as_plain(
    sizes: Any, align_corners: bool, dtype: torch.dtype, classes: int, ignore_index: int, weighted: bool
) -> None:
    logits, labels, _ = example(classes, *sizes, dtype)
    labels = labels.where(labels != 255, ignore_index)
    loss = TverskyLoss(class_weight=[0.7 + k for k in range(classes)] if weighted else None, ignore_index=ignore_index)
    assert_as_plain(loss, logits, labels, align_corners=align_corners)


LOSSES = [DiceLoss(), DiceLoss(use_sigmoid=False, ignored="no_class"), BatchDiceLoss(), TverskyLoss()]
every_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)


@every_loss
def test_many_pixels_are_as_plain(loss: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sums of 131,072 numbers, in strips as they come: what one adds after the other would be lost in float32."""
    monkeypatch.undo()
    logits, labels, _ = example(4, (64, 64), (256, 256))
    assert_as_plain(loss, logits, labels)


@every_loss
def test_logits_far_apart_overflow_nowhere(loss: Any) -> None:
    logits, labels, _ = example(5, (4, 5), (8, 10), torch.float64)
    assert_as_plain(loss, (3 * logits.detach() + 1000).requires_grad_(), labels)


@every_loss
def test_nothing_labelled_is_nothing_to_learn_and_nan_shows(loss: Any) -> None:
    logits, labels, _ = example(3, (4, 5), (8, 10))
    if getattr(loss, "ignored", "left_out") == "left_out":
        nothing = torch.full_like(labels, 255)
        value, gradient = value_and_gradient(logits, lambda low: loss.of_resized(ResizedLogits(low, (8, 10)), nothing))
        assert value == 0
        assert not gradient.any()
    broken = torch.full_like(logits, torch.nan)
    assert loss.of_resized(ResizedLogits(broken, (8, 10)), labels).isnan()


@every_loss
def test_memory_is_that_of_the_logits_and_a_strip(loss: Any) -> None:
    logits, labels, _ = example(19, (8, 8), (64, 64))
    with peak_counter([logits, labels]) as memory:
        before = memory.alive
        loss.of_resized(ResizedLogits(logits, (64, 64), labels=labels), labels).backward()
    kept = logits.numel() * 4 + 8 * labels.numel()  # the gradient; which labels are known, and right
    assert memory.peak - before < kept + 20 * 19 * 64 * 4  # strips of one row
    assert memory.peak - before < 0.5 * 19 * labels.numel() * 4, "half of the enlarged logits, of which there were five"


@every_loss
def test_a_second_derivative_is_refused_by_name(loss: Any) -> None:
    logits, labels, _ = example(3, (4, 5), (8, 10))
    value = loss.of_resized(ResizedLogits(logits, (8, 10)), labels)
    with pytest.raises(RuntimeError, match=r"no second derivative.*loss\(logits\.whole, target\)"):
        torch.autograd.grad(value, logits, create_graph=True)


@every_loss
def test_on_a_device_nothing_waits_and_numbers_are_the_same(loss: Any) -> None:
    logits, labels, _ = example(5, (4, 5), (16, 20))
    expected, gradient = value_and_gradient(
        logits, lambda low: loss.of_resized(ResizedLogits(low, (16, 20)), labels) / 3
    )
    with simulated_gpu() as waits:
        low, there = logits.detach().to(DEVICE).requires_grad_(), labels.to(DEVICE)
        waits.found.clear()
        value = loss.of_resized(ResizedLogits(low, (16, 20), labels=there), there)
        value.backward()
        assert waits.found == []
        assert low.grad is not None
        torch.testing.assert_close(value.cpu() / 3, expected, rtol=1e-6, atol=0)
        torch.testing.assert_close(low.grad.cpu(), gradient, rtol=0, atol=1e-6 * float(gradient.abs().max()))
        unknown = there.clone()
        unknown[0, 0, 0] = 7
        assert loss.of_resized(ResizedLogits(low, (16, 20)), unknown).isnan().item()
    with pytest.raises(ValueError, match="the value 7, but there are 5 classes"):
        loss.of_resized(ResizedLogits(logits, (16, 20)), torch.full_like(labels, 7))


@every_loss
def test_on_a_device_that_is_only_thought_of(loss: Any) -> None:
    assert takes_resized(loss)
    with FakeTensorMode():
        logits = torch.empty(2, 5, 4, 5, device="cuda", requires_grad=True)
        labels = torch.empty(2, 16, 20, dtype=torch.long, device="cuda")
        value = loss.of_resized(ResizedLogits(logits, (16, 20), labels=labels), labels)
        assert value.shape == ()
        assert value.requires_grad
        assert value.device.type == "cuda"


def test_what_does_not_fit_is_refused_as_by_the_plain_way() -> None:
    logits, labels, _ = example(2, (4, 5), (8, 10))
    resized = ResizedLogits(logits, (8, 10))
    with pytest.raises(ValueError, match="3 entries for 2 logits"):
        TverskyLoss(class_weight=(1.0, 2.0, 3.0)).of_resized(resized, labels)
    with pytest.raises(ValueError, match="one logit per class"):
        TverskyLoss().of_resized(ResizedLogits(logits[:, :1], (8, 10)), labels)
    with pytest.raises(ValueError, match="no class left of 2"):
        BatchDiceLoss(ignore_index=1).of_resized(resized, labels.clamp(max=1))
