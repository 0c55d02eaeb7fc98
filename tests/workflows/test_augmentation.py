"""``--augment`` as changes to a config: what is added, what is taken away, and that the result can be trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from intarsia import catalog, recipes
from intarsia.config.build import build
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.data.transforms.elastic import ElasticTransform
from intarsia.workflows.augmentation import LIGHT, RANDOM, STRONG, augmented

PUBLISHED = "pidnet-s_2xb6-120k_1024x1024-cityscapes"
SMALL = "segformer_mit-b0_8xb2-160k_ade20k-512x512"
PIPELINE = [
    {"type": "LoadImageFromFile"},
    {"type": "LoadAnnotations"},
    {"type": "RandomScale", "ratio_range": (0.5, 2.0)},
    {"type": "RandomCrop", "crop_size": (64, 64), "cat_max_ratio": 0.75},
    {"type": "RandomFlip", "prob": 0.5},
    {"type": "PhotoMetricDistortion"},
    {"type": "PackSegInputs"},
]


def own(*, raw: bool = False, ignore_index: int = 255) -> Config:
    """A training on own data, as the recipes for it have it."""
    pipeline = [step for step in PIPELINE if not (raw and step["type"] == "PhotoMetricDistortion")]
    if raw:
        pipeline[0] = {"type": "LoadImageFromFile", "color_type": "unchanged"}
    dataset = {
        "type": "BaseSegDataset", "data_root": "x", "metainfo": {"classes": ("a", "b", "c")}, "pipeline": pipeline,
        "ignore_index": ignore_index,
    }  # fmt: skip
    base = Config.from_values(recipes.get(SMALL), file="own")
    heads = [f"model.decode_head.{key}={value}" for key, value in (("num_classes", 3), ("ignore_index", ignore_index))]
    return base.override([f"train_dataloader.dataset={dataset!r}", *heads])


def steps(config: Config) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = config.values["train_dataloader"]["dataset"]["pipeline"]
    return found


def names(config: Config) -> list[str]:
    return [step["type"] for step in steps(config)]


def with_option(config: Config, choice: str) -> Config:
    return config.override(augmented(config, choice).settings)


@pytest.mark.parametrize("choice", ["light", "strong"])
@pytest.mark.parametrize("raw", [False, True])
def test_a_list_is_written_behind_the_recipes_own(choice: str, raw: bool) -> None:
    before = own(raw=raw)
    after = with_option(before, choice)
    assert not check(after)
    table = LIGHT if choice == "light" else STRONG
    left_out = {"JpegCompression"} if raw else {"RandomBrightnessContrast"}  # colours are changed already
    wanted = [addition.step for addition in table if addition.step["type"] not in left_out]
    assert steps(after) == [*steps(before)[:-1], *wanted, steps(before)[-1]]
    built = [build(transform) for transform in lower(after).train.transforms]  # type: ignore[union-attr]
    assert [type(transform).__name__ for transform in built][-len(wanted) :] == [step["type"] for step in wanted]


def test_every_list_says_what_it_adds_in_one_line() -> None:
    found = augmented(own(), "light").line
    assert found == (
        "augmentation (light): adds turns to 10 degrees and sizes 0.9 to 1.1; blur to 1 pixel; noise to 3 %"
    )
    assert "JPEG; holes" in augmented(own(), "strong").line
    assert "\n" not in augmented(own(), "strong").line


def test_targets_are_made_of_what_was_augmented() -> None:
    published = Config.from_values(recipes.get(PUBLISHED), file=PUBLISHED)
    assert names(published)[-2:] == ["GenerateEdge", "PackSegInputs"]
    after = names(with_option(published, "light"))
    assert after[-3:] == ["GaussianNoise", "GenerateEdge", "PackSegInputs"]


def test_what_is_there_is_not_added_again() -> None:
    once = with_option(own(), "light")
    assert with_option(once, "light").values == once.values
    assert "nothing that is not there" in augmented(once, "light").line


def test_none_leaves_crops_and_sizes() -> None:
    after = with_option(own(), "none")
    assert names(after) == ["LoadImageFromFile", "LoadAnnotations", "RandomCrop", "PackSegInputs"]
    assert "without RandomScale, RandomFlip, PhotoMetricDistortion" in augmented(own(), "none").line
    published = Config.from_values(recipes.get(PUBLISHED), file=PUBLISHED)
    (resize,) = [step for step in steps(with_option(published, "none")) if step["type"] == "RandomResize"]
    assert resize["ratio_range"] == (1.0, 1.0)
    assert resize["scale"] == (2048, 1024)
    assert not check(with_option(published, "none"))


def test_everything_random_is_known_by_name() -> None:
    stays = {"RandomChoiceResize", "RandomCrop", "RandomPatch", "RandomResize", "BioMedical3DRandomCrop"}
    random = {name for name in catalog.names("transform") if "Random" in name} - stays
    added = {addition.step["type"] for addition in (*LIGHT, *STRONG)}
    assert random | added <= RANDOM <= set(catalog.names("transform"))


def test_a_file_takes_the_place_of_the_recipes(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("angle = 40\naugmentation = [dict(type='RandomAffine', degrees=angle), dict(type='CutMix')]\n")
    after = with_option(own(), str(file))
    assert steps(after)[2]["type"] == "RandomCrop"
    assert steps(after)[3:5] == [{"type": "RandomAffine", "degrees": 40}, {"type": "CutMix"}]
    assert names(after)[5:] == ["PackSegInputs"]
    assert "RandomAffine, CutMix, and nothing else" in augmented(own(), str(file)).line
    yaml = tmp_path / "mine.yaml"
    yaml.write_text("augmentation: [{type: RandomAffine, degrees: 40}, {type: CutMix}]\n")
    assert with_option(own(), str(yaml)).values == after.values


def test_labels_from_outside_are_what_the_data_ignore(tmp_path: Path) -> None:
    after = with_option(own(ignore_index=7), "strong")
    found = {step["type"]: step for step in steps(after)}
    assert found["RandomAffine"]["seg_pad_val"] == found["ElasticTransform"]["seg_pad_val"] == 7
    file = tmp_path / "mine.py"
    file.write_text(
        "augmentation = [dict(type='ClassMix'), dict(type='RandomRotate', prob=1, degree=9, seg_pad_val=0)]"
    )
    mix, turn = steps(with_option(own(ignore_index=7), str(file)))[3:5]
    assert mix["ignore_index"] == 7
    assert turn["seg_pad_val"] == 0  # as it is written
    built = [build(transform) for transform in lower(after).train.transforms]  # type: ignore[union-attr]
    assert [step.seg_pad_val for step in built if isinstance(step, ElasticTransform)] == [7]


def test_the_pipelines_of_several_data_sets_are_changed_alike() -> None:
    one = own()
    parts = [one.values["train_dataloader"]["dataset"]] * 2
    several = one.override([f"train_dataloader.dataset={ {'type': 'ConcatDataset', 'datasets': parts}!r}"])
    after = with_option(several, "light").values["train_dataloader"]["dataset"]["datasets"]
    assert after[0]["pipeline"] == after[1]["pipeline"] == steps(with_option(one, "light"))
    wrapped = one.override(
        [f"train_dataloader.dataset={ {'type': 'RepeatDataset', 'times': 2, 'dataset': parts[0]}!r}"]
    )
    inner = with_option(wrapped, "light").values["train_dataloader"]["dataset"]["dataset"]
    assert inner["pipeline"] == after[0]["pipeline"]


def test_what_cannot_be_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="--augment is none, light, strong or a file; there is no file 'lite'"):
        augmented(own(), "lite")
    file = tmp_path / "other.py"
    file.write_text("transforms = []\n")
    with pytest.raises(ValueError, match="expected a list of transforms under the name 'augmentation', found None"):
        augmented(own(), str(file))
    with pytest.raises(ValueError, match="x has no pipeline for training"):
        augmented(Config.from_values({"model": {}}, file="x"), "light")
