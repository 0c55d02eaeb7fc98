"""The options --slide, --blend and --augment on top of what a config says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from intarsia.spec import AugmentedInference, Component, InferenceSpec, PreprocessSpec, RunSpec
from intarsia.workflows.views import with_views


@dataclass(frozen=True)
class Opened:
    spec: RunSpec


def inference_of(
    before: InferenceSpec,
    slide: str | None = None,
    blend: str = "average",
    augment: str | None = None,
    train: Any = None,
) -> InferenceSpec:
    preprocess = PreprocessSpec((0.0,), (1.0,), train_size=train)
    spec = RunSpec(model=Component("model", "EncoderDecoder"), preprocess=preprocess, losses=(), inference=before)
    return with_views(Opened(spec), slide=slide, blend=blend, augment=augment).spec.inference  # type: ignore[arg-type]


WHOLE = InferenceSpec(num_classes=3)
SLIDING = InferenceSpec(mode="slide", crop_size=(769, 769), stride=(513, 513))


@pytest.mark.parametrize(
    ("before", "slide", "train", "crop", "stride"),
    [
        (WHOLE, "512,341", None, (512, 512), (341, 341)),
        (WHOLE, "512x1024,100x200", None, (512, 1024), (100, 200)),
        (WHOLE, "512", None, (512, 512), (341, 341)),
        (WHOLE, "auto", (256, 320), (256, 320), (170, 213)),
        (SLIDING, "auto", (1, 1), (769, 769), (513, 513)),
        (SLIDING, "769", None, (769, 769), (513, 513)),
        (SLIDING, "600", None, (600, 600), (400, 400)),
    ],
)
def test_windows(before, slide, train, crop, stride):
    found = inference_of(before, slide, train=train)
    assert (found.mode, found.crop_size, found.stride) == ("slide", crop, stride)


def test_nothing_asked_for_changes_nothing():
    assert inference_of(WHOLE) == WHOLE
    assert inference_of(SLIDING) == SLIDING
    assert inference_of(InferenceSpec(mode="slide_flip"), "64,32").mode == "slide_flip"


def test_windows_that_are_spread_evenly_stay_so_until_a_stride_is_asked_for():
    even = InferenceSpec(mode="slide_even", crop_size=(512, 512))
    assert inference_of(even, "auto") == even
    assert inference_of(even, "64") == InferenceSpec(mode="slide_even", crop_size=(64, 64))
    assert inference_of(even, "64,32") == InferenceSpec(mode="slide", crop_size=(64, 64), stride=(32, 32))


def test_views():
    own = InferenceSpec(augmented=AugmentedInference((1.0, 2.0), (None, "vertical")))
    assert inference_of(own, augment="auto").augmented == own.augmented
    assert inference_of(own, augment="0.5,1").augmented == AugmentedInference((0.5, 1.0), (None, "vertical"))
    usual = inference_of(WHOLE, augment="auto").augmented
    assert usual == AugmentedInference((0.5, 0.75, 1.0, 1.25, 1.5, 1.75), (None, "horizontal"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"slide": "auto"}, "--slide: the config says no size of windows"),
        ({"slide": "big"}, "--slide takes pixels, one number or HEIGHTxWIDTH, found 'big'"),
        ({"augment": "large"}, "--augment takes scales, such as 0.75 1 1.25, found 'large'"),
        ({"blend": "hann"}, "--blend is average, gaussian, linear, found 'hann'"),
    ],
)
def test_numbers_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        inference_of(WHOLE, **options)


def test_the_threshold_of_one_logit_moves():
    def moved(inference: InferenceSpec, threshold: float) -> float | None:
        spec = RunSpec(
            model=Component("model", "EncoderDecoder"), preprocess=PreprocessSpec((0.0,), (1.0,)), losses=(),
            inference=inference,
        )  # fmt: skip
        opened: Any = Opened(spec)
        return with_views(
            opened, slide=None, blend="average", augment=None, threshold=threshold
        ).spec.inference.threshold

    single = InferenceSpec(num_classes=1, threshold=0.5)
    assert moved(single, 0.3) == 0.3
    for threshold in (0, 1, -0.1, 30):
        with pytest.raises(ValueError, match="--threshold is a probability between 0 and 1"):
            moved(single, threshold)
    with pytest.raises(ValueError, match=r"for models of two classes; this one has 3.*--min-confidence"):
        moved(WHOLE, 0.3)
