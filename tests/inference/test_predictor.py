"""One image or many, from anything a user has, into Predictions."""

from __future__ import annotations

import threading
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from intarsia.contracts import Batch, Sample, SampleMeta
from intarsia.data.collate import collate
from intarsia.data.image_reader import ImageReader
from intarsia.data.image_spec import ImageSpec
from intarsia.data.transforms.resize import Resize
from intarsia.inference.logits.postprocess import RequestedFields
from intarsia.inference.prediction import Prediction
from intarsia.inference.predictions import Predictions
from intarsia.inference.predictor import Predictor
from intarsia.inference.threshold import predictor_at
from intarsia.spec import InferenceSpec

EXPECTED = np.repeat([0, 1, 2], 20)[None].repeat(40, axis=0)


def test_one_image_in_every_form(make_predictor, bands_image, tmp_path):
    predictor = make_predictor()
    Image.fromarray(bands_image).save(tmp_path / "bands.png")
    alpha = np.dstack([bands_image, np.zeros((40, 60), np.uint8)])
    forms = {
        "array": bands_image,
        "view": np.ascontiguousarray(bands_image[:, ::-1])[:, ::-1],
        "alpha": alpha,
        "pil": Image.fromarray(bands_image),
        "pil rgba": Image.fromarray(alpha),
        "tensor": torch.from_numpy(bands_image).permute(2, 0, 1),
        "path": tmp_path / "bands.png",
        "string": str(tmp_path / "bands.png"),
    }
    for form, image in forms.items():
        prediction = predictor.predict(image)
        assert isinstance(prediction, Prediction), form
        assert np.array_equal(prediction.label, EXPECTED), form
        assert np.array_equal(prediction.image, bands_image), form
    assert predictor.predict(tmp_path / "bands.png").name == "bands"
    assert np.array_equal(predictor.predict(bands_image[:, :, 0]).label, EXPECTED)
    assert np.array_equal(predictor.predict(Image.fromarray(bands_image[:, :, 0])).label, EXPECTED)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32.*multiply by 255"),
        (np.zeros((4, 4, 3), np.uint16), "uint16"),
        (np.zeros((3, 40, 40), np.uint8), r"transpose\(1, 2, 0\)"),
        (np.zeros((0, 4, 3), np.uint8), "with pixels in it"),
        (np.zeros((4, 4, 7), np.uint8), "1, 3 or 4 channels"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), r"predict\(list\(batch\)\)"),
        ("absent.png", "absent.png"),
    ],
)
def test_what_is_no_image_is_refused_with_the_fix(make_predictor, image, message):
    with pytest.raises(ValueError, match=message):
        make_predictor().predict(image)


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("scale", [None, (90, 90), (33, 33)])
def test_labels_come_back_at_the_original_size(make_predictor, bands_image, stride, scale):
    transforms = [] if scale is None else [Resize(scale=scale, keep_ratio=True)]
    label = make_predictor(stride=stride, transforms=transforms).predict(bands_image).label
    assert label.shape == (40, 60)
    assert label.dtype == np.uint8
    x = np.arange(60)  # cells on a border between bands, or with the padding, hold some of both
    clear = (np.abs(x - 19.5) > 5) & (np.abs(x - 39.5) > 5) & (x < 52)
    assert np.array_equal(label[:32, clear], EXPECTED[:32, clear])


def test_a_flipping_transform_is_undone(make_predictor, bands_image):
    def flip(sample: Sample, rng) -> Sample:
        meta = SampleMeta(sample.meta.name, original_size=sample.meta.original_size, flips=("horizontal",))
        return Sample(sample.image[:, ::-1], meta=meta)

    assert np.array_equal(make_predictor(transforms=[flip]).predict(bands_image).label, EXPECTED)


