"""Several models as one, against the obvious way: each by itself, at full size, and the mean of what they say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.contracts import Batch, SampleMeta
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.value_range import Scale, ValueRange
from intarsia.inference.ensemble import Member, check_members, mean_inference, mean_of, mean_reader
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.inference.predictor import Predictor
from intarsia.methods.nnunet import NNUNetHead
from intarsia.spec import AugmentedInference, Component, InferenceSpec

IMAGE = np.random.default_rng(0).integers(0, 256, (37, 53, 3), dtype=np.uint8)
VIEWS = AugmentedInference((0.5, 1.0), (None, "horizontal"))


def network(seed: int, stride: int = 4, channels: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    found = nn.Conv2d(3, channels, 7, stride=stride, padding=3)
    nn.init.normal_(found.weight, std=0.5)
    return found


def at_full_size(predictor: Predictor, image: npt.NDArray[np.uint8]) -> Tensor:
    """Logits (K, H, W) of one model for a whole image, everything at once."""
    pixels = torch.from_numpy(image.copy()).permute(2, 0, 1)[None]
    inputs = predictor.task.preprocess(pixels, (), train=False)
    with torch.no_grad():
        logits = predictor.task.model(inputs)
    whole = F.interpolate(logits, size=inputs.shape[2:], mode="bilinear")
    return whole[0, :, : image.shape[0], : image.shape[1]]


def shares(logits: Tensor, *, each: bool) -> Tensor:
    return logits.sigmoid() if each or len(logits) == 1 else logits.softmax(dim=0)


def maps_of(predictor: Predictor) -> list[Any]:
    batch = Batch(
        torch.from_numpy(IMAGE.copy()).permute(2, 0, 1)[None], None, ((37, 53),), (SampleMeta(original_size=(37, 53)),)
    )
    return next(predictor._views(batch))


KINDS: dict[str, dict[str, Any]] = {
    "three classes": {},
    "one logit": {"single": True, "threshold": 0.4},
    "several classes": {"answer": "classes", "class_thresholds": (0.3, 0.5, 0.6)},
}


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
@pytest.mark.parametrize("stride", [4, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_the_mean_is_that_of_the_models_by_themselves(kind: str, stride: int, mean, make_predictor) -> None:
    """Kept (stride 4) or added up at full size (stride 1): the same numbers."""
    options, channels = KINDS[kind], 1 if "single" in KINDS[kind] else 3
    alone = [make_predictor(model=network(seed, stride, channels), **options) for seed in range(3)]
    alone[1].task.preprocess.divisor = 16  # each pads as it was trained to
    joined = alone[0].together(alone[1:], mean)
    each = options.get("answer") == "classes"
    logits = [at_full_size(one, IMAGE) for one in alone]
    if mean == "logits":
        expected = shares(torch.stack(logits).mean(0), each=each)
    else:
        expected = torch.stack([shares(one, each=each) for one in logits]).mean(0)
    found = joined.predict(IMAGE, probabilities=True, confidence=True)
    assert len(maps_of(joined)) == (3 if mean == "probabilities" and stride == 4 else 1)
    ours = torch.from_numpy(np.asarray(found.probabilities))
    torch.testing.assert_close(ours[-channels:], expected, rtol=1e-5, atol=2e-6)
    if each:
        yes = expected > torch.tensor(options["class_thresholds"]).view(3, 1, 1)
        label, near = (yes.int() << torch.arange(3).view(3, 1, 1)).sum(0), expected.new_zeros(37, 53, dtype=torch.bool)
    elif channels == 1:
        label, near = (expected[0] > 0.4).int(), (expected[0] - 0.4).abs() < 1e-6
    else:
        first, second = expected.topk(2, dim=0).values
        label, near = expected.argmax(0).int(), first - second < 1e-6
    assert np.array_equal(found.label[~near.numpy()], label.numpy()[~near.numpy()])
    assert len(np.unique(found.label)) > 1


@pytest.mark.parametrize("mean", ["probabilities", "logits"])
def test_windows_and_views_have_the_same_mean(mean, make_predictor) -> None:
    settings = {"windows": ((16, 24), (11, 17))}
    alone = [make_predictor(model=network(seed), **settings) for seed in range(2)]
    joined = alone[0].together(alone[1:], mean)
    each = [torch.from_numpy(np.asarray(one.predict(IMAGE, logits=True).logits)) for one in alone]
    expected = (
        torch.stack(each).mean(0).softmax(0) if mean == "logits" else torch.stack([x.softmax(0) for x in each]).mean(0)
    )
    torch.testing.assert_close(
        torch.from_numpy(np.asarray(joined.predict(IMAGE, probabilities=True).probabilities)),
        expected,
        rtol=1e-5,
        atol=2e-6,
    )


@pytest.mark.parametrize("stride", [4, 1])
def test_augmented_views_of_all_models_count_alike(stride: int, make_predictor) -> None:
    alone = [make_predictor(model=network(seed, stride), augment=True, augmented=VIEWS) for seed in range(2)]
    each = [np.asarray(one.predict(IMAGE, probabilities=True).probabilities) for one in alone]
    found = alone[0].together(alone[1:], "probabilities").predict(IMAGE, probabilities=True)
    np.testing.assert_allclose(np.asarray(found.probabilities), np.mean(each, axis=0), rtol=1e-5, atol=2e-6)


def test_augmented_views_of_a_mean_of_logits_have_a_mean_of_probabilities(make_predictor) -> None:
    views = replace(VIEWS, scales=(1.0,))
    alone = [make_predictor(model=network(seed), augment=True, augmented=views) for seed in range(2)]
    total = torch.zeros(3, 37, 53)
    for axis in ((), (1,)):
        image = np.flip(IMAGE, axis)
        logits = torch.stack([at_full_size(one, image) for one in alone]).mean(0)
        total += logits.softmax(0).flip([a + 1 for a in axis]) / 2
    found = alone[0].together(alone[1:], "logits").predict(IMAGE, probabilities=True)
    torch.testing.assert_close(torch.from_numpy(np.asarray(found.probabilities)), total, rtol=1e-5, atol=2e-6)


def test_what_is_held_of_models_without_a_stride_is_one_map(make_predictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each network's logits are gone when the next one computes."""
    import weakref

    held: list[weakref.ref[Tensor]] = []
    alive: list[int] = []

    class Noted(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images: Tensor) -> Tensor:
            alive.append(sum(one() is not None for one in held))
            found: Tensor = self.inner(images)
            held.append(weakref.ref(found))
            return found

    alone = [make_predictor(model=Noted(network(seed, 1))) for seed in range(4)]
    alone[0].together(alone[1:], "probabilities").predict(IMAGE)
    assert max(alive) <= 1


