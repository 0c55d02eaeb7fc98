"""`intarsia.multi_label`: what it makes of losses and metrics, and everything that contradicts it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from intarsia import recipes
from intarsia.config.build import build_metric, build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.losses.each_class import EachClass, RightAnswers
from intarsia.metrics.multi_label import MultiLabelMetric

DATA = {split: {"type": "DescribedDataset", "file": "data.yaml", "split": split} for split in ("train", "val")}


def values(recipe: str = "small_r18", *, classes: int = 3, multi_label: bool = True) -> dict[str, Any]:
    return copy.deepcopy(
        recipes.for_data(
            recipe, num_classes=classes, ignore_index=255 if classes < 8 else 65535, mean=(0.0,) * 3, std=(1.0,) * 3,
            raw_bands=False, crop=(64, 64), batch=2, steps=10, workers=0, data=DATA, multi_label=multi_label,
        )
    )  # fmt: skip


def problems(changed: dict[str, Any]) -> str:
    return "\n".join(str(problem) for problem in check(Config.from_values(changed, file="test.py")))


REFUSED = {
    "encnet": "ClassesPresent", "fastfcn_r50_enc": "ClassesPresent", "knet": "kernels share the pixels out",
    "pidnet": "EdgeMap", "pointrend": "two best classes", "stdc": "DetailMap",
}  # fmt: skip


def test_every_recipe_of_pixels_can_learn_several_classes_and_the_others_say_why_not() -> None:
    refused = set()
    for name in recipes.short_names():
        said = problems(values(name))
        if not said:
            continue
        refused.add(next((family for family in REFUSED if name.startswith(family)), name))
        reason = REFUSED[next(family for family in REFUSED if name.startswith(family))]
        assert reason in said, name
    assert refused <= set(REFUSED)
    assert {"encnet", "knet", "pidnet", "pointrend", "stdc"} <= refused


def test_losses_and_metrics_are_of_each_class() -> None:
    config = values()
    config["model"]["decode_head"]["loss_decode"] = [
        {"type": "CrossEntropyLoss", "use_sigmoid": True, "class_weight": [1.0, 2.0, 3.0], "loss_weight": 0.5},
        {"type": "LovaszLoss", "loss_type": "binary", "reduction": "none"},
        {"type": "FocalLoss", "alpha": [0.1, 0.2, 0.3]},
        {"type": "DiceLoss"},
    ]
    spec = lower(Config.from_values(config, file="test.py"))
    assert spec.inference.answer == "classes"
    assert spec.inference.thresholds == (0.5, 0.5, 0.5)
    task: Any = build_task(spec)
    assert task.multi_label
    decode = next(head for head in task.losses if head.head == "decode")
    losses = [term.loss for term in decode.terms]
    assert all(isinstance(loss, EachClass) for loss in losses[:-1])
    assert isinstance(losses[-1], RightAnswers)
    assert [len(loss.losses) for loss in losses[:-1]] == [3, 1, 3, 1]
    assert [float(one.class_weight) for one in losses[0].losses] == [1.0, 2.0, 3.0]
    assert [term.weight for term in decode.terms] == [0.5, 1.0, 1.0, 1.0, 0.0]
    assert isinstance(build_metric(spec, ("a", "b", "c")), MultiLabelMetric)
    logits, label = torch.zeros(1, 3, 4, 4), torch.randint(0, 8, (1, 4, 4))
    assert torch.isfinite(task.validation_loss(logits, label))


def test_more_than_seven_classes_have_another_ignored_value() -> None:
    assert not problems(values(classes=9))
    wrong = values(classes=9)
    wrong["model"]["decode_head"]["ignore_index"] = 255
    assert "9 classes take the label values 0 to 511, and the head 'decode' ignores 255 among them" in problems(wrong)
    assert "expected 2 to 15 classes, found 16" in problems(values(classes=16))
    assert "expected 2 to 15 classes, found 1" in problems(values(classes=1))


def _softmax(config: dict[str, Any]) -> None:
    config["model"]["decode_head"]["loss_decode"] = {"type": "CrossEntropyLoss"}


def _lovasz(config: dict[str, Any]) -> None:
    config["model"]["decode_head"]["loss_decode"] = {"type": "LovaszLoss", "reduction": "none"}


def _tversky(config: dict[str, Any]) -> None:
    config["model"]["decode_head"]["loss_decode"] = {"type": "TverskyLoss"}


def _weights(config: dict[str, Any]) -> None:
    loss = {"type": "CrossEntropyLoss", "use_sigmoid": True, "class_weight": [1.0, 2.0]}
    config["model"]["decode_head"]["loss_decode"] = loss


def _sampler(config: dict[str, Any]) -> None:
    config["model"]["decode_head"]["sampler"] = {"type": "OHEMPixelSampler", "thresh": 0.7}


def _metric(config: dict[str, Any]) -> None:
    config["val_evaluator"] = {"type": "IoUMetric", "iou_metrics": ["kappa"]}


def _groups(config: dict[str, Any]) -> None:
    config["val_evaluator"] = {"type": "IoUMetric", "groups": {"all": ["a", "b"]}}


def _cityscapes(config: dict[str, Any]) -> None:
    config["val_evaluator"] = {"type": "CityscapesMetric"}


def _rare(config: dict[str, Any]) -> None:
    for step in config["train_dataloader"]["dataset"]["pipeline"]:
        if step["type"] == "RandomCrop":
            step["rare"] = [1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_softmax, "the softmax of CrossEntropyLoss compares the classes of a pixel with each other"),
        (_lovasz, "Set loss_type='binary'"),
        (_tversky, "TverskyLoss compares the classes"),
        (_weights, "class_weight has 2 entries for 3 classes"),
        (_sampler, "a sampler chooses pixels by the softmax"),
        (_metric, "kappa counts one class for each pixel"),
        (_groups, "groups has no meaning"),
        (_cityscapes, "CityscapesMetric counts one class for each pixel"),
        (_rare, "rare of RandomCrop are class indices"),
    ],
)
def test_what_contradicts_it_is_named(change: Any, said: str) -> None:
    config = values()
    change(config)
    assert said in problems(config)


def test_a_teacher_of_several_classes_is_no_contradiction() -> None:
    config = values()
    config["intarsia"]["teacher"] = {"weights": "other.safetensors"}
    spec = lower(Config.from_values(config, file="test.py"))
    assert spec.teacher is not None
    assert spec.teacher.weights == "other.safetensors"


def test_without_it_nothing_changes() -> None:
    plain = values(multi_label=False)
    spec = lower(Config.from_values(plain, file="test.py"))
    assert spec.inference.answer == "class"
    assert spec.inference.thresholds is None
    off = {**plain, "intarsia": {"multi_label": False}}
    assert lower(Config.from_values(off, file="test.py")).losses == spec.losses
