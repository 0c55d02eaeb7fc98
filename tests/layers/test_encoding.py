"""The encoding against its formula, and in half precision."""

from __future__ import annotations

import pytest
import torch

from intarsia.layers.encoding import Encoding


def test_differences_are_shared_out_and_summed() -> None:
    torch.manual_seed(0)
    layer, x = Encoding(6, 4).double(), torch.randn(2, 6, 3, 5).double()
    pixels = x.flatten(2).transpose(1, 2)[:, :, None]  # (2, 15, 1, 6)
    differences = pixels - layer.codewords  # (2, 15, 4, 6)
    shares = (layer.scale * differences.square().sum(dim=3)).softmax(dim=2)  # (2, 15, 4)
    torch.testing.assert_close(layer(x), (shares[..., None] * differences).sum(dim=1))


def test_the_words_that_are_near_get_most() -> None:
    layer = Encoding(2, 2)
    with torch.no_grad():
        layer.codewords.copy_(torch.tensor([[0.0, 0.0], [10.0, 10.0]]))
        layer.scale.fill_(-1.0)
    found = layer(torch.full((1, 2, 1, 1), 9.0))
    torch.testing.assert_close(found, torch.tensor([[[0.0, 0.0], [-1.0, -1.0]]]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("whole", [False, True], ids=["autocast", "network in half"])
def test_long_vectors_and_large_maps_in_half_precision(dtype: torch.dtype, whole: bool) -> None:
    """Squares of 512 channels pass 65,504, where float16 ends, and under autocast sums over 128 x 128 pixels too."""
    torch.manual_seed(0)
    layer, x = Encoding(512, 8), (16 + torch.rand(1, 512, 128, 128)).to(dtype)
    if whole:
        layer, x = layer.to(dtype), x[..., :16]
        found = layer(x)
        expected = layer.float()(x.float())
    else:
        expected = layer(x.float())
        with torch.autocast("cpu", dtype=dtype):
            found = layer(x)
    assert expected.abs().max() > 2**15
    assert found.isfinite().all()
    assert (found.float() - expected).abs().max() / expected.abs().max() < 0.01
