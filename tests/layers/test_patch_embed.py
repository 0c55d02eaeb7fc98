"""Patches: how many, of which pixels, and padded where."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intarsia.layers.norm import Norm
from intarsia.layers.patch_embed import PatchEmbed, pieces_and_padding, to_map, to_tokens


def test_maps_and_tokens_share_their_memory() -> None:
    tokens = torch.randn(2, 12, 5)
    x = to_map(tokens, 3, 4)
    assert x.shape == (2, 5, 3, 4)
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x[1, 2, 1, 3] == tokens[1, 1 * 4 + 3, 2]
    assert to_tokens(x).data_ptr() == tokens.data_ptr()
    assert to_tokens(x).equal(tokens)


@pytest.mark.parametrize(("length", "expected"), [(1, (1, 3)), (4, (1, 0)), (5, (2, 3)), (8, (2, 0))])
def test_pieces_cover_the_length(length: int, expected: tuple[int, int]) -> None:
    assert pieces_and_padding(length, 4) == expected


@pytest.mark.parametrize(
    ("padding", "around"),  # left, right, above, below of 7 x 10 pixels in patches of 5, 3 pixels apart
    [("corner", (0, 4, 0, 4)), ("same", (2, 2, 2, 2)), (1, (1, 1, 1, 1))],
)
def test_padding_lies_where_it_says(padding: object, around: tuple[int, int, int, int]) -> None:
    torch.manual_seed(0)
    layer = PatchEmbed(2, 6, patch_size=5, stride=3, padding=padding)  # type: ignore[arg-type]
    images = torch.randn(2, 2, 7, 10)
    expected = F.conv2d(F.pad(images, around), layer.projection.weight, layer.projection.bias, stride=3)
    torch.testing.assert_close(layer(images), expected.permute(0, 2, 3, 1))


def test_odd_padding_has_the_larger_half_below_and_right() -> None:
    torch.manual_seed(0)
    layer = PatchEmbed(1, 3, patch_size=4, padding="same")
    images = torch.randn(1, 1, 5, 9)
    expected = layer.projection(F.pad(images, (1, 2, 1, 2)))
    torch.testing.assert_close(layer(images), expected.permute(0, 2, 3, 1))


def test_patches_touch_and_have_neither_norm_nor_padding_of_the_convolution_unless_asked() -> None:
    layer = PatchEmbed(3, 8, patch_size=4)
    assert layer.projection.stride == (4, 4)
    assert layer.projection.padding == (0, 0)
    assert layer.projection.bias is not None
    assert layer.norm is None
    assert PatchEmbed(3, 8, patch_size=4, bias=False).projection.bias is None
    assert isinstance(PatchEmbed(3, 8, patch_size=4, norm=Norm("LN")).norm, nn.LayerNorm)


def test_pixels_between_patches_are_refused() -> None:
    with pytest.raises(ValueError, match="patches of 4 pixels leave some out at a stride of 5"):
        PatchEmbed(3, 8, patch_size=4, stride=5)
    assert PatchEmbed(3, 8, patch_size=4, stride=5, padding=1)(torch.randn(1, 3, 14, 14)).shape == (1, 3, 3, 8)
