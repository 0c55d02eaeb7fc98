"""EoMT to and from other programs: folders of transformers, and the authors' files that hold differences to DINOv3, or
of PMT the head alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import intarsia
from intarsia.config.build import build_task
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.weights.file import WeightsMeta, load_state, save_weights
from intarsia.workflows.convert_weights import convert_weights
from intarsia.workflows.trained_model import open_model

pytest.importorskip("timm", reason="timm is not installed")
transformers = pytest.importorskip("transformers", minversion="5.1", reason="transformers with EoMT is not installed")

SIDE, CLASSES, QUERIES = 64, ("road", "sky", "tree"), 7
DINOV2, DINOV3 = "vit_small_patch14_reg4_dinov2", "vit_small_patch16_dinov3_qkvb"


def config(name: str, **head: Any) -> dict[str, Any]:
    """Of a small EoMT, as a recipe has it."""
    options = {"embed_dim": 32, "depth": 4, "num_heads": 2, "patch_size": 16}
    backbone = {"type": "TIMM", "model_name": name, "open_blocks": 2, "options": options}
    if "dinov2" in name:
        backbone["img_size"] = (SIDE, SIDE)
    if "giant" in name:
        options["mlp_ratio"] = (2 * 88 + 0.5) / 32  # two halves, as transformers rounds them
    decode_head = {"type": "EoMTHead", "in_channels": 32, "num_classes": 3, "num_queries": QUERIES, "num_blocks": 2}
    return {
        "model": {
            "type": "EncoderDecoder",
            "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53],
                                  "std": [58.395, 57.12, 57.375], "bgr_to_rgb": True},
            "backbone": backbone,
            "decode_head": {**decode_head, **head},
            "test_cfg": {"mode": "slide_even", "crop_size": (SIDE, SIDE)},
        },
        "test_dataloader": {"batch_size": 1, "dataset": {
            "type": "BaseSegDataset", "data_root": "nowhere", "metainfo": {"classes": list(CLASSES)},
            "data_prefix": {"img_path": "a", "seg_map_path": "b"},
            "pipeline": [
                {"type": "LoadImageFromFile"},
                {"type": "ResizeShortestEdge", "scale": SIDE, "max_size": 10**6, "interpolation": "antialiased"},
                {"type": "LoadAnnotations"}, {"type": "PackSegInputs"},
            ],
        }},
        "test_cfg": {"type": "TestLoop"},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
    }  # fmt: skip


def our_file(out: Path, name: str, **head: Any) -> Path:
    """Random weights, none of which is at its beginning."""
    values = config(name, **head)
    task: Any = build_task(lower(Config.from_values(values, file="test")))
    generator = torch.Generator().manual_seed(0)
    state = {key: x + 0.1 * torch.randn(x.shape, generator=generator) for key, x in task.model.state_dict().items()}
    save_weights(out, state, WeightsMeta(config=values, classes=CLASSES, version="test"))
    return out


@pytest.mark.parametrize("name", [DINOV2, DINOV3, DINOV3.removesuffix("_qkvb"), "vit_giant_patch14_reg4_dinov2"])
def test_a_folder_of_transformers_predicts_the_same(name: str, tmp_path: Path) -> None:
    ours = our_file(tmp_path / "ours.safetensors", name)
    folder = convert_weights(ours, tmp_path / "folder", to="transformers")
    kind = "EomtDinov3" if "dinov3" in name else "Eomt"
    theirs = getattr(transformers, f"{kind}ForUniversalSegmentation").from_pretrained(folder).eval()
    assert theirs.config.id2label == dict(enumerate(CLASSES))
    processor = transformers.AutoImageProcessor.from_pretrained(folder)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, 150, 3), dtype=np.uint8)
    given = processor(images=image, return_tensors="pt")
    with torch.no_grad():
        outputs = theirs(pixel_values=given["pixel_values"])
    outputs.patch_offsets = given["patch_offsets"]
    (expected,) = processor.post_process_semantic_segmentation(
        outputs, [(SIDE, 150)], return_segmentation_scores=True
    )  # fmt: skip
    found = intarsia.load(ours, device="cpu").predict(image, logits=True)
    scores = expected.segmentation_scores.numpy()
    assert np.abs(found.logits - scores).max() < 1e-4 * np.abs(scores).max()
    assert (found.label != expected.segmentation.numpy()).mean() < 0.001


@pytest.mark.parametrize("name", [DINOV2, DINOV3])
def test_there_and_back_are_the_same_bits(name: str, tmp_path: Path) -> None:
    ours = our_file(tmp_path / "ours.safetensors", name)
    folder = convert_weights(ours, tmp_path / "folder", to="transformers")
    back = load_state(convert_weights(folder, tmp_path / "back.safetensors"))
    before = load_state(ours)
    assert back.keys() == before.keys()
    for key, value in before.items():
        if key != "decode_head.attn_mask_probs":
            assert torch.equal(back[key], value), key
    assert not back["decode_head.attn_mask_probs"].any()
    meta = intarsia.load(tmp_path / "back.safetensors", device="cpu")
    assert meta.classes == CLASSES


def test_what_transformers_does_not_have_is_refused(tmp_path: Path) -> None:
    with_positions = our_file(tmp_path / "vit.safetensors", "vit_small_patch16_224")
    with pytest.raises(ValueError, match="is on DINOv2 with registers: it learns positions of a square of patches"):
        convert_weights(with_positions, tmp_path / "folder", to="transformers")
    ours = our_file(tmp_path / "ours.safetensors", DINOV3)
    with pytest.raises(ValueError, match="has its models in folders"):
        convert_weights(ours, tmp_path / "file.safetensors", to="transformers")
    full = tmp_path / "full"
    full.mkdir()
    (full / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="exists already"):
        convert_weights(ours, full, to="transformers")
    convert_weights(ours, full, to="transformers", overwrite=True)


# --- Differences to DINOv3 ----------------------------------------------------------------------------------------

NAMES = {
    "embeddings.": "network.encoder.backbone.patch_embed.",
    "layers.": "network.encoder.backbone.blocks.",
    "layernorm.": "network.encoder.backbone.norm.",
    "query.": "network.q.",
    "class_predictor.": "network.class_head.",
    "mask_head.fc1.": "network.mask_head.0.",
    "mask_head.fc2.": "network.mask_head.2.",
    "mask_head.fc3.": "network.mask_head.4.",
    "upscale_block.block.": "network.upscale.",
    "attn_mask_probs": "network.attn_mask_probs",
    "criterion.": "criterion.",
}
"""What tensors of transformers are called in the authors' files."""


