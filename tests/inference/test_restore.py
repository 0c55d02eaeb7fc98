"""Restoring in groups of channels gives the bits of restoring everything at once."""

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

from intarsia.inference.restore import Geometry, contenders, restore, restore_probabilities


def at_once(logits: Tensor, geometry: Geometry, align_corners: bool) -> Tensor:
    """The obvious way: all channels through both resizes. (K, H, W)."""
    logits = logits.contiguous()[None]
    if logits.dtype != torch.float64:
        logits = logits.float()
    if logits.shape[2:] != geometry.network:
        logits = F.interpolate(logits, size=geometry.network, mode="bilinear", align_corners=align_corners)
    logits = logits[:, :, : geometry.valid[0], : geometry.valid[1]]
    for flip in reversed(geometry.flips):
        logits = logits.flip(3 if flip == "horizontal" else 2)
    if logits.shape[2:] != geometry.original:
        logits = F.interpolate(
            logits.contiguous(), size=geometry.original, mode="bilinear", align_corners=align_corners
        )
    return logits[0]


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
    budget=st.sampled_from([1, 4 * 90 * 90 * 3, 2**26]),
    kind=st.sampled_from(["noise", "smooth", "ties", "half", "double"]),
    seed=st.integers(0, 5),
)
def test_the_same_bits_for_any_geometry(
    channels, head, network, valid, original, flips, align_corners, budget, kind, seed
):
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
    reference = at_once(logits, geometry, align_corners)
    found = restore(logits, geometry, align_corners=align_corners, budget=budget)
    assert torch.equal(found.label.long(), reference.argmax(dim=0))
    assert found.confidence is None


@pytest.mark.parametrize("align_corners", [False, True])
@pytest.mark.parametrize("make", [smooth, noise])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_150_classes_up_and_down(align_corners, make, layout):
    logits = make(150, 32, 43)[None].contiguous(memory_format=layout)[0]
    for original in [(333, 517), (60, 95), (128, 171)]:
        geometry = Geometry((128, 172), (128, 171), original)
        found = restore(logits, geometry, align_corners=align_corners, budget=2**20)
        assert torch.equal(found.label.long(), at_once(logits, geometry, align_corners).argmax(dim=0))


def test_ties_go_to_the_lower_class():
    same = noise(1, 9, 9).expand(6, 9, 9)
    geometry = Geometry((72, 72), (72, 72), (100, 130))
    assert not restore(same, geometry, align_corners=False).label.any()
    shifted = same.clone()
    shifted[:2] -= 1
    assert (restore(shifted, geometry, align_corners=False, budget=1).label == 2).all()


def test_beaten_channels_are_left_out_and_no_others():
    logits = noise(40, 20, 30)
    logits[5:30] -= 100
    assert contenders(logits) == [*range(5), *range(30, 40)]
    assert contenders(logits, budget=1) == contenders(logits)
    assert contenders(torch.zeros(7, 4, 4)) == list(range(7))
    assert contenders(torch.full((7, 1, 2), torch.nan)) == list(range(7))


def test_wide_class_counts_leave_eight_bits():
    logits = noise(300, 4, 4)
    geometry = Geometry((4, 4), (4, 4), (4, 4))
    label = restore(logits, geometry, align_corners=False).label
    assert label.dtype == torch.int32
    assert torch.equal(label.long(), logits.argmax(dim=0))


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.77])
def test_one_logit_is_compared_with_the_threshold(threshold):
    logits = noise(1, 12, 9)
    geometry = Geometry((96, 72), (90, 70), (123, 45), ("horizontal",))
    found = restore(logits, geometry, align_corners=False, threshold=threshold, confidence=True)
    probability = at_once(logits, geometry, False).sigmoid()[0]
    assert torch.equal(found.label, (probability > threshold).byte())
    assert torch.equal(found.confidence, torch.where(probability > threshold, probability, 1 - probability))
    both = restore_probabilities(logits, geometry, align_corners=False, threshold=threshold)
    assert torch.equal(both[1], probability)
    assert torch.allclose(both.sum(dim=0), torch.ones(123, 45))


@pytest.mark.parametrize("channels", [2, 3, 21])
def test_confidence_and_probabilities_agree_with_softmax(channels):
    logits = 3 * noise(channels, 12, 9)
    geometry = Geometry((96, 72), (90, 70), (123, 145))
    reference = at_once(logits, geometry, True).softmax(dim=0)
    found = restore(logits, geometry, align_corners=True, confidence=True, budget=1)
    assert torch.allclose(found.confidence, reference.amax(dim=0), atol=1e-6)
    probabilities = restore_probabilities(logits, geometry, align_corners=True, budget=1)
    assert torch.allclose(probabilities, reference, atol=1e-6)
    assert torch.equal(found.label.long(), at_once(logits, geometry, True).argmax(dim=0))


@pytest.mark.parametrize(
    ("channels", "threshold", "message"), [(1, None, "one logit"), (4, 0.5, "remove the threshold")]
)
def test_threshold_and_logits_must_fit(channels, threshold, message):
    geometry = Geometry((4, 4), (4, 4), (4, 4))
    for function in (restore, restore_probabilities):
        with pytest.raises(ValueError, match=message):
            function(noise(channels, 4, 4), geometry, align_corners=False, threshold=threshold)


def test_impossible_geometry_is_refused():
    with pytest.raises(ValueError, match="valid part: expected at most"):
        Geometry((10, 10), (11, 10), (5, 5))
    with pytest.raises(ValueError, match="original size"):
        Geometry((10, 10), (10, 10), (0, 5))


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak from /proc")
def test_peak_memory_is_that_of_a_few_maps(tmp_path):
    """12 million pixels: 12 channels at once would be 576 MB, 150 would be 7.2 GB; one map of float32 is 48 MB."""
    script = tmp_path / "peak.py"
    script.write_text(
        "import sys, resource\n"
        "sys.path.insert(0, sys.argv[1])\n"
        "from test_restore import noise, smooth\n"
        "from intarsia.inference.restore import Geometry, restore\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024\n"
        "inputs = [noise(12, 64, 86), smooth(150, 64, 86)]\n"
        "for logits in inputs: restore(logits, Geometry((256, 344), (256, 342), (300, 400)), align_corners=False)\n"
        "before = peak()\n"
        "for logits in inputs: restore(logits, Geometry((256, 344), (256, 342), (3000, 4000)), align_corners=False)\n"
        "print(peak() - before)\n"
    )
    command = [sys.executable, str(script), str(Path(__file__).parent)]
    beyond = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert beyond < 200, f"{beyond} MB beyond the logits"
