"""EoMT of transformers gives the same masks, classes and losses here; the authors' files have the same tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import mapping
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

import intarsia
from intarsia.config.build import build_task
from intarsia.config.checking.check import check
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.about import about
from intarsia.weights.file import apply_state
from intarsia.weights.maps import recognise, translated

transformers = pytest.importorskip("transformers", minversion="5", reason="transformers with EoMT is not installed")

SIDE, CLASSES, QUERIES, BLOCKS = 64, 5, 7, 2
SMALL = {
    "hidden_size": 32, "num_hidden_layers": 4, "num_attention_heads": 4, "image_size": SIDE, "num_queries": QUERIES,
    "num_blocks": BLOCKS, "num_labels": CLASSES, "train_num_points": 60,
}  # fmt: skip


def saved(folder: Path, **options: Any) -> Any:
    """A model of transformers with random weights, written as on the Hub, whose queries look at everything."""
    theirs: Any = transformers.EomtForUniversalSegmentation(transformers.EomtConfig(**SMALL, **options))
    mapping.randomised(theirs)
    theirs.attn_mask_probs.zero_()
    theirs.criterion.empty_weight.fill_(1.0)[-1] = 0.1  # which is in its files, but follows from its config
    theirs.save_pretrained(folder)
    return theirs


def saved_dinov3(folder: Path, **options: Any) -> Any:
    """The same on DINOv3."""
    config = transformers.EomtDinov3Config(**{**SMALL, "intermediate_size": 72, **options})
    theirs: Any = transformers.EomtDinov3ForUniversalSegmentation(config)
    mapping.randomised(theirs)
    theirs.attn_mask_probs.zero_()
    theirs.criterion.empty_weight.fill_(1.0)[-1] = 0.1
    theirs.save_pretrained(folder)
    return theirs


def counterpart(folder: Path) -> Any:
    """Our task of a folder, with its weights."""
    found = about(folder)
    config = Config.from_values(found.meta.config, file=str(folder))
    assert check(config, shapes=True) == []
    task: Any = build_task(lower(config)).double().eval()
    apply_state(task.model, found.state()[0])
    return task


@pytest.mark.parametrize(
    "options",
    [{}, {"use_swiglu_ffn": True}, {"num_register_tokens": 1, "num_upscale_blocks": 1, "mlp_ratio": 2}],
    ids=["usual", "gated", "other numbers"],
)
def test_classes_and_masks_are_those_of_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = saved(tmp_path, **options), counterpart(tmp_path).model
    images = mapping.images(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected, (found,) = theirs(images), ours.queries(images)
    mapping.assert_same(found.class_logits, expected.class_queries_logits)
    mapping.assert_same(found.mask_logits, expected.masks_queries_logits)


@pytest.mark.parametrize("options", [{}, {"layer_norm_eps": 1e-3, "num_register_tokens": 1}], ids=["usual", "others"])
def test_classes_and_masks_on_dinov3_are_those_of_transformers(options: dict[str, Any], tmp_path: Path) -> None:
    theirs, ours = saved_dinov3(tmp_path, **options), counterpart(tmp_path).model
    images = mapping.images(2, 3, SIDE, SIDE)
    with torch.no_grad():
        expected, (found,) = theirs(images), ours.queries(images)
    mapping.assert_same(found.class_logits, expected.class_queries_logits)
    mapping.assert_same(found.mask_logits, expected.masks_queries_logits)


@pytest.mark.parametrize(
    "options",
    [{"use_gated_mlp": True}, {"key_bias": True}, {"rope_parameters": {"rope_theta": 10.0, "rope_type": "default"}}],
)
def test_settings_without_a_counterpart_are_refused_on_dinov3(options: dict[str, Any], tmp_path: Path) -> None:
    saved_dinov3(tmp_path, **options)
    with pytest.raises(ValueError, match="our counterpart is made for"):
        about(tmp_path)


@pytest.mark.parametrize("size", [(SIDE, 150), (131, SIDE), (SIDE, SIDE), (100, 150)])
def test_label_maps_are_those_of_the_processor_of_transformers(size: tuple[int, int], tmp_path: Path) -> None:
    """Resized, in windows, class scores averaged, back at the size of the image.

    Where images are resized, torchvision's 8-bit values may differ by 1 from Pillow's, which are ours.
    """
    theirs = saved(tmp_path).float()
    processor = transformers.EomtImageProcessor(
        size={"shortest_edge": SIDE, "longest_edge": None}, do_split_image=True, do_pad=False
    )
    processor.save_pretrained(tmp_path)
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    image = cv2.GaussianBlur(image, (0, 0), 6)
    image = np.uint8((image - image.min()) * (255 / np.ptp(image)))
    given = processor(images=Image.fromarray(image), return_tensors="pt")
    with torch.no_grad():
        outputs = theirs(pixel_values=given["pixel_values"])
    outputs.patch_offsets = given["patch_offsets"]
    (expected,) = processor.post_process_semantic_segmentation(outputs, [size], return_segmentation_scores=True)
    predictor = intarsia.load(tmp_path, device="cpu")
    assert (predictor.inference.mode, predictor.inference.crop_size) == ("slide_even", (SIDE, SIDE))
    found = predictor.predict(image, logits=True)
    scores = expected.segmentation_scores.numpy()
    assert np.abs(found.logits - scores).max() < (1e-4 if SIDE in size else 0.02) * np.abs(scores).max()
    assert (found.label != expected.segmentation.numpy()).mean() < (0.001 if SIDE in size else 0.02)


def test_names_of_files_and_of_modules_mean_the_same(tmp_path: Path) -> None:
    theirs = saved(tmp_path, use_swiglu_ffn=True)
    from_file, from_modules = about(tmp_path).state()[0], translated(theirs.state_dict())
    assert from_file.keys() == from_modules.keys()
    assert all(torch.equal(value, from_modules[name]) for name, value in from_file.items())


@pytest.mark.parametrize("probability", [1.0, 0.6, 0.0])
def test_terms_of_the_training_are_those_of_transformers(
    probability: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Masked attention and its fading, losses of all outputs, points, matching: one number for all, and gradients."""
    theirs, ours = saved(tmp_path).train(), counterpart(tmp_path).train()
    theirs.attn_mask_probs.fill_(probability)
    ours.model.decode_head.attn_mask_probs.fill_(probability)
    labels = torch.randint(0, 3, (2, 8, 8), generator=torch.Generator().manual_seed(3))
    labels = labels.repeat_interleave(8, 1).repeat_interleave(8, 2)  # (2, 64, 64)
    images = mapping.images(2, 3, SIDE, SIDE)
    for layer in theirs.layers:  # torch reads a mask of float32 beside queries of float64 wrongly, and says nothing
        layer.register_forward_pre_hook(lambda _, given: (given[0], None if given[1] is None else given[1].double()))
    real = torch.rand
    monkeypatch.setattr(torch, "rand", lambda *shape, **options: _drawn(real, shape))
    classes = [image.unique() for image in labels]
    masks = [(image == found[:, None, None]).double() for image, found in zip(labels, classes, strict=True)]
    for model in (theirs, ours):
        model.requires_grad_(True)
    expected = theirs(images, mask_labels=masks, class_labels=classes).loss
    layers = ours.objective(ours.model.queries(images), labels)
    assert len(layers) == BLOCKS + 1
    found = sum(ours.objective.weights[name] * value for layer in layers for name, value in layer.items())
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=0)
    expected.backward()
    found.backward()
    gradients = {name: value.grad for name, value in theirs.named_parameters()}
    for name, gradient in translated(gradients).items():
        torch.testing.assert_close(ours.model.get_parameter(name).grad, gradient, rtol=1e-5, atol=1e-7)


