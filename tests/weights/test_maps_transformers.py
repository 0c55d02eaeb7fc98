"""Models of transformers, saved as on the Hugging Face Hub, give the same logits here: their tensors under our names,
in the model that is made of their config.json.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import mapping
import numpy as np
import pytest
import torch
from torch import nn

import intarsia
from intarsia.backbones.mit import MixVisionTransformer
from intarsia.backbones.resnet import ResNet
from intarsia.backbones.swin import SwinTransformer
from intarsia.cli.main import main
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.layers.norm import Norm
from intarsia.weights.about import about
from intarsia.weights.file import apply_state
from intarsia.weights.maps import recognise, translated
from intarsia.weights.maps.folder import describe_folder

transformers = pytest.importorskip("transformers", reason="transformers is not installed")

STAGES = ["stage1", "stage2", "stage3", "stage4"]
SIZE = (1, 3, 75, 109)
"""No level has whole windows, and no side is a multiple of anything."""

SWIN = {"embed_dim": 24, "depths": [2, 2, 1, 2], "num_heads": [1, 2, 4, 8], "window_size": 3}
RESNET = {"embedding_size": 16, "hidden_sizes": [32, 64, 128, 256], "depths": [3, 4, 6, 3]}
BASIC = {"embedding_size": 8, "hidden_sizes": [16, 32, 64, 128], "depths": [2, 2, 2, 2], "layer_type": "basic"}
SEGFORMER = {"depths": [1, 2, 1, 1], "hidden_sizes": [8, 16, 40, 64], "num_attention_heads": [1, 2, 5, 8]}


def swin() -> Any:
    return transformers.SwinConfig(**SWIN, out_features=STAGES)


def resnet(**options: Any) -> Any:
    return transformers.ResNetConfig(**options, out_features=STAGES)


def saved(model: nn.Module, folder: Path) -> nn.Module:
    """The model with random weights, written as on the Hub."""
    mapping.randomised(model)
    model.save_pretrained(folder)
    return model


def counterpart(folder: Path) -> Any:
    """Our model of a folder, with its weights."""
    found = about(folder)
    config = Config.from_values(found.meta.config, file=str(folder))
    assert check(config) == []
    model: Any = build_task(lower(config)).model.double().eval()
    apply_state(model, found.state()[0])
    return model


def check_names_of_modules(theirs: nn.Module, folder: Path) -> None:
    """The names of the library's modules, which differ from those in its files, mean the same."""
    from_file, from_modules = about(folder).state()[0], translated(theirs.state_dict())
    assert from_file.keys() == from_modules.keys()
    assert all(torch.equal(value, from_modules[name]) for name, value in from_file.items())


def test_segformer(tmp_path: Path) -> None:
    config = transformers.SegformerConfig(**SEGFORMER, decoder_hidden_size=16, num_labels=5)
    theirs = saved(transformers.SegformerForSemanticSegmentation(config), tmp_path)
    ours = counterpart(tmp_path)
    images = mapping.images(*SIZE)
    with torch.no_grad():
        mapping.assert_same(ours(images), theirs(images).logits)
    check_names_of_modules(theirs, tmp_path)


@pytest.mark.parametrize(
    "backbone",
    [swin, lambda: resnet(**RESNET), lambda: resnet(**BASIC), lambda: resnet(**RESNET, downsample_in_bottleneck=True)],
    ids=["swin", "resnet50", "resnet18", "resnet50-caffe"],
)
def test_upernet(backbone: Any, tmp_path: Path) -> None:
    backbone = backbone()
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=24, auxiliary_channels=12, auxiliary_num_convs=2, num_labels=5
    )
    config.auxiliary_concat_input = True
    # 4.45 does not ask the backbone for it.
    config.auxiliary_in_channels = (
        backbone.hidden_sizes[2] if backbone.model_type == "resnet" else 4 * backbone.embed_dim
    )
    theirs = saved(transformers.UperNetForSemanticSegmentation(config), tmp_path)
    ours = counterpart(tmp_path)
    images = mapping.images(*SIZE)
    with torch.no_grad():
        levels = theirs.backbone(images).feature_maps
        found = ours.training_outputs(images)
        mapping.assert_same(found["decode"], theirs.decode_head(levels))
        mapping.assert_same(found["aux"], theirs.auxiliary_head(levels))
    check_names_of_modules(theirs, tmp_path)


@pytest.mark.parametrize("backbone", [swin, lambda: resnet(**RESNET)], ids=["swin", "resnet50"])
def test_mask2former(backbone: Any, tmp_path: Path) -> None:
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone(), feature_size=32, hidden_dim=32, mask_feature_size=24, num_attention_heads=4,
        encoder_layers=2, encoder_feedforward_dim=48, decoder_layers=5, dim_feedforward=40, num_queries=7, num_labels=5,
    )  # fmt: skip
    theirs = saved(transformers.Mask2FormerForUniversalSegmentation(config), tmp_path)
    compare_queries(counterpart(tmp_path), theirs)
    check_names_of_modules(theirs, tmp_path)


