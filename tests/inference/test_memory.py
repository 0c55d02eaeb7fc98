"""Large images: asked beforehand whether they fit, seen window by window, and one error with the way out."""

from __future__ import annotations

import dataclasses
from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn

import intarsia
from intarsia.data import headers, image_io
from intarsia.inference import memory, predictor
from intarsia.inference.logits.sliding import windows_of
from intarsia.inference.memory import MemoryCheck, TooLargeError, bytes_per_pixel, free_memory, memory_errors
from intarsia.inference.network_input import by_windows, can_be_cut
from intarsia.spec import PreprocessSpec
from intarsia.tasks.preprocess import Preprocess

CPU = torch.device("cpu")


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (150, 210, 3), dtype=np.uint8)


@pytest.fixture
def small_is_large(monkeypatch):
    monkeypatch.setattr(predictor, "LARGE", 1000)


@torch.inference_mode()
def test_what_a_network_needs_for_a_pixel():
    model = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 8, 1))
    assert bytes_per_pixel(model, 3, CPU) == 4 * (3 + 32 + 32)  # the input is held, and both sides of the ReLU
    assert bytes_per_pixel(nn.Conv2d(3, 5, 1).double(), 3, CPU, dtype=torch.float64, side=300) == 8 * (3 + 5)


def test_limits_of_containers_count(tmp_path):
    assert free_memory(CPU, groups=tmp_path) > 0
    (tmp_path / "memory.max").write_text("5000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    assert free_memory(CPU, groups=tmp_path) == 4_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory(CPU, groups=tmp_path) > 4_000_000


@pytest.mark.parametrize(
    ("mode", "stride"),
    [("slide", (48, 48)), ("slide", (64, 37)), ("slide_flip", (48, 48)), ("slide_even", None)],
)
def test_windows_that_are_normalised_by_themselves_give_the_same_bits(make_weights, image, monkeypatch, mode, stride):
    model = intarsia.load(make_weights(), device="cpu")
    model.inference = dataclasses.replace(model.inference, mode=mode, crop_size=(64, 64), stride=stride)
    before = model.predict(image, logits=True)
    monkeypatch.setattr(predictor, "LARGE", 1000)
    after = model.predict(image, logits=True)
    assert np.array_equal(before.logits, after.logits)
    assert np.array_equal(before.label, after.label)


def preprocess(**spec):
    return Preprocess(PreprocessSpec((100.0, 110.0, 120.0), (50.0, 60.0, 70.0), pad_value=7.0, **spec))


def test_a_window_of_stored_images_is_that_of_the_normalised_ones():
    images = torch.randint(0, 256, (2, 3, 37, 45), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = by_windows(images, preprocess(eval_size_divisor=16))
    whole = found.whole()
    assert (found.count, found.size, whole.shape) == (2, (48, 48), (2, 3, 48, 48))
    for number in range(2):
        for window in windows_of(found.size, (16, 20), (12, 14), image=number, both_ways=True):
            assert torch.equal(found.cut(window), window.cut(whole[number]))


def test_which_images_are_normalised_by_windows():
    assert can_be_cut(preprocess(), (40, 50), 40)
    assert can_be_cut(preprocess(eval_size_divisor=16, train_size=(64, 64)), (40, 50), 1)
    assert not can_be_cut(preprocess(), (40, 50), 41)
    assert not can_be_cut(preprocess(eval_size=(64, 64)), (40, 50), 1)
    assert not can_be_cut(nn.Identity(), (40, 50), 1)


class OneLayer:
    """A task whose network holds its input and what it makes of it: 4 bytes for each of 3 + `channels` numbers."""

    def __init__(self, channels: int) -> None:
        self.model = nn.Conv2d(3, channels, 1)

    def parameters(self):
        return self.model.parameters()


@pytest.mark.parametrize(
    ("channels", "at_once", "normalised_whole", "needed"),
    [
        (20, None, True, 4 * 23 * 2 * 30 * 40),
        (2, None, True, 3 * 4 * 3 * 2 * 30 * 40),  # three copies in single precision are more than the network's
        (20, 500, True, 3 * 4 * 3 * 2 * 30 * 40 + 4 * 23 * 500),
        (20, 500, False, 4 * 23 * 500),
    ],
)
@torch.inference_mode()
def test_what_is_asked_for_is_what_is_needed(monkeypatch, channels, at_once, normalised_whole, needed):
    """Of two images of 30 x 40: as many bytes as are needed are enough, and one less is not."""
    check = MemoryCheck(OneLayer(channels), CPU)
    images = torch.zeros(2, 3, 30, 40, dtype=torch.uint8)
    for free, fits in ((needed, True), (needed - 1, False)):
        monkeypatch.setattr(memory, "free_memory", lambda device, free=free: free)
        with nullcontext() if fits else pytest.raises(TooLargeError, match="a: its 40 x 30 pixels at once"):
            check.check("a", images, at_once=at_once, normalised_whole=normalised_whole)


def test_the_limit_of_the_process_counts(monkeypatch):
    resource = pytest.importorskip("resource", reason="no such limits on Windows")
    used = memory.psutil.Process().memory_info().vms
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (used + 10**9, resource.RLIM_INFINITY))
    assert free_memory(CPU) <= 10**9
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (1, resource.RLIM_INFINITY))
    assert free_memory(CPU) == 0


