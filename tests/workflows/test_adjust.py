"""Command-line options as changes to a config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Source
from intarsia.data.description.splits import FolderSplit, ShareSplit
from intarsia.spec import Duration, EarlyStopSpec, EmaSpec, SafeguardSpec
from intarsia.workflows.adjust import (
    Pace,
    Safeguards,
    TrainingOptions,
    images_per_step,
    length_settings,
    settings_for,
    with_data,
)

SEGFORMER = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
PACE = Pace(images=lambda: 100, seconds_per_step=lambda: 0.5)


def config(name: str = SEGFORMER) -> Config:
    return Config.from_values(recipes.get(name), file=name)


def applied(options: TrainingOptions, *, devices: int = 1, base: Config | None = None) -> dict[str, Any]:
    start = base or config()
    changed = start.override(settings_for(start, options, devices=devices))
    batch = images_per_step(changed.values, devices)
    return changed.override(length_settings(changed, options, PACE, batch=batch)).values


def test_nothing_asked_changes_nothing() -> None:
    assert applied(TrainingOptions()) == config().values


def test_batch_is_the_total() -> None:
    assert applied(TrainingOptions(batch=12), devices=4)["train_dataloader"]["batch_size"] == 3
    with pytest.raises(ValueError, match="multiple of 4"):
        applied(TrainingOptions(batch=10), devices=4)


def shared(values: dict[str, Any]) -> tuple[int, int | None]:
    """Images per device and part, and in total where parts are accumulated."""
    return values["train_dataloader"]["batch_size"], values.get("intarsia", {}).get("total_batch")


@pytest.mark.parametrize(
    ("options", "devices", "expected"),
    [
        (TrainingOptions(batch=12), 4, (3, None)),
        (TrainingOptions(batch=16, accumulate=4), 2, (2, 16)),
        (TrainingOptions(accumulate=4), 2, (2, 16)),
        (TrainingOptions(accumulate=1), 2, (2, None)),
        # The name of the recipe, "8xb2", says what the total must be.
        (TrainingOptions(batch_per_device=2), 1, (2, 16)),
        (TrainingOptions(batch_per_device=4), 2, (4, 16)),
        (TrainingOptions(batch_per_device=4), 4, (4, None)),
        (TrainingOptions(batch=24, batch_per_device=4), 2, (4, 24)),
    ],
)
def test_total_batch_is_shared_out(options: TrainingOptions, devices: int, expected: tuple[int, int | None]) -> None:
    values = applied(options, devices=devices)
    assert shared(values) == expected
    assert images_per_step(values, devices) == (expected[1] or expected[0] * devices)
    assert "accumulative_counts" not in values["optim_wrapper"]
    assert not check(Config.from_values(values, file="x"))


def test_batches_that_cannot_be_shared_out() -> None:
    for options, devices, said in (
        (
            TrainingOptions(batch_per_device=3),
            1,
            "total batch of 16 is no multiple of 1 process x 3 images; .* 15 and 18",
        ),
        (TrainingOptions(batch=10, accumulate=4), 1, "multiple of 4"),
        (TrainingOptions(accumulate=4, batch_per_device=2), 1, "give one of them"),
    ):
        with pytest.raises(ValueError, match=said):
            applied(options, devices=devices)


def test_another_batch_replaces_a_written_total() -> None:
    written = config().override(["intarsia.total_batch=16"])
    assert shared(applied(TrainingOptions(), base=written)) == (2, 16)
    assert shared(applied(TrainingOptions(batch=8), base=written)) == (8, 8)
    other = written.override(["intarsia.total_batch=4"])
    assert shared(applied(TrainingOptions(batch_per_device=1), base=other)) == (1, 4)
    assert shared(applied(TrainingOptions(batch_per_device=1), base=written)) == (1, 16)


def test_configs_that_count_batches_keep_their_length_in_steps() -> None:
    """OpenMMLab counts every accumulated batch as an iteration; --for counts optimizer steps."""
    counting = config().override(["optim_wrapper.accumulative_counts=4"])
    values = applied(TrainingOptions(duration="100 steps", evaluate_every="1 epochs"), base=counting)
    assert values["train_cfg"]["max_iters"] == 400
    assert values["train_cfg"]["val_interval"] == 52  # 100 images, 8 per step: 13 steps
    assert values["param_scheduler"][-1]["end"] == 400
    both = applied(TrainingOptions(batch=16), base=counting)
    assert shared(both) == (4, 16)
    assert both["optim_wrapper"]["accumulative_counts"] == 4


def test_crop_seed_workers() -> None:
    values = applied(TrainingOptions(crop=(64, 96), seed=7, workers=0, deterministic=True))
    assert values["model"]["data_preprocessor"]["size"] == (64, 96)
    assert values["train_dataloader"]["dataset"]["pipeline"][3]["crop_size"] == (64, 96)
    assert values["randomness"] == {"seed": 7, "deterministic": True}
    assert [values[f"{s}_dataloader"]["num_workers"] for s in ("train", "val", "test")] == [0, 0, 0]
    assert not check(Config.from_values(values, file="x"))


def test_a_crop_stands_where_the_size_was_said_otherwise() -> None:
    values = applied(TrainingOptions(crop=(64, 96)), base=config("san-vit-b16_voc12aug-640x640"))
    found = values["model"]["data_preprocessor"]
    assert found["size"] == (64, 96)
    assert "size_divisor" not in found
    assert not check(Config.from_values(values, file="x"))


def test_crop_reaches_every_part_of_a_concatenation() -> None:
    values = applied(TrainingOptions(crop=(64, 96)), base=config("fcn_r50-d8_4xb4-20k_voc12aug-512x512"))
    for part in values["train_dataloader"]["dataset"]["datasets"]:
        sizes = [
            step.get("crop_size", step.get("size"))
            for step in part["pipeline"]
            if step["type"] in ("RandomCrop", "Pad")
        ]
        assert sizes == [(64, 96), (64, 96)]


def test_precision() -> None:
    assert applied(TrainingOptions(precision="bf16"))["optim_wrapper"]["dtype"] == "bfloat16"
    half = config("fcn_r101-d8_4xb2-amp-80k_cityscapes-512x1024")
    full = applied(TrainingOptions(precision="32"), base=half)["optim_wrapper"]
    assert full["type"] == "OptimWrapper"
    assert "loss_scale" not in full
    assert applied(TrainingOptions(precision="16"), base=half)["optim_wrapper"]["loss_scale"] == 512.0
    with pytest.raises(ValueError, match="bf16"):
        applied(TrainingOptions(precision="8"))


@pytest.mark.parametrize(("text", "steps"), [("800 steps", 800), ("4 epochs", 200), ("5m", 600), ("0.4k it", 400)])
def test_for_rescales_everything(text: str, steps: int) -> None:
    values = applied(TrainingOptions(duration=text))
    warm_up, decay = values["param_scheduler"]
    assert values["train_cfg"]["max_iters"] == decay["end"] == steps
    assert warm_up["end"] == decay["begin"] == round(1500 * steps / 160_000)
    assert values["train_cfg"]["val_interval"] == values["default_hooks"]["checkpoint"]["interval"] == steps // 10
    assert not check(Config.from_values(values, file="x"))


def test_very_short_trainings_drop_the_warm_up() -> None:
    (decay,) = applied(TrainingOptions(duration="3 steps"))["param_scheduler"]
    assert decay["end"] == 3


def test_intervals_have_units_of_their_own() -> None:
    values = applied(TrainingOptions(duration="1000 steps", evaluate_every="2 epochs", save_every="1m"))
    assert values["train_cfg"]["val_interval"] == 100
    assert values["default_hooks"]["checkpoint"]["interval"] == 120


def test_intervals_that_change_are_stretched_or_replaced() -> None:
    base = config().override(
        ["train_cfg.dynamic_intervals=[(80000, 4000), (120000, 1600)]", "train_cfg.val_begin=32000"]
    )
    values = applied(TrainingOptions(duration="1600 steps"), base=base)
    assert values["train_cfg"]["dynamic_intervals"] == [(800, 40), (1200, 16)]
    assert values["train_cfg"]["val_begin"] == 320
    assert not check(Config.from_values(values, file="x"))
    values = applied(TrainingOptions(duration="1600 steps", evaluate_every="100 steps"), base=base)
    assert values["train_cfg"]["val_interval"] == 100
    assert "dynamic_intervals" not in values["train_cfg"]


def test_a_config_of_epochs_keeps_epochs() -> None:
    values = recipes.get(SEGFORMER)
    values["train_cfg"] = {"type": "EpochBasedTrainLoop", "max_epochs": 50, "val_interval": 5}
    values["param_scheduler"] = [{"type": "MultiStepLR", "milestones": [20, 40], "by_epoch": True}]
    base = Config.from_values(values, file="x")
    changed = applied(TrainingOptions(duration="10 epochs"), base=base)
    assert changed["train_cfg"] == {"type": "EpochBasedTrainLoop", "max_epochs": 10, "val_interval": 1}
    assert changed["param_scheduler"][0]["milestones"] == [4, 8]
    with pytest.raises(ValueError, match="epochs"):
        applied(TrainingOptions(duration="10 steps"), base=base)


def description(**changes: Any) -> DataDescription:
    splits = {"train": FolderSplit(Source("images", "masks")), "val": ShareSplit(0.2)}
    return DataDescription(**{"root": Path("/data"), "classes": ("crop", "weed", "soil"), "splits": splits, **changes})


def test_with_data_replaces_data_and_fits_heads() -> None:
    base = config()
    changed = with_data(base, description(ignore_index=9), Path("/run/data.yaml"))
    values = changed.values
    train = values["train_dataloader"]["dataset"]
    assert (train["type"], train["file"], train["split"]) == ("DescribedDataset", "/run/data.yaml", "train")
    assert train["pipeline"][1] == {"type": "LoadAnnotations"}  # ADE20K's reduce_zero_label is gone
    assert train["pipeline"][3]["ignore_index"] == 9
    assert values["test_dataloader"]["dataset"]["split"] == "val"
    assert values["model"]["decode_head"]["num_classes"] == 3
    assert values["model"]["data_preprocessor"]["seg_pad_val"] == 9
    assert values["optim_wrapper"] == base.values["optim_wrapper"]
    assert not check(changed)


def test_with_data_pads_with_what_is_ignored() -> None:
    base = Config.from_values(recipes.get("fcn_r50-d8_4xb4-20k_voc12aug-512x512"), file="recipe")
    changed = with_data(base, description(ignore_index=9), Path("/run/data.yaml"))
    pads = [step for step in changed.values["train_dataloader"]["dataset"]["pipeline"] if step["type"] == "Pad"]
    assert [step["pad_val"] for step in pads] == [{"img": 0, "seg": 9}]
    assert not check(changed)


def test_with_data_turns_with_what_is_ignored() -> None:
    steps = [{"type": "RandomRotate", "prob": 1.0, "degree": 9}, {"type": "RandomAffine", "seg_pad_val": 0}]
    places = ("train_dataloader.dataset.pipeline.2", "train_dataloader.dataset.pipeline.4")
    base = config().override([f"{place}={step!r}" for place, step in zip(places, steps, strict=True)])
    for ignored, expected in ((9, 9), (255, None)):
        changed = with_data(base, description(ignore_index=ignored), Path("/run/data.yaml"))
        found = changed.values["train_dataloader"]["dataset"]["pipeline"]
        assert found[2].get("seg_pad_val") == expected
        assert found[4]["seg_pad_val"] == 0  # as it is written
        assert not check(changed)


def test_with_data_without_validation() -> None:
    splits = {"train": FolderSplit(Source("images", "masks"))}
    changed = with_data(config(), description(splits=splits), Path("d.yaml"))
    assert not {"val_dataloader", "val_evaluator", "val_cfg", "test_dataloader"} & set(changed.values)
    assert not check(changed)
    with pytest.raises(ValueError, match="no train split"):
        with_data(config(), description(splits={"test": splits["train"]}), Path("d.yaml"))


def test_what_a_long_run_is_given_goes_into_the_config() -> None:
    safeguards = Safeguards(
        ema=0.001, patience=3, freeze=("backbone",), fit_images=5, pictures=2, keep_every="40 steps", hang_after="2h",
        tensorboard=True, wandb=True,
    )  # fmt: skip
    options = TrainingOptions(compiled=True, safeguards=safeguards)
    start = config()
    changed = start.override(settings_for(start, options, devices=1))
    pace = Pace(lambda: 10, lambda: 1.0)
    spec = lower(changed.override(length_settings(changed, options, pace, batch=2)))
    assert spec.ema == EmaSpec(momentum=0.001)
    assert spec.early_stop == EarlyStopSpec(patience=3)
    assert spec.safeguards == SafeguardSpec(("backbone",), Duration(40, "steps"), 5, 2, 7200.0)
    assert spec.runtime.compile
    assert [observer.type for observer in spec.observers] == ["TensorBoard", "WandB"]
    again = lower(changed.override(settings_for(changed, options, devices=1)))
    assert [observer.type for observer in again.observers] == ["TensorBoard", "WandB"]


def test_hang_after_is_a_time() -> None:
    with pytest.raises(ValueError, match="--hang-after is a time"):
        settings_for(config(), TrainingOptions(safeguards=Safeguards(hang_after="20 steps")), devices=1)
