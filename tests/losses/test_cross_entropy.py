"""Cross entropy against its formula, pixel by pixel, and against torch where torch has the same."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.losses.cross_entropy import CrossEntropyLoss

IGNORED = 255


def example(seed: int, classes: int, ignored: float) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(2, classes, 3, 4, generator=random, dtype=torch.float64)
    target = torch.randint(0, max(classes, 2), (2, 3, 4), generator=random)
    target[torch.rand(2, 3, 4, generator=random) < ignored] = IGNORED
    return logits, target


def slow_softmax(logits: Tensor, target: Tensor, weights: list[float], all_pixels: bool, smoothing: float) -> float:
    """One pixel after the other, in plain Python numbers."""
    total = count = 0.0
    classes = range(logits.shape[1])
    for n, y, x in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        label = int(target[n, y, x])
        if label == IGNORED:
            count += all_pixels
            continue
        scores = [float(logits[n, k, y, x]) for k in classes]
        log_sum = math.log(sum(math.exp(score) for score in scores))
        wanted = [smoothing / len(classes) + (1 - smoothing) * (k == label) for k in classes]
        total += sum(weights[k] * wanted[k] * (log_sum - scores[k]) for k in classes)
        count += weights[label]
    return total / count if count else 0.0


def slow_sigmoid(logits: Tensor, target: Tensor, weights: list[float], all_pixels: bool, smoothing: float) -> float:
    total = count = 0.0
    classes = logits.shape[1]
    for n, y, x in torch.cartesian_prod(*map(torch.arange, target.shape)).tolist():
        label = int(target[n, y, x])
        count += classes * (all_pixels or label != IGNORED)
        for k in range(classes if label != IGNORED else 0):
            yes = float(label == k) if classes > 1 else float(label == 1)
            yes = yes * (1 - smoothing) + smoothing / 2
            p = 1 / (1 + math.exp(-float(logits[n, k, y, x])))
            total -= weights[k] * yes * math.log(p) + (1 - yes) * math.log(1 - p)
    return total / count if count else 0.0


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    classes=st.integers(1, 5),
    ignored=st.sampled_from([0.0, 0.3, 1.0]),
    use_sigmoid=st.booleans(),
    avg_non_ignore=st.booleans(),
    weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.1]),
)
def test_every_combination_equals_the_formula(
    seed: int, classes: int, ignored: float, use_sigmoid: bool, avg_non_ignore: bool, weighted: bool, smoothing: float
) -> None:
    if classes == 1 and not use_sigmoid:
        classes = 2
    logits, target = example(seed, classes, ignored)
    weights = [0.5 + k for k in range(classes)] if weighted else [1.0] * classes
    loss = CrossEntropyLoss(
        use_sigmoid=use_sigmoid,
        class_weight=weights if weighted else None,
        avg_non_ignore=avg_non_ignore,
        label_smoothing=smoothing,
    )(logits, target)
    slow = slow_sigmoid if use_sigmoid else slow_softmax
    assert loss.item() == pytest.approx(
        slow(logits, target, weights, not avg_non_ignore, smoothing), rel=1e-7, abs=1e-12
    )


@pytest.mark.parametrize(
    "options", [{}, {"weight": torch.tensor([0.3, 1.0, 2.5]).double()}, {"label_smoothing": 0.2}], ids=str
)
def test_over_labelled_pixels_it_is_torchs_mean(options: dict[str, Any]) -> None:
    logits, target = example(0, 3, 0.3)
    ours = CrossEntropyLoss(
        class_weight=options["weight"].tolist() if "weight" in options else None,
        label_smoothing=options.get("label_smoothing", 0.0),
        avg_non_ignore=True,
    )
    expected = F.cross_entropy(logits, target, ignore_index=IGNORED, **options)
    torch.testing.assert_close(ours(logits, target), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_weights_of_one_are_no_weights(avg_non_ignore: bool) -> None:
    """Also with ignored pixels, where the original indexes out of range."""
    logits, target = example(1, 4, 0.4)
    plain = CrossEntropyLoss(avg_non_ignore=avg_non_ignore)(logits, target)
    ones = CrossEntropyLoss(avg_non_ignore=avg_non_ignore, class_weight=[1.0] * 4)(logits, target)
    torch.testing.assert_close(plain, ones)


@pytest.mark.parametrize("use_sigmoid", [False, True])
@pytest.mark.parametrize("class_weight", [None, (1.0, 2.0, 3.0)])
@pytest.mark.parametrize("avg_non_ignore", [False, True])
def test_a_batch_without_labels_has_no_loss_and_no_gradient(
    use_sigmoid: bool, class_weight: tuple[float, ...] | None, avg_non_ignore: bool
) -> None:
    logits = torch.randn(1, 3, 4, 4, requires_grad=True)
    loss = CrossEntropyLoss(use_sigmoid=use_sigmoid, class_weight=class_weight, avg_non_ignore=avg_non_ignore)(
        logits, torch.full((1, 4, 4), IGNORED)
    )
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_any_ignore_index(use_sigmoid: bool) -> None:
    logits, target = example(2, 3, 0.3)
    other = target.masked_fill(target == IGNORED, -100)
    expected = CrossEntropyLoss(use_sigmoid=use_sigmoid)(logits, target)
    torch.testing.assert_close(CrossEntropyLoss(use_sigmoid=use_sigmoid, ignore_index=-100)(logits, other), expected)


@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_gradients(use_sigmoid: bool) -> None:
    logits, target = example(3, 3, 0.3)
    loss = CrossEntropyLoss(use_sigmoid=use_sigmoid, class_weight=(0.5, 1.0, 2.0))
    assert torch.autograd.gradcheck(lambda x: loss(x, target), logits.requires_grad_())


@pytest.mark.parametrize("use_sigmoid", [False, True])
def test_sum_is_the_mean_times_the_count(use_sigmoid: bool) -> None:
    logits, target = example(4, 3, 0.3)
    total = CrossEntropyLoss(use_sigmoid=use_sigmoid, reduction="sum")(logits, target)
    mean = CrossEntropyLoss(use_sigmoid=use_sigmoid)(logits, target)
    torch.testing.assert_close(total, mean * target.numel() * (3 if use_sigmoid else 1), rtol=1e-7, atol=0)


def test_half_precision_is_lifted_and_double_is_kept() -> None:
    logits, target = example(5, 3, 0.3)
    loss = CrossEntropyLoss(class_weight=(1.0, 2.0, 3.0))
    assert loss(logits, target).dtype == torch.float64
    half = logits.to(torch.bfloat16)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert loss(half, target).equal(loss(half.float(), target))
    assert loss(half, target).dtype == torch.float32


def test_settings_stay_out_of_the_weights_file() -> None:
    assert CrossEntropyLoss(class_weight=(1.0, 2.0)).state_dict() == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"label_smoothing": 1.0}, "must lie in"), ({"reduction": "none"}, "a loss is one number; got 'none'")],
)
def test_impossible_settings_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropyLoss(**arguments)


def test_weights_for_another_number_of_classes_are_refused() -> None:
    logits, target = example(6, 3, 0.0)
    with pytest.raises(ValueError, match="class_weight has 2 entries for 3 logits"):
        CrossEntropyLoss(class_weight=(1.0, 2.0))(logits, target)
