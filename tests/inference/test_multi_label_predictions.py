"""Predictions where a pixel may have several classes: the same sets by strips, windows and views, and in every file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from intarsia.inference.logits.lazy import HeadLogits, Resized
from intarsia.inference.logits.postprocess import RequestedFields, postprocess
from intarsia.inference.outputs.areas import AreaTable
from intarsia.inference.outputs.polygons import Labels, areas
from intarsia.inference.outputs.writer import KINDS, Outputs, mask_folders
from intarsia.inference.prediction import Prediction
from intarsia.inference.predictor import Predictor
from intarsia.inference.threshold import at_threshold, at_thresholds, predictor_at
from intarsia.spec import AugmentedInference, InferenceSpec
from intarsia.visual.overlay import coloured

NAMES = ("organ", "tumour", "vessel")
PALETTE = ((200, 0, 0), (0, 100, 0), (0, 0, 240))
THRESHOLDS = (0.3, 0.5, 0.62)


def map_of(logits: torch.Tensor, size: tuple[int, int]) -> Resized:
    return Resized(HeadLogits(logits), size, align_corners=False)


@pytest.mark.parametrize("budget", [None, 1, 5000])
@pytest.mark.parametrize("views", [1, 3])
def test_strips_give_what_all_at_once_gives(views: int, budget: int | None) -> None:
    random = torch.Generator().manual_seed(views)
    logits = [3 * torch.randn(3, 7, 9, generator=random) for _ in range(views)]
    wanted = RequestedFields(probabilities=True, confidence=True, entropy=True, logits=views == 1)
    found = postprocess([map_of(one, (40, 50)) for one in logits], thresholds=THRESHOLDS, wanted=wanted, budget=budget)
    grown = [F.interpolate(one[None], size=(40, 50), mode="bilinear", align_corners=False)[0] for one in logits]
    p = torch.stack([one.sigmoid() for one in grown]).mean(dim=0)
    assert found.probabilities is not None
    torch.testing.assert_close(found.probabilities, p, rtol=0, atol=2e-6)
    yes = found.probabilities > torch.tensor(THRESHOLDS).view(-1, 1, 1)
    assert torch.equal(found.label.long(), sum(yes[k].long() << k for k in range(3)))
    torch.testing.assert_close(found.confidence, torch.where(yes, p, 1 - p).min(dim=0).values, rtol=0, atol=2e-6)
    entropy = -(p * p.log() + (1 - p) * (1 - p).log()).sum(dim=0)
    torch.testing.assert_close(found.entropy, entropy, rtol=0, atol=2e-5)
    alone = postprocess([map_of(one, (40, 50)) for one in logits], thresholds=THRESHOLDS, budget=budget)
    assert torch.equal(alone.label, found.label)


def test_a_threshold_for_each_logit_is_needed() -> None:
    with pytest.raises(ValueError, match="a threshold for each of 3 logits, found 2"):
        postprocess([map_of(torch.zeros(3, 2, 2), (4, 4))], thresholds=(0.5, 0.5))


class Bands(nn.Module):
    """Logits (N, 3, H, W), pixel by pixel: how far red, green and blue are above one half."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(8.0))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (images - 0.5) * self.scale


class Task(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Bands()
        self.preprocess = Scaled()


class Scaled(nn.Module):
    def forward(self, images: torch.Tensor, sizes: object, *, train: bool) -> torch.Tensor:
        return images.float() / 255


def predictor(**settings: object) -> Predictor:
    spec = InferenceSpec(num_classes=3, answer="classes", class_thresholds=THRESHOLDS, **settings)  # type: ignore[arg-type]
    return Predictor(Task(), inference=spec, classes=NAMES, palette=PALETTE, augment=spec.augmented is not None)  # type: ignore[arg-type]


@pytest.fixture
def image() -> np.ndarray:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (6, 8, 3)).astype(np.float32)
    return np.asarray(Image.fromarray(small.astype(np.uint8)).resize((64, 48), Image.Resampling.BILINEAR))


@pytest.fixture
def found(image: np.ndarray) -> Prediction:
    return predictor().predict(image, probabilities=True, confidence=True, entropy=True, logits=True)


def expected(image: np.ndarray, thresholds: tuple[float, ...] = THRESHOLDS) -> np.ndarray:
    p = 1 / (1 + np.exp(-8 * (image.astype(np.float32) / 255 - 0.5)))
    return np.stack([p[:, :, k] > threshold for k, threshold in enumerate(thresholds)])


def test_a_prediction_says_where_each_class_is(found: Prediction, image: np.ndarray) -> None:
    assert found.multi_label
    assert np.array_equal(found.labels, expected(image))
    assert np.array_equal(found.label, sum(plane.astype(np.uint8) << k for k, plane in enumerate(expected(image))))
    shares = expected(image).mean(axis=(1, 2))
    assert found.areas() == pytest.approx(dict(zip(NAMES, shares, strict=True)))
    assert (found.labels.sum(axis=0) > 1).any()


