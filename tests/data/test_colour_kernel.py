"""Photometric distortion by numba beside OpenCV: the same bits for every colour, width and number."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.data import fast_libraries
from intarsia.data.transforms import colour
from intarsia.data.transforms.distortion import Distortion

pytest.importorskip("numba")
from intarsia.data import numba_compile
from intarsia.data.transforms import colour_kernel

plain = colour.distorted


@pytest.fixture(scope="module")
def kernel():
    """The compiled one, whether or not it was the faster one while this machine was busy."""
    function = numba_compile.compiled(colour_kernel._SIGNATURE, colour_kernel._distort)
    for fused in (True, False):
        found = colour_kernel._kernel(function, plain, fused)
        if np.array_equal(found(every_colour(0), drawn(1.37, 11)), plain(every_colour(0), drawn(1.37, 11))):
            return found
    pytest.fail("neither way to round gives OpenCV's numbers")


def every_colour(part):
    """The 2^20 colours of one of sixteen parts, which have one value of green in sixteen."""
    numbers = np.arange(1 << 20, dtype=np.uint32)
    red, green, blue = numbers & 255, (numbers >> 8 & 15) * 16 + part, numbers >> 12
    return np.stack([red, green, blue], -1).astype(np.uint8).reshape(1024, 1024, 3)


@pytest.mark.parametrize("part", range(16))
def test_every_colour_is_opencvs(kernel, part):
    colours = every_colour(part)
    for what in (drawn(1.37), drawn(hue=-7), drawn(0.6, 18), drawn(1.2, -3, 17.6, 1.13, part % 2 == 0)):
        np.testing.assert_array_equal(kernel(colours, what), plain(colours, what))


def drawn(saturation=None, hue=None, brightness=None, contrast=None, first=False):
    return Distortion(brightness, first, contrast, saturation, hue)


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("width", [1, 3, 15, 16, 31, 33, 63, 64, 65, 79, 80, 96, 100, 127, 128, 129, 683])
def test_every_width_is_opencvs(kernel, width):
    """Its last columns are rounded otherwise: how many depends on the processor."""
    image = noise(width, 9, width)
    for factor, steps in ((1.37, None), (None, 7), (1.37, 7)):
        np.testing.assert_array_equal(kernel(image, drawn(factor, steps)), plain(image, drawn(factor, steps)))


numbers = st.none() | st.floats(0, 3) | st.floats(0, 1e30)


@settings(max_examples=300)
@given(
    st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(0, 200), numbers, st.none() | st.integers(-400, 400),
    st.none() | st.floats(-300, 300), numbers, st.booleans(),
)  # fmt: skip
def test_every_number_is_opencvs(kernel, seed, height, width, saturation, hue, brightness, contrast, first):
    image = noise(seed, height + 1, width + 1)
    what = drawn(saturation, hue, brightness, contrast, first)
    np.testing.assert_array_equal(kernel(image, what), plain(image, what))


def test_images_that_are_windows_or_not_to_be_written_are_taken(kernel):
    whole = noise(0, 40, 200)
    whole.setflags(write=False)
    for image in (whole, whole[3:30, 5:140], whole[::-1, ::-1], whole[:, :, ::-1]):
        before = image.copy()
        np.testing.assert_array_equal(kernel(image, drawn(1.2, -3)), plain(np.ascontiguousarray(image), drawn(1.2, -3)))
        np.testing.assert_array_equal(image, before)


def test_the_transform_gives_the_same_with_it_and_without(kernel, monkeypatch):
    image = noise(1, 64, 150)
    transform = colour.PhotoMetricDistortion()
    found = []
    for way in (kernel, None):
        monkeypatch.setattr(colour, "_fast_distorted", lambda way=way: way)
        samples = [transform(colour.Sample(image), np.random.default_rng(seed)).image for seed in range(40)]
        found.append(np.stack(samples))
    np.testing.assert_array_equal(*found)


def timed(monkeypatch, kernel_seconds, plain_seconds):
    """Measured times that do not depend on the machine: a pair of readings each for the plain way and the kernel."""
    steps = iter([step for _ in range(100) for step in (0.0, kernel_seconds, 0.0, plain_seconds)])
    monkeypatch.setattr(colour_kernel.time, "process_time", lambda: next(steps))


def test_it_is_taken_where_it_is_equal_and_faster(monkeypatch):
    timed(monkeypatch, 1.0, 2.0)
    made = colour_kernel.make_kernel(plain)
    assert made is not None
    np.testing.assert_array_equal(made(noise(2, 4, 128), drawn(1.3, 4)), plain(noise(2, 4, 128), drawn(1.3, 4)))


def test_it_is_left_where_opencv_is_faster(monkeypatch):
    timed(monkeypatch, 2.0, 1.0)
    assert colour_kernel.make_kernel(plain) is None


def test_it_is_left_where_one_colour_in_a_thousand_differs(monkeypatch):
    timed(monkeypatch, 1.0, 2.0)

    def otherwise(image, what):
        after = plain(image, what).copy()
        chosen = image[:, :, 0].astype(int) * 7 + image[:, :, 1] * 3 + image[:, :, 2]
        after[chosen % 1000 == 0] ^= 1
        return after

    assert colour_kernel.make_kernel(otherwise) is None


def test_nothing_is_compiled_for_a_processor_without_fused_instructions(monkeypatch):
    monkeypatch.setattr(colour_kernel, "_can_fuse", lambda: False)
    monkeypatch.setattr(colour_kernel, "compiled", lambda *given: pytest.fail("it was compiled"))
    assert colour_kernel.make_kernel(plain) is None


def test_the_variable_turns_it_off(monkeypatch):
    for choice, expected in (("usual", type(None)), ("fast", object)):
        monkeypatch.setenv(fast_libraries.VARIABLE, choice)
        fast_libraries.fast_library.cache_clear()
        assert isinstance(fast_libraries.fast_library("numba"), expected)
    fast_libraries.fast_library.cache_clear()
    colour._fast_distorted.cache_clear()
    monkeypatch.setenv(fast_libraries.VARIABLE, "usual")
    assert colour._fast_distorted() is None
    fast_libraries.fast_library.cache_clear()
    colour._fast_distorted.cache_clear()


OTHER_ROUNDING = """
import cv2, numpy as np
from intarsia.data import numba_compile
from intarsia.data.transforms import colour, colour_kernel
from intarsia.data.transforms.distortion import Distortion
rng = np.random.default_rng(0)
image = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
what = Distortion(None, False, None, 1.37, 11)
for fused in (False, True):
    function = numba_compile.compiled(colour_kernel._SIGNATURE, colour_kernel._distort)
    kernel = colour_kernel._kernel(function, colour.distorted, fused)
    print((kernel(image, what) != colour.distorted(image, what)).sum())
print(colour_kernel._is_equal_and_faster(kernel, colour.distorted))
"""


@pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64") or not cv2.checkHardwareSupport(colour_kernel._FMA3),
    reason="the variable that turns instructions of OpenCV off is tried where it knows them",
)
def test_opencv_without_fused_instructions_rounds_otherwise_and_that_is_seen():
    """Before AVX2 processors rounded a product first. OpenCV has both, and chooses when it is loaded."""
    found = subprocess.run(
        [sys.executable, "-c", OTHER_ROUNDING], env={**os.environ, "OPENCV_CPU_DISABLE": "AVX2,FMA3"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    first, fused, taken = found.stdout.split()
    assert first == "0"
    assert int(fused) > 0
    assert taken == "False"