def test_a_mean_of_probabilities_has_no_logits(make_predictor) -> None:
    alone = [make_predictor(model=network(seed)) for seed in range(2)]
    with pytest.raises(ValueError, match="logits of 2 models: the mean is one of their probabilities"):
        alone[0].together(alone[1:], "probabilities").predict(IMAGE, logits=True)
    found = alone[0].together(alone[1:], "logits").predict(IMAGE, logits=True)
    expected = torch.stack([at_full_size(one, IMAGE) for one in alone]).mean(0)
    torch.testing.assert_close(torch.from_numpy(np.asarray(found.logits)), expected, rtol=1e-5, atol=1e-5)


def test_images_of_a_batch_do_not_depend_on_each_other(make_predictor) -> None:
    alone = [make_predictor(model=network(seed)) for seed in range(2)]
    joined = alone[0].together(alone[1:], "probabilities")
    images = torch.stack([torch.from_numpy(IMAGE.copy()), torch.from_numpy(IMAGE[::-1].copy())]).permute(0, 3, 1, 2)
    meta = SampleMeta(original_size=(37, 53))
    found = joined.postprocess_batch(
        Batch(images, None, ((37, 53),) * 2, (meta, meta)), RequestedFields(confidence=True)
    )
    for one, image in zip(found, (IMAGE, IMAGE[::-1]), strict=True):
        assert np.array_equal(one.label.numpy(), joined.predict(image).label)


def test_depths_have_a_mean_of_what_the_networks_give() -> None:
    from intarsia.inference.depth_predictor import DepthPredictor
    from tests.inference.conftest import Task

    spec = InferenceSpec(num_classes=1, answer="depth")
    alone = [
        DepthPredictor(Task(network(seed, 1, 1)), inference=spec, classes=("any room",), palette=((0, 0, 0),))
        for seed in range(3)
    ]
    mean = mean_of([member(inference=spec)], None)
    found = alone[0].together(alone[1:], mean).predict(IMAGE).depth
    np.testing.assert_allclose(found, np.mean([one.predict(IMAGE).depth for one in alone], axis=0), atol=1e-5)
    with pytest.raises(ValueError, match="is for models of classes"):
        mean_of([member(inference=spec)], "probabilities")


# --- What must agree ----------------------------------------------------------------------------------------------


def member(name: str = "a", **changes: Any) -> Member:
    values: dict[str, Any] = {
        "inference": InferenceSpec(num_classes=2), "classes": ("sky", "road"), "palette": ((0, 0, 0), (9, 9, 9)),
        "regions": {}, "reader": ImageReader(), "steps": (Component("transform", "Resize", {"scale": (64, 64)}),),
    }  # fmt: skip
    return Member(name, **{**values, **changes})


def raw(**changes: Any) -> ImageReader:
    return ImageReader(ImageSpec(**{"bands": "raw", "channels": 4, **changes}))


