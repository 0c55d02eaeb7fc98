"""SAN's config: every number of the nested dicts arrives, names become the words of the text encoder, and what is not
supported is refused by name.
"""

from __future__ import annotations

import copy
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Batch
from intarsia.data.datasets.class_names import class_names
from intarsia.layers.activation import Activation
from intarsia.losses.set_criterion import SetCriterion
from intarsia.spec import RunSpec
from intarsia.tasks.mask_classification import MaskClassification

COSTS = [
    {"type": "ClassificationCost", "weight": 8.0},
    {"type": "CrossEntropyLossCost", "weight": 6.0, "use_sigmoid": True},
    {"type": "DiceCost", "weight": 7.0, "pred_act": True, "eps": 0.5},
]
HEAD: dict[str, Any] = {
    "type": "SideAdapterCLIPHead", "num_classes": 3, "align_corners": False, "ignore_index": 11,
    "deep_supervision_idxs": [2, 3],
    "san_cfg": {
        "in_channels": 3, "clip_channels": 8, "embed_dims": 12, "patch_size": 8, "patch_bias": False, "num_queries": 5,
        "fusion_index": [0, 2], "norm_cfg": {"type": "LN", "eps": 1e-6},
        "cfg_encoder": {"num_encode_layer": 4, "num_heads": 3, "mlp_ratio": 2},
        "cfg_decoder": {"num_heads": 2, "num_layers": 1, "embed_channels": 9, "mlp_channels": 10, "num_mlp": 2,
                        "rescale": False}},
    "maskgen_cfg": {
        "sos_token_format": "cls_token", "sos_token_num": 5, "cross_attn": False, "num_layers": 2, "embed_dims": 8,
        "num_heads": 2, "mlp_ratio": 3, "num_fcs": 2, "qkv_bias": False, "out_dims": 6, "final_norm": False,
        "act_cfg": {"type": "QuickGELU"}, "norm_cfg": {"type": "LN", "eps": 1e-4}, "frozen_exclude": ["ln_post"]},
    "train_cfg": {"num_points": 99, "oversample_ratio": 2.0, "importance_sample_ratio": 0.5,
                  "assigner": {"type": "HungarianAssigner", "match_costs": COSTS}},
    "loss_decode": [
        {"type": "DiceLoss", "loss_name": "loss_mask_dice", "naive_dice": True, "eps": 0.5, "ignore_index": None,
         "loss_weight": 4.0},
        {"type": "CrossEntropyLoss", "loss_name": "loss_cls_ce", "loss_weight": 2.0,
         "class_weight": [1.0, 1.0, 2.0, 0.2]},
        {"type": "CrossEntropyLoss", "loss_name": "loss_mask_ce", "loss_weight": 3.0, "use_sigmoid": True}],
}  # fmt: skip
MODEL: dict[str, Any] = {
    "type": "MultimodalEncoderDecoder", "asymetric_input": True, "encoder_resolution": 0.5, "pretrained": "clip.pth",
    "image_encoder": {"type": "VisionTransformer", "img_size": [32, 32], "patch_size": 8, "patch_pad": 0,
                      "embed_dims": 8, "num_layers": 2, "num_heads": 2, "out_indices": [0, 1],
                      "output_cls_token": True, "pre_norm": True, "frozen_exclude": ["pos_embed"],
                      "act_cfg": {"type": "QuickGELU"}},
    "text_encoder": {"type": "CLIPTextEncoder", "vocabulary": ["cat", "dog", "sky"], "templates": "vild",
                     "embed_dims": 8, "output_dims": 6, "num_layers": 1, "num_heads": 2, "mlp_ratio": 2},
    "decode_head": HEAD,
}  # fmt: skip


def model(*changes: tuple[str, Any]) -> dict[str, Any]:
    """MODEL with values at dotted paths changed; REMOVED takes the key away."""
    found = copy.deepcopy(MODEL)
    for path, value in changes:
        *parents, key = path.split(".")
        place: Any = found
        for parent in parents:
            place = place[int(parent) if isinstance(place, list) else parent]
        if value is REMOVED:
            del place[key]
        else:
            place[int(key) if isinstance(place, list) else key] = value
    return found


REMOVED = object()


def lowered(*changes: tuple[str, Any]) -> RunSpec:
    return lower(Config.from_values({"model": model(*changes)}, file="minimal"))


def problems(*changes: tuple[str, Any]) -> list[tuple[str, str]]:
    config = Config.from_values({"model": model(*changes)}, file="minimal")
    return [(problem.path, f"{problem.message} {problem.hint}") for problem in check(config, shapes=True)]


