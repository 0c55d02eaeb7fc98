"""One predictor, many threads: bit for bit what one thread computes, and no thread left behind."""

from __future__ import annotations

import contextlib
import gc
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

THREADS = 6


@pytest.fixture(autouse=True)
def quick_switching():
    """Threads that take turns more often than usual find more races."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(interval / 20)
    yield
    sys.setswitchinterval(interval)


class Convolutions(nn.Module):
    """Three logits at half the size, with batch normalisation and dropout: in training they would differ every time."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.layers = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 3, 1)
        )
        for parameter in self.parameters():
            nn.init.normal_(parameter, generator=generator)

    def forward(self, images):
        assert torch.is_inference_mode_enabled()
        return self.layers(images)


class SlowSwitch(Convolutions):
    """Takes its time from when it says that it is in evaluation to when its parts are."""

    def train(self, mode: bool = True):
        self.training = mode
        time.sleep(0.05)
        return super().train(mode)


def images(count: int = 12) -> list[np.ndarray]:
    generator = np.random.default_rng(0)
    sizes = [(24 + index % 5, 30 + index % 7) for index in range(count)]
    return [generator.integers(0, 256, (*size, 3), dtype=np.uint8) for size in sizes]


def everything(predictor, image):
    logits = predictor.augmented is None  # averages of probabilities have none
    return predictor.predict(image, probabilities=True, confidence=True, entropy=True, logits=logits)


def same(a, b) -> bool:
    fields = ("label", "probabilities", "confidence", "entropy", "logits")
    return all(np.array_equal(getattr(a, field), getattr(b, field)) for field in fields)  # or None in both


def decoding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("intarsia-decode")]


def assert_no_decoding_thread() -> None:
    for thread in decoding_threads():
        thread.join(timeout=5)
    assert not decoding_threads()


def in_threads(work):
    """What `work` gives in each of several threads that begin together."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int):
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(begin, range(THREADS)))


@pytest.mark.parametrize(
    "settings",
    [{}, {"windows": ((16, 16), (11, 11))}, {"windows": ((16, 16), (11, 11)), "blend": "gaussian"}, {"augment": True}],
    ids=["whole", "slide", "blend", "augment"],
)
def test_threads_compute_what_one_computes(make_predictor, settings):
    predictor = make_predictor(model=Convolutions(), **settings)
    pictures = images(4 if "augment" in settings else 12)
    alone = [everything(predictor, image) for image in pictures]
    # Every thread begins elsewhere, so that different sizes meet.
    order = [np.roll(np.arange(len(pictures)), number * 5) for number in range(THREADS)]
    found = in_threads(lambda number: {int(k): everything(predictor, pictures[k]) for k in order[number]})
    assert all(same(result[index], alone[index]) for result in found for index in range(len(pictures)))


def test_threads_put_a_task_to_evaluation_once_and_whole(make_predictor):
    """Who comes while another is switching waits: with half of it done, batch statistics would be used and changed."""
    predictor = make_predictor(model=SlowSwitch())
    image = images(1)[0]
    alone = everything(predictor, image)
    before = {name: value.clone() for name, value in predictor.task.state_dict().items()}
    predictor.task.train()
    assert all(same(result, alone) for result in in_threads(lambda _: everything(predictor, image)))
    after = predictor.task.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(module.training for module in predictor.task.modules())


def test_a_call_in_one_thread_takes_gradients_from_no_other(make_predictor):
    """Inference mode belongs to a thread: another may train some other model meanwhile."""
    predictor = make_predictor(model=Convolutions())
    inside, over = threading.Event(), threading.Event()

    def hold(_module, _inputs):
        inside.set()
        assert over.wait(10)

    handle = predictor.task.model.register_forward_pre_hook(hold)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(predictor.predict, images(1)[0])
        assert inside.wait(10)
        weight = torch.ones(3, requires_grad=True)
        loss = (weight * 2).sum()
        over.set()
        waiting.result()
    handle.remove()
    loss.backward()
    assert weight.grad.tolist() == [2, 2, 2]
    assert not torch.is_inference_mode_enabled()


def test_each_thread_may_have_a_stream_of_its_own(make_predictor):
    predictor = make_predictor(model=Convolutions())
    pictures = images()
    alone = [predictor.predict(image).label for image in pictures]
    for labels in in_threads(lambda _: [prediction.label for prediction in predictor.predict(pictures)]):
        assert all(np.array_equal(a, b) for a, b in zip(labels, alone, strict=True))


def test_several_threads_share_a_stream(make_predictor, tmp_path):
    """Each image goes to one of them, whatever the source: here a generator, which two threads cannot enter at once."""
    predictor = make_predictor(model=Convolutions())
    pictures = images(24)
    (tmp_path / "broken.png").write_bytes(b"")
    alone = [predictor.predict(image).label for image in pictures]
    stream = predictor.predict(image for image in [*pictures[:9], tmp_path / "broken.png", *pictures[9:]])
    found = [prediction for part in in_threads(lambda _: list(stream)) for prediction in part]
    assert max(Counter(prediction.name for prediction in found).values()) == 1
    by_name = sorted(found, key=lambda prediction: prediction.name)
    assert all(np.array_equal(a.label, b) for a, b in zip(by_name, alone, strict=True))
    assert [name for name, _ in stream.failures] == [str(tmp_path / "broken.png")]
    assert_no_decoding_thread()


def test_a_stream_may_be_made_in_one_thread_used_in_others_and_closed_in_a_third(make_predictor):
    predictor = make_predictor(model=Convolutions())
    stream = predictor.predict([*images()] * 10)
    first = next(stream)
    with ThreadPoolExecutor(1) as pool:
        second = pool.submit(next, stream).result()
    assert [first.name, second.name] == ["image_00000", "image_00001"]
    taking = threading.Thread(target=lambda: list(stream))
    taking.start()
    stream.close()
    taking.join(10)
    assert not taking.is_alive()
    assert list(stream) == []
    assert_no_decoding_thread()


@pytest.mark.parametrize("end", ["close", "closing", "forget", "break", "error"])
def test_streams_that_are_not_used_up_leave_no_thread(make_predictor, end):
    predictor = make_predictor()
    gc.disable()  # what is forgotten goes at once, and not when the collector happens to come
    try:
        stream = predictor.predict(images(50))
        next(stream)
        assert decoding_threads()
        if end == "close":
            stream.close()
        elif end == "closing":
            with contextlib.closing(stream):
                next(stream)
        elif end == "forget":
            del stream
        elif end == "break":
            for _ in stream:
                break
            del stream
        else:
            with pytest.raises(ZeroDivisionError):
                next(iter(1 // 0 for _ in stream))
            del stream
        assert_no_decoding_thread()
    finally:
        gc.enable()


def test_a_stream_that_was_never_begun_has_no_thread(make_predictor):
    stream = make_predictor().predict(images(3))
    assert not decoding_threads()
    stream.close()
    assert list(stream) == []
    assert not decoding_threads()


def test_reading_the_same_file_in_many_threads(make_predictor, tmp_path):
    predictor = make_predictor(model=Convolutions())
    paths = []
    for index, image in enumerate(images(12)):
        paths.append(tmp_path / f"{index}.{('png', 'jpg', 'tif', 'webp')[index % 4]}")
        Image.fromarray(image).save(paths[-1])
    alone = [predictor.predict(path).label for path in paths]
    for labels in in_threads(lambda _: [predictor.predict(path).label for path in paths]):
        assert all(np.array_equal(a, b) for a, b in zip(labels, alone, strict=True))
