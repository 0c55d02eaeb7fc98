"""Painted images, and a model that knows bright from dark."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from intarsia.contracts import Dataset, Sample, SampleMeta
from intarsia.inference.predictor import Predictor
from intarsia.spec import InferenceSpec
from intarsia.viewer.server import ViewerServer

CLASSES, PALETTE = ("dark", "bright"), ((0, 0, 200), (250, 220, 0))
HEIGHT, WIDTH = 40, 60


class Counting:
    """A data set that counts what is read of it."""

    classes, palette, ignore_index = CLASSES, PALETTE, 255

    def __init__(self, inner: Dataset | None = None, count: int = 0) -> None:
        self.inner, self.count = inner, count
        self.loaded: list[int] = []

    def __len__(self) -> int:
        return self.count if self.inner is None else len(self.inner)

    def name(self, index: int) -> str:
        return f"folder/x{index:06}"

    def load(self, index: int) -> Sample:
        self.loaded.append(index)
        if self.inner is not None:
            return self.inner.load(index)
        return Sample(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8), meta=SampleMeta(name=self.name(index)))


class Threshold(nn.Module):
    """A task whose network calls bright what is above a value."""

    ignore_index = 255

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value
        self.model = nn.Conv2d(3, 2, 1)
        with torch.no_grad():
            self.model.weight[0], self.model.weight[1] = -1 / 3, 1 / 3
            self.model.bias.zero_()

    def preprocess(self, images: Tensor, sizes: object, *, train: bool) -> Tensor:
        return (images.float() - self.value) / 30


def predictor(value: float = 115) -> Predictor:
    task: Any = Threshold(value)
    return Predictor(task, inference=InferenceSpec(num_classes=2), classes=CLASSES, palette=PALETTE, device="cpu")


def paint(root: Path, count: int = 6) -> Path:
    """Left dark, right bright, with a grey stripe that a threshold decides on; the description of them.

    Image 2 is labelled wrong in a square of 10 x 10 pixels, and has five ignored columns.
    """
    for number in range(count):
        label = np.zeros((HEIGHT, WIDTH), np.uint8)
        label[:, 20 + 5 * number :] = 1
        image = (40 + 150 * label[..., None]).repeat(3, axis=2).astype(np.uint8)
        image[:4] = 100
        if number == 2:
            label[20:30, 40:50] = 0
            label[:, :5] = 255
        for folder, array in (("images", image), ("masks", label)):
            (root / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(root / folder / f"x{number}.png")
    (root / "data.yaml").write_text(
        "root: .\nclasses: [dark, bright]\npalette: [[0, 0, 200], [250, 220, 0]]\n"
        "splits:\n  train: {images: images, labels: masks}\n"
    )
    return root / "data.yaml"


@contextmanager
def serving(server: ViewerServer) -> Iterator[ViewerServer]:
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
