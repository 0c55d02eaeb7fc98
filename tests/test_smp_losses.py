"""`intarsia.smp.losses` and `.metrics`: values of segmentation_models.pytorch, of losses also their gradients."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor

import intarsia.smp
from intarsia import losses

library = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")


def batch(mode: str, ignored: int | None = None) -> tuple[Tensor, Tensor]:
    """Logits and truth, in which one of four classes is nowhere, and some pixels are ignored."""
    random = torch.Generator().manual_seed(0)
    classes = 1 if mode == "binary" else 4
    logits = torch.randn(3, classes, 7, 9, generator=random, dtype=torch.float64)
    if mode == "multilabel":
        truth = torch.randint(0, 2, (3, classes, 7, 9), generator=random)
        truth[:, 2] = 0
    else:
        truth = torch.randint(0, 3 if mode == "multiclass" else 2, (3, 7, 9), generator=random)
    if ignored is not None:
        truth.view(-1)[::5] = ignored
    return logits.requires_grad_(), truth


MODES = ("binary", "multiclass", "multilabel")
WEIGHTS = [1.0, 2.0, 0.5, 3.0]
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((name, mode, {}) for name in ("JaccardLoss", "DiceLoss", "TverskyLoss", "FocalLoss") for mode in MODES),
    *((name, mode, {"ignore_index": 255}) for name in ("JaccardLoss", "DiceLoss", "FocalLoss") for mode in MODES[:2]),
    ("DiceLoss", "multilabel", {"ignore_index": 255}),
    ("JaccardLoss", "multiclass", {"log_loss": True, "smooth": 1.0, "classes": [0, 1]}),
    ("DiceLoss", "multiclass", {"class_weights": WEIGHTS, "classes": [0, 3]}),
    ("TverskyLoss", "multiclass", {"alpha": 0.3, "beta": 0.7, "gamma": 1.5, "class_weights": WEIGHTS}),
    ("FocalLoss", "multiclass", {"alpha": 0.25, "gamma": 1.5, "normalized": True, "class_weights": WEIGHTS}),
    ("FocalLoss", "binary", {"alpha": 0.25, "reduced_threshold": 0.5, "reduction": "sum"}),
    *(("LovaszLoss", mode, {"per_image": each}) for mode in MODES for each in (False, True)),
    *(("LovaszLoss", mode, {"ignore_index": 255}) for mode in MODES[:2]),
]


@pytest.mark.parametrize(("name", "mode", "arguments"), CASES, ids=str)
def test_losses_are_those_of_the_library(name: str, mode: str, arguments: dict[str, Any]) -> None:
    found, expected = (
        value_and_gradient(module, name, mode, arguments) for module in (intarsia.smp.losses, library.losses)
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def value_and_gradient(module: Any, name: str, mode: str, arguments: dict[str, Any]) -> tuple[Tensor, Tensor]:
    logits, truth = batch(mode, arguments.get("ignore_index"))
    if name == "LovaszLoss":  # which there is for float32 alone
        logits = logits.detach().float().requires_grad_()
    value = getattr(module, name)(mode, **arguments)(logits, truth)
    return value.detach(), torch.autograd.grad(value, logits)[0]


@pytest.mark.parametrize("name", ["JaccardLoss", "DiceLoss", "FocalLoss"])
@pytest.mark.parametrize("mode", MODES)
def test_losses_of_probabilities(name: str, mode: str) -> None:
    logits, truth = batch(mode)
    shares = logits.detach().softmax(1) if mode == "multiclass" else logits.detach().sigmoid()
    found, expected = (
        getattr(module, name)(mode, from_logits=False)(shares, truth)
        for module in (intarsia.smp.losses, library.losses)
    )
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_smoothed_truth(reduction: str) -> None:
    for arguments in ({"smooth_factor": 0.1}, {"ignore_index": 255, "smooth_factor": 0.2}):
        given: dict[str, Any] = {"reduction": reduction, **arguments}
        logits, truth = batch("multiclass", arguments.get("ignore_index"))
        found, expected = (
            module.SoftCrossEntropyLoss(**given)(logits, truth) for module in (intarsia.smp.losses, library.losses)
        )
        torch.testing.assert_close(found.squeeze(), expected.squeeze(), rtol=1e-6, atol=1e-9)
        logits, truth = batch("multilabel")
        wanted, given = truth.double(), {**given, "pos_weight": torch.tensor(2.0)}
        found, expected = (
            module.SoftBCEWithLogitsLoss(**given)(logits, wanted) for module in (intarsia.smp.losses, library.losses)
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)


def test_the_correlation_of_matthews() -> None:
    logits, truth = batch("binary")
    shares = logits.sigmoid()
    expected = library.losses.MCCLoss()(shares, truth)
    torch.testing.assert_close(intarsia.smp.losses.MCCLoss()(shares, truth), expected)
    torch.testing.assert_close(losses.matthews(logits, truth), expected)
    large = torch.full((1, 1, 1500, 1500), 5.0)
    half = (torch.arange(1500) % 2).expand(1, 1500, 1500)
    assert losses.matthews(large, half).isfinite(), "products of counts are beyond float32"


def test_functions_have_the_same_values() -> None:
    logits, truth = batch("multiclass", 255)
    theirs = library.losses
    pairs = [
        (losses.overlap(logits, truth), theirs.JaccardLoss("multiclass", ignore_index=255)),
        (losses.overlap(logits, truth, alpha=0.5, beta=0.5, smooth=1.0), theirs.DiceLoss("multiclass", smooth=1.0,
         ignore_index=255)),
        (losses.overlap(logits, truth, log=True, classes=[1, 3], class_weight=WEIGHTS), theirs.JaccardLoss("multiclass",
         log_loss=True, classes=[1, 3], class_weights=WEIGHTS, ignore_index=255)),
    ]  # fmt: skip
    for found, loss in pairs:
        torch.testing.assert_close(found, loss(logits, truth), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (
            lambda module: module.DiceLoss("multi"),
            "DiceLoss: mode must be one of binary, multiclass, multilabel",
        ),
        (lambda module: module.JaccardLoss("binary", classes=[0]), "no classes to choose or to weigh"),
        (lambda module: module.FocalLoss("binary", reduction="none"), "reduction must be 'mean' or 'sum'"),
    ],
)
def test_what_a_loss_is_not_given(call: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        call(intarsia.smp.losses)


# --- Scores -------------------------------------------------------------------------------------------------------

SCORES = sorted(name for name in library.metrics.__all__ if name != "get_stats")
REDUCTIONS = (None, "none", "micro", "macro", "weighted", "micro-imagewise", "macro-imagewise", "weighted-imagewise")


def counts(module: Any) -> list[tuple[Tensor, ...]]:
    found = []
    for mode, ignored in (("multiclass", None), ("multiclass", 255), ("multilabel", None), ("binary", None)):
        logits, truth = batch(mode, ignored)
        if mode == "multiclass":
            found.append(module.get_stats(logits.argmax(1), truth, mode, ignore_index=ignored, num_classes=4))
        else:
            wanted = truth.unsqueeze(1) if mode == "binary" else truth
            found.append(module.get_stats(logits.sigmoid(), wanted, mode, threshold=0.6))
            found.append(module.get_stats((logits > 0).long(), wanted, mode))
    return found


def test_counts_are_those_of_the_library() -> None:
    for found, expected in zip(counts(intarsia.smp.metrics), counts(library.metrics), strict=True):
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == torch.int64
            assert ours.equal(theirs)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("name", SCORES)
def test_scores_are_those_of_the_library(name: str, reduction: str | None) -> None:
    given = counts(intarsia.smp.metrics)[1]
    for options in ({"class_weights": WEIGHTS}, {"class_weights": WEIGHTS, "zero_division": 0.0}, {}):
        if not options and "weighted" in (reduction or ""):
            with pytest.raises(ValueError, match="needs class_weights"):
                getattr(intarsia.smp.metrics, name)(*given, reduction=reduction)
            continue
        found, expected = (
            getattr(module, name)(*given, reduction=reduction, **options)
            for module in (intarsia.smp.metrics, library.metrics)
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7, equal_nan=True)
    if name == "fbeta_score":
        found, expected = (
            module.fbeta_score(*given, beta=2.0, reduction=reduction, class_weights=WEIGHTS)
            for module in (intarsia.smp.metrics, library.metrics)
        )
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


def test_nothing_to_count() -> None:
    nothing = (torch.zeros(1, 2, dtype=torch.int64),) * 4
    with pytest.warns(UserWarning, match="0 / 0"):
        assert intarsia.smp.metrics.iou_score(*nothing, reduction="macro", zero_division="warn") == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        assert intarsia.smp.metrics.iou_score(*nothing, reduction="macro") == 1
    with pytest.raises(ValueError, match="reduction must be one of micro, macro"):
        intarsia.smp.metrics.iou_score(*nothing, reduction="mean")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"mode": "multiclass"}, "multiclass needs num_classes"),
        ({"mode": "multiclass", "num_classes": 3, "ignore_index": 1}, "ignore_index=1 is one of the classes 0 to 2"),
        ({"mode": "binary", "ignore_index": 255}, "ignore_index is for multiclass"),
        ({"mode": "two"}, "mode must be one of binary, multiclass, multilabel; found 'two'"),
    ],
)
def test_what_cannot_be_counted(arguments: dict[str, Any], words: str) -> None:
    labels = torch.zeros(1, 2, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=words):
        intarsia.smp.metrics.get_stats(labels, labels, **arguments)
    with pytest.raises(ValueError, match="4 pixels of the label are no class"):
        intarsia.smp.metrics.get_stats(labels, labels + 7, "multiclass", num_classes=3)
