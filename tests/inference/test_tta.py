"""Test-time augmentation against the obvious way: each view by itself, whole, softmax, sum."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from intarsia.contracts import SampleMeta
from intarsia.data.transforms.resize import Resize
from intarsia.inference.tta import USUAL, check_augmented, views_of, without_resizing
from intarsia.spec import AugmentedInference, ViewSize

VIEWS = AugmentedInference((0.5, 1.0, 1.3), (None, "horizontal", "vertical", "diagonal"))


def photo(height: int, width: int, seed: int = 0) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def at_scale(image: np.ndarray, scale: float | ViewSize) -> tuple[tuple[int, int], np.ndarray]:
    """The size (width, height) of a view and its pixels, as MMCV's `Resize` makes them."""
    height, width = image.shape[:2]
    if not isinstance(scale, ViewSize):
        size = (int(width * scale + 0.5), int(height * scale + 0.5))
        return size, cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)
    factors = scale.factors or (1.0, 1.0)
    size = scale.scale or (int(width * factors[0] + 0.5), int(height * factors[1] + 0.5))
    if scale.keep_ratio:
        factor = min(max(size) / max(height, width), min(size) / min(height, width))
        size = (int(width * factor + 0.5), int(height * factor + 0.5))
    if scale.backend == "pillow":
        method = Image.Resampling[scale.interpolation.upper()]
        return size, np.asarray(Image.fromarray(image).resize(size, method))
    flag = {"bilinear": cv2.INTER_LINEAR, "bicubic": cv2.INTER_CUBIC}[scale.interpolation]
    return size, cv2.resize(image, size, interpolation=flag)


def by_hand(predictor, image: np.ndarray, views: AugmentedInference) -> torch.Tensor:
    """Mean probabilities (K, H, W) of the whole-image way."""
    height, width = image.shape[:2]
    total = torch.zeros(3, height, width)
    if views.first is not None:
        image = at_scale(image, views.first)[1]
    for scale in views.scales:
        size, resized = at_scale(image, scale)
        for flip in views.flips:
            axes = {None: (), "horizontal": (1,), "vertical": (0,), "diagonal": (0, 1)}[flip]
            pixels = torch.from_numpy(np.flip(resized, axes).copy()).permute(2, 0, 1)[None]
            inputs = predictor.task.preprocess(pixels, (), train=False)
            logits = predictor.task.model(inputs)
            if logits.shape[2:] != inputs.shape[2:]:
                logits = F.interpolate(logits, size=inputs.shape[2:], mode="bilinear")
            logits = logits[:, :, : size[1], : size[0]].flip([axis + 2 for axis in axes])
            if logits.shape[2:] != (height, width):
                logits = F.interpolate(logits.contiguous(), size=(height, width), mode="bilinear")
            total += logits.softmax(dim=1)[0]
    return total / (len(views.scales) * len(views.flips))


def test_the_usual_views_are_those_of_the_original() -> None:
    """Six sizes, each with its mirror image: `tta_pipeline` of MMSegmentation's data sets."""
    assert AugmentedInference((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), (None, "horizontal")) == USUAL


@pytest.mark.parametrize("stride", [1, 4])
def test_probabilities_are_averaged_over_scales_and_flips(make_predictor, stride):
    image = photo(90, 130)
    predictor = make_predictor(stride=stride, augmented=VIEWS, augment=True)
    found = predictor.predict(image, probabilities=True)
    with torch.no_grad():
        expected = by_hand(predictor, image, VIEWS).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=3e-6)
    assert np.array_equal(found.label, found.probabilities.argmax(axis=0))


@pytest.mark.parametrize(
    "views",
    [
        AugmentedInference((ViewSize((160, 80), keep_ratio=True), ViewSize((96, 200), keep_ratio=True)), (None,)),
        AugmentedInference((ViewSize((64, 100)), 0.75, ViewSize((40, 40))), (None, "horizontal")),
        AugmentedInference((ViewSize(factors=(0.7, 1.2)), ViewSize(factors=(0.53, 0.53))), (None, "vertical")),
        AugmentedInference((ViewSize((90, 70), interpolation="bicubic"), ViewSize((90, 70), backend="pillow"))),
        AugmentedInference((0.5, 1.3), (None, "horizontal"), first=ViewSize((100, 50), keep_ratio=True)),
        AugmentedInference((1.0, 1.0, 0.5), (None, "horizontal", "horizontal")),
    ],
)
def test_views_of_given_sizes(make_predictor, views):
    """Within pixels or exactly so many, by two factors, by another interpolation, behind a Resize, one view twice."""
    image = photo(90, 130)
    predictor = make_predictor(stride=4, augmented=views, augment=True)
    found = predictor.predict(image, probabilities=True)
    with torch.no_grad():
        expected = by_hand(predictor, image, views).numpy()
    np.testing.assert_allclose(found.probabilities, expected, atol=3e-6)


