"""Rows of a logit map are those of torch's interpolation of the whole, to rounding, whatever strips are asked for."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.contracts import Size
from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Resized


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


ROUNDING = 4
"""Units in the last place of the largest logit, for each resize: rounding of two kernels that compute the same."""


def interpolated(values: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    """The whole map at once."""
    return F.interpolate(values[None].contiguous(), size=size, mode="bilinear", align_corners=align_corners)[0]


def assert_alike(found: Tensor, reference: Tensor, values: Tensor, *resizes: tuple[Size, Size, bool]) -> None:
    """Alike to rounding, beside what follows from weights of neighbours that torch rounds otherwise than we do.

    resizes: (source, target, align_corners) of each. Of its versions, 2.9 and 2.15 round places otherwise than those
    between, so that the weights are measured.
    """
    largest = float(values.abs().max())
    allowed = len(resizes) * ROUNDING * torch.finfo(reference.dtype).eps * largest
    for source, target, align_corners in resizes:
        allowed += 2 * largest * weights_apart(values.shape[0], source, target, align_corners, reference.dtype)
    assert float((found - reference).abs().max()) <= allowed


def weights_apart(channels: int, source: Size, target: Size, align_corners: bool, dtype: torch.dtype) -> float:
    """How far the weights of rows and those of columns lie from torch's, both together; no further than by the
    rounding of a place, which is a number up to the side of the source.

    torch has a kernel for few channels and one for many. Of rows that are 0 and 1 in turns, a result is the weight of
    one of its two, to the last place.
    """
    apart = 0.0
    for axis in (0, 1):
        turns = torch.arange(source[axis], dtype=dtype) % 2
        values = (turns[:, None] if axis == 0 else turns).expand(channels, *source)
        found = collected(Resized(HeadLogits(values), target, align_corners=align_corners), 999)
        differs = float((found - interpolated(values, target, align_corners)).abs().max())
        assert differs <= 4 * torch.finfo(dtype).eps * source[axis]
        apart += differs
    return apart


def collected(picture: LogitMap, step: int, channels: list[int] | None = None) -> Tensor:
    height = picture.size[0]
    return torch.cat([picture.rows(row, min(row + step, height), channels) for row in range(0, height, step)], dim=1)


def picture_again(values: Tensor, target: tuple[int, int], align_corners: bool) -> LogitMap:
    return Resized(HeadLogits(values), target, align_corners=align_corners)


sides = st.integers(1, 60) | st.integers(60, 260)
sizes = st.tuples(sides, sides)


@settings(max_examples=300, deadline=None)
@given(
    channels=st.sampled_from([1, 2, 3, 4, 17, 19, 35]),
    source=sizes,
    target=sizes,
    align_corners=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.float16, torch.bfloat16]),
    step=st.sampled_from([1, 2, 3, 7, 30, 999]),
    chosen=st.lists(st.integers(0, 34), min_size=1, max_size=5, unique=True) | st.none(),
)
def test_any_rows_of_any_resize(channels, source, target, align_corners, dtype, step, chosen):
    values = noise(channels, *source, dtype=dtype)
    some = None if chosen is None else sorted({index % channels for index in chosen})
    reference = interpolated(values if dtype == torch.float64 else values.float(), target, align_corners)
    picture = Resized(HeadLogits(values), target, align_corners=align_corners)
    found = collected(picture, step, some)
    assert found.dtype == reference.dtype == picture.like.dtype
    assert_alike(found, reference if some is None else reference[some], values, (source, target, align_corners))
    assert torch.equal(found, collected(picture_again(values, target, align_corners), 999, some))  # whatever the strips


@settings(max_examples=150, deadline=None)
@given(
    head=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    stride=st.sampled_from([None, 4, 8]),
    network=sizes,
    valid=st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)),
    original=sizes,
    flips=st.lists(st.sampled_from(["horizontal", "vertical"]), max_size=3),
    align_corners=st.booleans(),
    step=st.sampled_from([1, 5, 23, 999]),
)
def test_any_rows_of_the_whole_way_back(head, stride, network, valid, original, flips, align_corners, step):
    if stride is not None:
        network = (head[0] * stride, head[1] * stride)
    height, width = (max(1, int(share * side)) for share, side in zip(valid, network, strict=True))
    values = noise(5, *head)
    reference = interpolated(values, network, align_corners)[:, :height, :width]
    for flip in flips:
        reference = reference.flip(2 if flip == "horizontal" else 1)
    reference = interpolated(reference, original, align_corners)
    part = CropFlip(Resized(HeadLogits(values), network, align_corners=align_corners), (height, width), flips)
    found = collected(Resized(part, original, align_corners=align_corners), step)
    steps = ((head, network), ((height, width), original))
    assert_alike(found, reference, values, *((*sizes, align_corners) for sizes in steps))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("source", [(1, 7), (7, 1), (1, 1), (128, 256)])
def test_single_rows_and_columns_in_any_number_of_threads(source, threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        for align_corners in (False, True):
            for dtype in (torch.float32, torch.float64):
                values = noise(19, *source, dtype=dtype)
                picture = Resized(HeadLogits(values), (333, 517), align_corners=align_corners)
                reference = interpolated(values, (333, 517), align_corners)
                assert_alike(collected(picture, 40), reference, values, (source, (333, 517), align_corners))
    finally:
        torch.set_num_threads(before)


def test_only_the_rows_that_are_needed_are_read():
    asked: list[tuple[int, int]] = []

    class Watched(HeadLogits):
        def rows(self, start, stop, channels=None):
            asked.append((start, stop))
            return super().rows(start, stop, channels)

    picture = Resized(Watched(noise(4, 100, 50)), (800, 400), align_corners=False)
    assert picture.needs(0, 8) == (0, 2)
    assert picture.needs(400, 416) == (49, 53)
    assert picture.needs(799, 800) == (99, 100)
    collected(picture, 16)
    assert sum(stop - start for start, stop in asked) == 100, "each row is stretched once"
    assert max(stop - start for start, stop in asked) <= 4
