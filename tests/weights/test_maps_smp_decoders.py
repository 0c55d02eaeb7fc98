"""The decoders of segmentation_models.pytorch besides those of the U-Net kind give the same logits after conversion."""

from __future__ import annotations

from typing import Any

import mapping
import pytest
import torch

timm = pytest.importorskip("timm", reason="timm is not installed")
smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

from smp_models import ENCODERS, FOUR_LEVELS, MOBILE, PYRAMID, assert_same_logits, ours, written  # noqa: E402

NARROW: dict[str, dict[str, Any]] = {
    "FPN": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "PSPNet": {"psp_out_channels": 32},
    "UPerNet": {"decoder_channels": 32},
    "Segformer": {"decoder_segmentation_channels": 32},
}
DILATED = {"own": PYRAMID, "timm": "tu-test_resnet", "regnet": "tu-regnetx_002"}
SMALL = {"decoder_channels": 16, "decoder_atrous_rates": (2, 3, 4)}
VIT = {"decoder_intermediate_channels": (16, 16, 24, 24), "decoder_fusion_channels": 16, "dynamic_img_size": True}


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("kind", NARROW)
def test_pyramids(kind: str, encoder: str) -> None:
    assert_same_logits(kind, encoder_name=encoder, classes=3, **NARROW[kind])


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("FPN", {"encoder_name": MOBILE, "encoder_depth": 4, "upsampling": 2}),
        ("FPN", {"encoder_name": FOUR_LEVELS, "decoder_merge_policy": "cat", "decoder_interpolation": "bilinear"}),
        ("PSPNet", {"encoder_name": MOBILE, "encoder_depth": 4, "decoder_use_norm": False, "upsampling": 16}),
        ("PSPNet", {"encoder_name": PYRAMID, "encoder_depth": 5, "psp_use_batchnorm": False, "upsampling": 32}),
        ("UPerNet", {"encoder_name": MOBILE, "encoder_depth": 3}),
        ("UPerNet", {"encoder_name": FOUR_LEVELS, "encoder_depth": 4, "in_channels": 4}),
        ("Segformer", {"encoder_name": FOUR_LEVELS, "encoder_depth": 4}),
        ("Segformer", {"encoder_name": MOBILE, "encoder_depth": 3}),
    ],
    ids=str,
)
def test_pyramids_with_other_settings(kind: str, arguments: dict[str, Any]) -> None:
    assert_same_logits(kind, **NARROW[kind], **arguments)


@pytest.mark.parametrize("encoder", DILATED.values(), ids=DILATED)
@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("DeepLabV3", {"classes": 3}),
        ("DeepLabV3", {"encoder_output_stride": 16, "decoder_aspp_separable": True}),
        ("DeepLabV3Plus", {}),
        ("DeepLabV3Plus", {"encoder_output_stride": 8, "decoder_aspp_separable": False, "classes": 3}),
    ],
    ids=str,
)
def test_dilated(kind: str, arguments: dict[str, Any], encoder: str) -> None:
    """The library dilates its own encoders in another way than timm."""
    assert_same_logits(kind, encoder_name=encoder, **SMALL, **arguments)


@pytest.mark.parametrize("depth", [3, 4])
@pytest.mark.parametrize("kind", ["DeepLabV3", "DeepLabV3Plus"])
def test_dilated_of_less_depth(kind: str, depth: int) -> None:
    assert_same_logits(kind, encoder_name=PYRAMID, encoder_depth=depth, **SMALL)


def test_names_that_deeplabv3_had_once() -> None:
    model, config = written("DeepLabV3", encoder_name=PYRAMID, **SMALL)
    old = {"decoder.aspp.": "decoder.0.", "decoder.conv.": "decoder.1.", "decoder.bn.": "decoder.2."}
    state = {}
    for name, value in model.state_dict().items():
        part = next((part for part in old if name.startswith(part)), "")
        state[old.get(part, "") + name.removeprefix(part)] = value
    assert sum(name.startswith("decoder.0.") for name in state) > 20
    images = mapping.images(1, 3, 64, 96)
    with torch.no_grad():
        new = ours(config, model.state_dict())(images)
        torch.testing.assert_close(ours(config, state)(images), new, rtol=0, atol=0)


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoder_name": "tu-test_vit", "classes": 3},
        {"encoder_name": "tu-test_vit2", "decoder_readout": "add"},
        {"encoder_name": "tu-test_vit3", "decoder_readout": "ignore", "classes": 3},
        {"encoder_name": "tu-test_vit", "decoder_readout": "add", "in_channels": 4},
        {"encoder_name": "tu-vit_tiny_patch16_224", "encoder_output_indices": [1, 3, 5, -2]},
        {"encoder_name": "tu-test_vit", "encoder_depth": 3, "decoder_intermediate_channels": (16, 16, 24)},
        {"encoder_name": "tu-test_vit", "img_size": (64, 96), "dynamic_img_size": False},
    ],
    ids=str,
)
def test_dpt(arguments: dict[str, Any]) -> None:
    """With a class token, which is read in each of three ways."""
    assert_same_logits("DPT", **{**VIT, **arguments})


@pytest.mark.slow
@pytest.mark.parametrize("readout", ["cat", "add"])
def test_dpt_with_registers(readout: str) -> None:
    """The class token alone is laid beside, and the mean of all five is added."""
    assert_same_logits("DPT", encoder_name="tu-vit_small_patch16_dinov3", decoder_readout=readout, **VIT)


@pytest.mark.slow
def test_dpt_without_tokens_reads_patches_alone() -> None:
    small = {"encoder_name": "tu-vit_base_patch32_siglip_gap_256", "encoder_output_indices": [0, 1, 2, 3]}
    assert_same_logits("DPT", **{**VIT, **small})
