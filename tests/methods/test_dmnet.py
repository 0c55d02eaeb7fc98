"""DMNet: each channel of each image has a filter of its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.methods.dmnet import DMHead, filtered


@pytest.mark.parametrize("side", [1, 2, 3, 4, 7])
def test_channels_are_filtered_one_by_one(side: int) -> None:
    torch.manual_seed(0)
    x, filters = torch.randn(2, 3, 5, 9), torch.randn(2, 3, side, side)
    found = filtered(x, filters)
    before, behind = side // 2, (side - 1) // 2
    padded = F.pad(x, (before, behind, before, behind))
    for n in range(2):
        for c in range(3):
            expected = torch.stack([
                torch.stack([(padded[n, c, i : i + side, j : j + side] * filters[n, c]).sum() for j in range(9)])
                for i in range(5)
            ])  # fmt: skip
            torch.testing.assert_close(found[n, c], expected)


def test_images_of_a_batch_do_not_see_each_other() -> None:
    torch.manual_seed(0)
    head = DMHead(in_channels=6, channels=4, num_classes=2, filter_sizes=(1, 2, 5), fusion=True).eval()
    x = torch.randn(3, 6, 5, 7)
    for n in range(3):
        torch.testing.assert_close(head([x[n : n + 1]])[0], head([x])[n])
