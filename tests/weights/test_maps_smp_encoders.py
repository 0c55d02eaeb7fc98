"""Encoders that segmentation_models.pytorch has of its own give the same levels here, under one decoder."""

from __future__ import annotations

import pytest

timm = pytest.importorskip("timm", reason="timm is not installed")
smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

from segmentation_models_pytorch.encoders import encoders  # noqa: E402
from smp_models import assert_same_logits  # noqa: E402

from intarsia.weights.maps.smp_config import describe_smp  # noqa: E402

NARROW = (16, 16, 8, 8, 8)
QUICK = (
    "vgg11", "densenet121", "efficientnet-b0", "efficientnet-b1", "mobilenet_v2", "mit_b0",
    "se_resnext50_32x4d", "timm-efficientnet-b0", "timm-mobilenetv3_small_075", "timm-regnetx_002",
)  # fmt: skip
SLOW = (
    "resnet152", "resnext50_32x4d", "vgg11_bn", "vgg19_bn", "densenet161", "efficientnet-b2", "efficientnet-b3",
    "efficientnet-b4", "efficientnet-b7", "mit_b5", "se_resnet50", "senet154", "timm-efficientnet-b2",
    "timm-tf_efficientnet_lite3", "timm-skresnet18", "timm-skresnet34", "timm-skresnext50_32x4d",
    "timm-res2net50_26w_4s", "timm-resnest14d", "timm-gernet_s",
)  # fmt: skip
DILATED = ("efficientnet-b0", "mobilenet_v2", "timm-regnetx_002")
DILATED_SLOW = ("efficientnet-b1", "timm-efficientnet-b0", "se_resnet50", "timm-skresnet18", "timm-resnest14d")
REFUSED = ("dpn", "inception", "xception", "mobileone", "resnext101_32x48d")


@pytest.mark.parametrize("encoder", [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_levels(encoder: str) -> None:
    """All five of them, or four, meet in a U-Net."""
    assert_same_logits("Unet", encoder_name=encoder, decoder_channels=NARROW)


@pytest.mark.parametrize("encoder", ["densenet121", "efficientnet-b0", "mobilenet_v2"])
def test_less_depth(encoder: str) -> None:
    """What lies behind the last level is left away, also where that is within a stage."""
    assert_same_logits("Unet", encoder_name=encoder, encoder_depth=4, decoder_channels=NARROW[:4])


@pytest.mark.parametrize("encoder", [*DILATED, *(pytest.param(name, marks=pytest.mark.slow) for name in DILATED_SLOW)])
@pytest.mark.parametrize("stride", [8, 16])
def test_dilated(encoder: str, stride: int) -> None:
    assert_same_logits("DeepLabV3Plus", encoder_name=encoder, encoder_output_stride=stride, decoder_channels=16)


@pytest.mark.slow
@pytest.mark.parametrize("encoder", encoders)
def test_every_encoder_is_read_or_refused_by_name(encoder: str) -> None:
    config = {"encoder_name": encoder, "_model_class": "Unet"}
    if encoder.startswith(REFUSED):
        with pytest.raises(ValueError, match=encoder):
            describe_smp(config)
    else:
        assert describe_smp(config).config["model"]["decode_head"]["type"] == "UNetHead"
