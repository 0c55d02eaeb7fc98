"""A small trained-looking model and a few photos, for commands that predict."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia.weights.file import WeightsMeta, save_weights

CLASSES = ("sky", "road", "car")
PALETTE = ((70, 130, 180), (128, 64, 128), (0, 0, 142))
VALUES = (21, 7, 26)
CONFIG: dict[str, Any] = {
    "model": {
        "type": "EncoderDecoder",
        "data_preprocessor": {
            "type": "SegDataPreProcessor", "mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375],
            "bgr_to_rgb": True, "pad_val": 0, "seg_pad_val": 255,
        },
        "backbone": {
            "type": "MixVisionTransformer", "in_channels": 3, "embed_dims": 8, "num_stages": 4,
            "num_layers": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1], "out_indices": [0, 1, 2, 3], "mlp_ratio": 2, "qkv_bias": True,
        },
        "decode_head": {
            "type": "SegformerHead", "in_channels": [8, 16, 16, 16], "in_index": [0, 1, 2, 3], "channels": 16,
            "dropout_ratio": 0.1, "num_classes": 3, "norm_cfg": {"type": "BN", "requires_grad": True},
            "align_corners": False, "loss_decode": {"type": "CrossEntropyLoss", "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    },
}  # fmt: skip


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network with random weights, far enough from its start that it says different things of pixels."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    torch.manual_seed(3)
    task = build_task(lower(Config.from_values(CONFIG, file="test")))
    state = {
        name: value * 6 if name.endswith("conv_seg.weight") else value
        for name, value in task.model.state_dict().items()
    }
    labels = {str(value): name for value, name in zip(VALUES, CLASSES, strict=True)} | {"99": "ignore"}
    path = tmp_path_factory.mktemp("run") / "weights.safetensors"
    save_weights(path, state, WeightsMeta(config=CONFIG, classes=CLASSES, palette=PALETTE, labels=labels))
    return path


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "b").mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in ("a_1", "a_2", "a_10", "b/c"):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 3), dtype=np.uint8))
        coarse.resize((96, 80), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder
