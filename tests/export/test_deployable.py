"""One function of an image gives what the predictor gives, strip by strip or at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from made import SIZES, Made, image

from intarsia.export.contract import Contract
from intarsia.export.deployable import deployable

KINDS: list[dict[str, Any]] = [
    {},
    {"channel_order": "bgr", "eval_size_divisor": 32},
    {"eval_size": (80, 64), "pad_value": 1.5, "align_corners": True},
    {"logits": 1, "threshold": 0.3},
    {"logits": 2, "threshold": 0.7},
    {"logits": 2},
]


def shown(made: Made, pixels: np.ndarray[Any, Any], output: str, **contract: Any) -> list[np.ndarray[Any, Any]]:
    module = made.deployable(output, **contract)
    with torch.no_grad():
        return [one[0].numpy() for one in module(torch.from_numpy(pixels)[None])]


@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_it_says_what_the_predictor_says(make: Any, kind: dict[str, Any], size: tuple[int, int]) -> None:
    made, pixels = make(**kind), image(size)
    expected = made.predictor().predict(pixels, probabilities=True, confidence=True, logits=True)
    (logits,), (probs,), (label,) = (shown(made, pixels, output) for output in ("logits", "probs", "label"))
    np.testing.assert_allclose(logits, expected.logits, atol=2e-5)
    np.testing.assert_allclose(probs, expected.probabilities, atol=2e-6)
    assert label.dtype == np.uint8
    np.testing.assert_array_equal(label, expected.label)
    again, confidence = shown(made, pixels, "scores")
    np.testing.assert_array_equal(again, label)
    np.testing.assert_allclose(confidence, expected.confidence, atol=2e-6)


def test_layouts_differ_in_the_order_of_axes_alone(make: Any) -> None:
    made, pixels = make(), image((40, 56))
    (rows,) = shown(made, pixels, "logits")
    (planes,) = shown(made, pixels.transpose(2, 0, 1), "logits", layout="NCHW")
    np.testing.assert_allclose(rows, planes, atol=1e-6)


def test_answers_have_the_size_that_is_asked_for(make: Any) -> None:
    made = make()
    module = made.deployable("logits", asks_size=True)
    with torch.no_grad():
        (found,) = module(torch.from_numpy(image((40, 56)))[None], torch.tensor([70, 33]))
        (plain,) = made.deployable("logits")(torch.from_numpy(image((40, 56)))[None])
    expected = torch.nn.functional.interpolate(plain, size=(70, 33), mode="bilinear")
    torch.testing.assert_close(found, expected)


def test_more_than_256_classes_need_more_than_8_bits(make: Any) -> None:
    made = make(logits=300)
    with torch.no_grad():
        (label,) = made.deployable()(torch.from_numpy(image((24, 24)))[None])
    assert label.dtype == torch.int32
    assert label.max() > 255


def test_networks_that_read_more_than_pixels_are_refused_by_name(make: Any) -> None:
    made = make()
    made.task.__class__ = type("Guided", (type(made.task),), {"conditions": lambda self, metas: ()})
    with pytest.raises(ValueError, match="Guided reads more of an image than its pixels"):
        deployable(made.task, made.inference, Contract("label", "NHWC", 3))
