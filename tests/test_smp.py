"""`intarsia.smp`: the constructors of segmentation_models.pytorch, whose logits ours give with the same tensors."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch

import intarsia
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


LABELS: dict[str, dict[str, Any]] = {
    "Unet": {"classes": 4},
    "FPN": {"classes": 2, "pooling": "max", "dropout": 0.5, "activation": "sigmoid"},
    "PSPNet": {"classes": 3, "dropout": None, "activation": "softmax2d"},
    "DeepLabV3Plus": {"classes": 1, "activation": torch.nn.Softplus},
    "DPT": {"classes": 5, "pooling": "max", "activation": "argmax2d"},
}


@pytest.mark.parametrize("kind", LABELS)
def test_labels_of_images_are_those_of_the_library(kind: str) -> None:
    arguments = {"encoder_name": PYRAMID, "encoder_weights": None, "classes": 3, **MODELS[kind]}
    arguments["aux_params"] = LABELS[kind]
    torch.manual_seed(0)
    theirs = getattr(library, kind)(**arguments).eval()
    ours = getattr(intarsia.smp, kind)(**arguments).eval()
    assert apply_state(ours, translated(theirs.state_dict())).complete
    assert [type(part).__name__ for part in ours.auxiliary_head.children()][-1] == "Linear"
    images = torch.randn(2, arguments.get("in_channels", 3), 128, 160)
    with torch.no_grad():
        for found, expected in zip(ours(images), theirs(images), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    dropped = float(LABELS[kind].get("dropout", 0.2) or 0.0)
    assert getattr(ours.auxiliary_head.dropout, "p", 0.0) == dropped


def test_a_model_of_pixels_and_images_is_a_module_like_any_other(tmp_path: Path) -> None:
    """Copied, pickled, compiled, saved; both answers have gradients; the file predicts pixels."""
    arguments: dict[str, Any] = {
        "encoder_weights": None,
        "classes": 3,
        "encoder_depth": 3,
        "decoder_channels": (8, 8, 8),
    }
    model = intarsia.smp.Unet(PYRAMID, aux_params={"classes": 4, "activation": "sigmoid"}, **arguments)
    images = torch.randn(2, 3, 64, 72)
    masks, labels = model.train()(images)
    assert (masks.shape, labels.shape) == ((2, 3, 64, 72), (2, 4))
    (masks.square().mean() + labels.square().mean()).backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    model.eval()
    expected = model(images)
    others = [copy.deepcopy(model), pickle.loads(pickle.dumps(model)), torch.compile(model, backend="eager")]
    for other in others:
        for found, wanted in zip(other(images), expected, strict=True):
            torch.testing.assert_close(found, wanted)
    assert expected[1].min() > 0

    file = intarsia.save(model, tmp_path / "w.safetensors", classes=["a", "b", "c"])
    opened = intarsia.create_model(file, auxiliary=True).eval()
    assert opened(images).equal(expected[0])
    assert opened.training_outputs(images)["aux"].sigmoid().equal(expected[1]), "four labels, beside three classes"
    alone = intarsia.create_model(file).eval()
    assert not any(name.startswith("auxiliary_head") for name in alone.state_dict())
    assert alone(images).equal(expected[0])


def test_every_model_of_the_library_is_there() -> None:
    assert {model.__name__ for model in library.MODEL_ARCHITECTURES_MAPPING.values()} == set(MODELS)
    assert all(hasattr(intarsia.smp, name) for name in MODELS)


@pytest.mark.parametrize(
    ("name", "words"),
    [("encoders", r"model\.normalise\(images\)"), ("from_pretrained", "weights convert"), ("Unett", "")],
)
def test_what_is_not_here_says_what_is(name: str, words: str) -> None:
    with pytest.raises(AttributeError, match=f"has no attribute {name!r}.*{words}"):
        getattr(intarsia.smp, name)
    assert not hasattr(intarsia.smp, name)


def test_a_model_by_its_name() -> None:
    names = sorted(library.MODEL_ARCHITECTURES_MAPPING)
    with pytest.raises(ValueError, match="there is no model 'unet3'") as error:
        intarsia.smp.create_model("unet3")
    assert sorted(str(error.value).rpartition("there are ")[2].split(", ")) == names
    model = intarsia.smp.create_model("Unet", PYRAMID, None, 4, 5, encoder_depth=3, decoder_channels=(8, 8, 8))
    assert model.eval()(torch.randn(1, 4, 64, 72)).shape == (1, 5, 64, 72)


def test_how_it_is_trained_is_known_where_there_is_a_recipe() -> None:
    assert intarsia.smp.Unet(PYRAMID, encoder_weights=None).facts.recipe == f"unet_timm:{PYRAMID}"
    assert intarsia.smp.DeepLabV3Plus(PYRAMID, encoder_weights=None).facts.recipe == f"deeplabv3plus_timm:{PYRAMID}"
    assert intarsia.smp.PAN(PYRAMID, encoder_weights=None).facts.recipe == f"pan_timm:{PYRAMID}"
    assert intarsia.smp.Unet("mit_b0", encoder_weights=None).facts.recipe == ""


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"activation": "sigmoid"}, r"smp\.Unet: the scores are logits, found activation='sigmoid'"),
        ({"aux_params": {"pooling": "max"}}, r"smp\.Unet: aux_params of the call must have classes"),
        ({"aux_params": {"classes": 4, "pooling": "lp"}}, r"smp\.Unet: pooling in aux_params must be avg or max"),
        (
            {"aux_params": {"classes": 4, "activation": "relu"}},
            r"activation of aux_params must be one of",
        ),
        ({"encoder_depth": 9}, r"smp\.Unet: encoder_depth of a Unet must be 1 to 5; found 9"),
        ({"decoder_channel": 4}, r"smp\.Unet: the call has decoder_channel, which has no counterpart"),
        ({"encoder_weights": "ssl"}, r"smp\.Unet: encoder_weights must be 'imagenet'.*found 'ssl'"),
        ({"encoder_name": "dpn68"}, r"smp\.Unet: the encoder 'dpn68'"),
    ],
)
def test_what_has_no_counterpart_is_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        intarsia.smp.Unet(**{"encoder_weights": None, **arguments})
