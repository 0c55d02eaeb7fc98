"""Mask classification as a task: terms by name, gradients, precision, the validation loss, and that it learns."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.backbones.resnet import ResNet
from intarsia.contracts import Batch
from intarsia.layers.norm import Norm
from intarsia.losses.set_criterion import SetCriterion
from intarsia.methods.mask2former import Mask2FormerHead
from intarsia.methods.maskformer import MaskFormerHead
from intarsia.models.mask_classifier import MaskClassifier
from intarsia.spec import PreprocessSpec
from intarsia.tasks.mask_classification import MaskClassification
from intarsia.tasks.preprocess import Preprocess

SPEC = PreprocessSpec((127.0,) * 3, (60.0,) * 3, label_pad_value=255, train_size=(64, 96))
SMALL: dict[str, Any] = {"in_channels": (8, 16, 32, 64), "num_classes": 4, "channels": 16, "mask_channels": 16,
                         "num_queries": 6, "num_heads": 2, "num_layers": 3, "hidden": 16,
                         "norm": Norm("GN", num_groups=4)}  # fmt: skip
MASK2FORMER = {**SMALL, "encoder_layers": 1, "encoder_heads": 2, "encoder_points": 2, "encoder_hidden": 16}
POINTS = {"num_points": 256}
WHOLE = {"num_points": None, "mask_loss": "focal", "loss_weights": (1.0, 20.0, 1.0), "match_weights": (1.0, 20.0, 1.0)}
METHODS = ("MaskFormer", "Mask2Former")


def make_task(method: str, *, dropout: float = 0.0) -> MaskClassification:
    torch.manual_seed(0)
    make, arguments = (MaskFormerHead, SMALL) if method == "MaskFormer" else (Mask2FormerHead, MASK2FORMER)
    head = make(**arguments, dropout=dropout)
    return MaskClassification(
        MaskClassifier(backbone=ResNet(18, base_channels=8, stem_channels=8), decode_head=head),
        preprocess=Preprocess(SPEC),
        objective=SetCriterion(num_classes=4, **(WHOLE if method == "MaskFormer" else POINTS)),
        num_classes=4,
        ignore_index=255,
    )


def make_batch(*, labelled: bool = True) -> Batch:
    """Two images: stripes whose colour is their class; the second is smaller than the batch."""
    labels = torch.full((2, 60, 90), 255, dtype=torch.uint8)
    if labelled:
        labels[:, :20], labels[:, 20:40], labels[0, 40:, :50], labels[1, 40:, 30:] = 0, 1, 2, 3
        labels[1, :, 70:] = 255
    random = torch.Generator().manual_seed(1)
    images = 60 * labels[:, None].where(labels[:, None] != 255, 4).expand(-1, 3, -1, -1).float()
    images = (images + 10 * torch.randn(images.shape, generator=random)).clamp(0, 255).to(torch.uint8)
    return Batch(images, labels, ((60, 90), (60, 70)), ())


def total(task: MaskClassification, batch: Batch) -> Tensor:
    return torch.stack([term.value * term.weight for term in task.training_terms(batch)]).sum()


@pytest.mark.parametrize(("method", "before"), [("MaskFormer", 2), ("Mask2Former", 3)])
def test_terms_have_the_names_and_weights_of_the_original(method: str, before: int) -> None:
    terms = make_task(method).training_terms(make_batch())
    layers = ["decode", *(f"decode.d{i}" for i in range(before))]
    names = [f"{layer}.{loss}" for layer in layers for loss in ("loss_cls", "loss_mask", "loss_dice")]
    assert [term.name for term in terms] == names
    weights = WHOLE["loss_weights"] if method == "MaskFormer" else (2.0, 5.0, 5.0)
    assert [term.weight for term in terms] == [*weights] * len(layers)
    assert all(term.value.shape == () and term.value.requires_grad for term in terms)


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_every_parameter_gets_a_gradient(method: str, labelled: bool) -> None:
    """Also from a batch without labels: several processes wait for each other's.

    Moved off where they start, which for some is a 0 that hides others. Without dropout, all queries of MaskFormer's
    first layer would be the same, and so would be whatever they pay attention to.
    """
    task = make_task(method, dropout=0.1)
    with torch.no_grad():
        for parameter in task.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    total(task, make_batch(labelled=labelled)).backward()
    for name, parameter in task.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        if labelled:
            assert parameter.grad.abs().max() > 0, name


@pytest.mark.parametrize("method", METHODS)
def test_losses_are_in_float32_under_autocast(method: str) -> None:
    task = make_task(method)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = task.training_terms(make_batch())
    assert all(term.value.dtype == torch.float32 and term.value.isfinite() for term in terms)
    torch.stack([term.value for term in terms]).sum().backward()
    assert all(parameter.grad.isfinite().all() for parameter in task.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_two_images_are_learnt(method: str) -> None:
    """From random weights, within seconds: both the objective and what it is for.

    Batch norms use the batch to the end: their running averages are not there yet.
    """
    task, batch = make_task(method), make_batch()
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    first = total(task, batch).item()
    for _ in range(60):
        optimizer.zero_grad()
        loss = total(task, batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(task.parameters(), 1.0)
        optimizer.step()
    assert loss.item() < first / 3
    with torch.no_grad():
        predicted = task.logits(batch.images, batch.sizes).argmax(1)
    labelled = batch.labels != 255
    assert (predicted == batch.labels)[labelled].float().mean() > 0.85  # a third by chance


def test_same_seed_same_terms() -> None:
    """Random points are torch's own, which the training seeds for every step."""
    task, batch = make_task("Mask2Former").eval(), make_batch()
    found = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        found.append([term.value.item() for term in task.training_terms(batch)])
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_validation_loss_is_minus_the_log_of_the_share_of_the_class() -> None:
    random = torch.Generator().manual_seed(0)
    amounts = torch.rand(2, 4, 5, 6, generator=random)
    labels = torch.randint(0, 4, (2, 5, 6), generator=random)
    labels[:, 0] = 255
    expected = [
        -math.log(amounts[n, labels[n, y, x], y, x] / amounts[n, :, y, x].sum())
        for n in range(2) for y in range(1, 5) for x in range(6)
    ]  # fmt: skip
    found = make_task("MaskFormer").validation_loss(amounts, labels.to(torch.uint8))
    assert found.item() == pytest.approx(sum(expected) / len(expected), rel=1e-5)


