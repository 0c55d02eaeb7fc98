"""Learned positions on grids of other sizes."""

from __future__ import annotations

from typing import Literal

import pytest
import torch
import torch.nn.functional as F

from intarsia.layers.position_embedding import learned_positions, resize_positions


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
@pytest.mark.parametrize("tokens", [0, 1, 2])
def test_only_the_grid_is_resized(mode: Literal["bilinear", "bicubic"], tokens: int) -> None:
    torch.manual_seed(0)
    positions = torch.randn(1, tokens + 12, 5)
    found = resize_positions(positions, (3, 4), (5, 2), mode=mode, tokens=tokens)
    grid = positions[0, tokens:].T.reshape(1, 5, 3, 4)
    expected = F.interpolate(grid, size=(5, 2), mode=mode).flatten(2).transpose(1, 2)
    assert found.shape == (1, tokens + 10, 5)
    assert found[:, :tokens].equal(positions[:, :tokens])
    torch.testing.assert_close(found[:, tokens:], expected)


@pytest.mark.parametrize("mode", ["bilinear", "bicubic"])
def test_the_same_size_gives_the_same_positions(mode: Literal["bilinear", "bicubic"]) -> None:
    positions = torch.randn(1, 13, 5)
    assert resize_positions(positions, (3, 4), (3, 4), mode=mode, tokens=1) is positions


def test_as_many_tokens_of_another_shape_are_another_grid() -> None:
    positions = torch.randn(1, 12, 5)
    assert not resize_positions(positions, (3, 4), (4, 3), mode="bilinear").equal(positions)


def test_positions_are_parameters() -> None:
    torch.manual_seed(0)
    positions = learned_positions(100, 64)
    assert positions.shape == (1, 100, 64)
    assert positions.requires_grad
    assert positions.std().item() == pytest.approx(0.02, rel=0.05)
