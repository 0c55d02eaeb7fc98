"""What a network needs around it: large enough images, errors with names, threads after a fork."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from torch import Tensor, nn

from intarsia.backbones.mit import MixVisionTransformer
from intarsia.contracts import Batch, SampleMeta
from intarsia.inference.memory import TooLargeError
from intarsia.inference.network import COMPACT, Soundness, at_least


class Picky(nn.Module):
    """Cells of 8 x 8, by a kernel that needs 5 of them."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = nn.Identity()
        self.backbone.least_size = 40
        self.seen: list[tuple[int, int]] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append((images.shape[2], images.shape[3]))
        cells = nn.functional.avg_pool2d(images[:, :1], 8)
        nn.functional.conv2d(cells, torch.ones(1, 1, 5, 5))
        return torch.cat([-10 * (cells - share).abs() for share in (1 / 6, 1 / 2, 5 / 6)], dim=1)


@pytest.mark.parametrize(("height", "width"), [(20, 200), (200, 1), (1, 1), (39, 40)])
def test_small_images_are_padded_and_cut_again(make_predictor, height, width):
    model = Picky()
    predictor = make_predictor(model=model)
    image = np.full((height, width, 3), 255, np.uint8)
    assert predictor.predict(image).label.shape == (height, width)
    assert min(model.seen[0]) >= 40
    images = torch.from_numpy(image).permute(2, 0, 1)[None]
    meta = SampleMeta(name="x", original_size=(height, width))
    (label,) = predictor.predict_batch(Batch(images, None, ((height, width),), (meta,)))
    assert label.shape == (height, width)


@pytest.mark.parametrize(("height", "width"), [(3, 9), (9, 3), (3, 3), (5, 3), (3, 5)])
def test_padding_stands_at_the_right_and_bottom(height, width):
    image = torch.rand(2, 3, height, width) + 1
    found = at_least(image, 5)
    assert found.shape == (2, 3, max(height, 5), max(width, 5))
    assert torch.equal(found[:, :, :height, :width], image)
    assert found.count_nonzero() == image.numel()
    assert at_least(found, 5) is found


def test_images_that_are_large_enough_are_left_alone(make_predictor):
    model = Picky()
    make_predictor(model=model).predict(np.zeros((48, 40, 3), np.uint8))
    assert model.seen == [(48, 40)]


@pytest.mark.parametrize("mode", ["slide", "slide_flip"])
def test_windows_smaller_than_the_least_size_are_padded_and_cut_again(make_predictor, mode):
    """They went into the network as they were, which failed on them."""
    model = Picky()
    image = np.random.default_rng(0).integers(0, 256, (56, 72, 3), dtype=np.uint8)
    predictor = make_predictor(model=model, windows=((24, 48), (16, 24)), mode=mode)
    found = predictor.predict(image, logits=True).logits
    assert set(model.seen) == {(40, 48)}
    pixels = predictor.task.preprocess(torch.from_numpy(image).permute(2, 0, 1)[None], ((56, 72),), train=False)
    total, count = torch.zeros(3, 56, 72), torch.zeros(56, 72)
    ways = (False, True) if mode == "slide_flip" else (False,)
    for top, left, turned in itertools.product((0, 16, 32), (0, 24), ways):
        window = pixels[:, :, top : top + 24, left : left + 48]
        shown = nn.functional.pad(window.flip(3) if turned else window, (0, 0, 0, 16))
        logits = nn.functional.interpolate(model(shown), size=(40, 48), mode="bilinear")[0, :, :24]
        total[:, top : top + 24, left : left + 48] += logits.flip(2) if turned else logits
        count[top : top + 24, left : left + 48] += 1
    torch.testing.assert_close(torch.as_tensor(found), total / count)


@pytest.mark.parametrize("settings", [{}, {"windows": ((24, 24), (16, 16))}])
def test_an_error_of_the_network_names_its_image(make_predictor, settings):
    model = Picky()
    del model.backbone.least_size
    predictor = make_predictor(model=model, **settings)
    with pytest.raises(ValueError, match=r"image: the network fails on \d+ x \d+ pixels: .*[Kk]ernel size") as caught:
        predictor.predict(np.zeros((30, 60, 3), np.uint8))
    assert isinstance(caught.value.__cause__, RuntimeError)
    small, large = np.zeros((8, 8, 3), np.uint8), np.zeros((48, 48, 3), np.uint8)
    predictor = make_predictor(model=model)
    predictions = predictor.predict([large, small, large])
    assert len(list(predictions)) == 2
    ((name, reason),) = predictions.failures
    assert name == "image_00001"
    assert "the network fails on 8 x 8 pixels" in reason


