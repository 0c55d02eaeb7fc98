"""Recipes by name against the resolved configs of MMSegmentation 1.2.2, and the recipes for own data."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config

SCRATCH = {
    "checkpoint",
    "crop_size",
    "data_preprocessor",
    "data_root",
    "dataset_aug",
    "dataset_train",
    "dataset_type",
    "img_ratios",
    "img_scale",
    "norm_cfg",
    "optimizer",
    "test_pipeline",
    "train_pipeline",
    "tta_pipeline",
    "backbone_embed_multi", "backbone_norm_cfg", "backbone_norm_multi", "checkpoint_file", "class_weight",
    "conv_kernel_size", "custom_keys", "depths", "embed_multi", "ham_norm_cfg", "img_norm_cfg", "img_prefix", "iters",
    "metainfo", "models", "num_classes", "num_stages", "pretrained", "stable_diffusion_cfg", "total_iters",
    "train_ann", "used_labels", "val_ann", "albu_train_transforms", "fp16", "runner",
}  # fmt: skip
"""Top-level names that MMSegmentation's files use only to build other values; `tta_pipeline` is compared anyway."""


@pytest.fixture(scope="module")
def resolved(shared: Path) -> dict[str, dict[str, Any]]:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as file:
        configs: dict[str, dict[str, Any]] = json.load(file)
    return {name.split("/")[1]: value for name, value in configs.items()}


def plain(value: Any) -> Any:
    return json.loads(json.dumps(value))


def test_the_names_are_the_published_ones(resolved: dict[str, dict[str, Any]]) -> None:
    assert recipes.of_mmsegmentation() == sorted(resolved)
    assert len(recipes.of_mmsegmentation()) == 681
    assert set(recipes.of_mmsegmentation()) < set(recipes.names())


@pytest.mark.parametrize("name", recipes.of_mmsegmentation())
def test_recipe_equals_the_resolved_config(name: str, resolved: dict[str, dict[str, Any]]) -> None:
    kept = (set(resolved[name]) - SCRATCH) | ({"tta_pipeline"} & set(resolved[name]))
    assert plain(recipes.get(name)) == {key: resolved[name][key] for key in kept}


def test_values_are_not_shared_between_calls() -> None:
    name = "fcn_r50-d8_4xb2-80k_cityscapes-512x1024"
    recipes.get(name)["model"]["backbone"]["norm_cfg"]["type"] = "LN"
    recipes.get(name)["env_cfg"]["mp_cfg"]["mp_start_method"] = "spawn"
    assert recipes.get(name)["model"]["backbone"]["norm_cfg"]["type"] == "SyncBN"
    assert recipes.get(name)["env_cfg"]["mp_cfg"]["mp_start_method"] == "fork"


def test_published_name_states_the_total_batch() -> None:
    recipe = recipes.published("segformer_mit-b2_8xb2-160k_ade20k-512x512")
    assert (recipe.devices, recipe.batch, recipe.steps) == (8, 2, 160_000)


def test_unknown_name_offers_the_nearest() -> None:
    with pytest.raises(recipes.UnknownRecipeError, match=r"segformer_mit-b0.*config list"):
        recipes.get("segformer_mitb0")


def own(name: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "num_classes": 7,
        "ignore_index": 255,
        "mean": (120.0, 110.0, 100.0),
        "std": (60.0, 60.0, 60.0),
        "raw_bands": False,
        "crop": (352, 480),
        "batch": 8,
        "steps": 400,
        "workers": 2,
        "data": {split: {"type": "FolderDataset", "root": split} for split in ("train", "val")},
    }
    return recipes.for_data(name, **{**values, **changes})


def heads(model: dict[str, Any]) -> list[dict[str, Any]]:
    """All heads of a model, K-Net's within its own."""
    given = [model["decode_head"], model.get("auxiliary_head") or []]
    flat = [head for one in given for head in (one if isinstance(one, list) else [one])]
    return [head.get("kernel_generate_head", head) for head in flat]


@pytest.mark.parametrize("name", recipes.short_names())
def test_own_data_fills_every_head(name: str) -> None:
    config = own(name, ignore_index=7)
    model = config["model"]
    for head in heads(model):
        if head["type"] == "STDCHead":  # learns details, of which there are two kinds, whatever the classes
            assert (head["num_classes"], head["ignore_index"]) == (2, 7)
            continue
        assert (head["num_classes"], head["ignore_index"]) == (7, 7)
    for update in model["decode_head"].get("kernel_update_head", []) if isinstance(model["decode_head"], dict) else []:
        assert update["num_classes"] == 7
    assert "SyncBN" not in json.dumps(model)
    assert model["data_preprocessor"]["size"] == (352, 480)
    assert model["data_preprocessor"]["seg_pad_val"] == 7
    assert "pretrained" not in json.dumps(config).lower()