def as_authors(state: dict[str, Tensor]) -> dict[str, Tensor]:
    found = {}
    for name, value in state.items():
        begin = next(key for key in NAMES if name.startswith(key))
        found[NAMES[begin] + name.removeprefix(begin).replace("layernorm2d", "norm")] = value
    return found


def as_dinov3(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of Meta's file in the form of transformers."""
    names = {"embeddings.": "embeddings.", "layers.": "layer.", "layernorm.": "norm."}
    return {
        new + name.removeprefix(old): value
        for name, value in state.items()
        for old, new in names.items()
        if name.startswith(old)
    }


@pytest.fixture
def published(tmp_path: Path) -> dict[str, Any]:
    """A network on a DINOv3: whole, and as differences beside the DINOv3."""
    ours = our_file(tmp_path / "ours.safetensors", DINOV3)
    folder = convert_weights(ours, tmp_path / "folder", to="transformers")
    theirs = transformers.EomtDinov3ForUniversalSegmentation.from_pretrained(folder)
    whole = {name: value.clone() for name, value in theirs.state_dict().items()}
    base = {name: torch.randn(value.shape) for name, value in as_dinov3(whole).items()}
    torch.save(base, tmp_path / "dinov3.pth")
    inside = {
        name.replace("layer.", "layers.").replace("norm.", "layernorm.", name.startswith("norm.")): name
        for name in base
    }
    difference = {name: value - base[inside[name]] if name in inside else value for name, value in whole.items()}
    torch.save({"state_dict": as_authors(difference)}, tmp_path / "pytorch_model.bin")
    torch.save({"state_dict": as_authors(whole)}, tmp_path / "whole.bin")
    (tmp_path / "config.py").write_text("\n".join(f"{key} = {value!r}" for key, value in config(DINOV3).items()))
    return {"ours": load_state(ours), "folder": tmp_path}


def test_differences_are_added_to_the_original(published: dict[str, Any]) -> None:
    folder = published["folder"]
    out = convert_weights(
        folder / "pytorch_model.bin", folder / "m.safetensors", config=str(folder / "config.py"),
        base=str(folder / "dinov3.pth"),
    )  # fmt: skip
    found = load_state(out)
    for name, value in published["ours"].items():
        if name != "decode_head.attn_mask_probs":
            torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-6, msg=name)


