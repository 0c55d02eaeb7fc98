"""Flips, colours, blur and noise that are left to the device: the same numbers drawn, the same labels, the same blur,
colours within a level, and noise as strong and as often.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from simulated_gpu import DEVICE, simulated_gpu
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.contracts import Batch, Sample, SampleMeta
from intarsia.data.loader import train_loader
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms import on_device
from intarsia.data.transforms.blur import GaussianBlur
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.degrade import GaussianNoise
from intarsia.data.transforms.degraded_on_device import noisy
from intarsia.data.transforms.edges import GenerateEdge
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.on_device import Deferred, augmented, deferred, division
from intarsia.data.transforms.redraw import RedrawUnlabelled
from intarsia.data.transforms.resize import RandomResize


@dataclass(frozen=True)
class Photos:
    """Smooth colours, in several sizes, with a map."""

    sizes: tuple[tuple[int, int], ...] = ((40, 52), (31, 60), (40, 33))
    classes: tuple[str, ...] = ("a", "b", "c")
    palette: tuple[tuple[int, int, int], ...] = ((0, 0, 0), (1, 1, 1), (2, 2, 2))
    ignore_index: int = 255
    bands: int = 3
    dtype: type = np.uint8

    def __len__(self) -> int:
        return len(self.sizes)

    def load(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        size = self.sizes[index]
        noise = rng.normal(size=(*size, self.bands)).astype(np.float32)
        image = (
            np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 400 + 120, 0, 255)
            .astype(self.dtype)
            .reshape(*size, self.bands)
        )
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), size)
        edges = {"edge": rng.integers(0, 2, size, dtype=np.uint8)}
        return Sample(image, label, edges, meta=SampleMeta(name=str(index), original_size=size))


FLIPS = RandomFlip([0.3, 0.2, 0.2], ["horizontal", "vertical", "diagonal"], swap_seg_labels=[(0, 1)])
RESIZE = RandomResize((120, 90), (1.0, 1.6), keep_ratio=True)
STEPS = (RESIZE, RandomCrop((32, 64)), FLIPS, PhotoMetricDistortion(), GaussianBlur(0.6), GaussianNoise(0.6))


def taken(pipeline: Pipeline, count: int = 12, **options: Any) -> list[Batch]:
    loader = train_loader(pipeline, batch_size=3, seed=5, workers=0, **options)
    return list(itertools.islice(loader, count))


def assert_alike(found: Sequence[Batch], expected: Sequence[Batch]) -> None:
    """Labels and maps are equal; of the colours hardly one is another level.

    But in the last columns, which OpenCV takes one by one and rounds as nowhere else: there all may be.
    """
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]
        assert a.labels.dtype == b.labels.dtype  # type: ignore[union-attr]
        assert a.sizes == b.sizes
        assert a.maps.keys() == b.maps.keys()
        for name in a.maps:
            assert torch.equal(a.maps[name], b.maps[name])
        assert a.images.dtype == b.images.dtype
        apart = (a.images.int() - b.images.int()).abs()
        inside = apart[..., : a.images.shape[-1] // 32 * 32]
        assert (inside > 0).float().mean() < 1e-3
        assert inside.max() <= 1
        assert apart.max() <= 4


@pytest.mark.parametrize("width", [64, 40])
def test_a_batch_on_the_device_is_that_of_the_workers(width: int) -> None:
    pipeline = Pipeline(Photos(), (RESIZE, RandomCrop((32, width)), FLIPS, PhotoMetricDistortion()))
    usual = taken(pipeline)
    left = taken(pipeline.on_device())
    assert all(len(batch.deferred) == 2 for batch in left)
    assert any(not torch.equal(a.images, b.images) for a, b in zip(left, usual, strict=True)), "nothing was left to do"
    found = [augmented(batch) for batch in left]
    assert all(batch.deferred == () for batch in found)
    assert_alike(found, usual)


def test_padding_stays_behind_the_images() -> None:
    """Images that are smaller than the batch are mirrored within themselves."""
    pipeline = Pipeline(Photos(), (FLIPS,))
    usual, left = taken(pipeline), taken(pipeline.on_device())
    assert len(set(usual[0].sizes)) == 3
    for a, b in zip((augmented(batch) for batch in left), usual, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]


@pytest.mark.parametrize("bands", [1, 3, 4])
def test_blur_is_opencvs_to_the_last_bit(bands: int) -> None:
    """Within each image's own border, which a batch of several sizes pads; of many Gaussians, and behind flips."""
    photos = Photos(sizes=((40, 52), (9, 60), (40, 1)), bands=bands)
    pipeline = Pipeline(photos, (FLIPS, GaussianBlur(0.8, sigma=(0.1, 9.0))))
    usual, left = taken(pipeline), taken(pipeline.on_device())
    assert any(not torch.equal(a.images, b.images) for a, b in zip(left, usual, strict=True)), "nothing was left to do"
    for a, b in zip((augmented(batch) for batch in left), usual, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]


