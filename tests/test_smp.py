"""`intarsia.smp`: the constructors of segmentation_models.pytorch, whose logits ours give with the same tensors."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import intarsia.smp
from intarsia.weights.file import apply_state
from intarsia.weights.maps import translated

library = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

PYRAMID = "resnet18"
MODELS: dict[str, dict[str, Any]] = {
    "Unet": {
        "encoder_depth": 4, "decoder_channels": (32, 16, 16, 16), "decoder_attention_type": "scse", "in_channels": 4},
    "UnetPlusPlus": {"encoder_depth": 3, "decoder_channels": (16, 8, 8)},
    "MAnet": {"decoder_channels": (32, 16, 16, 8, 8), "decoder_pab_channels": 8},
    "Linknet": {"encoder_depth": 4},
    "FPN": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32, "decoder_merge_policy": "cat"},
    "PSPNet": {"psp_out_channels": 32},
    "PAN": {"decoder_channels": 16},
    "DeepLabV3": {"decoder_channels": 16},
    "DeepLabV3Plus": {"decoder_channels": 16, "encoder_output_stride": 8},
    "UPerNet": {"decoder_channels": 32},
    "Segformer": {"decoder_segmentation_channels": 32},
    "DPT": {
        "encoder_name": "tu-test_vit", "decoder_intermediate_channels": (16, 16, 24, 24),
        "decoder_fusion_channels": 16, "dynamic_img_size": True},
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
def test_same_arguments_and_same_logits(kind: str) -> None:
    arguments = {"encoder_name": PYRAMID, "encoder_weights": None, "classes": 3, **MODELS[kind]}
    torch.manual_seed(0)
    theirs = getattr(library, kind)(**arguments).eval()
    ours = getattr(intarsia.smp, kind)(**arguments).eval()
    apply_state(ours, translated(theirs.state_dict()))
    images = torch.randn(1, arguments.get("in_channels", 3), 128, 160)
    with torch.no_grad():
        torch.testing.assert_close(ours(images), theirs(images), rtol=1e-4, atol=1e-4)
        assert ours(images[:, :, :115, :151]).shape == (1, 3, 115, 151), "of any size"


def test_every_model_of_the_library_is_there() -> None:
    assert {model.__name__ for model in library.MODEL_ARCHITECTURES_MAPPING.values()} == set(MODELS)
    assert all(hasattr(intarsia.smp, name) for name in MODELS)


def test_how_it_is_trained_is_known_where_there_is_a_recipe() -> None:
    assert intarsia.smp.Unet(PYRAMID, encoder_weights=None).facts.recipe == f"unet_timm:{PYRAMID}"
    assert intarsia.smp.DeepLabV3Plus(PYRAMID, encoder_weights=None).facts.recipe == f"deeplabv3plus_timm:{PYRAMID}"
    assert intarsia.smp.PAN(PYRAMID, encoder_weights=None).facts.recipe == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"activation": "sigmoid"}, r"smp\.Unet: the scores are logits, found activation='sigmoid'"),
        ({"aux_params": {"classes": 4}}, r"smp\.Unet: aux_params, a classifier of whole images"),
        ({"encoder_depth": 9}, r"smp\.Unet: encoder_depth of a Unet must be 1 to 5; found 9"),
        ({"decoder_channel": 4}, r"smp\.Unet: the call has decoder_channel, which has no counterpart"),
        ({"encoder_weights": "ssl"}, r"smp\.Unet: encoder_weights must be 'imagenet'.*found 'ssl'"),
        ({"encoder_name": "dpn68"}, r"smp\.Unet: the encoder 'dpn68'"),
    ],
)
def test_what_has_no_counterpart_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        intarsia.smp.Unet(**{"encoder_weights": None, **arguments})
