"""Validation images that are smaller than the network's least size are padded, and scored as they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.backbones.mit import MixVisionTransformer
from intarsia.data.datasets.folder import FolderDataset
from intarsia.data.pipeline import Pipeline
from intarsia.evaluation.evaluate import evaluate
from intarsia.inference.predictor import Predictor
from intarsia.losses.cross_entropy import CrossEntropyLoss
from intarsia.methods.segformer import SegformerHead
from intarsia.metrics.iou import IoUMetric
from intarsia.models.encoder_decoder import EncoderDecoder
from intarsia.spec import InferenceSpec, PreprocessSpec
from intarsia.tasks.preprocess import Preprocess
from intarsia.tasks.semantic import HeadLoss, HeadTerm, SemanticSegmentation

CLASSES = ("a", "b")
SIZES = {"small": (12, 14), "thin": (9, 80), "usual": (40, 48)}


@pytest.fixture
def task() -> SemanticSegmentation:
    torch.manual_seed(0)
    backbone = MixVisionTransformer(embed_dims=8, num_layers=(1,) * 4, num_heads=(1, 2, 2, 2))
    head = SegformerHead(in_channels=(8, 16, 16, 16), channels=8, num_classes=2)
    loss = HeadLoss("decode", [HeadTerm("loss_ce", CrossEntropyLoss(), 1.0)], ignore_index=255, align_corners=False)
    return SemanticSegmentation(
        EncoderDecoder(backbone=backbone, decode_head=head),
        preprocess=Preprocess(PreprocessSpec(mean=(120.0,) * 3, std=(60.0,) * 3)),
        losses=[loss], num_classes=2, ignore_index=255,
    )  # fmt: skip


def test_every_image_counts_with_its_own_pixels(task: SemanticSegmentation, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    for name, size in SIZES.items():
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(tmp_path / "images" / f"{name}.png")
        Image.fromarray(rng.integers(0, 2, size, dtype=np.uint8)).save(tmp_path / "labels" / f"{name}.png")
    dataset = FolderDataset(root=str(tmp_path), images="images", labels="labels", image_suffix=".png", classes=CLASSES)
    predictor = Predictor(
        task, inference=InferenceSpec(num_classes=2), classes=CLASSES, palette=((0, 0, 0), (255, 255, 255))
    )
    metric = IoUMetric(num_classes=2, classes=CLASSES)
    report = evaluate(predictor, Pipeline(dataset, [], label_size="original"), metric, task=task, batch_size=2)
    assert report.images == 3
    assert sum(one.pixels for one in report.classes) == sum(height * width for height, width in SIZES.values())
    assert np.isfinite(report.losses["loss"])
