"""Small stand-ins for real models: a task that predicts by the brightness of the red channel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec

CLASSES = ("dark", "middle", "bright")
PALETTE = ((10, 20, 30), (0, 158, 115), (240, 228, 66))


class Preprocess(nn.Module):
    def __init__(self, divisor: int = 8) -> None:
        super().__init__()
        self.divisor = divisor

    def forward(self, images: Tensor, sizes, *, train: bool) -> Tensor:
        assert not train
        if images.shape[1] != 3:
            raise ValueError(f"the images have {images.shape[1]} channels, expected 3")
        height, width = images.shape[2:]
        return F.pad(images.float() / 255, (0, -width % self.divisor, 0, -height % self.divisor))


class Thirds(nn.Module):
    """Logits (N, 3, H / stride, W / stride), or one: how near the mean red of a cell is to 1/6, 1/2 and 5/6."""

    def __init__(self, stride: int = 1, single: bool = False) -> None:
        super().__init__()
        self.stride, self.single = stride, single
        self.centres = nn.Parameter(torch.tensor([1.0, 3.0, 5.0]) / 6)

    def forward(self, images: Tensor) -> Tensor:
        red = F.avg_pool2d(images[:, :1], self.stride)
        if self.single:
            return 10 * (red - 0.5)
        return -10 * (red - self.centres.view(1, 3, 1, 1)).abs()


class Task(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.preprocess = Preprocess()
        self.model = model


@pytest.fixture
def make_predictor():
    def make(
        *, stride=1, single=False, transforms=(), model=None, classes=None, augment=False, batch_windows=None,
        windows=None, **settings,
    ):  # fmt: skip
        if windows is not None:
            settings |= {"mode": "slide", "crop_size": windows[0], "stride": windows[1]} | settings
        if single:
            settings.setdefault("threshold", 0.5)
        names = classes or (CLASSES[:2] if single else CLASSES)
        return Predictor(
            Task(model or Thirds(stride, single)),
            inference=InferenceSpec(num_classes=len(names), **settings),
            transforms=transforms,
            augment=augment,
            batch_windows=batch_windows,
            classes=names,
            palette=PALETTE[: len(names)],
        )

    return make


@pytest.fixture
def bands_image():
    """(40, 60, 3): three vertical bands, dark, middle, bright."""
    image = np.zeros((40, 60, 3), np.uint8)
    image[:, :, 0] = np.repeat([20, 128, 240], 20)
    image[:, :, 1] = 77
    return image


def _config(bands: int, stored: bool) -> dict[str, object]:
    """A small network for images of so many bands, read as they are stored or as colours."""
    norm = {"type": "BN", "requires_grad": True}
    load = {"type": "LoadImageFromFile", **({"color_type": "unchanged"} if stored else {})}
    model = {
        "type": "EncoderDecoder",
        "data_preprocessor": {"type": "SegDataPreProcessor", "mean": [100.0] * bands, "std": [60.0] * bands},
        "backbone": {
            "type": "MixVisionTransformer", "in_channels": bands, "embed_dims": 8, "num_stages": 4,
            "num_layers": [1, 1, 1, 1], "num_heads": [1, 2, 2, 2], "patch_sizes": [7, 3, 3, 3],
            "sr_ratios": [8, 4, 2, 1], "out_indices": [0, 1, 2, 3], "mlp_ratio": 2, "qkv_bias": True,
        },
        "decode_head": {
            "type": "SegformerHead", "in_channels": [8, 16, 16, 16], "in_index": [0, 1, 2, 3], "channels": 16,
            "dropout_ratio": 0.1, "num_classes": len(CLASSES), "norm_cfg": norm, "align_corners": False,
            "loss_decode": {"type": "CrossEntropyLoss", "use_sigmoid": False, "loss_weight": 1.0},
        },
        "train_cfg": {},
        "test_cfg": {"mode": "whole"},
    }  # fmt: skip
    return {
        "model": model,
        "test_dataloader": {
            "batch_size": 1,
            "dataset": {
                "type": "BaseSegDataset",
                "data_root": "nowhere",
                "data_prefix": {"img_path": "images", "seg_map_path": "labels"},
                "metainfo": {"classes": list(CLASSES), "palette": [list(colour) for colour in PALETTE]},
                "pipeline": [load, {"type": "LoadAnnotations"}, {"type": "PackSegInputs"}],
            },
        },
        "test_cfg": {"type": "TestLoop"},
        "test_evaluator": {"type": "IoUMetric", "iou_metrics": ["mIoU"]},
    }


@pytest.fixture(scope="session")
def make_weights(tmp_path_factory):
    """A weights file as training leaves it, of a small network with random weights."""
    from intarsia.config.build import build_task
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower
    from intarsia.weights.file import WeightsMeta, save_weights

    def make(*, bands: int = 3, stored: bool = False, image=None):
        config = _config(bands, stored)
        torch.manual_seed(0)
        task = build_task(lower(Config.from_values(config, file="test")))
        path = tmp_path_factory.mktemp("weights") / "weights.safetensors"
        meta = WeightsMeta(config=config, classes=CLASSES, palette=PALETTE, image=image or {})
        save_weights(path, task.model.state_dict(), meta)
        return path

    return make
