"""Models of segmentation_models.pytorch give the same logits after conversion, over each kind of encoder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mapping
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.levels import resize
from intarsia.weights.about import about
from intarsia.weights.file import apply_state
from intarsia.weights.maps import translated
from intarsia.weights.maps.folder import describe_folder
from intarsia.weights.maps.smp_config import describe_smp
from intarsia.workflows.convert_weights import convert_weights
from intarsia.workflows.trained_model import open_model

timm = pytest.importorskip("timm", reason="timm is not installed")
smp = pytest.importorskip("segmentation_models_pytorch", reason="segmentation_models_pytorch is not installed")

SIZE = (64, 96)
NARROW = (32, 32, 16, 16, 16)
"""Channels of a decoder, for speed; scSE needs 16 and more."""
PYRAMID, FOUR_LEVELS, MOBILE = "resnet18", "tu-test_convnext.r160_in1k", "tu-test_efficientnet.r160_in1k"


def written(kind: str, **arguments: Any) -> tuple[nn.Module, dict[str, Any]]:
    """A model with random weights, and its config.json."""
    model = getattr(smp, kind)(encoder_weights=None, **arguments)
    config = {"encoder_weights": None, **arguments, "_model_class": kind, "_some_version": "1"}
    return mapping.randomised(model), json.loads(json.dumps(config))


def ours(config: dict[str, Any], state: dict[str, Tensor]) -> Any:
    described = Config.from_values(describe_smp(config).config, file="config.json")
    assert check(described, shapes=True) == []
    model: Any = build_task(lower(described)).model.double().eval()
    apply_state(model, translated(state))
    return model


def assert_same_logits(kind: str, **arguments: Any) -> None:
    model, config = written(kind, **arguments)
    images = mapping.images(1, arguments.get("in_channels", 3), *SIZE)
    with torch.no_grad():
        mapping.assert_same(ours(config, model.state_dict())(images), model(images))


ENCODERS = {"pyramid": PYRAMID, "four levels": FOUR_LEVELS, "mobile": MOBILE}


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
        {"encoder_name": "tu-test_resnet", "decoder_channels": 16},
        {"encoder_name": FOUR_LEVELS, "encoder_output_stride": 32, "decoder_interpolation": "nearest"},
        {"encoder_name": MOBILE, "encoder_depth": 4},
        {"encoder_name": MOBILE, "encoder_depth": 3, "encoder_output_stride": 32},
    ],
    ids=str,
)
def test_pan(arguments: dict[str, Any]) -> None:
    """At the size of the finest level, which is what those who consume logits enlarge."""
    model, config = written("PAN", **arguments)
    side = 256 if arguments.get("encoder_output_stride") == 32 else 128  # an eighth of the coarsest level is a pixel
    images = mapping.images(1, 3, side, side)
    with torch.no_grad():
        found = ours(config, model.state_dict())(images)
        mapping.assert_same(resize(found, images.shape[2:], align_corners=True), model(images))


# --- Files --------------------------------------------------------------------------------------------------------


def folder(path: Path, config: dict[str, Any], model: nn.Module | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(json.dumps(config))
    if model is not None:
        save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path / "model.safetensors")
    return path


def test_a_folder_of_the_hub_becomes_a_weights_file(tmp_path: Path) -> None:
    """As `save_pretrained` writes it, to our file and back, with the classifier of images left out."""
    model: Any = smp.Unet(MOBILE, encoder_weights=None, classes=3, aux_params={"classes": 2})
    mapping.randomised(model).float()
    model.save_pretrained(tmp_path / "hub")
    said = about(tmp_path / "hub").state()[1]
    assert about(tmp_path / "hub").origin == "segmentation_models.pytorch"
    assert "names of Unet of segmentation_models.pytorch, depth 5 were translated" in said
    assert any("does not say how images are normalised" in note for note in said)
    convert_weights(tmp_path / "hub", tmp_path / "ours.safetensors")
    opened = open_model(tmp_path / "ours.safetensors", config=None, device="cpu")
    assert opened.meta.classes == ("class 0", "class 1", "class 2")
    images = mapping.images(1, 3, *SIZE).float()
    opened.task.eval()
    with torch.no_grad():
        found, (expected, _) = opened.task.model(images), model(images)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5 * expected.abs().max().item())


def test_one_class_is_a_foreground_with_a_threshold() -> None:
    _, config = written("Unet", encoder_name=MOBILE, activation="sigmoid")
    described = describe_smp(config)
    head = described.config["model"]["decode_head"]
    assert described.classes == ("foreground",)
    assert (head["threshold"], head["loss_decode"]["use_sigmoid"]) == (0.5, True)
    preprocessor = described.config["model"]["data_preprocessor"]
    assert preprocessor["test_cfg"] == {"size_divisor": 32}
    assert preprocessor["mean"] == [123.675, 116.28, 103.53]


def test_images_of_other_bands_are_taken_to_be_divided_by_255() -> None:
    _, config = written("Unet", encoder_name=MOBILE, in_channels=4)
    described = describe_smp(config)
    assert described.config["model"]["data_preprocessor"]["std"] == [255.0] * 4
    assert "divided by 255" in described.notes[0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"_model_class": "DPT"}, "config.json is of a DPT of segmentation_models.pytorch; of its models Unet"),
        ({"encoder_name": "efficientnet-b0"}, "the encoder 'efficientnet-b0' of config.json has no counterpart"),
        ({"encoder_name": "tu-resnet19"}, "has no network 'resnet19'"),
        ({"encoder_name": "tu-test_vit"}, "levels of strides 2 or 4 to 32 are read; the encoder 'tu-test_vit' has"),
        ({"activation": "tanh"}, "activation='tanh'; expected one of None, identity"),
        ({"decoder_use_norm": "layernorm"}, "decoder_use_norm='layernorm'; our counterpart has batchnorm or"),
        ({"decoder_channels": [8, 8]}, r"decoder_channels must be 5 numbers, as encoder_depth says; found \[8, 8\]"),
        ({"encoder_depth": 6}, "encoder_depth must be 1 to 5"),
        ({"_model_class": "PAN"}, "dilates its own resnet18 in another way than timm; a PAN is read with"),
        ({"_model_class": "PAN", "upsampling": 1}, "expected encoder_output_stride=16 or 32 and upsampling=4; found"),
        ({"_model_class": "Linknet", "decoder_use_norm": False}, "a Linknet without norms"),
        ({"output_stride": 16}, "config.json has output_stride, which has no counterpart here"),
    ],
)
def test_models_that_cannot_be_read(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    config = {"encoder_name": PYRAMID, "_model_class": "Unet", **changes}
    with pytest.raises(ValueError, match=message):
        describe_folder(folder(tmp_path, config))
