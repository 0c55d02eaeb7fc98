"""What every loss does at its edges: labels that are no class, no labels, ignored pixels, sure or broken logits."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.contracts import MaskPredictions
from intarsia.losses import lovasz, ohem, targets
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.losses.dice import DiceLoss
from intarsia.losses.focal import FocalLoss
from intarsia.losses.hausdorff import HausdorffDistanceLoss
from intarsia.losses.lovasz import LovaszLoss
from intarsia.losses.ohem import OhemCrossEntropy, OHEMPixelSampler
from intarsia.losses.set_criterion import SetCriterion
from intarsia.losses.tversky import TverskyLoss

Make = Callable[..., nn.Module]
LOSSES: dict[str, tuple[Make, int]] = {
    "cross entropy": (lambda **own: CrossEntropyLoss(avg_non_ignore=True, **own), 3),
    "weighted cross entropy": (lambda **own: CrossEntropyLoss(class_weight=(0.0, 1.0, 2.0), **own), 3),
    "smoothed cross entropy": (lambda **own: CrossEntropyLoss(label_smoothing=0.1, **own), 3),
    "sigmoid cross entropy": (lambda **own: CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True, **own), 3),
    "binary cross entropy": (lambda **own: CrossEntropyLoss(use_sigmoid=True, avg_non_ignore=True, **own), 1),
    "Dice": (DiceLoss, 3),
    "Dice of softmax": (lambda **own: DiceLoss(use_sigmoid=False, **own), 3),
    "naive Dice": (lambda **own: DiceLoss(naive_dice=True, **own), 3),
    "Dice of one logit": (DiceLoss, 1),
    "MMSegmentation's Dice": (lambda **own: DiceLoss(ignored="no_class", **own), 3),
    "focal": (FocalLoss, 3),
    "focal of a root": (lambda **own: FocalLoss(gamma=0.5, **own), 3),
    "focal of one logit": (lambda **own: FocalLoss(gamma=0.0, class_weight=[0.5], **own), 1),
    "Lovasz": (LovaszLoss, 3),
    "Lovasz of all classes": (lambda **own: LovaszLoss(classes="all", per_image=True, **own), 3),
    "Lovasz of some classes": (lambda **own: LovaszLoss(classes=[0, 2], class_weight=[1.0, 0.0, 0.0], **own), 3),
    "Lovasz hinge": (lambda **own: LovaszLoss(loss_type="binary", **own), 1),
    "OHEM": (lambda **own: OhemCrossEntropy(min_kept=10, **own), 3),
    "Hausdorff": (lambda **own: HausdorffDistanceLoss(class_weight=(1.0, 0.5, 2.0), **own), 3),
    "Tversky": (lambda **own: TverskyLoss(class_weight=(0.0, 1.0, 2.0), **own), 3),
    "Tversky without smoothing": (lambda **own: TverskyLoss(smooth=0.0, **own), 3),
}
IGNORED = 255
EVERY_LOSS = pytest.mark.parametrize("name", LOSSES)
WAITS = "Hausdorff"
"""The loss whose distances are computed on the processor."""


def example(name: str, *, height: int = 6, width: int = 8, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Logits with a gradient, and labels without ignored ones."""
    classes, random = LOSSES[name][1], torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(2, classes, height, width, generator=random)
    target = torch.randint(0, max(classes, 2), (2, height, width), generator=random)
    return logits.to(dtype).requires_grad_(), target


def made(name: str, **own: Any) -> nn.Module:
    return LOSSES[name][0](**own)


def gradient(loss: Tensor, logits: Tensor) -> Tensor:
    return torch.autograd.grad(loss, logits)[0]


# --- Labels that are no class -------------------------------------------------------------------------------------


@EVERY_LOSS
@pytest.mark.parametrize("value", ["one too many", 200, -1])
def test_a_label_that_is_no_class_is_refused(name: str, value: str | int) -> None:
    logits, target = example(name)
    classes = max(LOSSES[name][1], 2)
    wrong = classes if isinstance(value, str) else value
    target[1, 2, 3] = wrong
    with pytest.raises(ValueError, match=rf"the value {wrong}, but there are {classes} classes.*255 is ignored"):
        made(name)(logits, target)
    ignored = made(name, ignore_index=wrong)  # the same value can be the ignored one
    assert ignored(logits, target).isfinite()


