"""Painted images whose pixels may have two classes, and models that know their colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from intarsia.contracts import Dataset
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec
from intarsia.viewer.samples import Collection, Run

HEIGHT, WIDTH = 40, 60
CLASSES, PALETTE = ("leaf", "spot"), ((200, 0, 0), (0, 100, 50))


def paint(root: Path) -> Path:
    """Leaves are red and spots green; the spot of image 1 is labelled twice as high, and image 2 has none."""
    for number in range(3):
        leaf, spot = np.zeros((HEIGHT, WIDTH), np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
        leaf[:, :30] = 255
        spot[: 20 if number < 2 else 0, 10:50] = 255
        image = np.stack([leaf, spot, np.zeros_like(leaf)], axis=2)
        if number == 1:
            spot[20:40, 10:50] = 255
        for folder, array in (("images", image), ("masks/leaf", leaf), ("masks/spot", spot)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"x{number}.png")
    (root / "data.yaml").write_text(
        "classes: [leaf, spot]\nmulti_label: true\npalette: [[200, 0, 0], [0, 100, 50]]\nsplits:\n"
        "  train: {images: images, labels: {leaf: masks/leaf/*.png, spot: masks/spot/*.png}}\n"
    )
    return root / "data.yaml"


class Colours(nn.Module):
    """A task whose network takes red for a leaf, and green above a value for a spot."""

    ignore_index = 255

    def __init__(self, value: float) -> None:
        super().__init__()
        self.model = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.model.weight.zero_()
            self.model.weight[0, 0] = self.model.weight[1, 1] = 1
            self.model.bias.copy_(torch.tensor([-100.0, -value]) / 30)

    def preprocess(self, images: Tensor, sizes: object, *, train: bool) -> Tensor:
        return images.float() / 30


def predictor(value: float) -> Predictor:
    task: Any = Colours(value)
    spec = InferenceSpec(num_classes=2, answer="classes", class_thresholds=(0.5, 0.5))
    return Predictor(task, inference=spec, classes=CLASSES, palette=PALETTE, device="cpu")


def collected(dataset: Dataset, *values: float) -> Collection:
    return Collection(dataset, [Run(f"run {value:g}", predictor(value), dataset) for value in values])