# --- Noise --------------------------------------------------------------------------------------------------------


def test_noise_comes_as_often_and_as_strong_as_the_workers() -> None:
    """And nothing else changes; nor does an image's noise with its company."""
    steps = (RESIZE, RandomCrop((32, 64)), FLIPS, GaussianBlur(0.5), GaussianNoise(0.5, std=(0.01, 0.1)))
    clean = [augmented(batch) for batch in taken(Pipeline(Photos(), steps[:-1]).on_device(), 40)]
    usual, left = taken(Pipeline(Photos(), steps), 40), taken(Pipeline(Photos(), steps).on_device(), 40)
    found = [augmented(batch) for batch in left]
    strengths = []
    for batches in (usual, found):
        for a, b in zip(batches, clean, strict=True):
            assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]
        apart = [(a.images.float() - b.images.float()).std((1, 2, 3)) for a, b in zip(batches, clean, strict=True)]
        strengths.append(torch.cat(apart))
    assert ((strengths[0] == 0) == (strengths[1] == 0)).all()
    assert 40 < (strengths[0] > 0).sum() < 80
    torch.testing.assert_close(strengths[1], strengths[0], rtol=0.06, atol=0)
    for batch, both in zip(left, found, strict=True):
        step, drawn = batch.deferred[-1]
        alone = replace(batch, images=batch.images[1:2], labels=None, maps={}, sizes=batch.sizes[1:2],
                        deferred=tuple((other, numbers[1:2]) for other, numbers in batch.deferred))  # fmt: skip
        assert isinstance(step, GaussianNoise)
        assert drawn.shape == (3, 5)
        assert torch.equal(augmented(alone).images[0], both.images[1])


def test_noise_is_normal_and_every_number_by_itself() -> None:
    grey = torch.full((2, 3, 300, 400), 128, dtype=torch.uint8)
    drawn = torch.tensor([[300.0, 400.0, 20.0, 5.0, 6.0], [299.0, 400.0, 20.0, 5.0, 7.0]])
    found = noisy(grey, drawn, per_band=True).double() - 128
    assert (found[1, :, 299] == 0).all(), "padding"
    values = found[:, :, :299].reshape(6, 299, 400)
    assert values.mean().abs() < 0.15
    assert values.std().item() == pytest.approx(math.sqrt(20**2 + 1 / 12), rel=0.005)
    unit = values / 20
    assert unit.pow(3).mean().abs() < 0.02
    assert unit.pow(4).mean().item() == pytest.approx(3, abs=0.05)
    for sigmas, share in ((1, 0.3173), (2, 0.0455), (3, 0.0027)):
        assert (unit.abs() > sigmas + 1 / 40).double().mean().item() == pytest.approx(share, rel=0.1)
    flat = unit.flatten(1)
    pairs = [flat[0] * flat[k] for k in range(1, 6)]  # other bands, another sample
    pairs += [unit[:, :, step:] * unit[:, :, :-step] for step in (1, 2, 16)]
    pairs += [unit[:, step:] * unit[:, :-step] for step in (1, 2, 16)]
    for products in pairs:
        assert products.mean().abs() < 5 / math.sqrt(products.numel())
    one = noisy(grey, drawn, per_band=False)
    assert torch.equal(one[:, 0], one[:, 2])
    assert torch.equal(
        noisy(grey[:1, :, :200], drawn[:1], per_band=True), noisy(grey, drawn, per_band=True)[:1, :, :200]
    )


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_has_not_8_bits_is_blurred_and_gets_its_noise_from_the_workers(dtype: type) -> None:
    pipeline = Pipeline(Photos(bands=4, dtype=dtype), (RandomCrop((32, 64)), GaussianBlur(0.6), GaussianNoise(0.6)))
    for a, b in zip(taken(pipeline.on_device()), taken(pipeline), strict=True):
        assert a.deferred == ()
        assert torch.equal(a.images, b.images)


