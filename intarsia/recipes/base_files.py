"""MMSegmentation's base files by their names: what the published recipes have in common, cut into its four pieces.

Configs of other projects inherit from them as "mmseg::_base_/schedules/schedule_80k.py". Every piece is a part of a
published recipe, so that there is one table of values: models as they are for Cityscapes, data as at the usual size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import PurePosixPath

from intarsia.recipes.benchmarks import Config
from intarsia.recipes.published import Published
from intarsia.recipes.schedules import loops, poly, sgd

DATASETS = {
    "ade20k": "ade20k-512x512",
    "ade20k_640x640": "ade20k-640x640",
    "cityscapes": "cityscapes-512x1024",
    "cityscapes_768x768": "cityscapes-768x768",
    "cityscapes_769x769": "cityscapes-769x769",
    "cityscapes_832x832": "cityscapes-832x832",
    "cityscapes_1024x1024": "cityscapes-1024x1024",
    "chase_db1": "chase-db1-128x128",
    "coco-stuff10k": "coco-stuff10k-512x512",
    "coco-stuff164k": "coco-stuff164k-512x512",
    "drive": "drive-64x64",
    "hrf": "hrf-256x256",
    "isaid": "isaid-896x896",
    "loveda": "loveda-512x512",
    "pascal_context": "pascal-context-480x480",
    "pascal_context_59": "pascal-context-59-480x480",
    "pascal_voc12_aug": "voc12aug-512x512",
    "potsdam": "potsdam-512x512",
    "stare": "stare-128x128",
    "vaihingen": "vaihingen-512x512",
}
"""Base file of a benchmark -> the setting of the published names that train on it."""

STEPS = {"20k": 20_000, "40k": 40_000, "80k": 80_000, "160k": 160_000, "320k": 320_000}
"""Base files of schedules."""

BATCH = {"cityscapes": 2}
"""Images per device of a benchmark's base file, where they are not 4."""

DATA_KEYS = (
    "train_dataloader", "val_dataloader", "test_dataloader", "val_evaluator", "test_evaluator", "tta_pipeline",
)  # fmt: skip
LOOP_KEYS = ("train_cfg", "val_cfg", "test_cfg", "default_hooks")
RUNTIME_KEYS = (
    "default_scope",
    "env_cfg",
    "vis_backends",
    "visualizer",
    "log_level",
    "load_from",
    "resume",
    "tta_model",
)


def base_file(path: str, recipes: Iterable[Published], get: Callable[[str], Config]) -> Config | None:
    """The values of the file at a path below MMSegmentation's configs, or None where there is no such recipe.

    recipes: all published ones; get: from a name to its config.
    """
    folder, stem = PurePosixPath(path).parent.as_posix(), PurePosixPath(path).stem
    known = {recipe.name: recipe for recipe in recipes}
    if folder == "_base_/schedules" and stem.removeprefix("schedule_") in STEPS:
        return _schedule(STEPS[stem.removeprefix("schedule_")])
    if folder == "_base_/datasets" and stem in DATASETS:
        return _data(stem, known.values(), get)
    if folder == "_base_/models":
        return _model(stem, known.values(), get)
    if path == "_base_/default_runtime.py":
        whole = get(next(iter(known)))
        return {key: whole[key] for key in RUNTIME_KEYS} | {"log_processor": {"by_epoch": False}}
    return get(stem) if stem in known and not folder.startswith("_base_") else None


def _schedule(steps: int) -> Config:
    whole = loops(steps, every=steps // 10, log_every=50)
    wrapper = sgd(0.01, 0.0005)
    return {
        "optimizer": wrapper["optimizer"],
        "optim_wrapper": wrapper,
        "param_scheduler": poly(steps),
        **{key: whole[key] for key in LOOP_KEYS},
    }


def _data(stem: str, recipes: Iterable[Published], get: Callable[[str], Config]) -> Config | None:
    setting = DATASETS[stem]
    batch = BATCH.get(stem.partition("_")[0], 4)
    recipe = next((one for one in recipes if one.setting_name == setting), None)
    if recipe is None:
        return None
    whole = get(recipe.name)
    values = {key: whole[key] for key in DATA_KEYS if key in whole}
    values["train_dataloader"] = {**values["train_dataloader"], "batch_size": batch, "num_workers": batch}
    dataset = values["val_dataloader"]["dataset"]
    return {
        "dataset_type": dataset["type"],
        "data_root": dataset["data_root"],
        "crop_size": recipe.setting.crop,
        "train_pipeline": _pipeline(values["train_dataloader"]["dataset"]),
        "test_pipeline": dataset["pipeline"],
        **values,
    }


def _pipeline(dataset: Config) -> list[Config]:
    """Of a data set, or of the first of several."""
    pipeline: list[Config] = dataset["datasets"][0]["pipeline"] if "datasets" in dataset else dataset["pipeline"]
    return pipeline


def _model(stem: str, recipes: Iterable[Published], get: Callable[[str], Config]) -> Config | None:
    for recipe in recipes:
        name = f"{recipe.method}_{recipe.backbone}" if recipe.backbone else recipe.method
        if name == stem and recipe.setting_name.startswith("cityscapes"):
            model = get(recipe.name)["model"]
            preprocessor = {key: value for key, value in model["data_preprocessor"].items() if key != "size"}
            return {"data_preprocessor": preprocessor, "model": {**model, "data_preprocessor": preprocessor}}
    return None
