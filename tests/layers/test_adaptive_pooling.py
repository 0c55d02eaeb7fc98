from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.layers.adaptive_pooling import AdaptiveAvgPool, adaptive_avg_pool, adaptive_max_pool

SIZES = [(7, 10), (8, 12), (3, 5), (1, 1)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("grid", [(3, 5), (4, 6), (7, 10), (1, 1), (5, 13)])
def test_maxima_are_those_of_torchs_layer(size: tuple[int, int], grid: tuple[int, int]) -> None:
    """Cells that overlap, cells of one value, and more cells than there are values; the gradients, too."""
    compare(size, grid, lambda x: adaptive_max_pool(x, *grid), lambda x: F.adaptive_max_pool2d(x, grid), exact=True)


@pytest.mark.parametrize("exporting", [False, True])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("cells", [1, 2, 3, 6, 11])
def test_means_are_those_of_torchs_layer(
    cells: int, size: tuple[int, int], exporting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("is_exporting", "is_compiling"):
        monkeypatch.setattr(torch.compiler, name, lambda: exporting)
    grid = (cells, cells)
    compare(
        size, grid, lambda x: adaptive_avg_pool(x, cells), lambda x: F.adaptive_avg_pool2d(x, cells),
        exact=not exporting,
    )  # fmt: skip


def test_one_exported_graph_is_right_for_every_size() -> None:
    layer = AdaptiveAvgPool(3)
    shape = dict.fromkeys((0, 2, 3), torch.export.Dim.DYNAMIC)
    program = torch.export.export(layer, (torch.randn(2, 3, 16, 20),), dynamic_shapes=(shape,))
    assert not any("adaptive" in str(node.target) for node in program.graph.nodes)  # which ONNX would fix to one size
    for size in [(7, 10), (3, 5), (24, 9)]:
        x = torch.randn(3, 3, *size)
        torch.testing.assert_close(program.module()(x), nn.AdaptiveAvgPool2d(3)(x))


def compare(
    size: tuple[int, int],
    grid: tuple[int, int],
    ours: Callable[[Tensor], Tensor],
    theirs: Callable[[Tensor], Tensor],
    *,
    exact: bool,
) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(2, 3, *grid, dtype=torch.float64)
    found, expected = ours(x), theirs(x)
    if exact:
        assert found.equal(expected)
    torch.testing.assert_close(found, expected)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (found, expected)]
    torch.testing.assert_close(*gradients)