@pytest.mark.parametrize("name", recipes.short_names())
@pytest.mark.parametrize("bands", [3, 5])
def test_own_data_passes_the_check(name: str, bands: int) -> None:
    config = own(name, mean=(1.0,) * bands, std=(2.0,) * bands, raw_bands=bands != 3)
    for split in ("train", "val"):
        config[f"{split}_dataloader"]["dataset"]["metainfo"] = {"classes": [f"class {index}" for index in range(7)]}
    assert check(Config.from_values(config, file=name), shapes=bands == 3) == []


def test_own_data_with_one_foreground_is_one_sigmoid() -> None:
    own_form = ("BoundaryLoss", "BatchDiceLoss")  # the latter takes the sigmoid of a single logit by itself
    for name in recipes.short_names():
        if name.startswith(("maskformer", "mask2former")):
            with pytest.raises(ValueError, match="make the background a class of its own"):
                own(name, num_classes=1)
            continue
        model = own(name, num_classes=1)["model"]
        last = heads({"decode_head": model["decode_head"]})[-1]
        assert last["num_classes"] == 1
        losses = last["loss_decode"] if isinstance(last["loss_decode"], list) else [last["loss_decode"]]
        assert {loss.get("use_sigmoid") for loss in losses if loss["type"] not in own_form} == {True}
        answer = model["decode_head"][-1] if isinstance(model["decode_head"], list) else model["decode_head"]
        assert answer["threshold"] == 0.5


def test_own_data_with_other_bands() -> None:
    for name in recipes.short_names():
        config = own(name, mean=(1.0,) * 5, std=(2.0,) * 5, raw_bands=True)
        backbone = config["model"]["backbone"]
        assert backbone.get("backbone_cfg", backbone)["in_channels"] == 5
        kinds = [step["type"] for step in config["train_dataloader"]["dataset"]["pipeline"]]
        assert "PhotoMetricDistortion" not in kinds


def test_own_data_schedule_fits_the_steps() -> None:
    assert [s["type"] for s in own("fcn_r18", steps=1)["param_scheduler"]] == ["PolyLR"]
    for steps in (3, 7, 300, 80_000):
        warm_up, decay = own("fcn_r18", steps=steps)["param_scheduler"]
        assert 0 < warm_up["end"] == decay["begin"] < decay["end"] == steps


def test_own_data_without_validation_has_no_validation_loop() -> None:
    config = own("fcn_r18", data={"train": {"type": "FolderDataset", "root": "r"}})
    assert not [key for key in config if key.startswith(("val", "test"))]
    assert "val_interval" not in config["train_cfg"]


@pytest.mark.parametrize(
    ("size", "crop"),
    [((360, 480), (352, 480)), ((2000, 3000), (512, 512)), ((40, 100), (64, 96)), ((160, 240), (160, 224))],
)
def test_default_crop(size: tuple[int, int], crop: tuple[int, int]) -> None:
    assert recipes.default_crop(size) == crop


def test_importing_recipes_loads_no_torch() -> None:
    code = (
        "import sys, intarsia.recipes as r; r.get(r.names()[0]); print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["False", "False"]


def test_fit_heads_drops_class_weights_of_another_number() -> None:
    loss = {"type": "CrossEntropyLoss", "class_weight": [1.0, 2.0, 3.0]}
    model = {"decode_head": {"num_classes": 3, "out_channels": 3, "loss_decode": [loss, {"type": "DiceLoss"}]}}
    head = recipes.fit_heads(model, 5, 9)["decode_head"]
    assert head == {
        "num_classes": 5,
        "ignore_index": 9,
        "loss_decode": [{"type": "CrossEntropyLoss"}, {"type": "DiceLoss"}],
    }
    assert recipes.fit_heads(model, 3, 9)["decode_head"]["loss_decode"][0] == loss
    assert model["decode_head"]["out_channels"] == 3


def test_fit_heads_keeps_the_weight_of_masks_of_nothing() -> None:
    weights = {"class_weight": [1, 1, 1, 0.1]}
    head = {"type": "Mask2FormerHead", "num_classes": 3, "out_channels": 256, "loss_cls": weights}
    fitted = recipes.fit_heads({"decode_head": head}, 5, 9)["decode_head"]
    assert fitted == {**head, "num_classes": 5, "ignore_index": 9, "loss_cls": {"class_weight": [1.0] * 5 + [0.1]}}
    assert recipes.fit_heads({"decode_head": fitted}, 5, 9)["decode_head"] == fitted
    with pytest.raises(ValueError, match="make the background a class of its own"):
        recipes.fit_heads({"decode_head": head}, 1, 9)


def test_own_data_has_the_targets_of_the_method() -> None:
    """PIDNet learns edges: its transform stands behind all that moves pixels, and knows which labels are none."""
    pipeline = own("pidnet-s", ignore_index=9)["train_dataloader"]["dataset"]["pipeline"]
    assert pipeline[-2:] == [{"type": "GenerateEdge", "edge_width": 4, "ignore_index": 9}, {"type": "PackSegInputs"}]
