"""Upsampling by two: at even sizes as torch's layers, at odd ones cut or stretched to what the encoder kept."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from intarsia.layers.conv import ConvNormAct
from intarsia.layers.norm import BN
from intarsia.layers.upsample import DeconvModule, InterpConv, UpConvBlock


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def test_interpolation_is_torchs_at_twice_the_size() -> None:
    layer, x = InterpConv(4, 3, norm=BN).eval(), torch.randn(2, 4, 5, 6)
    conv = layer.interp_upsample[1]
    doubled = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
    torch.testing.assert_close(layer(x, (10, 12)), conv(doubled))
    assert layer(x, (9, 11)).shape == (2, 3, 9, 11)


def test_interpolation_may_come_last_and_align_corners() -> None:
    layer, x = InterpConv(4, 3, kernel_size=3, conv_first=True, align_corners=True).eval(), torch.randn(2, 4, 5, 6)
    narrow = layer.interp_upsample[0](x)
    assert narrow.shape == (2, 3, 5, 6)
    torch.testing.assert_close(
        layer(x, (10, 12)), F.interpolate(narrow, size=(10, 12), mode="bilinear", align_corners=True)
    )


@pytest.mark.parametrize("kernel_size", [2, 4, 6])
def test_deconvolution_is_torchs_and_is_cut_at_the_end(kernel_size: int) -> None:
    layer, x = DeconvModule(4, 3, kernel_size=kernel_size, norm=BN).eval(), torch.randn(2, 4, 5, 6)
    doubled = layer.deconv_upsamping(x)
    assert doubled.shape == (2, 3, 10, 12)
    torch.testing.assert_close(layer(x, (10, 12)), doubled)
    torch.testing.assert_close(layer(x, (9, 11)), doubled[..., :9, :11])


def test_deconvolution_has_published_names_and_starts_as_torchs() -> None:
    state = DeconvModule(4, 8, norm=BN).state_dict()
    assert state["deconv_upsamping.0.weight"].shape == (4, 8, 4, 4)
    assert state["deconv_upsamping.0.weight"].abs().max() <= (8 * 16) ** -0.5
    assert "deconv_upsamping.1.running_mean" in state


@pytest.mark.parametrize("kernel_size", [0, 1, 3, 5])
def test_kernels_that_cover_pixels_unevenly_are_refused(kernel_size: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of its stride 2; got {kernel_size}"):
        DeconvModule(4, 3, kernel_size=kernel_size, norm=BN)


def test_the_finer_map_comes_first() -> None:
    skip, coarse = torch.randn(2, 3, 10, 12), torch.randn(2, 4, 5, 6)
    upsample = InterpConv(4, 3).eval()
    block = UpConvBlock(upsample=upsample, conv_block=nn.Identity())
    assert block(skip, coarse).equal(torch.cat([skip, upsample(coarse, (10, 12))], dim=1))
    same = ConvNormAct(4, 3, 1)
    assert UpConvBlock(upsample=same, conv_block=nn.Identity())(skip, torch.randn(2, 4, 10, 12)).shape == (2, 6, 10, 12)
