"""The losses as functions: the same values as in training, with one signature, and errors that say the fix."""

from __future__ import annotations

import importlib
import inspect
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor

import intarsia
from intarsia import losses
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch, SampleMeta

FUNCTIONS = {name: getattr(losses, name) for name in losses.__all__}
ONE_LOGIT = ("boundary", "matthews")


def example(classes: int = 3) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(2, classes, 6, 8, generator=random)
    labels = torch.randint(0, max(classes, 2), (2, 6, 8), generator=random)
    labels[:, 0] = 255
    return logits, labels


AS_IN_CONFIGS: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("cross_entropy", {}, {"type": "CrossEntropyLoss"}),
    ("cross_entropy", {"class_weight": [1.0, 2.0, 0.5], "avg_non_ignore": True}, {
        "type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 0.5], "avg_non_ignore": True}),
    ("dice", {}, {"type": "DiceLoss", "use_sigmoid": False}),
    ("dice", {"use_sigmoid": True, "naive_dice": True, "eps": 1.0}, {
        "type": "DiceLoss", "naive_dice": True, "eps": 1.0}),
    ("focal", {"gamma": 1.5, "alpha": 0.3}, {"type": "FocalLoss", "gamma": 1.5, "alpha": 0.3}),
    ("lovasz", {}, {"type": "LovaszLoss", "reduction": "none"}),
    ("lovasz", {"per_image": True}, {"type": "LovaszLoss", "per_image": True}),
    ("tversky", {"class_weight": [1.0, 2.0, 0.5]}, {"type": "TverskyLoss", "class_weight": [1.0, 2.0, 0.5]}),
    ("overlap", {}, {"type": "OverlapLoss"}),
    ("overlap", {"alpha": 0.3, "beta": 0.7, "smooth": 1.0, "class_weight": [1.0, 2.0, 0.5]}, {
        "type": "OverlapLoss", "alpha": 0.3, "beta": 0.7, "smooth": 1.0, "class_weight": [1.0, 2.0, 0.5]}),
    ("hausdorff", {}, {"type": "HausdorffDistanceLoss"}),
    ("ohem", {"threshold": 0.3, "min_kept": 5}, {"type": "OhemCrossEntropy", "thres": 0.3, "min_kept": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "loss"), AS_IN_CONFIGS, ids=str)
def test_the_value_is_that_of_a_training(name: str, arguments: dict[str, Any], loss: dict[str, Any]) -> None:
    """Of a network that a config describes, with that loss: the term in the log."""
    model = {
        "type": "EncoderDecoder",
        "backbone": {"type": "FastSCNN", "downsample_dw_channels": [8, 8], "global_in_channels": 8,
                     "global_block_channels": [8, 8, 8], "global_block_strides": [2, 2, 1],
                     "global_out_channels": 8, "higher_in_channels": 8, "lower_in_channels": 8,
                     "fusion_out_channels": 8, "out_indices": [0, 1, 2]},
        "decode_head": {"type": "FCNHead", "in_channels": 8, "in_index": -1, "channels": 8, "num_convs": 0,
                        "concat_input": False, "num_classes": 3, "dropout_ratio": 0.0,
                        "loss_decode": {**loss, "loss_name": "loss_it"}},
    }  # fmt: skip
    torch.manual_seed(0)
    task = build_task(lower(Config.from_values({"model": model}, file="test"))).eval()
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    labels = torch.randint(0, 3, (2, 64, 64))
    labels[:, :9] = 255
    batch = Batch(images, labels, ((64, 64),) * 2, (SampleMeta(),) * 2)
    expected = next(term.value for term in task.training_terms(batch) if term.name == "decode.loss_it")
    sizes = ((64, 64),) * 2
    logits = F.interpolate(task.logits(images, sizes), (64, 64), mode="bilinear", align_corners=False)
    assert FUNCTIONS[name](logits, labels, **arguments).item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_one_signature(name: str) -> None:
    parameters = list(inspect.signature(FUNCTIONS[name]).parameters.values())
    assert [parameter.name for parameter in parameters[:3]] == ["logits", "labels", "ignore_index"]
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in parameters[2:])
    assert parameters[2].default == 255
    assert FUNCTIONS[name].__doc__


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_of_what_is_labelled_alone(name: str) -> None:
    logits, labels = example(1 if name in ONE_LOGIT else 3)
    logits.requires_grad_(True)
    value = FUNCTIONS[name](logits, labels)
    value.backward()
    assert value.shape == ()
    assert logits.grad is not None
    assert not logits.grad[:, :, 0].any()
    assert logits.grad[:, :, 1:].any()
    other = torch.where(labels == 255, 7, labels)
    assert FUNCTIONS[name](logits, other, ignore_index=7).item() == pytest.approx(value.item())


@pytest.mark.parametrize("name", ["cross_entropy", "dice", "focal", "lovasz", "matthews", "overlap"])
def test_a_single_logit_is_a_yes_or_no(name: str) -> None:
    logits, labels = example(1)
    sure = torch.where(labels == 1, 20.0, -20.0).unsqueeze(1)
    assert FUNCTIONS[name](sure, labels).item() == pytest.approx(0.0, abs=1e-3)
    assert FUNCTIONS[name](-sure, labels) > FUNCTIONS[name](logits, labels) > 0


def test_cross_entropy_can_be_that_of_torch() -> None:
    logits, labels = example()
    found = losses.cross_entropy(logits, labels, avg_non_ignore=True)
    torch.testing.assert_close(found, F.cross_entropy(logits, labels, ignore_index=255))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name != "hausdorff"])
