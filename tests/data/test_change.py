"""Change detection: two images of one place as one sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from intarsia.config.build import build, build_pipeline
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower, lower_all
from intarsia.contracts import Dataset
from intarsia.data.datasets.change import BaseCDDataset, LEVIRCDDataset, TwoDates

LOAD = [{"type": "LoadMultipleRSImageFromFile"}, {"type": "LoadAnnotations"}]
JOIN = [{"type": "ConcatCDInput"}, {"type": "PackSegInputs"}]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """Two places; the second date is the first one, 100 brighter, and the label is 1 where the first date is bright."""
    rng = np.random.default_rng(0)
    for name in ("b", "a"):
        image = rng.integers(0, 100, (40, 60, 3), dtype=np.uint8)
        for folder, pixels in (("A", image), ("B", image + 100), ("label", (image[..., 0] > 50).astype(np.uint8))):
            (tmp_path / "train" / folder).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(tmp_path / "train" / folder / f"{name}.png"), pixels)
    return tmp_path


def config(root: Path, steps: list[dict[str, Any]], **values: Any) -> Config:
    head = {"type": "FCNHead", "in_channels": 64, "in_index": 3, "channels": 4, "num_classes": 2}
    backbone = {"type": "ResNet", "depth": 18, "base_channels": 8, "stem_channels": 8, "in_channels": 6}
    prefix = {"img_path": "train/A", "img_path2": "train/B", "seg_map_path": "train/label"}
    dataset = {"type": "LEVIRCDDataset", "data_root": str(root), "data_prefix": prefix, "pipeline": steps, **values}
    preprocessor = {"type": "SegDataPreProcessor", "mean": [100.0] * 6, "std": [50.0] * 6, "bgr_to_rgb": True}
    return Config.from_values(
        {
            "model": {
                "type": "EncoderDecoder", "backbone": backbone, "decode_head": head, "data_preprocessor": preprocessor,
            },
            "train_dataloader": {"batch_size": 1, "dataset": dataset},
            "train_cfg": {"type": "IterBasedTrainLoop", "max_iters": 1},
            "optim_wrapper": {"type": "OptimWrapper", "optimizer": {"type": "SGD", "lr": 0.1}},
        },
        file="change",
    )  # fmt: skip


def test_both_dates_are_the_bands_of_one_image(tree: Path) -> None:
    dataset = LEVIRCDDataset(root=str(tree))
    assert isinstance(dataset, Dataset)
    assert [dataset.load(index).meta.name for index in range(len(dataset))] == ["a", "b"]
    image = dataset.load(0).image
    assert (image.shape, image.dtype) == ((40, 60, 6), np.uint8)
    stored = cv2.imread(str(tree / "train/A/a.png"))[..., ::-1]
    assert np.array_equal(image[..., :3], stored)  # in the order of the file, which is that of the published mean
    assert np.array_equal(image[..., 3:], stored + 100)


def test_files_of_many_bands_keep_them(tree: Path) -> None:
    for folder in ("A", "B"):
        np.save(tree / f"train/{folder}/c.npy", np.zeros((40, 60, 5), np.uint16))
    cv2.imwrite(str(tree / "train/label/c.png"), np.zeros((40, 60), np.uint8))
    dataset = LEVIRCDDataset(root=str(tree), image_suffix=".npy", image_suffix2=".npy")
    assert dataset.load(0).image.shape == (40, 60, 10)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "RandomFlip", "prob": 1.0, "direction": "diagonal"},
        {"type": "RandomCrop", "crop_size": (16, 20)},
        {"type": "Resize", "scale": (33, 21)},
        {"type": "RandomResize", "scale": (90, 90), "ratio_range": (0.5, 2.0), "keep_ratio": True},
        {"type": "Pad", "size": (70, 50), "pad_val": {"img": (0, 0, 0, 100, 100, 100)}},
    ],
    ids=lambda step: step["type"],
)
@pytest.mark.parametrize("joined_first", [False, True])
def test_whatever_moves_pixels_moves_both_dates(tree: Path, step: dict[str, Any], joined_first: bool) -> None:
    steps = [*LOAD, JOIN[0], step, JOIN[1]] if joined_first else [*LOAD, step, *JOIN]
    spec = lower(config(tree, steps))
    assert spec.train is not None
    sample = build_pipeline(spec.train).get(0, np.random.default_rng(3))
    untouched = build_pipeline(spec.train).dataset.load(0)
    first, second = sample.image[..., :3], sample.image[..., 3:]
    assert sample.image.shape != untouched.image.shape or not np.array_equal(sample.image, untouched.image)
    rounding = 1 if "Resize" in step["type"] else 0
    assert np.abs(first.astype(int) + 100 - second).max() <= rounding
    assert sample.label is not None
    assert sample.label.shape == first.shape[:2]
    if step["type"] in ("RandomFlip", "RandomCrop"):
        assert np.array_equal(sample.label == 1, first[..., 2] > 50)


def test_a_general_data_set_of_two_dates(tree: Path) -> None:
    (tree / "list.txt").write_text("b\n")
    dataset = BaseCDDataset(
        root=str(tree), images="train/A", images2="train/B", labels="train/label", split_file="list.txt",
        image_suffix=".png", image_suffix2=".png", classes=("same", "other"),
    )  # fmt: skip
    assert isinstance(dataset, TwoDates)
    assert [dataset.load(index).meta.name for index in range(len(dataset))] == ["b"]
    same_by_config = build(
        lower(
            config(
                tree, [*LOAD, *JOIN], type="BaseCDDataset", ann_file="list.txt", img_suffix=".png", img_suffix2=".png",
                metainfo={"classes": ["same", "other"]},
            )
        ).train.dataset  # type: ignore[union-attr]
    )  # fmt: skip
    assert np.array_equal(same_by_config.load(0).image, dataset.load(0).image)
    assert same_by_config.classes == ("same", "other")


def test_a_second_date_that_is_missing_or_another(tree: Path) -> None:
    cv2.imwrite(str(tree / "train/B/a.png"), np.zeros((40, 61, 3), np.uint8))
    with pytest.raises(ValueError, match=r"B/a\.png: the second date has 40 x 61 .* the first, .*A/a\.png, 40 x 60"):
        LEVIRCDDataset(root=str(tree)).load(0)
    (tree / "train/B/a.png").unlink()
    with pytest.raises(
        ValueError, match=r"1 of 2 images have no second date.*there is no a\. Check data_prefix\.img_p"
    ):
        LEVIRCDDataset(root=str(tree))
    with pytest.raises(ValueError, match=r"train/C: the image folder does not exist"):
        LEVIRCDDataset(root=str(tree), images2="train/C")


def test_two_images_are_asked_of_data_sets_that_have_two(tree: Path) -> None:
    found = lower_all(config(tree, [*LOAD, *JOIN], type="LoveDADataset")).problems
    assert [problem.path for problem in found] == ["train_dataloader.dataset.pipeline.2"]
    assert "LoveDADataset has one" in found[0].message
    turned = [*LOAD, {"type": "ConcatCDInput", "input_keys": ["img2", "img"]}]
    [problem] = lower_all(config(tree, turned)).problems
    assert problem.path.endswith("pipeline.2.input_keys")
    assert not lower_all(config(tree, [*LOAD, {"type": "ConcatCDInput", "input_keys": ("img", "img2")}])).problems
