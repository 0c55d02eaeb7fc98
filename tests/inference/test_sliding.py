"""Sliding windows against the obvious way, one window at a time into full-sized sums: alike to float rounding."""

from __future__ import annotations

import itertools
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from intarsia.inference.logits.postprocess import Geometry, RequestedFields, at_original, postprocess
from intarsia.inference.logits.sliding import (
    Feed,
    SlidingLogits,
    check_windows,
    cut_from,
    default_batch,
    even_starts,
    ramp,
    starts,
    windows_of,
)


def network(pixels: Tensor, stride: int = 8) -> Tensor:
    """(n, 3, H, W) -> (n, 5, about H / stride, about W / stride); every cell depends on its window's whole content."""
    grid = F.adaptive_avg_pool2d(pixels, (max(1, -(-pixels.shape[2] // stride)), max(1, -(-pixels.shape[3] // stride))))
    mean = pixels.mean(dim=(1, 2, 3), keepdim=True)
    return torch.cat([grid, grid[:, :1] * grid[:, 1:2], grid[:, 2:3] - mean], dim=1)


def plain(image: Tensor, crop, stride, align_corners: bool, both_ways: bool = False) -> Tensor:
    """Logits (K, H, W) of an image (3, H, W) as the definition says it."""
    height, width = image.shape[1:]
    total, count = torch.zeros(5, height, width), torch.zeros(height, width)
    for row in range(max(height - crop[0] + stride[0] - 1, 0) // stride[0] + 1):
        for column in range(max(width - crop[1] + stride[1] - 1, 0) // stride[1] + 1):
            bottom, right = min(row * stride[0] + crop[0], height), min(column * stride[1] + crop[1], width)
            top, left = max(bottom - crop[0], 0), max(right - crop[1], 0)
            window = image[None, :, top:bottom, left:right].contiguous()
            for mirrored in (False, True) if both_ways else (False,):
                logits = network(window.flip(3).contiguous() if mirrored else window)
                if logits.shape[2:] != window.shape[2:]:
                    logits = F.interpolate(logits, size=window.shape[2:], mode="bilinear", align_corners=align_corners)
                total[:, top:bottom, left:right] += (logits.flip(3) if mirrored else logits)[0]
                count[top:bottom, left:right] += 1
    return total / count


def published(image: Tensor, side: int) -> Tensor:
    """Logits (K, H, W) of an image whose shorter side is a window's, as EoMT's authors put its windows together."""
    height, width = image.shape[1:]
    long = max(height, width)
    count = math.ceil(long / side)
    overlap = (count * side - long) / (count - 1) if count > 1 else 0
    total, seen = torch.zeros(5, height, width), torch.zeros(height, width)
    for number in range(count):
        first = int(number * (side - overlap))
        part = (
            (slice(first, first + side), slice(None)) if height > width else (slice(None), slice(first, first + side))
        )
        logits = network(image[:, part[0], part[1]][None].contiguous())
        total[:, part[0], part[1]] += F.interpolate(logits, size=(side, side), mode="bilinear")[0]
        seen[part] += 1
    return total / seen


def mosaic(image: Tensor, crop, stride, align_corners: bool, *, batch: int = 1, upwards: bool = False, **options):
    passes: list[int] = []

    def forward(pixels, windows):
        assert pixels.shape[0] == len(windows)
        passes.append(len(windows))
        return torch.cat([network(one[None]) for one in pixels])

    size = tuple(image.shape[1:])
    windows = windows_of(size, crop, stride, both_ways=options.pop("both_ways", False))
    if upwards:
        windows.sort(key=lambda window: -window.top)
    feed = Feed(cut_from([image]), windows, forward, batch=batch)
    return SlidingLogits(size, windows, feed, align_corners=align_corners, **options), passes


def rounding(logits: Tensor) -> float:
    """64 units in the last place of the largest logit, for sums of up to 33 windows."""
    return 64 * torch.finfo(logits.dtype).eps * float(logits.abs().max())


def assert_alike(found: Tensor, reference: Tensor) -> None:
    """Logits (K, H, W) to float rounding."""
    assert float((found - reference).abs().max()) <= rounding(reference)


def assert_same_labels(found: Tensor, reference: Tensor) -> None:
    """Labels (H, W) are of the best of the reference's logits (K, H, W), or of one that is as good as the best."""
    chosen = reference.gather(0, found.long()[None])[0]
    assert bool((chosen >= reference.amax(dim=0) - 2 * rounding(reference)).all())


sides = st.integers(60, 200)


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(sides, sides),
    crop=st.tuples(st.integers(65, 140), st.integers(65, 140)),
    share=st.tuples(st.floats(0.2, 1), st.floats(0.2, 1)),
    original=st.tuples(sides, sides) | st.none(),
    flips=st.sampled_from([(), ("horizontal",), ("vertical",), ("horizontal", "vertical")]),
    align_corners=st.booleans(),
    both_ways=st.booleans(),
    batch=st.sampled_from([1, 3, 100]),
    budget=st.sampled_from([1, 5 * 4 * 200 * 9, None]),
)
def test_logits_and_labels_are_those_of_one_window_at_a_time(
    size, crop, share, original, flips, align_corners, both_ways, batch, budget
):
    stride = tuple(max(16, int(part * side)) for part, side in zip(share, crop, strict=True))
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    reference = plain(image, crop, stride, align_corners, both_ways)
    geometry = Geometry(size, size, original or size, flips)
    for flip in flips:
        reference = reference.flip(2 if flip == "horizontal" else 1)
    if geometry.original != size:
        reference = F.interpolate(
            reference[None].contiguous(), size=original, mode="bilinear", align_corners=align_corners
        )[0]
    source, passes = mosaic(
        image, crop, stride, align_corners, batch=batch, upwards="vertical" in flips, both_ways=both_ways
    )
    view = at_original(source, geometry, align_corners=align_corners)
    found = postprocess([view], wanted=RequestedFields(logits=True), budget=budget)
    assert_alike(found.logits, reference)
    assert_same_labels(found.label, reference)
    count = len(starts(size[0], crop[0], stride[0])) * len(starts(size[1], crop[1], stride[1])) * (1 + both_ways)
    assert sum(passes) == count, "every window goes through the network once"
    assert max(passes) <= batch


@pytest.mark.parametrize("original", [(66, 60), (110, 60), (3000, 20)])
@pytest.mark.parametrize("flips", [(), ("vertical",)])
@pytest.mark.parametrize("align_corners", [False, True])
def test_windows_that_begin_or_end_anywhere_within_single_rows(original, flips, align_corners):
    """One row at a time, much enlarged: no window is given up before the last row that needs it."""
    image = torch.randn(3, 66, 60)
    reference = plain(image, (33, 60), (1, 60), align_corners)
    reference = reference.flip(1) if flips else reference
    if original != (66, 60):
        reference = F.interpolate(
            reference[None].contiguous(), size=original, mode="bilinear", align_corners=align_corners
        )[0]
    source, _ = mosaic(image, (33, 60), (1, 60), align_corners, upwards=bool(flips))
    view = at_original(source, Geometry((66, 60), (66, 60), original, flips), align_corners=align_corners)
    assert_alike(postprocess([view], wanted=RequestedFields(logits=True), budget=1).logits, reference)


@given(st.integers(1, 3000), st.integers(1, 1100), st.data())
def test_windows_cover_everything_and_stay_inside(length, crop, data):
    stride = data.draw(st.integers(1, crop))
    begins = starts(length, crop, stride)
    assert begins[0] == 0
    assert begins == sorted(set(begins))
    size = min(crop, length)
    assert begins[-1] + size == length
    assert all(after - before <= size for before, after in itertools.pairwise(begins))
    assert all(begin == index * stride for index, begin in enumerate(begins[:-1]))


def test_only_the_windows_of_the_present_rows_are_held():
    image = torch.randn(3, 640, 256)
    source, passes = mosaic(image, (64, 64), (48, 48), False, batch=2)
    seen = 0
    for row in range(0, 640, 8):
        source.rows(row, row + 8)
        seen = max(seen, len(source._open) + len(source._feed._ready))
    across = len(starts(256, 64, 48))
    assert sum(passes) == across * len(starts(640, 64, 48))
    assert seen <= 3 * across + 1
    assert not source._feed._ready


@pytest.mark.parametrize("blend", ["average", "gaussian", "linear"])
def test_a_blend_changes_nothing_where_windows_agree(blend):
    size, crop, stride = (150, 170), (64, 80), (40, 50)
    windows = windows_of(size, crop, stride)

    def forward(pixels, windows):
        return torch.stack([torch.full((5, 8, 10), 3.0) for _ in windows])

    feed = Feed(cut_from([torch.zeros(3, *size)]), windows, forward, batch=4)
    source = SlidingLogits(size, windows, feed, align_corners=False, blend=blend)
    torch.testing.assert_close(source.rows(0, 150), torch.full((5, 150, 170), 3.0))


@pytest.mark.parametrize("blend", ["gaussian", "linear"])
def test_a_blend_leaves_no_seam(blend):
    """Two windows that disagree: the mean jumps where the overlap begins, a blend goes over smoothly."""
    size, windows = (64, 96), windows_of((64, 96), (64, 64), (32, 32))
    levels = {0: 0.0, 32: 1.0}

    def jump(kind):
        def forward(pixels, windows):
            return torch.stack([torch.full((2, 8, 8), levels[window.left]) for window in windows])

        feed = Feed(cut_from([torch.zeros(3, *size)]), windows, forward, batch=1)
        row = SlidingLogits(size, windows, feed, align_corners=False, blend=kind).rows(30, 31)[0, 0]
        assert row[:32].max() == 0
        torch.testing.assert_close(row[64:], torch.ones(32))
        return row.diff().max().item()

    assert jump("average") == pytest.approx(0.5)
    assert jump(blend) < 0.15


def test_windows_of_several_images_and_sizes_share_the_network():
    images = [torch.randn(3, 100, 120), torch.randn(3, 50, 200), torch.randn(3, 90, 90)]
    passes: list[tuple[int, ...]] = []

    def forward(pixels, windows):
        passes.append(tuple(pixels.shape))
        return network(pixels)

    each = [windows_of(tuple(image.shape[1:]), (80, 80), (60, 60), image=index) for index, image in enumerate(images)]
    feed = Feed(cut_from(images), [window for windows in each for window in windows], forward, batch=4)
    for image, windows in zip(images, each, strict=True):
        source = SlidingLogits(tuple(image.shape[1:]), windows, feed, align_corners=False)
        torch.testing.assert_close(source.rows(0, image.shape[1]), plain(image, (80, 80), (60, 60), False))
    assert passes == [(4, 3, 80, 80), (3, 3, 50, 80), (4, 3, 80, 80)]


@pytest.mark.parametrize(
    ("crop", "stride", "message"),
    [
        (None, (8, 8), "found no crop_size"),
        (None, None, "no crop_size and stride"),
        ((64, 64), (65, 10), "between 1 and the window's 64 x 64 pixels, found 65 x 10"),
        ((64, 64), (0, 10), "found 0 x 10"),
        ((64, 64), (10, 65), "found 10 x 65"),
        ((64, 0), (10, 0), "found 10 x 0"),
    ],
)
def test_windows_that_make_no_sense(crop, stride, message):
    with pytest.raises(ValueError, match=message):
        check_windows(crop, stride)


def test_the_smallest_windows_and_strides_that_make_sense():
    check_windows((64, 48), (64, 48))
    check_windows((1, 1), (1, 1))
    check_windows((1, 1), None, even=True)


@pytest.mark.parametrize("blend", ["average", "gaussian", "linear"])
def test_weights_are_of_single_precision_where_there_is_no_other(blend):
    """Of Apple's GPUs, as tensors that have no numbers."""
    with FakeTensorMode():
        assert ramp(8, blend, device=torch.device("mps")).dtype == torch.float32
    assert ramp(8, blend).dtype == torch.float64


def test_small_windows_go_together_on_a_processor():
    cpu = torch.device("cpu")
    assert default_batch((1024, 1024), cpu) == default_batch((512, 512), cpu) == 1
    assert default_batch((256, 256), cpu) == 4
    assert default_batch((16, 16), cpu) == 32


def test_on_a_gpu_half_of_its_free_memory_decides(monkeypatch):
    """4 KiB for each pixel: of 64 x 64 pixels, 16 MiB for a window."""
    gpu, free = torch.device("cuda"), 2**24
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 10 * free))
    for factor, expected in ((1, 1), (2, 1), (2 * 5, 5), (2 * 6 - 1, 5), (1000, 32)):
        free = factor * 2**24
        assert default_batch((64, 64), gpu) == expected


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_is_that_of_a_few_rows_of_windows(tmp_path):
    """150 classes at 1024 x 1024 are 630 MB; one row of windows, at the stride of the head, is 7 MB."""
    script = tmp_path / "peak.py"
    script.write_text(
        "import resource, torch\n"
        "from intarsia.inference.logits.postprocess import Geometry, at_original, postprocess\n"
        "from intarsia.inference.logits.sliding import Feed, SlidingLogits, cut_from, windows_of\n"
        "def run(side):\n"
        "    size = (side, side)\n"
        "    windows = windows_of(size, (512, 512), (341, 341))\n"
        "    forward = lambda pixels, windows: torch.randn(len(windows), 150, 64, 64)\n"
        "    feed = Feed(cut_from([torch.zeros(3, *size)]), windows, forward, batch=1)\n"
        "    source = SlidingLogits(size, windows, feed, align_corners=False)\n"
        "    postprocess([at_original(source, Geometry(size, size, size), align_corners=False)])\n"
        "run(520)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run(1024)\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert float(result.stdout) < 80, f"{result.stdout} MB beyond a small image"


@settings(max_examples=30, deadline=None)
@given(
    side=st.sampled_from([32, 64]),
    long=st.integers(1, 200),
    upright=st.booleans(),
    original=st.tuples(sides, sides),
    batch=st.sampled_from([1, 3]),
)
def test_even_windows_are_those_of_the_authors_of_eomt(side, long, upright, original, batch):
    size = (max(long, side), side) if upright else (side, max(long, side))
    image = torch.randn(3, *size, generator=torch.Generator().manual_seed(1))
    reference = F.interpolate(published(image, side)[None], size=original, mode="bilinear")[0]
    found, _ = mosaic(image, (side, side), None, False, batch=batch)
    done = postprocess(
        [at_original(found, Geometry(size, size, original), align_corners=False)],
        wanted=RequestedFields(logits=True),
        budget=5 * 4 * 200 * 9,
    )
    assert_alike(done.logits, reference)
    assert_same_labels(done.label, reference)


@pytest.mark.parametrize("crop", [512, 1024])
def test_even_windows_begin_where_the_published_ones_do(crop):
    """Of other crops (640), the rounding of the original now and then leaves the last column out."""
    for length in range(crop, 8 * crop):
        count = math.ceil(length / crop)
        overlap = (count * crop - length) / (count - 1) if count > 1 else 0
        assert even_starts(length, crop) == [int(number * (crop - overlap)) for number in range(count)]


@given(length=st.integers(1, 5000), crop=st.integers(1, 700))
def test_even_windows_leave_no_pixel_out_and_end_with_the_image(length, crop):
    begins = even_starts(length, crop)
    assert len(begins) == max(1, math.ceil(length / crop))
    assert begins[0] == 0
    assert begins[-1] == max(length - crop, 0)
    steps = [after - before for before, after in itertools.pairwise(begins)]
    assert not steps or max(steps) <= crop
    assert not steps or max(steps) - min(steps) <= 1