def test_one_logit_tells_two_classes_apart(make_predictor, bands_image):
    predictor = make_predictor(single=True, threshold=0.9)
    prediction = predictor.predict(bands_image, probabilities=True, confidence=True)
    assert np.array_equal(prediction.label, EXPECTED == 2)
    assert prediction.probabilities.shape == (2, 40, 60)
    np.testing.assert_allclose(prediction.probabilities.sum(axis=0), 1, atol=1e-6)
    taken = np.take_along_axis(prediction.probabilities, prediction.label[None].astype(int), 0)[0]
    np.testing.assert_allclose(prediction.confidence, taken, atol=1e-6)
    named = make_predictor(single=True, classes=("crack",))
    assert named.classes == ("background", "crack")


def test_probabilities_on_request(make_predictor, bands_image):
    plain = make_predictor().predict(bands_image)
    assert plain.probabilities is None
    assert plain.confidence is None
    full = make_predictor(stride=2).predict(bands_image, probabilities=True, confidence=True)
    assert full.probabilities.dtype == full.confidence.dtype == np.float32
    np.testing.assert_allclose(full.probabilities.max(axis=0), full.confidence, atol=1e-6)


def test_batches_of_different_sizes(make_predictor, bands_image):
    """Evaluation's way: several padded images at once, each back at its own size."""
    images = torch.zeros(2, 3, 40, 64, dtype=torch.uint8)
    images[0, :, :, :60] = torch.from_numpy(bands_image).permute(2, 0, 1)
    images[1, 0, :16, :24] = 240
    metas = (SampleMeta("a", original_size=(40, 60)), SampleMeta("b", original_size=(33, 47)))
    first, second = make_predictor().predict_batch(Batch(images, None, ((40, 60), (16, 24)), metas))
    assert np.array_equal(first.numpy(), EXPECTED)
    assert second.shape == (33, 47)
    assert (second == 2).all()


def test_streams_are_lazy_and_in_order(make_predictor, bands_image):
    drawn = []

    def frames():
        for index in range(20):
            drawn.append(index)
            frame = bands_image.copy()
            frame[0, 0, 0] = 20 if index % 2 else 240
            yield frame

    predictions = make_predictor().predict(frames())
    assert isinstance(predictions, Predictions)
    assert drawn == []
    first = next(predictions)
    assert first.label[0, 0] == 2
    assert len(drawn) <= 3
    rest = list(predictions)
    assert [prediction.label[0, 0] for prediction in rest] == [0, 2] * 9 + [0]
    assert [p.name for p in (first, *rest)] == [f"image_{index:05d}" for index in range(20)]
    assert predictions.total is None


def test_abandoned_streams_leave_no_thread(make_predictor, bands_image):
    predictions = make_predictor().predict([bands_image] * 50)
    next(predictions)
    predictions.close()
    del predictions
    for thread in threading.enumerate():
        if thread.name.startswith("intarsia-decode"):
            thread.join(timeout=5)
            assert not thread.is_alive()


def test_broken_images_do_not_stop_a_folder(make_predictor, bands_image, tmp_path):
    for name in ("a2.png", "a10.png", "deep/er/a1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(bands_image).save(tmp_path / name)
    whole = (tmp_path / "a2.png").read_bytes()
    (tmp_path / "a3.png").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "a4.jpg").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("not an image")
    predictions = make_predictor().predict(tmp_path)
    assert predictions.total == 5
    assert [prediction.name for prediction in predictions] == ["a2", "a10", "deep/er/a1"]
    assert [path for path, _ in predictions.failures] == [str(tmp_path / "a3.png"), str(tmp_path / "a4.jpg")]
    assert all(reason and str(tmp_path) not in reason for _, reason in predictions.failures)
    assert predictions.skipped == {".txt": 1}
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.png").write_bytes(b"")
    with pytest.raises(ValueError, match=r"not one of 1 images could be used.*x\.png"):
        list(make_predictor().predict(tmp_path / "only"))


def test_images_that_do_not_fit_the_model_are_set_aside(make_predictor, bands_image):
    predictor = make_predictor()
    predictor.reader = ImageReader(ImageSpec("raw", 3))
    predictions = predictor.predict([bands_image, bands_image[:, :, :1], bands_image])
    assert len(list(predictions)) == 2
    (failure,) = predictions.failures
    assert failure[0] == "image_00001"
    assert "the model takes 3 bands, the file has 1 (1 unnamed)" in failure[1]


