"""Preprocessing: normalisation, channel order, padding, against numpy and against the reference's figures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


@pytest.mark.parametrize("name", ["ade20k", "ade20k_mask2former", "potsdam", "cityscapes"])
def test_real_images_against_the_reference(name: str, shared: Path, realdata: Path) -> None:
    record = json.loads((shared / "golden" / "preprocessing.json").read_text())[name]
    height, width = record["resized_shape"][:2]
    pixels = cv2.resize(cv2.imread(str(realdata / record["image"])), (width, height))[..., ::-1]
    padded = tuple(record["input"]["shape"][2:])
    module = Preprocess(PreprocessSpec(MEAN, STD, eval_size=padded))
    found = module(torch.from_numpy(pixels.transpose(2, 0, 1).copy())[None], [(height, width)], train=False)
    assert list(found.shape) == record["input"]["shape"]
    assert found.mean().item() == pytest.approx(record["input"]["mean"], abs=1e-6)
    assert found.std(correction=0).item() == pytest.approx(record["input"]["std"], abs=1e-6)


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=3),
    order=st.sampled_from(["rgb", "bgr"]),
    target=st.sampled_from([(None, None), ((8, 12), None), (None, 4)]),
    train=st.booleans(),
)
def test_every_pixel_is_normalised_or_padding(
    sizes: list[tuple[int, int]], order: str, target: tuple[tuple[int, int] | None, int | None], train: bool
) -> None:
    height, width = (max(size[axis] for size in sizes) for axis in (0, 1))
    random = np.random.default_rng(0)
    images = random.integers(0, 256, (len(sizes), 3, height, width), dtype=np.uint8)
    labels = random.integers(0, 5, (len(sizes), height, width), dtype=np.uint8)
    mode = "train" if train else "eval"
    spec = PreprocessSpec(MEAN, STD, order, -7.0, 11, **{f"{mode}_size": target[0], f"{mode}_size_divisor": target[1]})
    module = Preprocess(spec)
    before = images.copy(), labels.copy()
    found = module(torch.from_numpy(images), sizes, train=train).numpy()
    found_labels = module.labels(torch.from_numpy(labels), sizes, train=train).numpy()
    size = target[0] or (height, width)
    if target[1]:
        size = tuple(-(-side // target[1]) * target[1] for side in (height, width))
    assert found.shape[2:] == found_labels.shape[1:] == (max(height, size[0]), max(width, size[1]))
    expected, expected_labels = np.full(found.shape, -7.0), np.full(found_labels.shape, 11)
    for i, (h, w) in enumerate(sizes):
        pixels = images[i, ::-1, :h, :w] if order == "bgr" else images[i, :, :h, :w]
        expected[i, :, :h, :w] = (pixels - np.reshape(MEAN, (3, 1, 1))) / np.reshape(STD, (3, 1, 1))
        expected_labels[i, :h, :w] = labels[i, :h, :w]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(found_labels, expected_labels)
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


def test_images_already_in_their_final_form_are_not_written_into() -> None:
    images, labels = torch.ones(2, 1, 4, 4), torch.ones(2, 4, 4, dtype=torch.int64)
    module = Preprocess(PreprocessSpec((0.0,), (1.0,), pad_value=9.0))
    module(images, [(4, 4), (2, 3)], train=True)
    padded = module.labels(labels, [(4, 4), (2, 3)], train=True)
    assert images.eq(1).all()
    assert labels.eq(1).all()
    assert padded.eq(255).sum() == 16 - 6


def test_dtypes() -> None:
    module = Preprocess(PreprocessSpec((0.5,), (2.0,)))
    for given_dtype in (torch.uint8, torch.int32, torch.float16, torch.float32, torch.float64):
        assert module(torch.ones(1, 1, 2, 2, dtype=given_dtype), [(2, 2)], train=False).dtype == torch.float32
    assert module.double()(torch.ones(1, 1, 2, 2), [(2, 2)], train=False).dtype == torch.float64
    assert module.state_dict() == {}


def test_contradictions_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"train images can be padded to size=\(8, 8\) or to multiples of 4, not to both"
    ):
        Preprocess(PreprocessSpec(MEAN, STD, train_size=(8, 8), train_size_divisor=4))
    with pytest.raises(ValueError, match="one value per channel each; got 3 and 1"):
        Preprocess(PreprocessSpec(MEAN, (1.0,)))
    with pytest.raises(ValueError, match="have 3 values, but the images have 4 channels"):
        Preprocess(PreprocessSpec(MEAN, STD))(torch.zeros(1, 4, 2, 2), [(2, 2)], train=False)