def test_every_number_arrives() -> None:
    spec = lowered()
    assert problems() == []
    head = dict(spec.model.args["decode_head"].args)
    norm, clip_norm, activation = (head.pop(key) for key in ("norm", "clip_norm", "clip_activation"))
    assert (norm.args, clip_norm.args) == ({"kind": "LN", "eps": 1e-6}, {"kind": "LN", "eps": 1e-4})
    assert activation.args == {"kind": "QuickGELU"}
    assert head == {
        "num_classes": 3, "deep_supervision_idxs": (2, 3), "align_corners": False, "image_channels": 3,
        "clip_channels": 8, "embed_dims": 12, "patch_size": 8, "patch_bias": False, "num_queries": 5,
        "fusion_index": (0, 2), "in_index": (0, 1), "num_layers": 4, "num_heads": 3, "mlp_ratio": 2, "bias_heads": 2,
        "bias_layers": 1, "mask_channels": 9, "mask_hidden": 10, "mask_layers": 2, "rescale_bias": False,
        "clip_layers": 2, "clip_heads": 2, "clip_mlp_ratio": 3, "clip_qkv_bias": False, "out_dims": 6,
        "final_norm": False, "frozen_exclude": ("ln_post",)}  # fmt: skip
    assert spec.objective is not None
    assert spec.objective.args == {
        "num_classes": 3, "ignore_index": 11, "dice_eps": 0.5, "loss_weights": (2.0, 3.0, 4.0),
        "match_weights": (8.0, 6.0, 7.0), "names": ("loss_cls_ce", "loss_mask_ce", "loss_mask_dice"),
        "layers": ("d2", "d3"), "class_weight": (1.0, 1.0, 2.0, 0.2), "num_points": 99, "oversample_ratio": 2.0,
        "importance_ratio": 0.5}  # fmt: skip
    assert (spec.inference.num_classes, spec.losses[0].ignore_index) == (3, 11)
    assert spec.pretrained == tuple((part, "clip.pth") for part in ("image_encoder", "text_encoder", "decode_head"))
    assert spec.model.args["image_encoder"].args["patch_pad"] == 0


def test_losses_are_called_as_in_the_original_and_train() -> None:
    task = build_task(lowered())
    assert isinstance(task, MaskClassification)
    assert isinstance(task.objective, SetCriterion)
    labels = torch.tensor([[0] * 16 + [2] * 16] * 32)
    terms = task.training_terms(Batch(torch.randn(1, 3, 32, 32), labels[None], ((32, 32),), ()))
    losses = ("loss_cls_ce", "loss_mask_ce", "loss_mask_dice")
    layers = ("decode.", "decode.d2.", "decode.d3.")
    assert [term.name for term in terms] == [f"{layer}{loss}" for layer in layers for loss in losses]
    assert [term.weight for term in terms] == [2.0, 3.0, 4.0] * 3
    torch.stack([term.value * term.weight for term in terms]).sum().backward()


def test_what_is_not_written_is_as_in_the_original() -> None:
    rest = [("decode_head.maskgen_cfg", {"sos_token_num": 5, "embed_dims": 8, "num_heads": 2, "out_dims": 6}),
            ("decode_head.san_cfg.norm_cfg", REMOVED), ("decode_head.train_cfg", REMOVED)]  # fmt: skip
    spec = lowered(*rest)
    task = build_task(spec)
    part: Any = task.model.decode_head  # type: ignore[attr-defined]
    assert part.side_adapter_network.encode_layers[0].ln1.eps == 1e-5
    assert isinstance(part.rec_with_attnbias.layers[0].ffns[0].layers[0][1], type(Activation("GELU")()))
    assert spec.objective is not None
    assert spec.objective.args["match_weights"] == (2.0, 3.0, 4.0), "as the losses"