def test_the_pipelines_own_resizing_is_left_out(make_predictor):
    image = photo(60, 80)
    transforms = [Resize(scale=(40, 40), keep_ratio=True)]
    assert without_resizing(transforms) == []
    views = AugmentedInference((1.0,), (None, "horizontal"))
    with_resize = make_predictor(augmented=views, augment=True, transforms=transforms)
    assert with_resize.transforms == ()
    plain = make_predictor(augmented=views, augment=True)
    assert np.array_equal(with_resize.predict(image).label, plain.predict(image).label)


def test_nothing_is_augmented_unless_asked_for(make_predictor):
    image = photo(60, 80)
    assert make_predictor(augmented=VIEWS).augmented is None
    assert make_predictor(augment=True).augmented == USUAL
    plain, named = make_predictor().predict(image), make_predictor(augmented=VIEWS).predict(image)
    assert np.array_equal(plain.label, named.label)


@pytest.mark.parametrize("mode", ["slide", "slide_flip", "slide_even"])
def test_views_through_windows_are_views_all_the_same(make_predictor, mode):
    """A model that looks at single pixels says the same whether it sees an image through windows or not."""
    image = photo(90, 130)
    whole = make_predictor(augmented=VIEWS, augment=True).predict(image, probabilities=True)
    windows = make_predictor(
        augmented=VIEWS,
        augment=True,
        mode=mode,
        windows=((48, 40), None if mode == "slide_even" else (32, 30)),
        batch_windows=3,
    ).predict(image, probabilities=True)
    np.testing.assert_allclose(windows.probabilities, whole.probabilities, atol=1e-5)


def test_one_logit_is_averaged_behind_its_sigmoid(make_predictor):
    image = photo(64, 64)
    views = AugmentedInference((0.5, 1.0), (None, "vertical"))
    predictor = make_predictor(single=True, augmented=views, augment=True, threshold=0.6)
    found = predictor.predict(image, probabilities=True)
    alone = [
        make_predictor(single=True, augmented=AugmentedInference((scale,), (flip,)), augment=True, threshold=0.6)
        .predict(image, probabilities=True)
        .probabilities[1]
        for scale in views.scales
        for flip in views.flips
    ]
    np.testing.assert_allclose(found.probabilities[1], np.mean(alone, axis=0), atol=1e-6)
    assert np.array_equal(found.label, found.probabilities[1] > 0.6)


def test_flips_of_one_scale_go_through_the_network_together():
    meta = SampleMeta("x", original_size=(20, 30))
    for scale, size in ((0.5, (10, 15)), (1.0, (20, 30)), (1.3, (26, 39))):
        (batch,) = views_of(photo(20, 30), meta, scale, VIEWS.flips, together=True)
        assert batch.sizes == (size,) * 4
        assert [meta.flips for meta in batch.metas] == [(), ("horizontal",), ("vertical",), ("horizontal", "vertical")]
        assert torch.equal(batch.images[1], batch.images[0].flip(2))
        assert len(list(views_of(photo(20, 30), meta, scale, VIEWS.flips, together=False))) == 4


@pytest.mark.parametrize(
    ("views", "message"),
    [
        (AugmentedInference((), (None,)), "a scale and a flip"),
        (AugmentedInference((1.0, 0.0), (None,)), "scales above 0"),
        (replace(VIEWS, flips=("left",)), "found 'left'"),
        (AugmentedInference((ViewSize((0, 5)),), (None,)), "at least one pixel"),
        (AugmentedInference((ViewSize(),), (None,)), "either scale"),
        (AugmentedInference((1.0,), (None,), first=-2.0), "must be positive"),
    ],
)
def test_views_that_make_no_sense(make_predictor, views, message):
    with pytest.raises(ValueError, match=message):
        check_augmented(views)
    with pytest.raises(ValueError, match=message):
        make_predictor(augmented=views, augment=True)


def test_logits_of_an_average_are_refused(make_predictor):
    with pytest.raises(ValueError, match="averages probabilities"):
        make_predictor(augmented=VIEWS, augment=True).predict(photo(20, 20), logits=True)
