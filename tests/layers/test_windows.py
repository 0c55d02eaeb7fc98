"""Maps as windows: what lies where, and the way back."""

from __future__ import annotations

import pytest
import torch

from intarsia.layers.windows import crop_to, join_windows, pad_to_windows, split_windows


@pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 2)])
def test_windows_and_back(size: tuple[int, int]) -> None:
    x = torch.randn(2, *size, 3)
    padded, windows = pad_to_windows(x, 2)
    assert windows == (-(-size[0] // 2), -(-size[1] // 2))
    assert padded.shape == (2, 2 * windows[0], 2 * windows[1], 3)
    assert padded.sum() == pytest.approx(x.sum().item(), abs=1e-5)
    split = split_windows(padded, 2, windows)
    assert split.shape == (2, windows[0] * windows[1], 4, 3)
    assert join_windows(split, 2, windows).equal(padded)
    assert crop_to(padded, *size).equal(x)


def test_a_window_holds_neighbours() -> None:
    x = torch.arange(24).reshape(1, 4, 6, 1)
    windows = split_windows(x, 2, (2, 3))
    assert windows[0, :, :, 0].tolist() == [
        [0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11], [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23],
    ]  # fmt: skip
