"""Models of segmentation_models.pytorch give the same logits after conversion: those of the U-Net kind, and files.

The other decoders: `test_maps_smp_decoders.py`; its encoders: `test_maps_smp_encoders.py`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mapping
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from intarsia.layers.levels import resize
from intarsia.weights.about import about
from intarsia.weights.maps.folder import describe_folder
from intarsia.weights.maps.smp_config import describe_smp
from intarsia.workflows.convert_weights import convert_weights
from intarsia.workflows.trained_model import open_model

timm = pytest.importorskip("timm", reason="timm is not installed")
smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

from smp_models import ENCODERS, FOUR_LEVELS, MOBILE, PYRAMID, SIZE, assert_same_logits, written  # noqa: E402

NARROW = (32, 32, 16, 16, 16)
"""Channels of a decoder, for speed; scSE needs 16 and more."""


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_unet(encoder: str) -> None:
    assert_same_logits("Unet", encoder_name=encoder, classes=4)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("depth", [3, 4])
def test_unet_of_less_depth(encoder: str, depth: int) -> None:
    assert_same_logits("Unet", encoder_name=encoder, encoder_depth=depth, decoder_channels=(32, 24, 16, 8)[:depth])


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
def test_unet_with_attention(encoder: str) -> None:
    assert_same_logits("Unet", encoder_name=encoder, decoder_attention_type="scse", decoder_channels=NARROW, classes=2)


@pytest.mark.parametrize(
    "arguments",
    [
        {"decoder_interpolation": "bilinear", "in_channels": 5},
        {"decoder_use_norm": False},
        {"decoder_use_norm": {"type": "batchnorm"}, "decoder_interpolation": "area"},
        {"decoder_use_norm": "identity", "decoder_interpolation": "bicubic"},
        {"activation": None, "decoder_interpolation": "nearest-exact"},
    ],
    ids=str,
)
def test_unet_with_other_settings(arguments: dict[str, Any]) -> None:
    assert_same_logits("Unet", encoder_name=MOBILE, decoder_channels=(16, 16, 8, 8, 8), **arguments)


@pytest.mark.parametrize("encoder", ENCODERS.values(), ids=ENCODERS)
@pytest.mark.parametrize("kind", ["UnetPlusPlus", "Linknet", "MAnet"])
def test_other_decoders(kind: str, encoder: str) -> None:
    narrow = {} if kind == "Linknet" else {"decoder_channels": NARROW}
    assert_same_logits(kind, encoder_name=encoder, classes=3, **narrow)


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        (
            "UnetPlusPlus",
            {
                "encoder_name": MOBILE,
                "decoder_attention_type": "scse",
                "decoder_interpolation": "area",
                "decoder_channels": NARROW,
            },
        ),
        ("UnetPlusPlus", {"encoder_name": FOUR_LEVELS, "decoder_attention_type": "scse", "decoder_channels": NARROW}),
        ("UnetPlusPlus", {"encoder_name": FOUR_LEVELS, "encoder_depth": 3, "decoder_channels": (32, 16, 8)}),
        ("UnetPlusPlus", {"encoder_name": MOBILE, "encoder_depth": 4, "decoder_channels": (32, 16, 8, 8)}),
        ("Linknet", {"encoder_name": MOBILE, "encoder_depth": 3}),
        ("Linknet", {"encoder_name": FOUR_LEVELS, "encoder_depth": 4}),
        (
            "MAnet",
            {
                "encoder_name": MOBILE,
                "decoder_pab_channels": 16,
                "decoder_interpolation": "bilinear",
                "decoder_channels": NARROW,
            },
        ),
        ("MAnet", {"encoder_name": FOUR_LEVELS, "encoder_depth": 4, "decoder_channels": (32, 16, 8, 8)}),
    ],
    ids=str,
)
def test_other_decoders_with_other_settings(kind: str, arguments: dict[str, Any]) -> None:
    assert_same_logits(kind, **arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"encoder_name": PYRAMID, "encoder_output_stride": 32, "classes": 3},
        {"encoder_name": PYRAMID},
        {"encoder_name": "tu-test_resnet", "decoder_channels": 16},
        {"encoder_name": FOUR_LEVELS, "encoder_output_stride": 32, "decoder_interpolation": "nearest"},
        {"encoder_name": MOBILE, "encoder_depth": 4},
        {"encoder_name": MOBILE, "encoder_depth": 3, "encoder_output_stride": 32},
    ],
    ids=str,
)
def test_pan(arguments: dict[str, Any]) -> None:
    side = 256 if arguments.get("encoder_output_stride") == 32 else 128  # an eighth of the coarsest level is a pixel
    assert_same_logits("PAN", size=(side, side), **arguments)


# --- Files --------------------------------------------------------------------------------------------------------


def folder(path: Path, config: dict[str, Any], model: nn.Module | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if model is not None:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path / "model.safetensors")
    return path


def test_a_folder_of_the_hub_becomes_a_weights_file(tmp_path: Path) -> None:
    """As `save_pretrained` writes it, to our file and back, with the classifier of images."""
    model: Any = smp.Unet(MOBILE, encoder_weights=None, classes=3, aux_params={"classes": 2})
    mapping.randomised(model).float()
    model.save_pretrained(tmp_path / "hub")
    said = about(tmp_path / "hub").state()[1]
    assert about(tmp_path / "hub").origin == "segmentation_models.pytorch"
    assert "names of Unet of segmentation_models.pytorch, depth 5 were translated" in said
    assert any("does not say how images are normalised" in note for note in said)
    assert not any("left out" in note for note in said)
    convert_weights(tmp_path / "hub", tmp_path / "ours.safetensors")
    opened = open_model(tmp_path / "ours.safetensors", config=None, device="cpu")
    assert opened.meta.classes == ("class 0", "class 1", "class 2")
    images = mapping.images(1, 3, *SIZE).float()
    opened.task.eval()
    with torch.no_grad():
        found, (expected, labels) = opened.task.model(images), model(images)
        classified = opened.task.model.training_outputs(images)["aux"].logits
    torch.testing.assert_close(classified, labels, rtol=1e-5, atol=1e-5 * labels.abs().max().item())
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("prefix", ["", "model."], ids=["plain", "lightning"])
def test_a_file_of_tensors_beside_the_arguments_of_its_model(tmp_path: Path, prefix: str) -> None:
    """As `torch.save(model.state_dict())` and Lightning write it, with a config.json by hand."""
    arguments = {"encoder_name": MOBILE, "encoder_weights": None, "classes": 3, "decoder_segmentation_channels": 32}
    model = mapping.randomised(smp.FPN(**arguments)).float()
    state = {prefix + name: value for name, value in model.state_dict().items()}
    path = folder(tmp_path / "mine", {**arguments, "_model_class": "FPN"})
    torch.save({"state_dict": state, "epoch": 3} if prefix else state, path / "pytorch_model.bin")
    convert_weights(path, tmp_path / "ours.safetensors")
    opened = open_model(tmp_path / "ours.safetensors", config=None, device="cpu")
    images = mapping.images(1, 3, *SIZE).float()
    opened.task.eval()
    with torch.no_grad():
        found, expected = resize(opened.task.model(images), SIZE, align_corners=True), model(images)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


def test_one_class_is_a_foreground_with_a_threshold() -> None:
    _, config = written("Unet", encoder_name=MOBILE, activation="sigmoid")
    described = describe_smp(config)
    head = described.config["model"]["decode_head"]
    assert described.classes == ("foreground",)
    assert (head["threshold"], head["loss_decode"]["use_sigmoid"]) == (0.5, True)
    preprocessor = described.config["model"]["data_preprocessor"]
    assert preprocessor["test_cfg"] == {"size_divisor": 32}
    assert preprocessor["mean"] == [123.675, 116.28, 103.53]


def test_what_changes_no_label_is_left_out_with_a_note() -> None:
    _, config = written("FPN", encoder_name=MOBILE, activation="softmax", upsampling=1)
    left_out = describe_smp(config).notes[1:]
    assert [note.partition(" is left out")[0] for note in left_out] == ["the last activation (softmax)", "upsampling=1"]
    usual = [("FPN", 4), ("PSPNet", 8), ("DeepLabV3", 8), ("DeepLabV3Plus", 4), ("UPerNet", 4), ("PAN", 4)]
    for kind, upsampling in usual:
        assert len(describe_smp({"_model_class": kind, "encoder_name": PYRAMID, "upsampling": upsampling}).notes) == 1


def test_images_of_other_bands_are_taken_to_be_divided_by_255() -> None:
    _, config = written("Unet", encoder_name=MOBILE, in_channels=4)
    described = describe_smp(config)
    assert described.config["model"]["data_preprocessor"]["std"] == [255.0] * 4
    assert "divided by 255" in described.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_model_class": "HRNet"}, "config.json is of a HRNet of segmentation_models.pytorch; of its models Unet"),
        (
            {"encoder_name": "xception"},
            "the encoder 'xception' of config.json has no counterpart here: its convolutions",
        ),
        ({"encoder_name": "dpn68"}, "the encoder 'dpn68' of config.json has no counterpart here: its levels are"),
        ({"encoder_name": "resnet"}, "the encoder 'resnet' of config.json has no counterpart here; docs/trunks.md"),
        ({"encoder_name": "mit_b0", "encoder_depth": 4, "decoder_channels": [8] * 4}, "an encoder_depth of 5; found 4"),
        ({"encoder_name": "tu-resnet19"}, "has no network 'resnet19'"),
        ({"encoder_name": "tu-test_vit"}, "levels of strides 2 or 4 to 32 are read; the encoder 'tu-test_vit' has"),
        ({"activation": "tanh"}, "activation='tanh'; expected one of None, identity"),
        ({"decoder_use_norm": "layernorm"}, "decoder_use_norm='layernorm'; our counterpart has batchnorm or"),
        ({"decoder_channels": [8, 8]}, r"decoder_channels must be 5 numbers, as encoder_depth says; found \[8, 8\]"),
        ({"encoder_depth": 6}, "encoder_depth of a Unet must be 1 to 5; found 6"),
        ({"classes": 0}, "classes of config.json must be a number, 1 or more; found 0"),
        (
            {"_model_class": "PAN", "encoder_output_stride": 8},
            "encoder_output_stride of a PAN must be 16 or 32; found 8",
        ),
        ({"_model_class": "DeepLabV3", "encoder_name": "mit_b0"}, "the encoder 'mit_b0' is read without dilation"),
        ({"_model_class": "DeepLabV3", "decoder_atrous_rates": [1]}, "decoder_atrous_rates must be 3 numbers"),
        ({"_model_class": "FPN", "encoder_depth": 3}, "must be 4 to 5; found 3: at 3 it reads the image itself"),
        ({"_model_class": "FPN", "encoder_name": FOUR_LEVELS, "encoder_depth": 4}, "a FPN reads four levels; with"),
        ({"_model_class": "Linknet", "decoder_use_norm": False}, "a Linknet without norms"),
        ({"_model_class": "UPerNet", "decoder_use_norm": False}, "a UPerNet without norms"),
        ({"_model_class": "DPT"}, r"a DPT is over a plain transformer of timm \(tu-NAME\); found 'resnet18'"),
        ({"_model_class": "DPT", "encoder_name": FOUR_LEVELS}, "with patches of 8, 16 or 32 pixels; the levels of"),
        ({"_model_class": "DPT", "encoder_name": "tu-vit_small_patch14_dinov2"}, r"have strides \[14, 14, 14, 14\]"),
        (
            {"_model_class": "DPT", "encoder_name": "tu-test_vit", "decoder_readout": "sum"},
            "must be cat, add or ignore",
        ),
        ({"_model_class": "DPT", "encoder_name": "tu-test_vit", "encoder_output_indices": [1]}, "must be 4 blocks, as"),
        ({"output_stride": 16}, "config.json has output_stride, which has no counterpart here"),
    ],
)
def test_models_that_cannot_be_read(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = {"encoder_name": PYRAMID, "_model_class": "Unet", **changes}
    with pytest.raises(ValueError, match=message):
        describe_folder(folder(tmp_path, config))
