"""Published files of newer methods: state dicts of exactly their names and sizes load with nothing over or missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from intarsia import recipes
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.class_count import count_logits
from intarsia.weights.legacy_names import with_present_names
from intarsia.weights.maps import translated
from intarsia.workflows.trained_model import open_model
from tests.weights import authors, authors_transformers

FILES: dict[str, tuple[str, Callable[[], authors.Shapes], str]] = {
    "gcnet-s": ("gcnet-s_4xb3-120k_cityscapes-1024x1024", authors.gcnet_s, "state_dict"),
    "sctnet-s": ("sctnet-s_2xb8-seg75-160k_cityscapes-512x1024", authors.sctnet_s, "state_dict"),
    "regseg": ("regseg", authors.regseg, "model"),
}
"""File -> recipe that it is opened with, its tensors, under which key they are."""

LARGER: dict[str, tuple[str, Callable[[], authors.Shapes]]] = {
    "VWFormer, ADE20K": ("convnext-tiny_vwformer_4xb4-amp-160k_ade20k-512x512", authors_transformers.vwformer_ade20k),
    "VWFormer, Cityscapes": (
        "convnext-tiny_vwformer_4xb4-amp-160k_cityscapes-512x1024",
        authors_transformers.vwformer_cityscapes,
    ),
    "ViT-Adapter": ("upernet-adapter_timm:deit_small_patch16_224", authors_transformers.vit_adapter_s),
    "ViT-Adapter, published": (
        "vit-adapter-deit-s_upernet_8xb2-amp-160k_ade20k-512x512",
        authors_transformers.vit_adapter_s,
    ),
    "EfficientViT-B1": ("efficientvit_timm:efficientvit_b1", authors_transformers.efficientvit_b1),
    "EfficientViT-L1": ("efficientvit_timm:efficientvit_l1", authors_transformers.efficientvit_l1),
    "EfficientViT-B1, ADE20K": (
        "efficientvit_timm:efficientvit_b1",
        lambda: authors_transformers.efficientvit_b1(expand=0, classes=150),
    ),
    "EfficientViT-L1, ADE20K": (
        "efficientvit_timm:efficientvit_l1",
        lambda: authors_transformers.efficientvit_l1(streets=False),
    ),
    "EoMT": ("eomt_vit-l-dinov2_4xb4-31e_ade20k-512x512", lambda: authors_transformers.eomt_l(eomt_backbone())),
    "PMT": ("pmt_vit-l-dinov3_4xb4-16e_ade20k-512x512", authors_transformers.pmt_head),
}
"""File -> recipe, its tensors; these are compared without numbers."""

OTHERWISE: dict[str, dict[str, dict[str, Any]]] = {
    "ViT-Adapter": {"backbone": {"prefix_tokens": False}},
    "EfficientViT-B1, ADE20K": {"decode_head": {"final_expand": None}},
    "EfficientViT-L1, ADE20K": {"decode_head": {"channels": 128, "expand_ratio": 4, "final_expand": 8}},
}
"""File -> what its network has otherwise than the recipe."""


def eomt_backbone() -> authors.Shapes:
    timm = pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        made = timm.create_model("vit_large_patch14_reg4_dinov2", num_classes=0, img_size=512, patch_size=16)
    return {name: tuple(value.shape) for name, value in made.state_dict().items()}


def values(shapes: authors.Shapes) -> dict[str, Tensor]:
    return {name: torch.zeros(shape, dtype=torch.float32 if shape else torch.int64) for name, shape in shapes.items()}


@pytest.mark.parametrize("name", FILES)
def test_a_file_opens_with_nothing_over_or_missing(name: str, tmp_path: Path) -> None:
    recipe, tensors, key = FILES[name]
    torch.save({key: values(tensors())}, tmp_path / "model.pth")
    found = open_model(tmp_path / "model.pth", config=recipe, device="cpu")
    assert found.report.complete, found.report
    assert not found.report.unexpected


def network(recipe: str, classes: int, otherwise: dict[str, dict[str, Any]]) -> Any:
    if "_timm:" in recipe or "vit-" in recipe:
        pytest.importorskip("timm", reason="timm is not installed")
    model = recipes.network(recipe, num_classes=classes)
    for part, changes in otherwise.items():
        model[part] |= changes
    model["backbone"].pop("pretrained", None)
    with torch.device("meta"):
        task: Any = build_task(lower(Config.from_values({"model": model}, file=recipe)))
    return task.model


@pytest.mark.parametrize("name", LARGER)
def test_names_and_sizes_of_a_file_are_those_of_the_network(name: str) -> None:
    recipe, tensors = LARGER[name]
    shapes = tensors()
    classes = count_logits(shapes)
    assert classes in (19, 150)
    with torch.device("meta"):
        state, _ = with_present_names(translated(values(shapes)))
    found = {key: tuple(value.shape) for key, value in state.items()}
    ours = {
        key: tuple(value.shape) for key, value in network(recipe, classes, OTHERWISE.get(name, {})).state_dict().items()
    }
    if name == "PMT":
        ours = {key: shape for key, shape in ours.items() if not key.startswith("backbone.")}
    assert found == ours


def test_a_file_without_a_classifier_tells_no_classes(tmp_path: Path) -> None:
    torch.save({"backbone.conv.weight": torch.zeros(1, 1, 1, 1)}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match="has no classifier that tells the number of classes of the recipe regseg"):
        open_model(tmp_path / "a.pth", config="regseg", device="cpu")