def test_concurrent_calls_do_not_disturb_one_another(make_predictor):
    predictor = make_predictor(stride=2)
    images = [np.full((24 + index % 5, 30 + index % 7, 3), 13 * index % 256, np.uint8) for index in range(40)]
    alone = [predictor.predict(image).label for image in images]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda image: predictor.predict(image).label, images))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_a_task_in_training_is_put_to_evaluation(make_predictor, bands_image):
    predictor = make_predictor()
    predictor.task.train()
    assert np.array_equal(predictor.predict(bands_image).label, EXPECTED)
    assert not predictor.task.training


class _Broken(nn.Module):
    def forward(self, images):
        return torch.full((images.shape[0], 3, *images.shape[2:]), torch.nan)


def test_values_that_are_not_finite_are_said_once_by_name(make_predictor, bands_image, tmp_path):
    Image.fromarray(bands_image).save(tmp_path / "photo.png")
    predictor = make_predictor(model=_Broken())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("default")
        for _ in range(3):
            predictor.predict(tmp_path / "photo.png")
    assert [str(entry.message) for entry in caught] == [
        "photo: the network gave nan or infinity; its labels mean nothing there"
    ]


class TwoLogits(nn.Module):
    """Nought, and how red a pixel is."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))

    def forward(self, images):
        red = self.scale * images[:, :1]
        return torch.cat([torch.zeros_like(red), 4 * red - 2], dim=1)


def test_a_threshold_of_two_logits(make_predictor, bands_image):
    usual = make_predictor(model=TwoLogits(), classes=("a", "b"))
    probability = usual.predict(bands_image, probabilities=True).probabilities[1]
    assert np.array_equal(usual.predict(bands_image).label, probability > 0.5)
    for threshold in (0.2, 0.9):
        predictor = predictor_at(usual, threshold)
        assert predictor.task is usual.task
        found = predictor.predict(bands_image, confidence=True)
        assert np.array_equal(found.label, probability > threshold)
        assert np.allclose(found.confidence, np.where(found.label, probability, 1 - probability))
    assert usual.inference.foreground_above is None
    assert predictor_at(usual, None) is usual
    tried = [predictor_at(usual, threshold).predict(bands_image).label.mean() for threshold in (0.01, 0.2, 0.7, 0.9)]
    assert tried == pytest.approx([1, 2 / 3, 1 / 3, 0])
    single = make_predictor(single=True, threshold=0.3)
    assert predictor_at(single, 0.3) is single
    assert predictor_at(single, 0.6).inference == InferenceSpec(num_classes=2, threshold=0.6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ("a", "b")}, "one logit for each of 2 classes, found 3"),
        ({"threshold": 0.5, "classes": ("a", "b")}, "remove the threshold"),
        ({"threshold": 0.5, "classes": ("a", "b"), "model": TwoLogits()}, "2 logits; expected one logit, since"),
        ({"two_class_threshold": 0.5}, "3 logits; expected one logit or two, since"),
    ],
)
def test_classes_and_logits_must_fit(make_predictor, bands_image, settings, message):
    with pytest.raises(ValueError, match=message):
        make_predictor(**settings).predict(bands_image)


def test_settings_that_make_no_sense(make_predictor):
    with pytest.raises(ValueError, match=r"found no crop_size and stride; set model\.test_cfg"):
        make_predictor(mode="slide")
    for given in ({}, {"crop_size": (0, 8)}):
        with pytest.raises(ValueError, match=r"evenly apart .* a crop_size of 1 pixel or more, found"):
            make_predictor(mode="slide_even", **given)
    with pytest.raises(ValueError, match="batch_windows: expected at least 1, found 0"):
        make_predictor(batch_windows=0)
    assert make_predictor(batch_windows=1).batch_windows == 1
    with pytest.raises(ValueError, match="a model with one logit tells two classes apart, found 3 names: a, b, c"):
        make_predictor(single=True, classes=("a", "b", "c"))
    with pytest.raises(ValueError, match="2 names, 1 colours"):
        Predictor(make_predictor().task, inference=InferenceSpec(), classes=("a", "b"), palette=((0, 0, 0),))


@pytest.mark.parametrize("mode", ["slide", "slide_flip", "slide_even"])
@pytest.mark.parametrize("scale", [None, (90, 90), (33, 33)])
def test_windows_change_nothing_for_a_model_that_looks_at_single_pixels(make_predictor, bands_image, mode, scale):
    transforms = [] if scale is None else [Resize(scale=scale, keep_ratio=True)]
    windows = {"mode": mode, "windows": ((16, 24), None if mode == "slide_even" else (11, 16))}
    for blend in ("average", "gaussian"):
        found = make_predictor(transforms=transforms, blend=blend, **windows).predict(bands_image, probabilities=True)
        whole = make_predictor(transforms=transforms).predict(bands_image, probabilities=True)
        np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-5)
        assert (found.label != whole.label).mean() < 0.002  # ties


@pytest.mark.parametrize("mode", ["whole", "slide"])
def test_no_image_depends_on_what_else_is_in_its_batch(make_predictor, mode):
    """Images of other sizes would pad it, and padding is seen by its neighbours."""

    class Wide(nn.Module):
        def forward(self, images):
            red = torch.nn.functional.avg_pool2d(images[:, :1], 9, 1, 4)
            return torch.cat([red, 0.5 - red, red.mean(dim=(2, 3), keepdim=True) - red], dim=1)

    generator = np.random.default_rng(0)
    sizes = [(40, 64), (24, 30), (40, 64), (56, 20)]
    images = [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    predictor = make_predictor(model=Wide(), mode=mode, windows=((32, 32), (20, 20)), batch_windows=3)
    samples = [Sample(image, meta=SampleMeta(original_size=image.shape[:2])) for image in images]
    together = predictor.predict_batch(collate(samples))
    alone = [predictor.predict_batch(collate([sample]))[0] for sample in samples]
    assert all(torch.equal(a, b) for a, b in zip(together, alone, strict=True))
    seen = []
    predictor.predict_batch(
        collate(samples), observe=lambda logits, windows, network, _: seen.append((windows, network))
    )
    assert sorted({window.image for windows, _ in seen for window in windows}) == [0, 1, 2, 3]
    networks = {window.image: network for windows, network in seen for window in windows}
    assert networks == {0: (40, 64), 1: (24, 32), 2: (40, 64), 3: (56, 24)}


def test_everything_that_can_be_asked_for(make_predictor, bands_image):
    found = make_predictor(stride=2).predict(
        bands_image, probabilities=True, confidence=True, entropy=True, logits=True, half=True
    )
    for values in (found.probabilities, found.confidence, found.entropy, found.logits):
        assert values.dtype == np.float16
    assert np.array_equal(found.logits.argmax(axis=0), found.label)
    exact = make_predictor(stride=2).predict(bands_image, entropy=True, probabilities=True)
    expected = -(exact.probabilities * np.log(exact.probabilities)).sum(axis=0)
    np.testing.assert_allclose(exact.entropy, expected, atol=1e-5)
    assert "with entropy" not in repr(make_predictor().predict(bands_image))
    assert "with probabilities, entropy:" in repr(exact)


class Nearness(nn.Module):
    """One number for each pixel: how red it is."""

    def forward(self, images):
        return images[:, :1]


def test_a_model_of_depth_gives_numbers_and_nothing_of_labels(make_predictor, bands_image):
    predictor = make_predictor(model=Nearness(), answer="depth")
    batch = collate([Sample(bands_image, meta=SampleMeta(original_size=(40, 60)))])
    (depth,) = predictor.predict_batch(batch)
    np.testing.assert_allclose(depth, bands_image[:, :, 0] / np.float32(255), atol=1e-6)
    for field in ("probabilities", "confidence", "entropy", "logits"):
        with pytest.raises(ValueError, match="a model of depth has no probabilities, confidence, entropy or logits"):
            predictor.postprocess_batch(batch, RequestedFields(**{field: True}))
