"""Heads that classify masks: every number of the nested dicts arrives, and what is not supported is refused by name."""

from __future__ import annotations

import json
from typing import Any

import pytest

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.losses.set_criterion import SetCriterion
from intarsia.tasks.mask_classification import MaskClassification

WIDTH = 32
ATTENTION = {"embed_dims": WIDTH, "num_heads": 4, "attn_drop": 0.0, "proj_drop": 0.0, "dropout_layer": None,
             "batch_first": True}  # fmt: skip
PERCEPTRON = {"embed_dims": WIDTH, "feedforward_channels": 48, "num_fcs": 2, "ffn_drop": 0.0, "dropout_layer": None,
              "act_cfg": {"type": "ReLU", "inplace": True}, "add_identity": True}  # fmt: skip
POSITIONS = {"num_feats": WIDTH // 2, "normalize": True}
DICE = {"type": "mmdet.DiceLoss", "use_sigmoid": True, "activate": True, "reduction": "mean", "naive_dice": True,
        "eps": 0.5, "loss_weight": 4.0}  # fmt: skip
CLASSES = {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 2.0, "reduction": "mean",
           "class_weight": [1.0, 1.0, 2.0, 0.2]}  # fmt: skip
DICE_COST = {"type": "mmdet.DiceCost", "weight": 7.0, "pred_act": True, "eps": 0.5}
CLASS_COST = {"type": "mmdet.ClassificationCost", "weight": 8.0}


def decoder(layers: int) -> dict[str, Any]:
    layer = {"self_attn_cfg": ATTENTION, "cross_attn_cfg": ATTENTION, "ffn_cfg": PERCEPTRON}
    return {"return_intermediate": True, "num_layers": layers, "layer_cfg": layer, "init_cfg": None}


def assigner(*costs: dict[str, Any]) -> dict[str, Any]:
    return {"type": "mmdet.HungarianAssigner", "match_costs": [CLASS_COST, *costs, DICE_COST]}


MASK2FORMER: dict[str, Any] = {
    "type": "Mask2FormerHead", "in_channels": [64, 128, 256, 512], "strides": [4, 8, 16, 32], "num_classes": 3,
    "feat_channels": WIDTH, "out_channels": 24, "num_queries": 9, "num_transformer_feat_level": 3,
    "align_corners": True, "ignore_index": 11, "enforce_decoder_input_project": False,
    "positional_encoding": POSITIONS, "transformer_decoder": decoder(2),
    "pixel_decoder": {
        "type": "mmdet.MSDeformAttnPixelDecoder", "num_outs": 3, "norm_cfg": {"type": "GN", "num_groups": 8},
        "act_cfg": {"type": "ReLU"}, "positional_encoding": POSITIONS, "init_cfg": None,
        "encoder": {"num_layers": 1, "init_cfg": None, "layer_cfg": {
            "self_attn_cfg": {"embed_dims": WIDTH, "num_heads": 2, "num_levels": 3, "num_points": 5, "dropout": 0.0,
                              "im2col_step": 64, "batch_first": True, "norm_cfg": None, "init_cfg": None},
            "ffn_cfg": {**PERCEPTRON, "feedforward_channels": 40}}}},
    "loss_cls": CLASSES,
    "loss_mask": {"type": "mmdet.CrossEntropyLoss", "use_sigmoid": True, "reduction": "mean", "loss_weight": 3.0},
    "loss_dice": DICE,
    "train_cfg": {
        "num_points": 99, "oversample_ratio": 2.0, "importance_sample_ratio": 0.5,
        "assigner": assigner({"type": "mmdet.CrossEntropyLossCost", "weight": 6.0, "use_sigmoid": True}),
        "sampler": {"type": "mmdet.MaskPseudoSampler"}},
}  # fmt: skip
MASKFORMER: dict[str, Any] = {
    "type": "MaskFormerHead", "in_channels": [64, 128, 256, 512], "in_index": [0, 1, 2, 3], "num_classes": 3,
    "feat_channels": WIDTH, "out_channels": 24, "num_queries": 9, "enforce_decoder_input_project": False,
    "positional_encoding": POSITIONS, "transformer_decoder": decoder(4),
    "pixel_decoder": {"type": "mmdet.PixelDecoder", "norm_cfg": {"type": "GN", "num_groups": 8},
                      "act_cfg": {"type": "ReLU"}},
    "loss_cls": CLASSES,
    "loss_mask": {"type": "mmdet.FocalLoss", "use_sigmoid": True, "gamma": 1.5, "alpha": 0.3, "reduction": "mean",
                  "loss_weight": 3.0},
    "loss_dice": DICE,
    "train_cfg": {"sampler": {"type": "MaskPseudoSampler"},
                  "assigner": assigner({"type": "mmdet.FocalLossCost", "weight": 6.0, "binary_input": True,
                                        "alpha": 0.3, "gamma": 1.5})},
}  # fmt: skip
BOTH = pytest.mark.parametrize("head", [MASKFORMER, MASK2FORMER], ids=["MaskFormer", "Mask2Former"])


def config(head: dict[str, Any], **more: Any) -> Config:
    preprocessor = {"type": "SegDataPreProcessor", "mean": [1, 2, 3], "std": [4, 5, 6], "bgr_to_rgb": True}
    model = {"type": "EncoderDecoder", "data_preprocessor": preprocessor, "backbone": {"type": "ResNet", "depth": 18},
             "decode_head": head, **more}  # fmt: skip
    return Config.from_values({"model": model}, file="test.py")


def changed(head: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The head with one value set, or, for `...`, left out."""
    result = json.loads(json.dumps(head))  # shares nothing within itself
    place: Any = result
    *parents, last = path.split(".")
    for step in parents:
        place = place[int(step) if step.isdigit() else step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return result


def problems(given: Config) -> list[tuple[str, str]]:
    with pytest.raises(ConfigError) as caught:
        lower(given)
    return [(problem.path, problem.message) for problem in caught.value.problems]


def test_every_number_of_mask2former_arrives() -> None:
    spec = lower(config(MASK2FORMER))
    head = spec.model.args["decode_head"]
    assert (spec.model.type, spec.task, head.kind, head.path) == (
        "MaskClassifier", "MaskClassification", "head", "model.decode_head",
    )  # fmt: skip
    norm = head.args.pop("norm")
    assert norm.args == {"kind": "GN", "num_groups": 8}
    assert head.args == {
        "in_channels": (64, 128, 256, 512), "num_classes": 3, "channels": 32, "mask_channels": 24, "num_queries": 9,
        "num_layers": 2, "num_heads": 4, "hidden": 48, "dropout": 0.0,
        "encoder_layers": 1, "encoder_heads": 2, "encoder_points": 5, "encoder_hidden": 40,
    }  # fmt: skip
    assert spec.objective is not None
    assert (spec.objective.kind, spec.objective.type) == ("objective", "SetCriterion")
    assert spec.objective.args == {
        "num_classes": 3, "ignore_index": 11, "class_weight": (1.0, 1.0, 2.0, 0.2), "dice_eps": 0.5,
        "loss_weights": (2.0, 3.0, 4.0), "match_weights": (8.0, 6.0, 7.0),
        "num_points": 99, "oversample_ratio": 2.0, "importance_ratio": 0.5,
    }  # fmt: skip
    assert (spec.inference.num_classes, spec.inference.align_corners, spec.inference.threshold) == (3, True, None)
    assert [(loss.head, loss.losses, loss.ignore_index) for loss in spec.losses] == [("decode", (), 11)]


def test_every_number_of_maskformer_arrives() -> None:
    spec = lower(config(MASKFORMER))
    head = spec.model.args["decode_head"]
    head.args.pop("norm")
    assert head.args == {
        "in_channels": (64, 128, 256, 512), "in_index": (0, 1, 2, 3), "num_classes": 3, "channels": 32,
        "mask_channels": 24, "num_queries": 9, "num_layers": 4, "num_heads": 4, "hidden": 48, "dropout": 0.0,
        "enforce_decoder_input_project": False,
    }  # fmt: skip
    assert spec.objective is not None
    assert spec.objective.args == {
        "num_classes": 3, "ignore_index": 255, "class_weight": (1.0, 1.0, 2.0, 0.2), "dice_eps": 0.5,
        "loss_weights": (2.0, 3.0, 4.0), "match_weights": (8.0, 6.0, 7.0),
        "mask_loss": "focal", "focal_alpha": 0.3, "focal_gamma": 1.5, "num_points": None,
    }  # fmt: skip


@BOTH
def test_what_lowers_is_clean_and_builds(head: dict[str, Any]) -> None:
    assert check(config(head), shapes=True) == []
    task = build_task(lower(config(head)))
    assert isinstance(task, MaskClassification)
    assert isinstance(task.objective, SetCriterion)
    assert task.ignore_index == head.get("ignore_index", 255)
    assert task.objective.ignore_index == task.ignore_index
    assert task.objective.weights == {"loss_cls": 2.0, "loss_mask": 3.0, "loss_dice": 4.0}


@BOTH
def test_a_description_without_training_takes_the_papers_values(head: dict[str, Any]) -> None:
    """As for a checkpoint that is only evaluated. Pairs then cost what their losses weigh."""
    bare = {key: value for key, value in head.items() if key not in ("train_cfg", "loss_cls")}
    spec = lower(config(bare))
    assert spec.objective is not None
    assert spec.objective.args["match_weights"] == spec.objective.args["loss_weights"] == (1.0, 3.0, 4.0)
    assert "class_weight" not in spec.objective.args


def test_our_own_name_of_the_model_is_understood() -> None:
    assert lower(config(MASKFORMER, type="MaskClassifier")).model.type == "MaskClassifier"


ENCODER = "pixel_decoder.encoder.layer_cfg"
REFUSED: list[tuple[str, Any, str]] = [
    ("num_transformer_feat_level", 4, "the queries look at three levels"),
    ("enforce_decoder_input_project", True, "the levels have the decoder's width already"),
    ("init_cfg", {"type": "Xavier"}, "parts initialise themselves"),
    ("num_things_classes", 3, "unknown key"),
    ("dropout_ratio", 0.1, "unknown key"),
    ("pixel_decoder.type", "mmdet.PixelDecoder", "expected 'MSDeformAttnPixelDecoder'"),
    ("pixel_decoder.num_outs", 4, "the queries look at three levels"),
    ("pixel_decoder.norm_cfg", None, "expected dict"),
    ("pixel_decoder.act_cfg", {"type": "GELU"}, "the activation is ReLU"),
    ("pixel_decoder.encoder.num_cp", 6, "unknown key"),
    (f"{ENCODER}.self_attn_cfg.num_levels", 4, "expected 3"),
    (f"{ENCODER}.self_attn_cfg.dropout", 0.1, "expected 0.0"),
    (f"{ENCODER}.self_attn_cfg.embed_dims", 64, "expected 32"),
    (f"{ENCODER}.ffn_cfg.ffn_drop", 0.1, "expected 0.0"),
    (f"{ENCODER}.norm_cfg", {"type": "BN"}, "the norm is LN"),
    ("pixel_decoder.positional_encoding.num_feats", 12, "expected 16"),
    ("positional_encoding.type", "mmdet.LearnedPositionalEncoding", "expected 'SinePositionalEncoding'"),
    ("positional_encoding.normalize", False, "expected True"),
    ("positional_encoding.temperature", 20, "wavelengths grow to 10000"),
    ("transformer_decoder.return_intermediate", False, "every layer is trained"),
    ("transformer_decoder.post_norm_cfg", {"type": "BN"}, "the norm is LN"),
    ("transformer_decoder.layer_cfg.cross_attn_cfg.num_heads", 8, "expected 4"),
    ("transformer_decoder.layer_cfg.self_attn_cfg.proj_drop", 0.1, "proj_drop is 0.1, but ffn_drop is 0.0"),
    ("transformer_decoder.layer_cfg.self_attn_cfg.dropout_layer", {"type": "DropPath"}, "attn_drop and proj_drop say"),
    ("transformer_decoder.layer_cfg.ffn_cfg.num_fcs", 3, "the perceptron has two layers"),
    ("transformer_decoder.layer_cfg.ffn_cfg.act_cfg", {"type": "GELU"}, "the activation is ReLU"),
    ("transformer_decoder.layer_cfg.ffn_cfg.add_identity", False, "every sub-layer has a residual connection"),
    ("loss_cls.type", "mmdet.FocalLoss", "expected 'CrossEntropyLoss'"),
    ("loss_cls.use_sigmoid", True, "a query has one class"),
    ("loss_cls.class_weight", [1.0, 1.0, 1.0], "class_weight has 3 entries, but 3 classes and 'nothing' need 4"),
    ("loss_mask.type", "mmdet.FocalLoss", "expected 'CrossEntropyLoss'"),
    ("loss_mask.use_sigmoid", False, "expected True"),
    ("loss_mask.reduction", "sum", "how losses are averaged is fixed"),
    ("loss_dice.naive_dice", False, "expected True"),
    ("loss_dice.activate", False, "masks are logits"),
    ("train_cfg.assigner.type", "mmdet.MaxIoUAssigner", "expected 'HungarianAssigner'"),
    ("train_cfg.assigner.match_costs.1.type", "mmdet.FocalLossCost", "Mask2FormerHead is not matched by"),
    ("train_cfg.assigner.match_costs.2.eps", 1.0, "expected 0.5"),
    ("train_cfg.assigner.match_costs.2.naive_dice", False, "the cost is the loss"),
    ("train_cfg.assigner.match_costs.0.wieght", 1.0, "unknown key"),
    ("train_cfg.sampler", {"type": "mmdet.MaskSamplingResult"}, "all masks are learnt from"),
    ("train_cfg.num_points", "many", "expected int"),
]


@pytest.mark.parametrize(("path", "value", "message"), REFUSED, ids=[f"{path}" for path, _, _ in REFUSED])
def test_what_is_not_supported_is_refused_by_name(path: str, value: Any, message: str) -> None:
    [(where, found)] = problems(config(changed(MASK2FORMER, path, value)))
    assert where == f"model.decode_head.{path}"
    assert message in found


NEEDED = [
    "num_classes", "in_channels", "pixel_decoder", "transformer_decoder", "positional_encoding", "pixel_decoder.type",
    "pixel_decoder.norm_cfg", "pixel_decoder.encoder.num_layers", f"{ENCODER}.self_attn_cfg.num_heads",
    f"{ENCODER}.self_attn_cfg.num_levels", f"{ENCODER}.self_attn_cfg.dropout", f"{ENCODER}.ffn_cfg",
    f"{ENCODER}.ffn_cfg.feedforward_channels", "positional_encoding.normalize", "transformer_decoder.num_layers",
    "transformer_decoder.layer_cfg.cross_attn_cfg.num_heads",
    "transformer_decoder.layer_cfg.ffn_cfg.feedforward_channels", "loss_mask.use_sigmoid", "loss_dice.eps",
    "loss_dice.naive_dice", "train_cfg.assigner.match_costs.2.eps", "train_cfg.assigner.match_costs.2.pred_act",
]  # fmt: skip


@pytest.mark.parametrize("path", NEEDED)
def test_what_openmmlab_would_take_another_value_for_must_be_written(path: str) -> None:
    parent, _, key = path.rpartition(".")
    found = problems(config(changed(MASK2FORMER, path, ...)))
    assert (".".join(filter(None, ["model.decode_head", parent])), f"{key!r} is missing") in found


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("train_cfg.num_points", 100, "unknown key"),  # whole masks are compared
        ("loss_mask.type", "mmdet.CrossEntropyLoss", "expected 'FocalLoss'"),
        ("pixel_decoder.type", "mmdet.TransformerEncoderPixelDecoder", "expected 'PixelDecoder'"),
        ("train_cfg.assigner.match_costs.1.gamma", 2.0, "gamma is 2.0, but that of loss_mask is 1.5"),
        ("train_cfg.assigner.match_costs.1.binary_input", False, "expected True"),
    ],
)
def test_what_maskformer_does_not_have_is_refused(path: str, value: Any, message: str) -> None:
    [(where, found)] = problems(config(changed(MASKFORMER, path, value)))
    assert where == f"model.decode_head.{path}"
    assert message in found


@pytest.mark.parametrize(
    ("more", "path", "message"),
    [
        ({"auxiliary_head": {"type": "FCNHead"}}, "model.auxiliary_head", "no auxiliary heads beside MaskFormerHead"),
        ({"type": "CascadeEncoderDecoder"}, "model.type", "a head of an EncoderDecoder"),
        ({"train_cfg": {"num_points": 3}}, "model.train_cfg.num_points", "has no use for 'num_points' here"),
        ({"test_cfg": {"subdivision_steps": 3}}, "model.test_cfg.subdivision_steps", "no use for 'subdivision_steps'"),
    ],
)
def test_what_does_not_go_with_a_mask_classifier_is_refused(more: dict[str, Any], path: str, message: str) -> None:
    [(where, found)] = problems(config(MASKFORMER, **more))
    assert where == path
    assert message in found


def test_it_is_no_part_of_a_cascade() -> None:
    plain = {"type": "FCNHead", "in_channels": 512, "channels": 8, "num_classes": 3}
    found = dict(problems(config(MASKFORMER, type="CascadeEncoderDecoder", decode_head=[plain, MASKFORMER])))
    assert "the one decode_head of its model, or none" in found["model.decode_head.1.type"]


def test_first_weights_and_neck_are_lowered_as_everywhere() -> None:
    neck = {"type": "FPN", "in_channels": [64, 128, 256, 512], "out_channels": 16, "num_outs": 4}
    spec = lower(config({**MASKFORMER, "in_channels": [16] * 4}, neck=neck, pretrained="r18.pth"))
    assert spec.pretrained == (("backbone", "r18.pth"),)
    assert spec.model.args["neck"].type == "FPN"