@EVERY_LOSS
def test_on_an_accelerator_nothing_waits_and_the_loss_is_no_number(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (targets, lovasz, ohem):
        if hasattr(module, "is_on_cpu"):
            monkeypatch.setattr(module, "is_on_cpu", lambda x: False)
    logits, target = example(name)
    target[0, :3] = IGNORED
    loss = made(name)(logits, target)
    monkeypatch.undo()
    expected = made(name)(logits, target)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradient(loss, logits), gradient(expected, logits))

    for module in (targets, lovasz, ohem):
        if hasattr(module, "is_on_cpu"):
            monkeypatch.setattr(module, "is_on_cpu", lambda x: False)
    target[1, 2, 3] = 77
    broken = made(name)(logits, target)
    assert broken.isnan()
    assert gradient(broken, logits).isfinite().all()


@pytest.mark.parametrize("name", [name for name in LOSSES if name != WAITS])
def test_no_loss_asks_for_values_on_an_accelerator(name: str) -> None:
    """Fake tensors have none: whoever asks gets an error. Their backward pass wants a real device."""
    loss = made(name)
    with FakeTensorMode(allow_non_fake_inputs=True):
        logits = torch.randn(2, LOSSES[name][1], 6, 8, device="cuda")
        target = torch.zeros(2, 6, 8, dtype=torch.int64, device="cuda")
        value = loss.to("cuda")(logits, target)
        assert value.shape == ()
        assert value.device.type == "cuda"


@pytest.mark.parametrize("thresh", [None, 0.7])
def test_the_sampler_refuses_them_and_asks_for_nothing(thresh: float | None) -> None:
    sampler = OHEMPixelSampler(thresh=thresh, min_kept=4)
    target = torch.tensor([[[0, 1, 7, 255]]])
    with pytest.raises(ValueError, match="the value 7, but there are 3 classes"):
        sampler(torch.randn(1, 3, 1, 4), target)
    with FakeTensorMode():
        chosen = sampler(torch.randn(1, 3, 1, 4, device="cuda"), torch.zeros(1, 1, 4, dtype=torch.int64, device="cuda"))
        assert chosen.device.type == "cuda"


def test_mask_classifiers_refuse_them() -> None:
    """The first value behind the classes would be "no object"."""
    layer = MaskPredictions(torch.randn(1, 4, 4), torch.randn(1, 4, 6, 8))
    labels = torch.zeros(1, 6, 8, dtype=torch.int64)
    labels[0, 0, 0] = 3
    with pytest.raises(ValueError, match="the value 3, but there are 3 classes, 0 to 2"):
        SetCriterion(num_classes=3, num_points=8)((layer,), labels)


def test_many_wrong_values_are_not_all_listed() -> None:
    target = torch.arange(100).view(1, 10, 10)
    with pytest.raises(ValueError, match=r"the values 3, 4, 5, 6, 7 \.\.\., but there are 3 classes"):
        CrossEntropyLoss()(torch.zeros(1, 3, 10, 10), target)


# --- Ignored pixels -----------------------------------------------------------------------------------------------

COUNTS_THEM = ("weighted cross entropy", "smoothed cross entropy", "focal", "focal of a root", "focal of one logit")
"""Losses whose mean divides by all pixels, as published models were trained: the value shrinks, nothing else."""
ORIGINAL = "MMSegmentation's Dice"


@EVERY_LOSS
def test_what_is_predicted_at_ignored_pixels_says_nothing(name: str) -> None:
    logits, target = example(name)
    half = target.clone()
    half[..., 4:] = IGNORED
    changed = logits.detach().clone()
    changed[..., 4:] = 100 * torch.randn_like(changed[..., 4:])
    changed.requires_grad_()
    found, other = made(name)(logits, half), made(name)(changed, half)
    if name == ORIGINAL:
        assert not torch.isclose(found, other)  # an ignored pixel is of no class there, and what it says is too much
        return
    torch.testing.assert_close(other, found)
    slopes = gradient(other, changed)
    assert (slopes[..., 4:] == 0).all()
    assert (slopes[..., :4] != 0).any()
    if name not in COUNTS_THEM:
        torch.testing.assert_close(found, made(name)(logits[..., :4], target[..., :4]))


