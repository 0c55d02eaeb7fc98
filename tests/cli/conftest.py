"""A small trained-looking model, a few photos for commands that predict, and a server of published checkpoints."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from intarsia import recipes
from intarsia.guide.published import Checkpoint, published
from intarsia.io.digest import file_hash
from intarsia.weights import download
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


# --- Published checkpoints ----------------------------------------------------------------------------------------

PUBLISHED = "fast_scnn_8xb4-160k_cityscapes-512x1024"
"""The recipe whose network is the smallest to compute of all that have a published checkpoint."""


class _Server(SimpleHTTPRequestHandler):
    asked: list[str]

    def do_GET(self) -> None:
        type(self).asked.append(self.path)
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights as the trainer of MMSegmentation 0.x wrote them; config and classes in it are passed over."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower

    torch.manual_seed(5)
    model = build_task(lower(Config.from_values(recipes.get(PUBLISHED), file="test"))).model
    state = {
        name: value * 50 if name.endswith("conv_seg.weight") else value for name, value in model.state_dict().items()
    }
    meta = {
        "mmseg_version": "0.14.1", "CLASSES": ("of", "another", "data set"), "PALETTE": [[1, 2, 3]] * 3,
        "config": "data = dict()\nmodel = dict(type='EncoderDecoder')\n", "iter": 160000,
    }  # fmt: skip
    path = tmp_path_factory.mktemp("published") / "checkpoint.pth"
    torch.save({"meta": meta, "state_dict": state}, path)
    return path


@pytest.fixture
def asked(fabricated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """A mirror of this machine that has the fabricated file at the published address; gives what it is asked for.

    The real file's hash is none that can be fabricated: tests of what comes after it take `expected_there`, too.
    """
    place = tmp_path / "www" / published()[PUBLISHED].address.partition("://")[2]
    place.parent.mkdir(parents=True)
    shutil.copyfile(fabricated, place)
    monkeypatch.setenv(download.CACHE, str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")  # the published address itself cannot be reached from here
    monkeypatch.delenv(download.OFFLINE, raising=False)
    monkeypatch.setattr(download, "PAUSES", (0.0, 0.0))
    _Server.asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Server, directory=str(tmp_path / "www"))) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        monkeypatch.setenv(download.MIRROR, f"http://127.0.0.1:{server.server_address[1]}")
        yield _Server.asked
        server.shutdown()
        thread.join()


@pytest.fixture
def expected_there(asked: list[str], fabricated: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    """The index says the fabricated file's hash, as if that had been published."""
    changed = replace(published()[PUBLISHED], sha256=file_hash(fabricated)[:8])
    monkeypatch.setitem(published(), PUBLISHED, changed)
    return changed