CONTRADICTIONS: dict[str, Callable[[], tuple[Member, Member]]] = {
    "classes\n    a: ('sky', 'road')\n    b: ('sky', 'street')": lambda: (
        member(), member("b", classes=("sky", "street"))),
    "palette": lambda: (member(), member("b", palette=((0, 0, 0), (8, 8, 8)))),
    "what they say\n    a: a class for each pixel, of 2\n    b: a class for each pixel, of 2, as one logit": lambda: (
        member(), member("b", inference=InferenceSpec(num_classes=2, threshold=0.5))),
    "several classes for each pixel": lambda: (
        member(), member("b", inference=InferenceSpec(num_classes=2, answer="classes"))),
    "bands\n    a: 3 of rgb images\n    b: 4 of raw images": lambda: (member(), member("b", reader=raw())),
    "numbers of images\n    a: uint16\n    b: float32": lambda: (
        member(reader=raw(values=ValueRange("uint16", 0, 9))),
        member("b", reader=raw(values=ValueRange("float32", 0, 9)))),
    "scale of these\n    a: clip, 0.0, 10.0\n    b: clip, 0.0, 20.0": lambda: (
        member(reader=raw(scale=Scale.of(["clip", 0, 10]))), member("b", reader=raw(scale=Scale.of(["clip", 0, 20])))),
    "steps of the test pipeline\n    a: Resize.*64, 64.*\n    b: none": lambda: (member(), member("b", steps=())),
    "windows .*\n    a: whole images\n    b: slide, 64 x 64 every 40 x 40": lambda: (
        member(), member("b", inference=InferenceSpec("slide", (64, 64), (40, 40), num_classes=2))),
    "regions": lambda: (member(), member("b", regions={"1": [0]})),
}  # fmt: skip


@pytest.mark.parametrize("said", CONTRADICTIONS)
def test_contradictions_are_refused_with_both_sides(said: str) -> None:
    pair = CONTRADICTIONS[said]()
    expected = said if ".*" in said else "".join(f"\\{c}" if c in "()" else c for c in said)
    with pytest.raises(ValueError, match=expected):
        check_members(pair)


def test_all_contradictions_are_named_at_once_and_many_models_in_short() -> None:
    others = [member(f"m{i}", classes=("x", str(i)), palette=((1, 1, 1), (2, 2, 2))) for i in range(4)]
    with pytest.raises(ValueError, match="5 models have no mean") as caught:
        check_members([member(), *others])
    assert str(caught.value).count("and 2 more") == 2


def test_windows_that_are_given_contradict_nothing() -> None:
    pair = member(), member("b", inference=InferenceSpec("slide", (64, 64), (40, 40), num_classes=2))
    check_members(pair, windows_given=True)


def test_what_weights_do_not_say_contradicts_nothing() -> None:
    check_members([member(), member("b", classes=(), palette=(), reader=ImageReader(ImageSpec(values=None)))])


def test_values_that_any_of_the_models_has_seen_are_taken() -> None:
    readers = [raw(values=ValueRange("uint16", low, high)) for low, high in ((10, 900), (0, 800))]
    values = mean_reader([member(reader=reader) for reader in readers]).spec.values
    assert values is not None
    assert (values.low, values.high, values.dimmest) == (0, 900, None)


def specs(*thresholds: float | None) -> Sequence[InferenceSpec]:
    return [InferenceSpec(num_classes=2, two_class_threshold=threshold) for threshold in thresholds]


def test_thresholds_have_a_mean_as_the_answers_have() -> None:
    assert mean_inference(specs(None, None), "probabilities").foreground_above is None
    assert mean_inference(specs(0.3, 0.3), "logits").foreground_above == 0.3
    assert mean_inference(specs(0.2, None), "probabilities").foreground_above == pytest.approx(0.35)
    of_logits = mean_inference(specs(0.2, 0.9), "logits").foreground_above
    assert of_logits is not None
    assert math.log(of_logits / (1 - of_logits)) == pytest.approx((math.log(0.2 / 0.8) + math.log(0.9 / 0.1)) / 2)
    several = [
        InferenceSpec(num_classes=2, answer="classes", class_thresholds=pair) for pair in ((0.2, 0.5), (0.4, 0.9))
    ]
    assert mean_inference(several, "probabilities").thresholds == pytest.approx((0.3, 0.7))


def test_logits_are_averaged_of_nnunet_alone_or_when_asked() -> None:
    head = NNUNetHead(in_channels=[4, 8], in_index=[0, 1], num_classes=2)
    ours, theirs = member(), member(head=head)
    assert mean_of([theirs, theirs], None) == "logits"
    assert mean_of([theirs, ours], None) == mean_of([ours, ours], None) == "probabilities"
    assert mean_of([ours, ours], "logits") == "logits"
    with pytest.raises(ValueError, match="--mean is probabilities or logits, found 'median'"):
        mean_of([ours, ours], "median")
