"""RandAugment: how often, how strong, and that labels follow what moves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageOps

from intarsia.contracts import Sample
from intarsia.data.transforms.rand_augment import OPERATIONS, RandAugment
from intarsia.data.transforms.rotate import RandomRotate


def sample() -> Sample:
    rng = np.random.default_rng(0)
    image = np.clip(rng.normal(120, 40, (40, 56, 3)), 30, 220).astype(np.uint8)
    return Sample(image, rng.integers(0, 5, (40, 56), dtype=np.uint8))


def alone(operation: str, **arguments: Any) -> list[Sample]:
    """What comes of one operation, with either sign."""
    transform = RandAugment(num_ops=1, operations=[operation], **arguments)
    found = [transform(sample(), np.random.default_rng(seed)) for seed in range(12)]
    return list({one.image.tobytes(): one for one in found}.values())


@pytest.mark.parametrize(
    ("operation", "enhance"),
    [
        ("color", ImageEnhance.Color),
        ("contrast", ImageEnhance.Contrast),
        ("brightness", ImageEnhance.Brightness),
        ("sharpness", ImageEnhance.Sharpness),
    ],
)
def test_strengths_go_both_ways(operation: str, enhance: Any) -> None:
    picture = Image.fromarray(sample().image)
    expected = [np.asarray(enhance(picture).enhance(1 + sign * 0.5 * 0.9)) for sign in (1, -1)]
    found = alone(operation, magnitude=0.5)
    assert {one.image.tobytes() for one in found} == {value.tobytes() for value in expected}
    assert all(np.array_equal(one.label, sample().label) for one in found)
    (same,) = alone(operation, magnitude=0.0)
    assert np.array_equal(same.image, sample().image)


def test_two_have_no_strength() -> None:
    picture = Image.fromarray(sample().image)
    for operation, change in (("auto_contrast", ImageOps.autocontrast), ("equalize", ImageOps.equalize)):
        (found,) = alone(operation)
        assert np.array_equal(found.image, np.asarray(change(picture)))


def test_turned_images_take_their_labels_along() -> None:
    found = alone("rotate", magnitude=0.5)
    turns = [RandomRotate(1.0, (angle, angle), pad_val=(123, 116, 103)) for angle in (15, -15)]
    expected = [turn(sample(), np.random.default_rng(0)) for turn in turns]
    assert {one.image.tobytes() for one in found} == {one.image.tobytes() for one in expected}
    assert {one.label.tobytes() for one in found} == {one.label.tobytes() for one in expected}  # type: ignore[union-attr]
    assert all((one.label == 255).any() for one in found)


def test_none_is_drawn_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[str] = []
    monkeypatch.setattr(RandAugment, "_changed", lambda self, given, name, strength: (drawn.append(name), given)[1])
    rng, rounds = np.random.default_rng(0), 700
    for _ in range(rounds):
        start = len(drawn)
        RandAugment(num_ops=3)(sample(), rng)
        assert len(set(drawn[start:])) == 3
    for name in OPERATIONS:
        assert drawn.count(name) / rounds == pytest.approx(3 / 7, abs=0.06)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operations": ["rotate", "hue"]}, r"operations are of rotate, auto_contrast.*\['rotate', 'hue'\]"),
        ({"operations": ["rotate", "rotate"]}, "each once"),
        ({"num_ops": 8}, "num_ops must be 1 to 7"),
        ({"magnitude": 1.5}, r"magnitude must be in 0\.\.1"),
    ],
)
def test_what_cannot_be(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        RandAugment(**arguments)


def test_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="RandAugment works on RGB images of 8 bits, found 4 bands of uint16"):
        RandAugment()(Sample(np.zeros((4, 4, 4), np.uint16)), np.random.default_rng(0))