@pytest.mark.parametrize(
    "settings",
    [
        {"mode": "slide", "crop_size": (24, 32), "stride": (16, 20)},
        {"augmented": AugmentedInference((1.0,), (None, "horizontal", "vertical"))},
    ],
)
def test_windows_and_views_give_the_same_sets(settings: dict[str, object], image: np.ndarray) -> None:
    assert np.array_equal(predictor(**settings).predict(image).labels, expected(image))


def test_one_threshold_is_that_of_all_classes(image: np.ndarray) -> None:
    other = predictor_at(predictor(), 0.7)
    assert np.array_equal(other.predict(image).labels, expected(image, (0.7,) * 3))
    with pytest.raises(ValueError, match="between 0 and 1"):
        at_threshold(other.inference, 1.5)
    for outside in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"a probability between 0 and 1, found {outside:g}"):
            at_thresholds(other.inference, (0.5, outside, 0.5))
    with pytest.raises(ValueError, match="a threshold for each of 3 classes, found 2"):
        predictor_at(predictor(), None, (0.5, 0.5))


def test_another_number_of_logits_is_refused(image: np.ndarray) -> None:
    spec = InferenceSpec(num_classes=2, answer="classes", class_thresholds=THRESHOLDS[:2])
    two = Predictor(Task(), inference=spec, classes=NAMES[:2], palette=PALETTE[:2])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one logit for each of 2 classes, found 3"):
        two.predict(image)


def test_what_does_not_fit_together_is_refused() -> None:
    label = np.full((2, 2), 8, np.uint8)
    with pytest.raises(ValueError, match="expected sets of classes below 8, found 8"):
        Prediction(label, NAMES, PALETTE, multi_label=True)
    with pytest.raises(ValueError, match=r"expected \(H, W\) uint16 for 9 classes"):
        Prediction(label, tuple("abcdefghi"), ((0, 0, 0),) * 9, multi_label=True)


def test_every_file_says_the_same(found: Prediction, image: np.ndarray, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, frozenset(KINDS), classes=NAMES)
    outputs.write(found)
    files = outputs.files(found.name)
    assert outputs.finished(found.name)
    planes = expected(image)
    stored = np.array(Image.open(files["label"]))
    for k, name in enumerate(NAMES):
        assert files[f"masks:{k}"] == tmp_path / "masks" / name / "image.png"
        assert np.array_equal(np.array(Image.open(files[f"masks:{k}"])), planes[k] * np.uint8(255))
        assert np.array_equal(stored >> k & 1, planes[k])
    regions = json.loads(files["polygons"].read_text())["features"]
    runs = json.loads(files["rle"].read_text())["annotations"]
    for k, name in enumerate(NAMES):
        pixels = sum(r["properties"]["pixels"] for r in regions if r["properties"]["name"] == name)
        assert pixels == planes[k].sum()
        assert [one["area"] for one in runs if one["category_id"] == k] == [planes[k].sum()]
    entropy = np.array(Image.open(files["entropy"])) / 65535 * 3 * np.log(2)
    assert np.abs(entropy - found.entropy).max() < 1e-4


def test_coco_masks_read_back(found: Prediction, tmp_path: Path) -> None:
    tools = pytest.importorskip("pycocotools.mask", reason="read back with pycocotools")
    outputs = Outputs(tmp_path, frozenset({"rle"}))
    outputs.write(found)
    for one in json.loads(outputs.files(found.name)["rle"].read_text())["annotations"]:
        assert np.array_equal(tools.decode(one["segmentation"]), found.labels[one["category_id"]])


def test_areas_are_those_of_each_class(found: Prediction, image: np.ndarray, tmp_path: Path) -> None:
    table = AreaTable(tmp_path / "areas.csv", NAMES)
    counts = expected(image).sum(axis=(1, 2)).tolist()
    assert [int(cell) for cell in table.row(found)[2::2]] == counts
    of_raster = areas(Labels(found.label), classes=NAMES, ground=None, sets=True)
    assert [area.pixels for area in of_raster] == counts
    assert [area.share for area in of_raster] == pytest.approx([count / found.label.size for count in counts])


def test_uncertain_pixels_have_no_class_in_files(found: Prediction, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, frozenset({"label", "masks"}), min_confidence=0.7, classes=NAMES)
    outputs.write(found)
    files, unsure = outputs.files(found.name), found.uncertain(0.7)
    assert unsure.any()
    assert np.array_equal(np.array(Image.open(files["label"])) == 255, unsure)
    for k in range(3):
        mask = np.array(Image.open(files[f"masks:{k}"])) == 255
        assert np.array_equal(mask, found.labels[k] & ~unsure)


def test_overlaps_have_mixed_colours_and_stand_in_the_legend(found: Prediction) -> None:
    names, palette = found.shown_values
    assert names[3] == "organ + tumour"
    assert palette[3] == (100, 50, 0)
    assert np.array_equal(found.coloured(), coloured(found.label, palette, ignore_index=None))
    assert found.overlay().shape[1] > found.overlay(legend=False).shape[1]


def test_folders_of_masks_are_told_apart() -> None:
    assert mask_folders(["a/b", "a:b", "Tree", "tree", ""]) == ["a_b_0", "a_b_1", "Tree_2", "tree_3", "class"]
