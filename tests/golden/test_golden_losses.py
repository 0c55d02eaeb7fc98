"""Every loss of the reference on the same logits and labels: its value and its gradient."""

from __future__ import annotations

import json
from typing import Any

import building
import filling
import numpy as np
import pytest
import references
import torch

from intarsia.config.build import build_task
from intarsia.tasks.semantic import HeadLoss

FILE = references.SHARED / "golden/losses.json"
RECORDS: list[dict[str, Any]] = json.loads(FILE.read_text(encoding="utf-8"))["losses"] if FILE.is_file() else []
DOUBLE, PARTLY_SINGLE, SINGLE = 1e-9, 1e-7, 1e-6
"""Relative errors. Of double logits too, the original keeps some numbers in single precision: the targets of the
sigmoid form and of the boundary loss, and the sums of Dice's targets.
"""


def test_every_loss_is_compared() -> None:
    if not RECORDS:
        pytest.skip(f"reference material not found at {FILE}")
    assert {record["loss"] for record in RECORDS} == {
        "BoundaryLoss", "CrossEntropyLoss", "DiceLoss", "HuasdorffDisstanceLoss", "LovaszLoss", "OhemCrossEntropy",
        "SiLogLoss", "TverskyLoss",
    }  # fmt: skip


def built(record: dict[str, Any], *, as_the_original: bool = True) -> HeadLoss:
    """The loss as a config has it; what the config says about it stands in a head."""
    classes = record["classes"]
    head = {
        "type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 4, "num_classes": max(classes, 2),
        "out_channels": classes, "loss_decode": {"type": record["loss"], **record["arguments"]},
    }  # fmt: skip
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8}
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}
    task: Any = build_task(building.described(model, as_the_original=as_the_original))
    [loss] = task.losses
    return loss


def labels_of(record: dict[str, Any]) -> torch.Tensor:
    if record["loss"] == "BoundaryLoss":
        return filling.edges(2, 24, 32).long()
    labels = filling.labels(2, 24, 32, max(record["classes"], 2), name="loss:label")
    return labels.where(labels != 255, 0) if record["labels_without_ignored"] else labels


def compared(record: dict[str, Any], head: HeadLoss) -> None:
    dtype = getattr(torch, record.get("dtype", "float64"))
    stream = "loss:boundary" if record["loss"] == "BoundaryLoss" else "loss:logits"
    noise = filling.stream(stream).standard_normal((2, record["classes"], 24, 32))
    logits = torch.from_numpy(2 * noise).to(dtype).requires_grad_()
    [term] = head.terms
    assert term.loss is not None
    value = term.weight * term.loss(logits, labels_of(record))
    value.backward()
    assert logits.grad is not None
    gradient = logits.grad.double()
    partly = record["arguments"].get("use_sigmoid", False) or record["loss"] in ("BoundaryLoss", "DiceLoss")
    tolerance = SINGLE if dtype is torch.float32 else PARTLY_SINGLE if partly else DOUBLE
    assert value.item() == pytest.approx(record["value"], rel=tolerance)
    assert gradient.norm().item() == pytest.approx(record["gradient_norm"], rel=tolerance)
    if "gradient" not in record:
        return
    places = filling.positions("loss:gradient", gradient.numel(), 8)
    found, expected = gradient.flatten().numpy()[places], np.array(record["gradient"])
    np.testing.assert_allclose(found, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1e-12))


def compared_depths(record: dict[str, Any], head: HeadLoss) -> None:
    """The loss of depths; the first rows of the truth are not known."""
    noise = filling.stream("loss:depth").standard_normal((2, 1, 24, 32))
    found = torch.from_numpy(np.exp(noise)).requires_grad_()
    truth = torch.from_numpy(np.exp(filling.stream("loss:depth_target").standard_normal((2, 1, 24, 32))))
    truth[:, :, :3] = 0
    [term] = head.terms
    assert term.loss is not None
    value = term.weight * term.loss(found, truth)
    value.backward()
    assert found.grad is not None
    assert value.item() == pytest.approx(record["value"], rel=DOUBLE)
    assert found.grad.norm().item() == pytest.approx(record["gradient_norm"], rel=DOUBLE)


IDS = [f"{number} {record['loss']} {record['arguments']}" for number, record in enumerate(RECORDS)]


@pytest.mark.skipif(not RECORDS, reason=f"reference material not found at {FILE} (set INTARSIA_SHARED)")
@pytest.mark.parametrize("record", RECORDS, ids=IDS)
def test_value_and_gradient(record: dict[str, Any]) -> None:
    if record["loss"] == "SiLogLoss":
        compared_depths(record, built(record | {"classes": 1}))
    else:
        compared(record, built(record))


@pytest.mark.parametrize("record", [r for r in RECORDS if r["loss"] == "DiceLoss" and r["labels_without_ignored"]])
def test_dice_of_labels_without_ignored_ones_is_the_same_in_both_forms(record: dict[str, Any]) -> None:
    compared(record, built(record, as_the_original=False))