# --- Names ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("benchmark", "count", "first", "last"),
    [
        ("voc", 20, "aeroplane", "tvmonitor"), ("voc12aug", 20, "aeroplane", "tvmonitor"),
        ("pascal_context", 59, "aeroplane", "wood"), ("voc2010", 59, "aeroplane", "wood"),
        ("coco-stuff164k", 171, "person", "wood"), ("cocostuff", 171, "person", "wood"),
        ("cityscapes", 19, "road", "bicycle"), ("bdd100k", 19, "road", "bicycle"), ("ade20k", 150, "wall", "flag"),
        ("loveda", 6, "building", "agricultural"), ("potsdam", 6, "impervious_surface", "clutter"),
        ("iSAID", 15, "ship", "Harbor"), ("stare", 1, "vessel", "vessel"), ("lip", 19, "hat", "rightShoe"),
        ("mapillary_v1", 66, "Bird", "Unlabeled"), ("mapillary_v2", 124, "Bird", "Unlabeled"),
    ],
)  # fmt: skip
def test_a_benchmark_stands_for_the_names_of_its_classes(benchmark: str, count: int, first: str, last: str) -> None:
    names = class_names(benchmark)
    assert (len(names), names[0], names[-1]) == (count, first, last)
    spec = lowered(("text_encoder.vocabulary", REMOVED), ("text_encoder.dataset_name", benchmark))
    assert spec.model.args["text_encoder"].args["vocabulary"] == names
    assert "dataset_name" not in spec.model.args["text_encoder"].args


DATASETS = {
    "coco-stuff": "COCOStuffDataset", "pascal_context": "PascalContextDataset59", "voc": "PascalVOCDataset",
    "loveda": "LoveDADataset", "potsdam": "PotsdamDataset", "isaid": "iSAIDDataset", "stare": "STAREDataset",
    "mapillary_v1": "MapillaryDataset_v1", "mapillary_v2": "MapillaryDataset_v2", "cityscapes": "CityscapesDataset",
}  # fmt: skip


@pytest.mark.parametrize("benchmark", DATASETS)
def test_names_are_those_of_the_original(benchmark: str, shared: Path) -> None:
    names = json.loads((shared / "facts" / "datasets.json").read_text())[DATASETS[benchmark]]["classes"]
    assert list(class_names(benchmark)) == [name for name in names if name != "background"]


