"""A Prediction checks itself, and its files say what it says."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from intarsia.colours import distinct_colours
from intarsia.data.image_io import read_label
from intarsia.inference.prediction import Prediction
from intarsia.io.whole_files import DiskFullError

CLASSES = ("road", "car", "sky")
PALETTE = ((128, 64, 128), (0, 0, 142), (70, 130, 180))


def prediction(label=None, **settings) -> Prediction:
    label = np.array([[0, 0, 1, 1], [0, 0, 0, 0]], np.uint8) if label is None else label
    return Prediction(label, **{"classes": CLASSES, "palette": PALETTE, **settings})


def test_areas_and_text():
    found = prediction(name="street")
    assert found.areas() == {"road": 0.75, "car": 0.25, "sky": 0.0}
    assert repr(found) == "<Prediction 'street': 4 x 2 pixels: road 75.0%, car 25.0%>"
    with pytest.raises(AttributeError):
        found.name = "other"
    five = Prediction(np.array([[0, 0, 0, 1, 2, 3, 4]], np.uint8), tuple("abcde"), ((0, 0, 0),) * 5)
    assert repr(five) == "<Prediction 'image': 7 x 1 pixels: a 42.9%, e 14.3%, d 14.3%, 2 more>"


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"label": np.zeros((2, 2), np.int64)}, r"expected \(H, W\) uint8 for 3 classes, found \(2, 2\) int64"),
        ({"label": np.zeros((2, 2, 1), np.uint8)}, r"found \(2, 2, 1\)"),
        ({"label": np.full((2, 2), 3, np.uint8)}, "class indices below 3, found 3"),
        ({"palette": PALETTE[:2]}, "one colour for each of 3 classes, found 2"),
        ({"palette": ((0, 0, 256), *PALETTE[1:])}, r"in 0\.\.255"),
        ({"image": np.zeros((2, 5, 3), np.uint8)}, r"image: expected \(2, 4, 3\) uint8"),
        ({"confidence": np.zeros((2, 4))}, r"confidence: expected \(2, 4\) float32 or float16, found"),
        ({"entropy": np.zeros((4, 2), np.float16)}, r"entropy: expected \(2, 4\)"),
        ({"logits": np.zeros((1, 2, 4), np.float32)}, r"logits: expected \(3, 2, 4\)"),
        ({"probabilities": np.zeros((2, 2, 4), np.float32)}, r"probabilities: expected \(3, 2, 4\)"),
        ({"multi_label": True, "label": np.full((2, 2), 8, np.uint8)}, "sets of classes below 8, found 8"),
        ({"multi_label": True, "classes": tuple("abcdefghijklmnop")}, "a pixel may have at most 15, found 16"),
    ],
)
def test_parts_that_do_not_fit_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        prediction(**settings)


@settings(max_examples=40, deadline=None)
@given(st.data(), st.sampled_from([1, 2, 19, 150, 256, 257, 1000]))
def test_saved_labels_read_back_as_they_were(tmp_path_factory, data, count):
    dtype = np.uint8 if count <= 256 else np.uint16
    shape = array_shapes(min_dims=2, max_dims=2, max_side=12)
    label = data.draw(arrays(dtype, shape, elements=st.integers(0, count - 1)))
    classes = tuple(map(str, range(count)))
    path = tmp_path_factory.mktemp("labels") / "deep" / "label.png"
    Prediction(label, classes, distinct_colours(count)).save(path)
    assert np.array_equal(np.array(Image.open(path)), label)
    assert np.array_equal(read_label(path), label)
    with Image.open(path) as image:
        assert image.mode == ("P" if count <= 256 else "I;16")
        if count <= 256:
            assert image.convert("RGB").getpixel((0, 0)) == distinct_colours(count)[label[0, 0]]


def test_files_are_whole_or_absent(tmp_path, monkeypatch):
    target = tmp_path / "new" / "label.png"
    assert prediction().save(target) == target
    assert os.listdir(target.parent) == ["label.png"]
    before = target.read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(DiskFullError, match="no room on the disk"):
        prediction(np.ones((2, 2), np.uint8)).save(target)
    assert target.read_bytes() == before
    assert os.listdir(target.parent) == ["label.png"]


@pytest.mark.parametrize(("method", "name"), [("save", "a.jpg"), ("save", "a"), ("save_overlay", "a.txt")])
def test_formats_that_would_lose_something_are_refused(tmp_path, method, name):
    with pytest.raises(ValueError, match="found"):
        getattr(prediction(), method)(tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_overlays(tmp_path):
    label = np.zeros((30, 40), np.uint8)
    label[:, 20:] = 1
    found = prediction(label, image=np.full((30, 40, 3), 100, np.uint8))
    plain = found.overlay(opacity=0.5, legend=False)
    assert plain.shape == (30, 40, 3)
    assert plain[5, 5].tolist() == [114, 82, 114]
    assert np.array_equal(found.overlay(0.0, legend=False)[5, 5], [100, 100, 100])
    assert np.array_equal(found.overlay(1.0, legend=False)[5, 30], PALETTE[1])
    with_text = found.overlay()
    assert with_text.shape[0] == 360
    assert with_text.shape[1] > 480
    assert np.array_equal(with_text, found.overlay(0.5, True, contours=True))
    assert not np.array_equal(with_text, found.overlay(contours=False))
    shown = {tuple(pixel) for pixel in with_text[:, 480:].reshape(-1, 3).tolist()}
    assert PALETTE[0] in shown
    assert PALETTE[1] in shown
    assert PALETTE[2] not in shown
    for suffix in (".jpg", ".png", ".webp"):
        assert Image.open(found.save_overlay(tmp_path / f"o{suffix}")).size == with_text.shape[1::-1]
    assert np.array_equal(np.array(Image.open(tmp_path / "o.png")), with_text)
    assert np.array_equal(prediction(label).overlay(legend=False)[5, 5], PALETTE[0])
    with pytest.raises(ValueError, match=r"opacity.*found 2"):
        found.overlay(opacity=2)