def _drawn(rand: Any, shape: tuple[Any, ...]) -> Tensor:
    """What depends on the shape alone, and is the same for all masks, since the order of these is not the same."""
    count, *size = tuple(shape[0]) if isinstance(shape[0], tuple | torch.Size) else shape
    drawn: Tensor = rand(size, generator=torch.Generator().manual_seed(sum(size)), dtype=torch.float64)
    return drawn.expand(count, *size).contiguous()


def test_names_of_the_authors_files_fit(tmp_path: Path) -> None:
    saved(tmp_path)
    task = counterpart(tmp_path)
    expected = task.model.state_dict()
    theirs = {
        (
            f"network.encoder.{name}"
            if name.startswith("backbone.")
            else f"network.{name.removeprefix('decode_head.')}"
        ): x
        for name, x in expected.items()
    }
    theirs |= {"criterion.empty_weight": torch.ones(CLASSES + 1), "network.encoder.pixel_mean": torch.zeros(1, 3, 1, 1)}
    found = recognise(theirs)
    assert found is not None
    assert found.name == "EoMT of its authors"
    state, unknown = found.convert(theirs)
    assert unknown == ()
    assert state.keys() == expected.keys()
    assert "backbone.blocks.3.attn.qkv.weight" in state
    assert "decode_head.upscale.1.conv2.weight" in state