def test_an_allocation_that_fails_beside_the_network():
    """By the library's own type or by its words, with or without windows; another error stays what it is."""
    for error in (MemoryError(), RuntimeError("std::bad_alloc")):
        for windows in (False, True):
            with (
                pytest.raises(TooLargeError, match=r"^a: its 9 x 7 pixels at once need more memory") as caught,
                memory_errors("a", (7, 9), CPU, by_windows=windows),
            ):
                raise error
            assert ("--slide" in str(caught.value)) != windows
            assert "GPU" not in str(caught.value)
    with pytest.raises(RuntimeError, match=r"^other$"), memory_errors("a", (7, 9), CPU, by_windows=True):
        raise RuntimeError("other")
    assert "on the GPU" in str(memory.too_large("a", (7, 9), torch.device("cuda"), "9 GB", by_windows=True))


@pytest.mark.usefixtures("small_is_large")
@pytest.mark.parametrize(
    ("mode", "way"), [("whole", "--slide 512 341; or as a raster"), ("slide", "predict it as a raster")]
)
def test_an_image_that_does_not_fit_names_the_way_out(make_weights, image, monkeypatch, mode, way):
    model = intarsia.load(make_weights(), device="cpu")
    model.inference = dataclasses.replace(model.inference, mode=mode, crop_size=(64, 64), stride=(48, 48))
    model.predict(image)
    monkeypatch.setattr(memory, "free_memory", lambda device: 1000)
    with pytest.raises(
        TooLargeError, match=rf"210 x 150 pixels at once need about .* GB are free: .*{way}.*-o NAME\.tif"
    ):
        model.predict(image)
    predictions = model.predict([image, image[:20, :20]])  # the others are done all the same
    assert [prediction.label.shape for prediction in predictions] == [(20, 20)]
    assert "210 x 150 pixels" in predictions.failures[0][1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you tried ..."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
    ],
)
def test_an_allocation_that_fails_is_the_images_error(make_weights, image, monkeypatch, error):
    model = intarsia.load(make_weights(), device="cpu")

    def forward(_):
        raise error

    monkeypatch.setattr(model.task.model, "forward", forward)
    with pytest.raises(TooLargeError, match=r"210 x 150 pixels at once need more memory than there is.*--slide"):
        model.predict(image)


def test_a_file_that_cannot_be_decoded_for_lack_of_memory(tmp_path, image, monkeypatch):
    from PIL import Image

    Image.fromarray(image).save(tmp_path / "a.png")

    def none_left(*_):
        raise MemoryError

    monkeypatch.setattr(image_io, "read_by_opencv", none_left)
    with pytest.raises(ValueError, match=r"a\.png: its pixels do not fit into memory.*-o NAME\.tif"):
        image_io.read_image(tmp_path / "a.png")


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp", "webp", "tif", "gif", "ppm", "jp2"])
def test_how_large_an_image_may_be_is_said_by_the_user(make_weights, tmp_path, image, monkeypatch, suffix):
    from PIL import Image

    path = tmp_path / f"a.{suffix}"
    Image.fromarray(image).save(path)
    monkeypatch.setattr(headers, "MAX_PIXELS", 30_000)
    weights = make_weights()
    raster = "predict it" if suffix == "tif" else "make it a GeoTIFF"
    with pytest.raises(ValueError, match=rf"210 x 150 pixels, more than the 30,000 .*{raster}.*--max-pixels 31500"):
        intarsia.load(weights, device="cpu").predict(path)
    allowed = intarsia.load(weights, device="cpu", max_pixels=31_500)
    assert allowed.predict(path).label.shape == (150, 210)