def test_hue_saturation_and_value_are_opencvs() -> None:
    """All 16.7 million colours would take a minute here; of these, a 27th."""
    levels = np.arange(0, 256, 3)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1).reshape(86, -1, 3).astype(np.uint8)
    tensor = torch.from_numpy(np.ascontiguousarray(grid.transpose(2, 0, 1)))[None].float()
    expected = cv2.cvtColor(grid, cv2.COLOR_RGB2HSV)
    parts = on_device._hsv(tensor)
    for band, part in enumerate(parts):
        assert np.array_equal(part[0].numpy(), expected[:, :, band])
    back = on_device._rgb(*parts)[0].permute(1, 2, 0).numpy()
    apart = np.abs(back - cv2.cvtColor(expected, cv2.COLOR_HSV2RGB))
    assert apart.max() <= 1
    assert (apart > 0).mean() < 1e-3


def test_a_resumed_training_draws_what_it_would_have_drawn() -> None:
    pipeline = Pipeline(Photos(), STEPS).on_device()
    whole = [augmented(batch) for batch in taken(pipeline, 8)]
    rest = [augmented(batch) for batch in taken(pipeline, 3, start_step=5)]
    for a, b in zip(rest, whole[5:], strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]


def test_on_a_gpu_it_is_the_same_and_waits_for_nothing() -> None:
    left = taken(Pipeline(Photos(), STEPS).on_device(), 3)
    expected = [augmented(batch) for batch in left]
    with simulated_gpu() as waits:
        moved = [batch.to(DEVICE) for batch in left]
        before = len(waits.found)
        found = [augmented(batch) for batch in moved]
        assert waits.found[before:] == []
        assert all(tensor.device == DEVICE for batch in found for tensor in batch.tensors())
        back = [batch.to("cpu") for batch in found]
    for a, b in zip(back, expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)  # type: ignore[arg-type]


def test_with_fake_tensors_of_cuda() -> None:
    left = taken(Pipeline(Photos(), STEPS).on_device(), 1)[0]
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        there = left._with(lambda tensor: torch.empty_like(mode.from_tensor(tensor), device="cuda"))
        found = augmented(there)
        assert {tensor.device.type for tensor in found.tensors()} == {"cuda"}
        assert found.images.dtype == torch.uint8
        assert found.images.shape == left.images.shape


# --- What can be left to it ---------------------------------------------------------------------------------------


def kinds(steps: Sequence[Any]) -> list[str]:
    return ["device" if isinstance(step, Deferred) else "worker" for step in steps]


def test_only_what_stands_at_the_end_is_moved() -> None:
    flip, colours = RandomFlip(0.5), PhotoMetricDistortion()
    assert kinds(deferred((flip, RandomCrop(8), flip, colours))) == ["worker", "worker", "device", "device"]
    assert kinds(deferred((colours, RandomCrop(8), flip))) == ["worker", "worker", "device"]
    assert kinds(deferred((flip, RedrawUnlabelled()))) == ["device", "worker"]
    assert kinds(deferred((flip, colours, GenerateEdge()))) == ["worker", "device", "worker"], "edges of the flipped"
    blur, noise = GaussianBlur(), GaussianNoise()
    assert kinds(deferred((RandomCrop(8), flip, blur, noise))) == ["worker", "device", "device", "device"]
    assert kinds(deferred((colours, noise, flip))) == ["worker", "worker", "device"], "what flips must be drawn alike"
    assert kinds(deferred((blur, RedrawUnlabelled(), noise))) == ["device", "worker", "device"]
    assert kinds(deferred((flip, blur, noise, GenerateEdge()))) == ["worker", "device", "device", "worker"]
    with pytest.raises(ValueError, match=r"at the end .* which holds RandomFlip, RandomCrop: leave it out"):
        deferred((flip, RandomCrop(8)))
    with pytest.raises(ValueError, match="noise behind all that is random"):
        deferred((noise, RedrawUnlabelled()))
    assert division(deferred((RandomCrop(8), flip, colours))) == (
        "--augment-on device: RandomFlip, PhotoMetricDistortion on the device, RandomCrop with the workers"
    )
    assert division(deferred((blur,))).endswith(
        "GaussianBlur on the device (of images of 8 bits), nothing with the workers"
    )


def test_colours_of_images_that_have_none_are_refused_where_they_are_drawn() -> None:
    pipeline = Pipeline(Photos(bands=4), (PhotoMetricDistortion(),)).on_device()
    with pytest.raises(ValueError, match=r"RGB images of 8 bits, found 4 bands"):
        taken(pipeline, 1)