@EVERY_LOSS
def test_nothing_labelled_costs_nothing(name: str) -> None:
    logits, target = example(name)
    loss = made(name)(logits, torch.full_like(target, IGNORED))
    slopes = gradient(loss, logits)
    assert slopes.isfinite().all()
    if name != ORIGINAL:
        assert loss == 0
        assert (slopes == 0).all()


@EVERY_LOSS
def test_one_class_alone_is_learnt(name: str) -> None:
    logits, target = example(name)
    for k in range(max(LOSSES[name][1], 2)):
        loss = made(name)(logits, torch.full_like(target, k))
        assert loss.isfinite()
        assert loss >= 0
        assert gradient(loss, logits).isfinite().all()


@EVERY_LOSS
def test_the_first_class_may_be_the_ignored_one(name: str) -> None:
    logits, target = example(name)
    loss = made(name, ignore_index=0)(logits, target)
    assert loss.isfinite()
    assert (gradient(loss, logits) != 0).any()


# --- Sure, large and broken logits --------------------------------------------------------------------------------


@EVERY_LOSS
@pytest.mark.parametrize("size", [50.0, 1e4, 1e30])
def test_sure_logits_have_finite_gradients(name: str, size: float) -> None:
    logits, target = example(name)
    sure = (size * logits.detach().sign()).requires_grad_()
    loss = made(name)(sure, target)
    assert loss.isfinite()
    assert gradient(loss, sure).isfinite().all()


@EVERY_LOSS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_lifted_with_and_without_autocast(name: str, dtype: torch.dtype) -> None:
    """At the size of a crop, whose sums of pixels are beyond float16."""
    logits, target = example(name, height=256, width=320, dtype=dtype)
    expected = made(name)(logits.float(), target)
    with torch.autocast("cpu", dtype=dtype):
        under = made(name)(logits, target)
    for found in (made(name)(logits, target), under):
        assert found.dtype == torch.float32
        assert found.equal(expected)
    assert gradient(under, logits).isfinite().all()


@EVERY_LOSS
def test_no_loss_hides_what_is_not_a_number(name: str) -> None:
    logits, target = example(name)
    broken = logits.detach().clone()
    broken[0, 0, 0, 0] = math.nan
    assert made(name)(broken, target).isnan()
    assert made(name)(torch.full_like(broken, math.nan), target).isnan()


@pytest.mark.parametrize("thresh", [None, 0.7])
def test_the_sampler_chooses_what_is_not_a_number(thresh: float | None) -> None:
    logits, target = torch.randn(1, 3, 4, 5), torch.zeros(1, 4, 5, dtype=torch.int64)
    logits[0, 1, 2, 3] = math.nan
    assert OHEMPixelSampler(thresh=thresh, min_kept=1)(logits, target)[0, 2, 3] == 1


@pytest.mark.parametrize("gamma", [0.0, 0.1, 0.5, 0.99, 1.0, 2.0])
def test_focal_gradients_for_every_gamma(gamma: float) -> None:
    logits = torch.linspace(-40, 40, 33, dtype=torch.float64).view(1, 1, 3, 11).requires_grad_()
    target = torch.randint(0, 2, (1, 3, 11), generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(lambda x: FocalLoss(gamma=gamma)(x, target), logits)
    with pytest.raises(ValueError, match="gamma of FocalLoss is 0 or more"):
        FocalLoss(gamma=-gamma - 0.5)


def test_weights_for_another_number_of_classes_are_refused() -> None:
    logits, target = example("focal")
    with pytest.raises(ValueError, match="alpha has 2 entries for 3 logits"):
        FocalLoss(alpha=[0.1, 0.2])(logits, target)
    for loss in (FocalLoss(class_weight=[1.0, 2.0]), TverskyLoss(class_weight=[1.0, 2.0])):
        with pytest.raises(ValueError, match="class_weight has 2 entries for 3 logits"):
            loss(logits, target)
    with pytest.raises(ValueError, match=r"classes of LovaszLoss are \[0, 3\], but the head has 3 logits"):
        LovaszLoss(classes=[0, 3])(logits, target)
    with pytest.raises(ValueError, match="the softmax of a single logit is always 1"):
        CrossEntropyLoss()(logits[:, :1], target)
