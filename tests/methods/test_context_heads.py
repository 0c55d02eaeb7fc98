"""Heads and two-path backbones beyond what the reference figures cover: optional parts, formulas, what is refused."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from intarsia.backbones.resnet import ResNet
from intarsia.layers.activation import RELU
from intarsia.layers.conv import DepthwiseSeparableConv
from intarsia.layers.norm import BN
from intarsia.methods.bisenetv1 import BiSeNetV1
from intarsia.methods.bisenetv2 import BiSeNetV2
from intarsia.methods.deeplabv3 import ASPPHead
from intarsia.methods.deeplabv3plus import DepthwiseSeparableASPPHead
from intarsia.methods.ocrnet import ObjectAttention, OCRHead, object_regions
from intarsia.methods.pspnet import PSPHead
from intarsia.methods.upernet import UPerHead
from intarsia.models.encoder_decoder import EncoderDecoder


def backbone() -> ResNet:
    return ResNet(18, base_channels=4, stem_channels=4)


# --- PSPNet, DeepLabV3, UPerNet -----------------------------------------------------------------------------------


def test_grids_of_the_pyramid_are_means_of_their_cells() -> None:
    head = PSPHead(in_channels=4, channels=3, num_classes=2, pool_scales=(1, 3)).eval()
    x = torch.randn(1, 4, 6, 9)
    cells = x.unflatten(3, (3, 3)).unflatten(2, (3, 2)).mean(dim=(3, 5))  # (1, 4, 3, 3)
    project = head.psp_modules.get_submodule("1.1")
    pooled = head.psp_modules.get_submodule("1.0")(x)
    torch.testing.assert_close(pooled, cells)
    torch.testing.assert_close(head.psp_modules(x)[1], project(cells))


def test_dilation_one_is_a_single_pixel() -> None:
    head = ASPPHead(in_channels=4, channels=3, num_classes=2, dilations=(1, 2, 5))
    assert [branch.conv.kernel_size for branch in head.aspp_modules] == [(1, 1), (3, 3), (3, 3)]
    assert [branch.conv.dilation for branch in head.aspp_modules] == [(1, 1), (2, 2), (5, 5)]


def test_upernet_needs_as_many_channels_as_levels() -> None:
    with pytest.raises(ValueError, match="UPerHead reads several levels"):
        UPerHead(in_channels=(4, 8), channels=3, num_classes=2)


# --- DeepLabV3+ ---------------------------------------------------------------------------------------------------


def separable_head(c1_in_channels: int) -> DepthwiseSeparableASPPHead:
    return DepthwiseSeparableASPPHead(
        in_channels=32, channels=4, num_classes=2, c1_in_channels=c1_in_channels, c1_channels=3, dilations=(1, 2)
    )


def test_the_fine_level_may_be_left_out() -> None:
    images = torch.randn(2, 3, 64, 96)
    with_fine = EncoderDecoder(backbone=backbone(), decode_head=separable_head(4)).eval()
    assert with_fine(images).shape == (2, 2, 16, 24)
    without = EncoderDecoder(backbone=backbone(), decode_head=separable_head(0)).eval()
    assert without(images).shape == (2, 2, 2, 3)
    assert not any("c1_bottleneck" in name for name in without.state_dict())


def test_the_fine_level_is_checked_at_assembly() -> None:
    with pytest.raises(ValueError, match="expects in_channels=5 at level 0, but backbone ResNet gives 4 channels"):
        EncoderDecoder(backbone=backbone(), decode_head=separable_head(5))


def test_separable_convolution_with_one_norm() -> None:
    conv = DepthwiseSeparableConv(4, 8, 3, norm=BN, pointwise_norm=False)
    names = set(dict(conv.named_parameters()))
    assert names == {"depthwise_conv.conv.weight", "depthwise_conv.bn.weight", "depthwise_conv.bn.bias",
                     "pointwise_conv.conv.weight", "pointwise_conv.conv.bias"}  # fmt: skip


# --- OCRNet -------------------------------------------------------------------------------------------------------


def test_object_regions_one_by_one() -> None:
    torch.manual_seed(0)
    pixels, coarse_logits = torch.randn(2, 4, 3, 5).double(), torch.randn(2, 3, 3, 5).double()
    regions = object_regions(pixels, coarse_logits)
    assert regions.shape == (2, 4, 3, 1)
    for n in range(2):
        for k in range(3):
            share = coarse_logits[n, k].exp() / coarse_logits[n, k].exp().sum()  # (3, 5)
            torch.testing.assert_close(regions[n, :, k, 0], (pixels[n] * share).sum(dim=(1, 2)))


def test_attention_to_regions_written_out() -> None:
    torch.manual_seed(0)
    block = ObjectAttention(4, 2, norm=None, activation=RELU).double().eval()
    pixels, regions = torch.randn(1, 4, 3, 5).double(), torch.randn(1, 4, 6, 1).double()
    query, key, value = block.query_project(pixels), block.key_project(regions), block.value_project(regions)
    scores = torch.einsum("ncyx,nck->nyxk", query, key[..., 0]) / math.sqrt(2)
    context = torch.einsum("nyxk,nck->ncyx", scores.softmax(dim=-1), value[..., 0])
    expected = block.bottleneck(torch.cat([block.out_project(context), pixels], dim=1))
    torch.testing.assert_close(block(pixels, regions), expected)


def test_a_coarser_guess_is_enlarged() -> None:
    head = OCRHead(in_channels=4, channels=4, ocr_channels=2, num_classes=3).eval()
    features, coarse_logits = [torch.randn(1, 4, 8, 12)], torch.randn(1, 3, 4, 6)
    large = nn.functional.interpolate(coarse_logits, size=(8, 12), mode="bilinear")
    torch.testing.assert_close(head(features, coarse_logits), head(features, large))


# --- BiSeNet ------------------------------------------------------------------------------------------------------


def test_the_context_paths_backbone_must_fit() -> None:
    with pytest.raises(ValueError, match="128 channels at stride 8") as error:
        BiSeNetV1(backbone=backbone())
    assert "but ResNet gives 8 channels at stride 8, 16 channels at stride 16" in str(error.value)
    dilated = ResNet(18, base_channels=4, stem_channels=4, strides=(1, 2, 1, 1), dilations=(1, 1, 2, 4))
    with pytest.raises(ValueError, match="gives 8 channels at stride 8, 16 channels at stride 8"):
        BiSeNetV1(backbone=dilated, context_channels=(8, 16, 32))


def test_two_path_backbones_give_the_levels_asked_for() -> None:
    torch.manual_seed(0)
    v1 = BiSeNetV1(backbone=backbone(), context_channels=(8, 16, 32), spatial_channels=(4, 4, 4, 8), out_channels=16)
    v2 = BiSeNetV2(detail_channels=(4, 4, 8), semantic_channels=(4, 4, 4, 8), bga_channels=8)
    images = torch.randn(2, 3, 64, 96)
    for model in (v1.eval(), v2.eval()):
        everything = model(images)
        described = model.features
        model.out_indices = (2, 0)
        for found, level in zip(model(images), (2, 0), strict=True):
            assert found.equal(everything[level])
            assert found.shape == (
                2,
                described[level].channels,
                *(side // described[level].stride for side in (64, 96)),
            )


def test_both_branches_of_bisenetv2_end_alike() -> None:
    with pytest.raises(ValueError, match=r"bga_channels=64 .* end in 128 \(detail_channels\) and 128 \(semantic"):
        BiSeNetV2(bga_channels=64)
