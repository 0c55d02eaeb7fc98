from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.layers.adaptive_max_pooling import adaptive_max_pool


@pytest.mark.parametrize("size", [(7, 10), (8, 12), (3, 5), (1, 1)])
@pytest.mark.parametrize("grid", [(3, 5), (4, 6), (7, 10), (1, 1), (5, 13)])
def test_gives_what_torchs_layer_gives(size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Cells that overlap, cells of one value, and more cells than there are values; the gradients, too."""
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *grid, dtype=torch.float64)
    found, expected = adaptive_max_pool(x, *grid), F.adaptive_max_pool2d(x, grid)
    assert found.equal(expected)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)
