"""Flips and colours that are left to the device: the same numbers drawn, the same labels, colours within a level."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
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
from intarsia.data.transforms.colour import PhotoMetricDistortion
from intarsia.data.transforms.edges import GenerateEdge
from intarsia.data.transforms.geometry import RandomCrop, RandomFlip
from intarsia.data.transforms.on_device import Deferred, augmented, deferred
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

    def __len__(self) -> int:
        return len(self.sizes)

    def load(self, index: int) -> Sample:
        rng = np.random.default_rng(index)
        size = self.sizes[index]
        noise = rng.normal(size=(*size, self.bands)).astype(np.float32)
        image = np.clip(cv2.GaussianBlur(noise, (0, 0), 3) * 400 + 120, 0, 255).astype(np.uint8)
        label = rng.choice(np.array([0, 1, 2, 255], np.uint8), size)
        edges = {"edge": rng.integers(0, 2, size, dtype=np.uint8)}
        return Sample(image, label, edges, meta=SampleMeta(name=str(index), original_size=size))


FLIPS = RandomFlip([0.3, 0.2, 0.2], ["horizontal", "vertical", "diagonal"], swap_seg_labels=[(0, 1)])
RESIZE = RandomResize((120, 90), (1.0, 1.6), keep_ratio=True)
STEPS = (RESIZE, RandomCrop((32, 64)), FLIPS, PhotoMetricDistortion())


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
    with pytest.raises(ValueError, match=r"at the end .* which holds RandomFlip, RandomCrop: leave it out"):
        deferred((flip, RandomCrop(8)))


def test_colours_of_images_that_have_none_are_refused_where_they_are_drawn() -> None:
    pipeline = Pipeline(Photos(bands=4), (PhotoMetricDistortion(),)).on_device()
    with pytest.raises(ValueError, match=r"RGB images of 8 bits, found 4 bands"):
        taken(pipeline, 1)