def test_validation_loss_is_finite_whatever_is_predicted() -> None:
    task = make_task("MaskFormer")
    nothing = torch.zeros(1, 4, 5, 6)
    assert task.validation_loss(nothing, torch.zeros(1, 5, 6, dtype=torch.int64)) == 0  # all equal, none known better
    assert task.validation_loss(torch.rand(1, 4, 5, 6), torch.full((1, 5, 6), 255)) == 0
    wrong = F.one_hot(torch.ones(1, 5, 6, dtype=torch.int64), 4).movedim(-1, 1).float()
    assert 80 < task.validation_loss(wrong, torch.zeros(1, 5, 6, dtype=torch.int64)) < 90


def test_training_needs_labels() -> None:
    batch = make_batch()
    with pytest.raises(ValueError, match="training needs labels"):
        make_task("MaskFormer").training_terms(Batch(batch.images, None, batch.sizes, ()))


def test_class_weights_follow_the_task_and_stay_out_of_its_state() -> None:
    task = make_task("Mask2Former")
    assert not any("class_weight" in name for name in task.state_dict())
    assert task.to("meta").objective.class_weight.device.type == "meta"


def test_what_is_the_same_in_every_step_is_computed_before_the_network_is_compiled() -> None:
    task, done = make_task("MaskFormer"), []
    task.model.compute_constants = lambda: done.append(None)  # type: ignore[attr-defined]
    task.compile_training()
    assert done == [None]


def test_the_objective_has_the_names_of_losses_and_layers() -> None:
    task = make_task("Mask2Former")
    names = [term.name for term in task.training_terms(make_batch())]
    losses = ("loss_cls", "loss_mask", "loss_dice")
    assert names[:6] == [f"decode.{layer}{loss}" for layer in ("", "d0.") for loss in losses]
    layers = len(names) // 3 - 1
    given = tuple(f"layer{i}" for i in range(layers))
    task.objective = SetCriterion(num_classes=4, names=("a", "b", "c"), layers=given, **POINTS)
    terms = task.training_terms(make_batch())
    assert [term.name for term in terms] == [f"decode.{layer}{loss}" for layer in ("", *(f"{one}." for one in given))
                                             for loss in "abc"]  # fmt: skip
    assert [term.weight for term in terms] == [2.0, 5.0, 5.0] * (layers + 1)
    task.objective = SetCriterion(num_classes=4, layers=("one",), **POINTS)
    with pytest.raises(ValueError, match="longer"):
        task.training_terms(make_batch())