def test_none_says_nothing() -> None:
    assert problems(("text_encoder.dataset_name", None)) == []
    swapped = (("text_encoder.vocabulary", None), ("text_encoder.dataset_name", "stare"))
    assert lowered(*swapped).model.args["text_encoder"].args["vocabulary"] == ("vessel",)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ([("text_encoder.dataset_name", "stare")], "model.text_encoder.dataset_name", "says the same as another key"),
        ([("text_encoder.vocabulary", REMOVED), ("text_encoder.dataset_name", "imagenet")],
         "model.text_encoder.dataset_name", "the names of 'imagenet' are not known; known are those of .*vocabulary="),
        ([("text_encoder.vocabulary", REMOVED), ("text_encoder.dataset_name", ["cat"])],
         "model.text_encoder.dataset_name", "expected the name of a benchmark, found .*vocabulary="),
        ([("text_encoder.vocabulary", REMOVED)], "model.text_encoder", "'vocabulary' is missing|needs 'vocabulary'"),
        ([("text_encoder.vocabulary", ["cat", "dog"])], "model", "has num_classes=3 and needs one vector more"),
        ([("text_encoder.vocabulary", ["cat", "dog", "cat"])], "model.text_encoder", "'cat' twice"),
        ([("text_encoder.templates", "coco")], "model.text_encoder", "unknown templates 'coco'"),
        ([("text_encoder.output_dims", 7)], "model", "compares vectors of 6 channels, but text_encoder .* gives 7"),
        ([("image_encoder.output_cls_token", False)], "model.decode_head", "reads a class token with each level"),
        ([("image_encoder.embed_dims", 16)], "model.decode_head.in_channels", "image_encoder .* gives 16 channels"),
        ([("image_encoder.in_channels", 5)], "model.data_preprocessor.mean", "the image_encoder takes 5 bands"),
        ([("decode_head.maskgen_cfg.sos_token_num", 6)], "model.decode_head.maskgen_cfg.sos_token_num", "expected 5"),
        ([("decode_head.maskgen_cfg.embed_dims", 6)], "model.decode_head.maskgen_cfg.embed_dims", "expected 8"),
        ([("decode_head.maskgen_cfg.cross_attn", True)], "model.decode_head.maskgen_cfg.cross_attn", "not supported"),
        ([("decode_head.maskgen_cfg.sos_token_format", "pos_embedding")],
         "model.decode_head.maskgen_cfg.sos_token_format", "not supported"),
        ([("decode_head.san_cfg.cfg_decoder.num_heads", 3)], "model.decode_head", "bias_heads is 1, or 2"),
        ([("decode_head.san_cfg.cfg_encoder", {"num_heads": 3, "mlp_ratio": 2})],
         "model.decode_head.san_cfg.cfg_encoder", "'num_encode_layer' is missing"),
        ([("decode_head.san_cfg.cfg_encoder", REMOVED)], "model.decode_head.san_cfg", "'cfg_encoder' is missing"),
        ([("decode_head.deep_supervision_idxs", REMOVED)], "model.decode_head", "'deep_supervision_idxs' is missing"),
        ([("decode_head.loss_decode.0.loss_name", "loss_dice")],
         "model.decode_head.loss_decode.0.loss_name", "found 'loss_dice'.*Did you mean"),
        ([("decode_head.loss_decode.0.type", "FocalLoss")],
         "model.decode_head.loss_decode.0.type", "loss_mask_dice is a DiceLoss, found 'FocalLoss'"),
        ([("decode_head.loss_decode.0.naive_dice", REMOVED)],
         "model.decode_head.loss_decode.0", "'naive_dice' is missing"),
        ([("decode_head.loss_decode.2.use_sigmoid", REMOVED)],
         "model.decode_head.loss_decode.2", "'use_sigmoid' is missing"),
        ([("decode_head.loss_decode", [])],
         "model.decode_head.loss_decode", "no loss_cls_ce and no loss_mask_ce and no loss_mask_dice"),
        ([("decode_head.loss_decode.1.class_weight", [1.0, 2.0, 0.1])],
         "model.decode_head.loss_decode.1.class_weight", "has 3 entries, but 3 classes and 'nothing' need 4"),
        ([("decode_head.train_cfg.assigner.match_costs.2.eps", 1.0)],
         "model.decode_head.train_cfg.assigner.match_costs.2.eps", "expected 0.5"),
        ([("decode_head", {"type": "FCNHead", "in_channels": 8, "in_index": 1, "channels": 8, "num_classes": 3})],
         "model.decode_head", "the head of a MultimodalEncoderDecoder is a SideAdapterCLIPHead"),
        ([("type", "EncoderDecoder")], "model.type", "a head of a MultimodalEncoderDecoder, not of 'EncoderDecoder'"),
        ([("auxiliary_head", {"type": "FCNHead"})], "model.auxiliary_head", "no auxiliary heads beside"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_named_with_its_place(changes: list[tuple[str, Any]], path: str, message: str) -> None:
    found = problems(*changes)
    assert any(place == path and re.search(message, said) for place, said in found), found


def test_weights_of_a_network_with_other_names_serve_where_all_names_have_the_same() -> None:
    spec = lowered(("decode_head.loss_decode.1.class_weight", [3.0] * 9 + [0.5]))
    assert spec.objective is not None
    assert spec.objective.args["class_weight"] == (3.0, 3.0, 3.0, 0.5)
    assert any("has 10 entries for 3 classes" in note for note in spec.notes)


# --- Recipes -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, Any]:
    file = shared / "facts" / "mmseg_configs.json.gz"
    return {name: values for name, values in json.loads(gzip.decompress(file.read_bytes())).items() if "san/" in name}


def test_published_configs_pass_and_are_built(published: dict[str, Any]) -> None:
    assert len(published) == 6
    for name, values in published.items():
        config = Config.from_values({"model": values["model"]}, file=name)
        assert check(config, shapes=True) == []
        with torch.device("meta"):
            task = build_task(lower(config))
        assert task.num_classes == values["model"]["decode_head"]["num_classes"]


def test_a_recipe_is_fitted_to_other_classes() -> None:
    recipe = recipes.get("san-vit-b16_voc12aug-640x640")
    names = ["road", "tree", "car"]
    fitted = recipes.fit_heads(recipe["model"], 3, 255, names)
    assert fitted["text_encoder"]["vocabulary"] == names
    assert "dataset_name" not in fitted["text_encoder"]
    assert fitted["decode_head"]["num_classes"] == 3
    assert fitted["decode_head"]["loss_decode"][0]["class_weight"] == [1.0] * 3 + [0.1]
    assert recipe["model"]["text_encoder"]["dataset_name"] == "voc", "the recipe itself is as before"
    assert check(Config.from_values({"model": fitted}, file="fitted"), shapes=True) == []
    with pytest.raises(ValueError, match="CLIPTextEncoder knows classes by their names: expected 3, found none"):
        recipes.fit_heads(recipe["model"], 3, 255)


def test_errors_come_together() -> None:
    changes = (("text_encoder.dataset_name", "imagenet"), ("decode_head.maskgen_cfg.cross_attn", True))
    with pytest.raises(ConfigError) as caught:
        lowered(*changes)
    assert len(caught.value.problems) == 2