@pytest.mark.parametrize(
    ("backbone", "width"),
    [
        (lambda: transformers.MaskFormerSwinConfig(**SWIN, out_features=STAGES), 32),
        (lambda: resnet(**RESNET), 32),
        (lambda: resnet(**BASIC), 128),  # the last level's own width, so that there is no projection
    ],
    ids=["swin", "resnet50", "no projection"],
)
def test_maskformer(backbone: Any, width: int, tmp_path: Path) -> None:
    decoder = transformers.DetrConfig(
        d_model=width, decoder_ffn_dim=40, decoder_attention_heads=4, decoder_layers=3, num_queries=7
    )
    config = transformers.MaskFormerConfig(
        backbone_config=backbone(), fpn_feature_size=width, mask_feature_size=24, decoder_config=decoder, num_labels=5
    )
    theirs = saved(transformers.MaskFormerForInstanceSegmentation(config), tmp_path)
    compare_queries(counterpart(tmp_path), theirs)
    check_names_of_modules(theirs, tmp_path)


def compare_queries(ours: Any, theirs: Any) -> None:
    images = mapping.images(*SIZE)
    with torch.no_grad():
        expected, found = theirs(images), ours.queries(images)[-1]
    mapping.assert_same(found.class_logits, expected.class_queries_logits)
    mapping.assert_same(found.mask_logits, expected.masks_queries_logits)


# --- Backbones of classifiers ----------------------------------------------------------------------------------------


def test_resnet_backbone() -> None:
    theirs = mapping.randomised(transformers.ResNetForImageClassification(transformers.ResNetConfig(**RESNET)))
    ours = ResNet(50, stem_channels=16, base_channels=8).double().eval()
    apply_state(ours, backbone_state(theirs))
    images = mapping.images(*SIZE)
    with torch.no_grad():
        mapping.assert_same(ours(images)[-1], theirs.resnet(images).last_hidden_state)


def test_mit_backbone() -> None:
    theirs = mapping.randomised(transformers.SegformerForImageClassification(transformers.SegformerConfig(**SEGFORMER)))
    ours = MixVisionTransformer(embed_dims=8, num_layers=(1, 2, 1, 1), num_heads=(1, 2, 5, 8), norm=Norm("LN"))
    apply_state(ours.double().eval(), backbone_state(theirs))
    images = mapping.images(*SIZE)
    with torch.no_grad():
        mapping.assert_same(ours(images)[-1], theirs.segformer(images).last_hidden_state)


def test_swin_backbone() -> None:
    theirs = mapping.randomised(transformers.SwinForImageClassification(transformers.SwinConfig(**SWIN)))
    ours = SwinTransformer(embed_dims=24, depths=(2, 2, 1, 2), num_heads=(1, 2, 4, 8), window_size=3)
    report = apply_state(ours.double().eval(), backbone_state(theirs), allow_partial=True)
    assert report.missing == tuple(f"norm{i}.{part}" for i in range(4) for part in ("weight", "bias"))
    nn.Module.load_state_dict(ours.norm3, theirs.swin.layernorm.state_dict())  # what theirs has behind the last stage
    images = mapping.images(1, 3, 128, 144)  # theirs does not shift where a map is no larger than a window
    with torch.no_grad():
        expected = theirs.swin(images).last_hidden_state
        mapping.assert_same(ours(images)[-1].flatten(2).transpose(1, 2), expected)


def backbone_state(theirs: nn.Module) -> dict[str, torch.Tensor]:
    found = recognise(theirs.state_dict())
    assert found is not None
    state, unknown = found.convert(theirs.state_dict())
    assert unknown == ()
    return {name.removeprefix("backbone."): value for name, value in state.items()}


# --- What stands beside the tensors -------------------------------------------------------------------------------


def folder_with(path: Path, processor: dict[str, Any] | None = None, **config: Any) -> Path:
    values = {"model_type": "segformer", "id2label": {"1": "tree", "0": "road"}, **config}
    (path / "config.json").write_text(json.dumps(values))
    if processor is not None:
        (path / "preprocessor_config.json").write_text(json.dumps(processor))
    return path


def test_classes_and_preprocessing(tmp_path: Path) -> None:
    processor = {
        "image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 0.00392156862745098,
        "size": {"height": 384, "width": 640}, "do_reduce_labels": True,
    }  # fmt: skip
    description = describe_folder(folder_with(tmp_path, processor))
    assert description.classes == ("road", "tree")
    assert description.notes == ()
    spec = lower(Config.from_values(description.config, file="config.json"))
    assert spec.preprocess.mean == (123.675, 116.28, 103.53)
    assert spec.preprocess.std == pytest.approx((58.395, 57.12, 57.375), abs=1e-9)
    assert spec.preprocess.channel_order == "rgb"
    assert spec.test is not None
    assert [(t.type, t.args) for t in spec.test.transforms] == [("Resize", {"scale": (640, 384), "keep_ratio": False})]
    assert spec.inference.num_classes == 2


