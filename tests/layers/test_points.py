"""Points: sampled against bilinear interpolation written out, drawn against what the paper says of them."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from intarsia.layers.points import sample_at, uncertain_points


def doubt(logits: Tensor) -> Tensor:
    """Logits (N, 1, P) -> (N, P)."""
    return -logits[:, 0].abs()


def interpolated(plane: Tensor, x: float, y: float) -> Tensor:
    """One value of a map (C, H, W), pixel by pixel: zeros surround the map."""
    height, width = plane.shape[1:]
    column, row = x * width - 0.5, y * height - 0.5
    total = torch.zeros(plane.shape[0], dtype=plane.dtype)
    for j in (math.floor(row), math.floor(row) + 1):
        for i in (math.floor(column), math.floor(column) + 1):
            if 0 <= j < height and 0 <= i < width:
                total += plane[:, j, i] * (1 - abs(column - i)) * (1 - abs(row - j))
    return total


unit = st.floats(0.0, 1.0, allow_subnormal=False)


@settings(max_examples=50, deadline=None)
@given(size=st.tuples(st.integers(1, 6), st.integers(1, 6)), places=st.lists(st.tuples(unit, unit), min_size=1))
def test_samples_are_bilinear_between_centres(size: tuple[int, int], places: list[tuple[float, float]]) -> None:
    maps = torch.randn(2, 3, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([places, places[::-1]], dtype=torch.float64)  # the images have points of their own
    found = sample_at(maps, points)
    assert found.shape == (2, 3, len(places))
    for n, row in enumerate(points.tolist()):
        for p, (x, y) in enumerate(row):
            torch.testing.assert_close(found[n, :, p], interpolated(maps[n], x, y), rtol=0, atol=1e-12)


def test_centres_of_pixels_give_the_pixels() -> None:
    maps = torch.randn(2, 3, 4, 5)
    y, x = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    points = torch.stack([x, y], dim=2).flatten(0, 1).expand(2, -1, -1)
    torch.testing.assert_close(sample_at(maps, points), maps.flatten(2))


def test_half_precision_maps_are_sampled_where_the_points_are() -> None:
    """A point in half precision could be pixels away; the map's values are what is rounded."""
    maps = torch.randn(1, 2, 16, 3000).bfloat16()
    points = torch.rand(1, 50, 2)
    found = sample_at(maps, points)
    assert found.dtype == torch.bfloat16
    assert found.equal(sample_at(maps.float(), points).bfloat16())


def test_gradients_reach_the_map() -> None:
    maps = torch.randn(1, 1, 4, 4, requires_grad=True)
    sample_at(maps, torch.tensor([[[0.125, 0.375]]])).sum().backward()
    assert maps.grad is not None
    expected = torch.zeros(1, 1, 4, 4)
    expected[0, 0, 1, 0] = 1
    torch.testing.assert_close(maps.grad, expected)


def test_the_most_uncertain_of_the_candidates_are_kept() -> None:
    """Draws the same numbers, and chooses among them with Python's own sort."""
    maps = torch.randn(3, 1, 8, 8)
    points = uncertain_points(maps, doubt, 20, 3.0, 0.75, torch.Generator().manual_seed(5))
    assert points.shape == (3, 20, 2)
    generator = torch.Generator().manual_seed(5)
    candidates = torch.rand(3, 60, 2, generator=generator)
    others = torch.rand(3, 5, 2, generator=generator)
    for n in range(3):
        values = [abs(interpolated(maps[n], x, y).item()) for x, y in candidates[n].tolist()]
        kept = sorted(range(60), key=lambda i, values=values: values[i])[:15]
        assert {tuple(point) for point in points[n, :15].tolist()} == {tuple(candidates[n, i].tolist()) for i in kept}
    assert points[:, 15:].equal(others)


def test_points_gather_where_the_prediction_changes() -> None:
    """Foreground on the left, background on the right: the paper's figure 5."""
    maps = torch.linspace(-1, 1, 64).expand(1, 1, 64, 64)
    near = {
        ratio: ((uncertain_points(maps, doubt, 1000, 3.0, ratio)[0, :, 0] - 0.5).abs() < 1 / 6).float().mean().item()
        for ratio in (0.0, 0.75, 1.0)
    }
    assert near[0.0] == pytest.approx(1 / 3, abs=0.06)
    assert near[0.75] == pytest.approx(0.75 + 0.25 / 3, abs=0.06)
    assert near[1.0] > 0.9


def test_torchs_own_generator_is_the_default() -> None:
    maps = torch.randn(1, 1, 8, 8)
    torch.manual_seed(3)
    first = uncertain_points(maps, doubt, 10, 2.0, 0.5)
    second = uncertain_points(maps, doubt, 10, 2.0, 0.5)
    assert not first.equal(second)
    torch.manual_seed(3)
    assert first.equal(uncertain_points(maps, doubt, 10, 2.0, 0.5))


def test_choosing_points_is_no_part_of_the_graph() -> None:
    maps = torch.randn(2, 1, 8, 8, requires_grad=True)
    assert not uncertain_points(maps, doubt, 10, 2.0, 0.5).requires_grad


def test_no_maps_have_no_points() -> None:
    """Masks that were matched: there may be none."""
    assert uncertain_points(torch.zeros(0, 1, 8, 8), doubt, 10, 3.0, 0.75).shape == (0, 10, 2)


@pytest.mark.parametrize(("oversample", "importance"), [(0.5, 0.75), (3.0, 1.5), (3.0, -0.1)])
def test_impossible_shares_are_refused(oversample: float, importance: float) -> None:
    with pytest.raises(ValueError, match="oversample_ratio must be at least 1 and importance_ratio lie in"):
        uncertain_points(torch.zeros(1, 1, 8, 8), doubt, 10, oversample, importance)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_borders_of_the_shares_are_possible(share: float) -> None:
    """As many candidates as points: all that are kept are drawn."""
    maps = torch.randn(1, 1, 8, 8)
    points = uncertain_points(maps, doubt, 10, 1.0, share, torch.Generator().manual_seed(5))
    drawn = torch.rand(1, 20, 2, generator=torch.Generator().manual_seed(5))
    chosen = drawn[:, :10] if share else drawn[:, 10:]
    assert {tuple(point) for point in points[0].tolist()} == {tuple(point) for point in chosen[0].tolist()}
