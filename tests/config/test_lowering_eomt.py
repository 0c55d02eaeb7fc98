"""The heads of EoMT and PMT in a config: every number arrives, backbones give what they read, mistakes are named."""

from __future__ import annotations

import re
from typing import Any

import pytest

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.losses.set_criterion import SetCriterion
from intarsia.methods.eomt import EoMTHead
from intarsia.tasks.mask_classification import MaskClassification

pytest.importorskip("timm", reason="timm is not installed")

HEAD: dict[str, Any] = {
    "type": "EoMTHead", "in_channels": 64, "num_classes": 3, "in_index": 0, "num_queries": 9, "num_blocks": 2,
    "num_upscales": 1, "annealing_start": [0.0, 0.5], "annealing_end": [0.5, 0.75], "ignore_index": 11,
    "loss_cls": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 2.0,
                 "class_weight": [1.0, 1.0, 1.0, 0.2]},
    "loss_mask": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "loss_weight": 3.0},
    "loss_dice": {"type": "mmdet.DiceLoss", "naive_dice": True, "eps": 1.0, "loss_weight": 4.0},
    "train_cfg": {"num_points": 99, "oversample_ratio": 2.0, "importance_sample_ratio": 0.5},
}  # fmt: skip


def config(open_blocks: int = 2, **head: Any) -> Config:
    backbone = {"type": "TIMM", "model_name": "test_vit", **({"open_blocks": open_blocks} if open_blocks else {})}
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": {**HEAD, **head}}
    return Config.from_values({"model": model}, file="test.py")


def test_every_number_arrives() -> None:
    spec = lower(config())
    assert (spec.model.type, spec.task) == ("MaskClassifier", "MaskClassification")
    assert spec.model.args["decode_head"].args == {
        "in_channels": 64, "num_classes": 3, "in_index": 0, "num_queries": 9, "num_blocks": 2, "num_upscales": 1,
        "annealing_start": (0.0, 0.5), "annealing_end": (0.5, 0.75),
    }  # fmt: skip
    assert spec.objective is not None
    assert spec.objective.args == {
        "num_classes": 3, "ignore_index": 11, "class_weight": (1.0, 1.0, 1.0, 0.2), "dice_eps": 1.0,
        "loss_weights": (2.0, 3.0, 4.0), "match_weights": (2.0, 3.0, 4.0), "num_points": 99, "oversample_ratio": 2.0,
        "importance_ratio": 0.5,
    }  # fmt: skip
    assert (spec.inference.num_classes, spec.losses[0].ignore_index) == (3, 11)


def test_what_lowers_is_clean_and_builds() -> None:
    assert check(config(), shapes=True) == []
    task: Any = build_task(lower(config()))
    assert isinstance(task, MaskClassification)
    assert isinstance(task.objective, SetCriterion)
    assert isinstance(task.model.decode_head, EoMTHead)
    assert task.model.decode_head.annealing == ((0.0, 0.5), (0.5, 0.75))


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        (config(open_blocks=3), "model.decode_head", "runs the last 2 blocks of the backbone, but .* leaves it 3"),
        (config(open_blocks=0), "model.decode_head", "runs the last 2 blocks of the backbone, but .* leaves it 0"),
        (config(in_channels=32), "model.decode_head.in_channels", "is 32 but backbone level 0 of TIMM gives 64"),
        (config(feat_channels=9), "model.decode_head.feat_channels", "unknown key"),
        (config(annealing_start=0.5), "model.decode_head.annealing_start", "expected Sequence"),
        (config(annealing_start=[0.5]), "model.decode_head", "one entry for each of 2 blocks"),
    ],
    ids=["blocks", "no blocks", "channels", "key", "type", "schedule"],
)
def test_mistakes_are_named(given: Config, path: str, message: str) -> None:
    problems = check(given, shapes=True)
    assert [problem.path for problem in problems][:1] == [path]
    assert re.search(message, problems[0].message)


def test_other_heads_do_not_read_a_level_with_blocks() -> None:
    backbone = {"type": "TIMM", "model_name": "test_vit", "open_blocks": 2}
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 0, "channels": 8, "num_classes": 3,
            "loss_decode": {"type": "CrossEntropyLoss"}}  # fmt: skip
    model = {"type": "EncoderDecoder", "backbone": backbone, "decode_head": head}
    [problem] = check(Config.from_values({"model": model}, file="test.py"), shapes=True)
    assert "reads what is computed, but the backbone TIMM leaves its last 2 blocks" in problem.message


# --- PMT ----------------------------------------------------------------------------------------------------------

PMT = {
    **{key: value for key, value in HEAD.items() if not key.startswith("annealing")},
    "type": "PMTHead", "in_channels": [64, 64], "in_index": [0, 1], "num_blocks": 3, "num_heads": 4,
    "hidden_channels": 96,
}  # fmt: skip
ALL_TOKENS = {"type": "TIMM", "model_name": "test_vit", "out_indices": (2, 5), "norm": True, "prefix": True}


def pmt(backbone: dict[str, Any] | None = None, **head: Any) -> Config:
    model = {"type": "EncoderDecoder", "backbone": {**ALL_TOKENS, **(backbone or {})}, "decode_head": {**PMT, **head}}
    return Config.from_values({"model": model}, file="test.py")


def test_every_number_of_pmt_arrives() -> None:
    assert check(pmt(), shapes=True) == []
    spec = lower(pmt())
    assert (spec.model.type, spec.task) == ("MaskClassifier", "MaskClassification")
    assert spec.model.args["decode_head"].args == {
        "in_channels": (64, 64), "in_index": (0, 1), "num_classes": 3, "num_queries": 9, "num_blocks": 3,
        "num_upscales": 1, "num_heads": 4, "hidden_channels": 96,
    }  # fmt: skip
    assert spec.objective is not None
    assert spec.objective.args["loss_weights"] == (2.0, 3.0, 4.0)
    assert isinstance(build_task(lower(pmt())), MaskClassification)


@pytest.mark.parametrize(
    ("given", "path", "message"),
    [
        (pmt({"prefix": False}), "model.decode_head", "reads all tokens before the patches of each level, but .* none"),
        (pmt(in_channels=[64, 32]), "model.decode_head", "adds up levels, which have one number of channels"),
        (pmt(in_channels=64), "model.decode_head.in_channels", "expected Sequence"),
        (pmt(num_heads=5), "model.decode_head", "num_heads must leave each head a multiple of 4 of 64 channels; got 5"),
        (pmt(dropout=0.1), "model.decode_head.dropout", "unknown key"),
    ],
    ids=["tokens", "channels", "type", "heads", "key"],
)
def test_mistakes_with_pmt_are_named(given: Config, path: str, message: str) -> None:
    problems = check(given, shapes=True)
    assert [problem.path for problem in problems][:1] == [path]
    assert re.search(message, problems[0].message)
