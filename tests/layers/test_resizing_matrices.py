"""Resizing by matrices gives what torch's own functions give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.layers.resizing_matrices import antialiased_bicubic, resized_by_corners

SIZES = [
    ((10, 12), (7, 5)),
    ((10, 12), (14, 31)),
    ((5, 4), (1, 9)),
    ((7, 9), (7, 9)),
    ((1, 3), (2, 1)),
    ((37, 23), (5, 8)),
]


@pytest.mark.parametrize(("before", "after"), SIZES)
def test_they_give_what_torch_gives(before: tuple[int, int], after: tuple[int, int]) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *before, dtype=torch.float64)
    for corners in (False, True):
        expected = F.interpolate(x, after, mode="bilinear", align_corners=corners)
        torch.testing.assert_close(resized_by_corners(x, after, int(corners)), expected, rtol=0, atol=1e-12)
    expected = F.interpolate(x, after, mode="bicubic", antialias=True)
    torch.testing.assert_close(antialiased_bicubic(x, after), expected, rtol=0, atol=1e-12)


def test_places_are_not_rounded_to_half_precision() -> None:
    x = torch.rand(1, 1, 3, 2000)
    expected = resized_by_corners(x, (3, 3000), 0)
    torch.testing.assert_close(resized_by_corners(x.bfloat16(), (3, 3000), 0).float(), expected, rtol=0, atol=0.02)