def test_a_whole_file_of_the_same_names_is_taken_as_it_is(published: dict[str, Any]) -> None:
    folder = published["folder"]
    out = convert_weights(
        folder / "whole.bin", folder / "m.safetensors", config=str(folder / "config.py"), base="none"
    )  # fmt: skip
    found = load_state(out)
    for name, value in published["ours"].items():
        assert name == "decode_head.attn_mask_probs" or torch.equal(found[name], value)


def test_without_the_original_there_is_no_network(published: dict[str, Any]) -> None:
    folder = published["folder"]
    given = {"config": str(folder / "config.py")}
    with pytest.raises(ValueError, match=r"holds differences to the weights of its backbone.*--base timm://NAME"):
        convert_weights(folder / "pytorch_model.bin", folder / "m.safetensors", **given)
    with pytest.raises(ValueError, match="holds differences"):
        open_model(folder / "pytorch_model.bin", **given, device="cpu")
    torch.save({"embeddings.cls_token": torch.zeros(1, 1, 32)}, folder / "other.pth")
    with pytest.raises(ValueError, match=r"the base does not fit .* are not there, or are of others"):
        convert_weights(
            folder / "pytorch_model.bin", folder / "m.safetensors", **given, base=str(folder / "other.pth")
        )  # fmt: skip


def test_the_head_of_pmt_gets_its_transformer(tmp_path: Path) -> None:
    values = config(DINOV3)
    values["model"]["backbone"] |= {"open_blocks": 0, "norm": True, "prefix": True, "out_indices": (1, 3)}
    values["model"]["decode_head"] = {
        "type": "PMTHead", "in_channels": [32, 32], "in_index": [0, 1], "num_classes": 3, "num_queries": QUERIES,
        "num_blocks": 2, "num_heads": 2, "hidden_channels": 24,
    }  # fmt: skip
    task: Any = build_task(lower(Config.from_values(values, file="test")))
    state = {name: value.clone() for name, value in task.model.state_dict().items()}
    theirs, base = {}, {}
    for name, value in state.items():
        part, _, rest = name.partition(".")
        if part == "backbone":
            base[rest] = value
        else:
            theirs[f"network.{rest}" if rest.startswith("bn.") else f"network.decoder.{rest}"] = value
    torch.save({"state_dict": theirs}, tmp_path / "pmt.bin")
    torch.save(base, tmp_path / "dinov3.pth")
    (tmp_path / "config.py").write_text("\n".join(f"{key} = {value!r}" for key, value in values.items()))
    given: dict[str, Any] = {"config": str(tmp_path / "config.py")}
    out = convert_weights(tmp_path / "pmt.bin", tmp_path / "m.safetensors", base=str(tmp_path / "dinov3.pth"), **given)
    found = load_state(out)
    assert found.keys() == state.keys()
    assert all(torch.equal(found[name], value) for name, value in state.items())
    with pytest.raises(ValueError, match=r"\(PMT of its authors\) holds no backbone"):
        convert_weights(tmp_path / "pmt.bin", tmp_path / "m.safetensors", overwrite=True, **given)
