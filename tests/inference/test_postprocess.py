"""By rows and groups of channels: what all at once gives, to rounding, and the same labels away from ties."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.inference.logits.lazy import HeadLogits, LogitMap, Resized
from intarsia.inference.logits.postprocess import (
    TIE,
    Geometry,
    Postprocessed,
    RequestedFields,
    at_original,
    contenders,
    mean_values,
    postprocess,
)


def at_once(logits: Tensor, geometry: Geometry, align_corners: bool) -> Tensor:
    """The obvious way: all channels through both resizes. (K, H, W)."""
    logits = interpolated(logits if logits.dtype == torch.float64 else logits.float(), geometry.network, align_corners)
    logits = logits[:, : geometry.valid[0], : geometry.valid[1]]
    for flip in reversed(geometry.flips):
        logits = logits.flip(2 if flip == "horizontal" else 1)
    return interpolated(logits, geometry.original, align_corners)


def interpolated(values: Tensor, size: tuple[int, int], align_corners: bool) -> Tensor:
    return F.interpolate(values[None].contiguous(), size=size, mode="bilinear", align_corners=align_corners)[0]


def rounding(reference: Tensor, logits: Tensor, side: int) -> float:
    """By how much logits may differ if they are resized another way, from or to maps of at most this side.

    torch's places of pixels are numbers of few digits, and with them the weights of neighbours: 0.1 units a pixel of
    the side were measured with torch 2.14, 0.24 with 2.15.
    """
    unit = torch.finfo(reference.dtype).eps * float(logits.abs().max()) * (16 if logits.dtype == torch.float64 else 1)
    return unit * max(TIE / 2, side / 2)


def assert_same_labels(found: Tensor, reference: Tensor, logits: Tensor, side: int) -> None:
    """Labels (H, W) are those of reference logits or probabilities (K, H, W), but where the two best are a tie."""
    best = reference.topk(2, dim=0)
    clear = best.values[0] - best.values[1] > 2 * rounding(reference, logits, side)
    assert torch.equal(found.long()[clear], best.indices[0][clear])


def assert_same_logits(found: Tensor, reference: Tensor, logits: Tensor, side: int) -> None:
    assert float((found - reference).abs().max()) <= rounding(reference, logits, side)


def picture(logits: Tensor, geometry: Geometry, align_corners: bool) -> LogitMap:
    at_input = Resized(HeadLogits(logits), geometry.network, align_corners=align_corners)
    return at_original(at_input, geometry, align_corners=align_corners)


def in_strips(
    logits: Tensor, geometry: Geometry, align_corners: bool = False, budget: int | None = None
) -> Postprocessed:
    return postprocess([picture(logits, geometry, align_corners)], budget=budget)


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def smooth(count: int, height: int, width: int, seed: int = 0) -> Tensor:
    """Logits as trained models give them: a few channels win, in blobs."""
    coarse = noise(1, count, 3, 4, seed=seed) * 4 - torch.arange(count)[None, :, None, None] * 0.3
    return F.interpolate(coarse, size=(height, width), mode="bicubic")[0] + 0.1 * noise(count, height, width, seed=seed)


sides = st.integers(1, 90)


@settings(max_examples=150, deadline=None)
@given(
    channels=st.sampled_from([2, 3, 4, 5, 7, 16, 19, 20, 35, 150]),
    head=st.tuples(st.integers(1, 24), st.integers(1, 24)),
    network=st.tuples(sides, sides),
    valid=st.tuples(st.floats(0.3, 1), st.floats(0.3, 1)),
    original=st.tuples(sides, sides),
    flips=st.lists(st.sampled_from(["horizontal", "vertical"]), max_size=2).map(tuple),
    align_corners=st.booleans(),
    budget=st.sampled_from([1, 4 * 90 * 90 * 3, None]),
    kind=st.sampled_from(["noise", "smooth", "ties", "half", "double"]),
    seed=st.integers(0, 5),
)
def test_any_geometry(channels, head, network, valid, original, flips, align_corners, budget, kind, seed):
    geometry = Geometry(
        network, tuple(max(1, int(v * n)) for v, n in zip(valid, network, strict=True)), original, flips
    )
    logits = smooth(channels, *head, seed=seed) if kind == "smooth" else noise(channels, *head, seed=seed)
    if kind == "ties":
        logits = logits.round()
    elif kind == "half":
        logits = logits.half()
    elif kind == "double":
        logits = logits.double()
    reference, side = at_once(logits, geometry, align_corners), max(*head, *network, *original)
    found = in_strips(logits, geometry, align_corners, budget)
    assert_same_labels(found.label, reference, logits, side)
    assert found.confidence is found.probabilities is found.entropy is found.logits is None
    everything = RequestedFields(probabilities=True, confidence=True, logits=True, dtype=reference.dtype)
    found = postprocess([picture(logits, geometry, align_corners)], wanted=everything, budget=budget)
    assert_same_labels(found.label, reference, logits, side)
    assert_same_logits(found.logits, reference, logits, side)
    torch.testing.assert_close(found.probabilities, found.logits.softmax(dim=0), rtol=1e-6, atol=1e-7)
    assert torch.equal(found.confidence, found.probabilities.gather(0, found.label[None].long())[0])


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_150_classes_up_and_down(align_corners, make, layout):
    logits = make(150, 32, 43)[None].contiguous(memory_format=layout)[0]
    for original in [(333, 517), (60, 95), (128, 171)]:
        geometry = Geometry((128, 172), (128, 171), original)
        found = in_strips(logits, geometry, align_corners, 2**20)
        assert_same_labels(found.label, at_once(logits, geometry, align_corners), logits, max(original))


@settings(max_examples=40, deadline=None)
@given(
    channels=st.sampled_from([1, 2, 7, 19]),
    scales=st.lists(st.sampled_from([0.5, 0.75, 1.0, 1.5]), min_size=2, max_size=3),
    original=st.tuples(sides, sides),
    budget=st.sampled_from([1, 2**14, None]),
)
def test_the_mean_of_probabilities_over_views(channels, scales, original, budget):
    """To rounding what softmax, sum and division of whole views give."""
    views, total = [], torch.zeros(channels, *original)
    for number, scale in enumerate(scales):
        network = tuple(max(8, int(scale * side)) for side in original)
        logits = 2 * noise(channels, 1 + network[0] // 8, 1 + network[1] // 8, seed=number)
        geometry = Geometry(network, network, original, ("horizontal",) if number % 2 else ())
        views.append(picture(logits, geometry, False))
        reference = at_once(logits, geometry, False)
        total += reference.sigmoid() if channels == 1 else reference.softmax(dim=0)
    total /= len(scales)
    threshold = 0.4 if channels == 1 else None
    found = postprocess(views, threshold=threshold, wanted=RequestedFields(probabilities=True), budget=budget)
    mean = found.probabilities[-channels:]
    assert torch.allclose(mean, total, rtol=0, atol=4e-6)
    assert torch.equal(found.label.long(), (mean[0] > 0.4).long() if channels == 1 else mean.argmax(dim=0))
    assert torch.equal(postprocess(views, threshold=threshold, budget=budget).label, found.label)


@pytest.mark.parametrize("budget", [1, 2**12, None])
def test_depths_are_the_mean_of_their_views(budget):
    views, expected = [], []
    for number, network in enumerate(((40, 56), (24, 32))):
        logits = noise(1, network[0] // 8, network[1] // 8, seed=number)
        geometry = Geometry(network, network, (37, 53), ("horizontal",) if number else ())
        views.append(picture(logits, geometry, False))
        expected.append(at_once(logits, geometry, False)[0])
    found = mean_values(views, budget=budget)
    torch.testing.assert_close(found, torch.stack(expected).mean(dim=0), rtol=0, atol=1e-5)
    torch.testing.assert_close(mean_values(views[:1], budget=budget), expected[0], rtol=0, atol=1e-5)
    with pytest.raises(ValueError, match="one number for each pixel, found 2"):
        mean_values([picture(noise(2, 4, 4), Geometry((8, 8), (8, 8), (8, 8)), False)])


def test_the_mean_of_several_views_has_no_logits():
    geometry = Geometry((8, 8), (8, 8), (8, 8))
    views = [picture(noise(4, 8, 8), geometry, False)] * 2
    with pytest.raises(ValueError, match="averages probabilities"):
        postprocess(views, wanted=RequestedFields(logits=True))


def test_ties_go_to_the_lower_class():
    same = noise(1, 9, 9).expand(6, 9, 9)
    geometry = Geometry((72, 72), (72, 72), (100, 130))
    assert not in_strips(same, geometry).label.any()
    shifted = same.clone()
    shifted[:2] -= 1
    assert (in_strips(shifted, geometry, budget=1).label == 2).all()


def test_beaten_channels_are_left_out_and_no_others():
    logits = noise(40, 20, 30)
    logits[5:30] -= 100
    assert contenders(logits) == [*range(5), *range(30, 40)]
    assert contenders(torch.zeros(7, 4, 4)) == list(range(7))
    assert contenders(torch.full((7, 1, 2), torch.nan)) == list(range(7))


def test_wide_class_counts_leave_eight_bits():
    logits = noise(300, 4, 4)
    geometry = Geometry((4, 4), (4, 4), (4, 4))
    label = in_strips(logits, geometry).label
    assert label.dtype == torch.int32
    assert torch.equal(label.long(), logits.argmax(dim=0))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.77])
def test_one_logit_is_compared_with_the_threshold(threshold):
    logits = noise(1, 12, 9)
    geometry = Geometry((96, 72), (90, 70), (123, 45), ("horizontal",))
    wanted = RequestedFields(probabilities=True, confidence=True, entropy=True, logits=True)
    found = postprocess([picture(logits, geometry, False)], threshold=threshold, wanted=wanted)
    assert_same_logits(found.logits, at_once(logits, geometry, False), logits, 123)
    probability = found.logits.sigmoid()[0]
    assert torch.equal(found.label, (probability > threshold).byte())
    assert torch.equal(found.confidence, torch.where(probability > threshold, probability, 1 - probability))
    assert torch.equal(found.probabilities[1], probability)
    expected = F.binary_cross_entropy(probability, probability, reduction="none")
    assert torch.allclose(found.entropy, expected, atol=1e-6)
    alone = postprocess([picture(logits, geometry, False)], threshold=threshold)
    assert torch.equal(alone.label, found.label)


@pytest.mark.parametrize("views", [1, 2])
@pytest.mark.parametrize("budget", [None, 1])
@pytest.mark.parametrize("channels", [1, 2])
def test_the_foreground_is_what_the_threshold_is_compared_with(channels, budget, views):
    """Exactly: who counts the one finds the other."""
    geometry = Geometry((96, 72), (90, 70), (123, 45), ("horizontal",))
    maps = [picture(noise(channels, 12, 9, seed=number), geometry, False) for number in range(views)]
    wanted = RequestedFields(foreground=True, probabilities=True, dtype=torch.float16)
    for threshold in (0.25, 0.5, 701 / 1024):
        found = postprocess(maps, threshold=threshold, wanted=wanted, budget=budget)
        assert found.foreground.dtype == torch.float32
        assert torch.equal(found.label, (found.foreground > threshold).byte())
        assert torch.equal(found.foreground.half(), found.probabilities[1])
        assert torch.equal(postprocess(maps, threshold=threshold).label, found.label)
        assert 0 < found.label.float().mean() < 1
    if channels == 2:
        usual = postprocess(maps, wanted=RequestedFields(foreground=True))
        assert torch.equal(usual.label, (usual.foreground > 0.5).byte())


def test_more_classes_have_no_foreground():
    geometry = Geometry((4, 4), (4, 4), (4, 4))
    with pytest.raises(ValueError, match="the second of two classes; the model has 3 logits"):
        postprocess([picture(noise(3, 4, 4), geometry, False)], wanted=RequestedFields(foreground=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_what_is_wanted_comes_in_its_type(dtype):
    logits = 3 * noise(5, 12, 9)
    geometry = Geometry((96, 72), (90, 70), (123, 145))
    wanted = RequestedFields(probabilities=True, confidence=True, entropy=True, logits=True, dtype=dtype)
    found = postprocess([picture(logits, geometry, True)], wanted=wanted)
    shares = at_once(logits, geometry, True).softmax(dim=0)
    tolerance = 2e-6 if dtype == torch.float32 else 1e-3
    assert torch.allclose(found.probabilities.float(), shares, rtol=0, atol=tolerance)
    entropy = -(shares * shares.log()).sum(dim=0)
    assert torch.allclose(found.entropy.float(), entropy, atol=1e-6 if dtype == torch.float32 else 1e-3)
    assert {found.confidence.dtype, found.entropy.dtype, found.logits.dtype} == {dtype}


@pytest.mark.parametrize(
    ("channels", "threshold", "message"), [(1, None, "one logit"), (4, 0.5, "remove the threshold")]
)
def test_threshold_and_logits_must_fit(channels, threshold, message):
    geometry = Geometry((4, 4), (4, 4), (4, 4))
    with pytest.raises(ValueError, match=message):
        postprocess([picture(noise(channels, 4, 4), geometry, False)], threshold=threshold)


def test_impossible_geometry_is_refused():
    with pytest.raises(ValueError, match="valid part: expected at most"):
        Geometry((10, 10), (11, 10), (5, 5))
    with pytest.raises(ValueError, match="original size"):
        Geometry((10, 10), (10, 10), (0, 5))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
@pytest.mark.parametrize("kind", ["smooth", "noise", "views"])
def test_peak_memory_is_that_of_a_few_rows(kind, tmp_path):
    """12 million pixels of 150 classes are 7.2 GB. The label map is 12 MB, all rows of one class are 48 MB."""
    script = tmp_path / "peak.py"
    script.write_text(
        "import sys, resource\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "import torch\n"
        "from test_postprocess import noise, smooth, picture\n"
        "from intarsia.inference.logits.postprocess import Geometry, postprocess\n"
        "kind = sys.argv[2]\n"
        "logits = smooth(150, 64, 86) if kind == 'smooth' else noise(150 if kind == 'views' else 12, 64, 86)\n"
        "def run(height, width):\n"
        "    geometry = Geometry((256, 344), (256, 342), (height, width))\n"
        "    postprocess([picture(logits, geometry, False)] * (2 if kind == 'views' else 1))\n"
        "run(300, 400)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run(*((600, 4000) if kind == 'views' else (3000, 4000)))\n"
        "print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)\n"
    )
    command = [sys.executable, str(script), str(Path(__file__).parent), kind]
    beyond = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert beyond < 60, f"{beyond} MB beyond the logits"