def test_on_an_accelerator(name: str) -> None:
    """Weights of classes follow the logits; it is waited for to copy them, as focal's alpha is, and else not at all."""
    logits, labels = example(1 if name in ONE_LOGIT else 3)
    weights = {"class_weight": [1.0, 2.0, 3.0]} if name not in (*ONE_LOGIT, "dice") else {}
    plain, weighed = FUNCTIONS[name](logits, labels).item(), FUNCTIONS[name](logits, labels, **weights).item()
    with simulated_gpu() as waits:
        logits, labels = logits.to(DEVICE), labels.to(DEVICE)
        waits.found.clear()
        value = FUNCTIONS[name](logits, labels)
        assert not waits.found or name == "focal"
        assert value.device == DEVICE
        assert value.item() == pytest.approx(plain)
        assert FUNCTIONS[name](logits, labels, **weights).item() == pytest.approx(weighed)


def test_labels_of_any_integers_and_with_a_channel() -> None:
    logits, labels = example()
    expected = losses.dice(logits, labels)
    assert losses.dice(logits, labels.to(torch.uint8)).equal(expected)
    assert losses.dice(logits, labels.unsqueeze(1)).equal(expected)
    assert losses.dice(logits.half(), labels).dtype == torch.float32


@pytest.mark.parametrize(
    ("logits", "labels", "message"),
    [
        ((2, 3, 4, 4), torch.zeros(2, 8, 8), r"found \(4, 4\) and \(8, 8\); .*F\.interpolate"),
        ((2, 3, 4, 4), torch.zeros(2, 4, 4), r"integers; found torch\.float32\. Say labels\.long\(\)"),
        ((2, 3, 4, 4), torch.zeros(2, 3, 4, 4), r"labels \(N, H, W\), found \(2, 3, 4, 4\) and \(2, 3, 4, 4\)"),
        ((2, 3), torch.zeros(2, 4, 4), r"expected logits \(N, K, H, W\)"),
        ((2, 3, 4, 4), torch.full((2, 4, 4), 5), "have the value 5, but there are 3 classes"),
    ],
    ids=str,
)
def test_what_does_not_belong_together_is_refused(logits: tuple[int, ...], labels: Tensor, message: str) -> None:
    for name in ("cross_entropy", "dice", "lovasz", "tversky"):
        with pytest.raises(ValueError, match=message):
            FUNCTIONS[name](torch.zeros(logits), labels)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_nothing_is_ignored(name: str) -> None:
    """None, as other libraries have it: the same as a label that there is not, and 255 is no class then."""
    logits, labels = example(1 if name in ONE_LOGIT else 3)
    known = labels.where(labels != 255, 0)
    assert FUNCTIONS[name](logits, known, ignore_index=None).equal(FUNCTIONS[name](logits, known))
    with pytest.raises(ValueError, match=r"have the value 255, but there are .* and nothing is ignored"):
        FUNCTIONS[name](logits, labels, ignore_index=None)


@pytest.mark.parametrize("name", list(FUNCTIONS))
def test_a_batch_of_nothing_is_refused(name: str) -> None:
    """Some losses were 0, some nan, some an error of torch's."""
    logits, labels = example(1 if name in ONE_LOGIT else 3)
    with pytest.raises(ValueError, match=r"no pixel to learn from: labels are \(0, 6, 8\)"):
        FUNCTIONS[name](logits[:0], labels[:0])


def test_arguments_of_other_kinds_are_named() -> None:
    logits, labels = example()
    with pytest.raises(ValueError, match=r"labels are a tensor, found a ndarray; torch\.as_tensor"):
        losses.dice(logits, labels.numpy())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"logits are a tensor, found a list"):
        losses.dice(logits.tolist(), labels)
    planes = F.one_hot(labels.clamp(max=2), 3).permute(0, 3, 1, 2)
    with pytest.raises(ValueError, match=r"a plane for each class take labels\.argmax\(dim=1\)"):
        losses.cross_entropy(logits, planes)


@pytest.mark.filterwarnings("error::UserWarning")
@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in (*ONE_LOGIT, "dice")])
def test_weights_of_classes_may_be_a_tensor(name: str) -> None:
    """Torch warned each time that one was copied by `torch.tensor`."""
    logits, labels = example()
    weights = torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64, requires_grad=True)
    for x in (logits, logits.double()):
        expected = FUNCTIONS[name](x, labels, class_weight=[1.0, 2.0, 0.5])
        assert FUNCTIONS[name](x, labels, class_weight=weights).equal(expected)
        assert FUNCTIONS[name](x, labels, class_weight=weights.detach().numpy()).equal(expected)


def test_functions_and_files_of_one_name_do_not_get_into_each_others_way() -> None:
    from intarsia.losses.dice import DiceLoss

    assert intarsia.losses.dice is losses.dice
    assert importlib.import_module("intarsia.losses.dice").DiceLoss is DiceLoss
    assert callable(losses.dice)
    logits, labels = example()
    assert losses.dice(logits, labels).equal(DiceLoss(use_sigmoid=False)(logits, labels))
    assert math.isfinite(losses.lovasz(logits, labels).item())