@pytest.mark.parametrize(
    ("size", "model_type", "expected"),
    [
        ({"size": 512}, "segformer", {"type": "Resize", "scale": (512, 512), "keep_ratio": False}),
        ({"size": 512, "max_size": 2048}, "maskformer", {"type": "ResizeShortestEdge", "scale": 512, "max_size": 2048}),
        (
            {"size": {"shortest_edge": 800, "longest_edge": 1333}},
            "mask2former",
            {"type": "ResizeShortestEdge", "scale": 800, "max_size": 1333},
        ),
        ({"size": 512, "do_resize": False}, "segformer", None),
    ],
)
def test_sizes(size: dict[str, Any], model_type: str, expected: dict[str, Any] | None, tmp_path: Path) -> None:
    backbone = {"model_type": "swin"}
    folder = folder_with(tmp_path, size, model_type=model_type, backbone_config=backbone)
    pipeline = describe_folder(folder).config["test_dataloader"]["dataset"]["pipeline"]
    assert pipeline[1:-2] == ([] if expected is None else [expected])


def test_unscaled_and_padded_images(tmp_path: Path) -> None:
    processor = {"do_rescale": False, "do_normalize": False, "size_divisor": 32}
    model = describe_folder(folder_with(tmp_path, processor)).config["model"]
    assert model["data_preprocessor"]["mean"] == [0.0, 0.0, 0.0]
    assert model["data_preprocessor"]["std"] == [1.0, 1.0, 1.0]
    assert model["data_preprocessor"]["test_cfg"] == {"size_divisor": 32}


def test_a_folder_without_preprocessing_says_what_is_assumed(tmp_path: Path) -> None:
    description = describe_folder(folder_with(tmp_path))
    assert "no preprocessor_config.json" in description.notes[0]
    assert description.config["model"]["data_preprocessor"]["mean"] == [123.675, 116.28, 103.53]


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "beit"}, "model_type 'beit'; expected one of segformer"),
        ({"hidden_act": "relu"}, "hidden_act='relu'; our counterpart is made for 'gelu' only"),
        ({"hidden_sizes": [32, 64, 160, 300]}, "same channels per attention head"),
        ({"id2label": {"0": "a", "2": "b"}}, "must number its 2 classes from 0"),
        ({"model_type": "upernet"}, "the backbone of config.json is a None; expected one of resnet"),
        ({"model_type": "upernet", "backbone_config": {"model_type": "convnext"}}, "is a 'convnext'"),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "resnet", "depths": [1, 1, 1, 1]}},
            "has no counterpart here; published layouts",
        ),
        (
            {"model_type": "upernet", "backbone_config": {"model_type": "swin", "out_features": ["stage4"]}},
            "our heads read stage1 to stage4",
        ),
        (
            {"model_type": "mask2former", "backbone_config": {"model_type": "swin"}, "pre_norm": True},
            "pre_norm=True; our counterpart",
        ),
    ],
)
def test_what_cannot_be_expressed_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        describe_folder(folder_with(tmp_path, **config))


def test_files_that_are_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"config\.json does not exist"):
        describe_folder(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config\.json is not JSON"):
        describe_folder(tmp_path)
    (tmp_path / "config.json").write_text("[]")
    with pytest.raises(ValueError, match=r"holds a list; expected an object"):
        describe_folder(tmp_path)


def test_from_a_folder_of_the_hub_to_a_prediction(tmp_path: Path) -> None:
    """`intarsia weights convert` makes a file that predicts, from the pixels of an image, what the library predicts."""
    config = transformers.SegformerConfig(
        **SEGFORMER, decoder_hidden_size=16, id2label=dict(enumerate(["road", "tree", "sky", "car", "wall"]))
    )
    folder = tmp_path / "segformer"
    theirs = saved(transformers.SegformerForSemanticSegmentation(config), folder).float()
    processor = transformers.SegformerImageProcessor(
        do_resize=False, image_mean=[0.4, 0.5, 0.6], image_std=[0.2, 0.3, 0.4]
    )
    processor.save_pretrained(folder)
    file = tmp_path / "segformer.safetensors"
    assert main(["weights", "convert", str(folder), "-o", str(file)]) == 0
    image = np.random.default_rng(0).integers(0, 256, (93, 121, 3), dtype=np.uint8)
    found = intarsia.load(file, device="cpu").predict(image)
    with torch.no_grad():
        outputs = theirs(**processor(image, return_tensors="pt"))
    (expected,) = processor.post_process_semantic_segmentation(outputs, target_sizes=[image.shape[:2]])
    assert found.classes == ("road", "tree", "sky", "car", "wall")
    assert len(expected.unique()) > 2
    differing = (found.label != expected.numpy()).mean()
    print(f"{differing:.2%} of the pixels differ")
    assert differing < 1e-3
