"""EMANet: the rounds, what training remembers, and what learns."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from intarsia.methods.emanet import EMAHead, ExpectationMaximisation


def rounds(x: torch.Tensor, bases: torch.Tensor, stages: int) -> tuple[torch.Tensor, torch.Tensor]:
    """One image (C, P) and bases (C, B), as the paper writes them -> the image rebuilt, and its bases."""
    for _ in range(stages):
        shares = (x.T @ bases).softmax(dim=1)  # (P, B)
        bases = F.normalize(x @ (shares / shares.sum(dim=0)), dim=0)
    return bases @ shares.T, bases


@pytest.mark.parametrize("stages", [1, 3])
def test_pixels_are_rebuilt_from_bases(stages: int) -> None:
    torch.manual_seed(0)
    layer = ExpectationMaximisation(6, num_bases=4, num_stages=stages, momentum=0.1).double()
    x, before = torch.randn(2, 6, 3, 5).double(), layer.bases.clone()
    expected = [rounds(image.flatten(1), before[0], stages) for image in x]
    torch.testing.assert_close(layer.eval()(x).flatten(2), torch.stack([image for image, _ in expected]))
    assert layer.bases.equal(before), "only training moves the bases"
    layer.train()(x)
    mean = F.normalize(sum(bases for _, bases in expected) / 2, dim=0)
    torch.testing.assert_close(layer.bases[0], 0.9 * before[0] + 0.1 * mean)


def test_bases_start_with_length_one() -> None:
    torch.manual_seed(0)
    layer = ExpectationMaximisation(64, num_bases=16, num_stages=1, momentum=0.1)
    torch.testing.assert_close(layer.bases.norm(dim=1), torch.ones(1, 16))
    assert layer.bases.std() == pytest.approx(1 / 8, rel=0.1)


def test_nothing_learns_through_the_rounds() -> None:
    head = EMAHead(in_channels=6, channels=4, ema_channels=8, num_bases=3, num_stages=2, num_classes=2)
    x = torch.randn(2, 8, 5, 7, requires_grad=True)
    assert not head.ema_module(x).requires_grad
    assert [name for name, p in head.named_parameters() if not p.requires_grad] == [
        "ema_mid_conv.conv.weight", "ema_mid_conv.conv.bias"]  # fmt: skip


def test_the_shortcut_may_be_left_out() -> None:
    head = EMAHead(in_channels=6, channels=4, ema_channels=8, num_bases=3, num_stages=2, num_classes=2,
                   concat_input=False).eval()  # fmt: skip
    assert not any("conv_cat" in name for name in head.state_dict())
    assert head([torch.randn(1, 6, 5, 7)]).shape == (1, 2, 5, 7)


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="num_stages=1 rounds or more; got 0"):
        EMAHead(in_channels=6, channels=4, ema_channels=8, num_bases=3, num_stages=0, num_classes=2)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_bases_of_a_large_map_in_half_precision(dtype: torch.dtype) -> None:
    """Sums over 128 x 128 pixels of a value of 20 pass 65,504, where float16 ends."""
    torch.manual_seed(0)
    layer = ExpectationMaximisation(16, num_bases=4, num_stages=3, momentum=0.1).train()
    x = (20 + torch.rand(1, 16, 128, 128)).to(dtype)
    expected = layer(x.float())
    with torch.autocast("cpu", dtype=dtype):
        found = layer(x)
    assert layer.bases.isfinite().all()
    assert found.dtype == dtype
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.01)
