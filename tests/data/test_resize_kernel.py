"""Windows of resized images by numba beside OpenCV's whole ones: the same bits, wherever they lie."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from intarsia.data import fast_libraries
from intarsia.data.transforms import resize_window
from intarsia.data.transforms.resize import resize_array

pytest.importorskip("numba")
from intarsia.data.transforms import resize_kernel


def plain(image, size, corner, window):
    whole = resize_array(image, size, "bilinear")
    return whole[corner[0] : corner[0] + window[0], corner[1] : corner[1] + window[1]]


@pytest.fixture(scope="module")
def kernel():
    made = resize_kernel.make_window(plain)
    assert made is not None
    return made


def noise(seed, height, width):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


sides = st.integers(1, 90)


@settings(max_examples=500)
@given(st.data(), sides, sides, sides, sides)
def test_every_window_is_opencvs(kernel, data, height, width, new_height, new_width):
    assume((height, width) != (2 * new_height, 2 * new_width))
    image, size = noise(height * 100 + width, height, width), (new_height, new_width)
    top, left = (data.draw(st.integers(0, side - 1)) for side in size)
    shape = data.draw(st.integers(1, size[0] - top)), data.draw(st.integers(1, size[1] - left))
    first, last = resize_window._reach(height, size[0], top, shape[0])
    found = kernel(image[first:last], first, (height, width), size, (top, left), shape)
    np.testing.assert_array_equal(found, plain(image, size, (top, left), shape))


@pytest.mark.parametrize("size", [(1024, 1366), (700, 934), (333, 2049), (2000, 400), (512, 683), (3000, 4003)])
def test_large_images(kernel, size):
    """Places are told in float32, whose last bits are coarser far from the corner."""
    image = noise(7, 512, 683)
    for corner in ((0, 0), (size[0] // 3, size[1] // 2), (size[0] - 100, size[1] - 90)):
        found = kernel(image, 0, (512, 683), size, corner, (100, 90))
        np.testing.assert_array_equal(found, plain(image, size, corner, (100, 90)))


def test_half_the_size_is_left_to_opencv_which_takes_means(kernel):
    image = noise(1, 40, 60)
    assert kernel(image, 0, (40, 60), (20, 30), (2, 3), (5, 5)) is None
    half = kernel(image, 0, (40, 60), (20, 31), (2, 3), (5, 5))
    np.testing.assert_array_equal(half, plain(image, (20, 31), (2, 3), (5, 5)))


def test_rows_that_are_not_there_are_not_read(kernel):
    image = noise(1, 40, 60)
    for rows, top in ((image[:10], 0), (image[30:], 30), (image[5:38], 5), (image, 1)):
        assert kernel(rows, top, (40, 60), (61, 83), (0, 0), (61, 83)) is None


def test_images_that_are_windows_or_not_to_be_written_are_taken(kernel):
    whole = noise(2, 50, 90)
    whole.setflags(write=False)
    for image in (whole, whole[5:45, 10:80], whole[::-1, ::-1], whole[:, :, ::-1]):
        before = image.copy()
        found = kernel(image, 0, image.shape[:2], (77, 131), (20, 30), (40, 60))
        np.testing.assert_array_equal(found, plain(np.ascontiguousarray(image), (77, 131), (20, 30), (40, 60)))
        np.testing.assert_array_equal(image, before)


def test_it_is_left_where_one_bit_differs():
    def otherwise(image, size, corner, window):
        found = plain(image, size, corner, window).copy()
        found[-1, -1, 2] ^= 1
        return found

    assert resize_kernel.make_window(otherwise) is None


def test_a_crop_of_a_resized_image_takes_it_where_much_lies_beside_it(monkeypatch):
    image, taken = noise(3, 64, 80), []

    def counted(*arguments):
        taken.append(arguments)
        return usual(*arguments)

    usual = resize_kernel.make_window(plain)
    for way in (counted, None):
        monkeypatch.setattr(resize_window, "fast_window", lambda way=way: way)
        for size, corner in (((128, 160), (90, 100)), ((33, 41), (0, 0)), ((70, 90), (3, 50))):
            for window in ((30, 40), (1000, 1000)):
                found = resize_window.resized_window(image, size, "bilinear", corner, window)
                np.testing.assert_array_equal(found, plain(image, size, corner, window))
    assert 2 <= len(taken) < 6
    assert {arguments[3] for arguments in taken} >= {(128, 160)}
    assert (33, 41) not in {arguments[3] for arguments in taken}


def test_the_variable_turns_it_off(monkeypatch):
    monkeypatch.setenv(fast_libraries.VARIABLE, "usual")
    fast_libraries.fast_library.cache_clear()
    resize_window.fast_window.cache_clear()
    assert resize_window.fast_window() is None
    fast_libraries.fast_library.cache_clear()
    resize_window.fast_window.cache_clear()