def test_memory_and_devices_have_errors_of_their_own(make_predictor):
    class DeviceError(RuntimeError):
        pass

    class Full(nn.Module):
        def __init__(self, error: RuntimeError) -> None:
            super().__init__()
            self.error = error

        def forward(self, images: Tensor) -> Tensor:
            raise self.error

    image = np.zeros((8, 8, 3), np.uint8)
    memory = torch.OutOfMemoryError("CUDA out of memory")
    with pytest.raises(TooLargeError, match="image: its 8 x 8 pixels at once need more memory") as caught:
        make_predictor(model=Full(memory)).predict(image)
    assert caught.value.__cause__ is memory
    with pytest.raises(DeviceError):
        make_predictor(model=Full(DeviceError("the device is lost"))).predict(image)


@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_networks_that_give_no_numbers_are_said_by_image(device):
    """On a device, when it is asked and not before: after any number of batches, in order, and once."""
    broken = torch.zeros(2, 3, 4, 5)
    broken[1, 2, 3, 4] = torch.inf
    with simulated_gpu(), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        soundness = Soundness(of="depths")
        soundness.note(torch.zeros(1, 3, 4, 5).to(device), [SampleMeta(name="sound")])
        for number in range(COMPACT + 3):
            soundness.note(broken.to(device), [SampleMeta(name=f"a{number}"), SampleMeta(name=f"b{number}")])
        assert len(caught) == (COMPACT + 3 if device == "cpu" else 0)
        soundness.warn()
        soundness.warn()
        soundness.note(broken.to(device), [SampleMeta(), SampleMeta()])
        soundness.warn()
    names = [*(f"b{number}" for number in range(COMPACT + 3)), "image"]
    said = [f"{name}: the network gave nan or infinity; its depths mean nothing there" for name in names]
    assert [str(entry.message) for entry in caught] == said


@pytest.mark.parametrize("ratios", [(8, 4, 2, 1), (1, 1, 1, 1), (16, 4, 2, 1), (8, 8, 4, 2)])
def test_the_least_size_of_mit_is_exact(ratios):
    backbone = MixVisionTransformer(embed_dims=8, num_layers=(1,) * 4, num_heads=(1, 2, 2, 2), sr_ratios=ratios).eval()
    side = backbone.least_size
    with torch.inference_mode():
        backbone(torch.zeros(1, 3, side, side))
        if side > 1:
            with pytest.raises(RuntimeError):
                backbone(torch.zeros(1, 3, side - 1, 64))


FORKED = """
import multiprocessing, sys
import numpy as np, torch
torch.set_num_threads(2)
sys.path.insert(0, {folder!r})
import conftest
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec
import cv2

def make():
    task = conftest.Task(conftest.Thirds())
    return Predictor(task, inference=InferenceSpec(num_classes=3), classes=conftest.CLASSES, palette=conftest.PALETTE)

predictor = make()
image = np.random.default_rng(0).integers(0, 256, (512, 512, 3), dtype=np.uint8)
big = torch.randn(512, 512)
for _ in range(3):
    predictor.predict(image)
    big @ big                                # so that there are threads that a child will not have
    cv2.resize(image, (1500, 1500))

def work(fresh):
    chosen = make() if fresh else predictor
    chosen.predict(image)
    cv2.resize(image, (1500, 1500))
    return int(chosen.predict(image).label.sum()), torch.get_num_threads()

with multiprocessing.get_context("fork").Pool(2) as pool:
    print(pool.map_async(work, [False, True, False]).get(timeout=60))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux")
def test_a_forked_process_predicts():
    code = FORKED.format(folder=os.path.dirname(__file__))
    environment = {key: value for key, value in os.environ.items() if key not in ("OMP_NUM_THREADS", "MKL_NUM_THREADS")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 0, done.stderr
    results = eval(done.stdout)
    assert len({label for label, _ in results}) == 1
    assert {threads for _, threads in results} == {1}


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_other_ways_of_starting_processes_keep_their_threads(method):
    with multiprocessing.get_context(method).Pool(1) as pool:
        before, after = pool.apply(threads_before_and_after)
    assert before == after


def threads_before_and_after() -> tuple[int, int]:
    from intarsia.inference.network import one_thread_after_fork

    before = torch.get_num_threads()
    one_thread_after_fork()
    one_thread_after_fork()
    return before, torch.get_num_threads()
