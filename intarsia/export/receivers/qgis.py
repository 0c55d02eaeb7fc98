"""Deepness, the plugin of QGIS that runs ONNX files over maps (https://github.com/PUTvision/qgis-plugin-deepness).

What it does with a file, after its sources: it cuts a map into square tiles of the input's size, takes the first bands,
computes (value / 255 - mean) / std, sets all probabilities below a threshold to 0, and gives each pixel its
largest; of one probability, those that are left are class 1. All settings are JSON in the file's metadata.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from typing import cast

from torch import Tensor

from intarsia.contracts import Task
from intarsia.export.contract import Contract
from intarsia.export.deployable import Deployable
from intarsia.spec import InferenceSpec
from intarsia.tasks.preprocess import Preprocess

TILE = 512
OVERLAP = 25
"""Percent of a tile's side, of models that say nothing of windows."""

LARGEST = 8192
"""Pixels of a tile's side."""


def contract_of(preprocess: Preprocess, tile: int, precision: str) -> Contract:
    """What the plugin asks of a file: one tile, float32, normalised outside; probabilities.

    Raises ValueError for a tile that is none.
    """
    if not 1 <= tile <= LARGEST:
        raise ValueError(f"--tile: expected the side of a tile in pixels, 1 to {LARGEST}, found {tile}")
    spec = preprocess.spec
    order = -1 if spec.channel_order == "bgr" else 1  # the plugin's are in the order of the stored image
    return Contract(
        "probs", "NCHW", len(spec.mean), "float32",
        size=(tile, tile), why="QGIS shows it tiles", batch=1, precision=precision,
        mean=spec.mean[::order], std=spec.std[::order],
    )  # fmt: skip


class Tile(Deployable):
    """A deployable module that is shown normalised tiles. Where a threshold decides, it gives the second probability.

    Only of one probability does the plugin take any threshold: of two, the larger wins whatever it is.
    """

    def __init__(self, whole: Deployable, inference: InferenceSpec) -> None:
        super().__init__(cast("Task", _Bare(whole)), inference, whole.contract, least_size=whole.least_size)
        self.eval()

    def _answer(self, logits: Tensor) -> tuple[Tensor, ...]:
        (probs,) = super()._answer(logits)
        return (probs if self.threshold is None else probs[:, 1:],)


class _Bare:
    """As much of a task as `Deployable` takes, whose preprocessing normalises nothing."""

    def __init__(self, whole: Deployable) -> None:
        self.model = whole.model
        self.preprocess = copy.deepcopy(whole.preprocess)
        self.preprocess.mean.zero_()
        self.preprocess.std.fill_(1)


def metadata(
    contract: Contract, classes: Sequence[str], inference: InferenceSpec, *, resolution: float | None
) -> dict[str, str]:
    """The entries of the file's metadata that the plugin reads.

    resolution: of the images that the model was trained on, in centimetres per pixel; None if unknown.
    """
    assert contract.size is not None
    side = contract.size[0]
    overlap = OVERLAP
    if inference.mode == "slide" and inference.crop_size is not None and inference.stride is not None:
        overlap = round(100 * (1 - inference.stride[0] / inference.crop_size[0]))
    threshold = inference.foreground_above
    values = {
        "model_type": "Segmentor",
        "class_names": {str(index): name for index, name in enumerate(classes)},
        "tiles_size": side,
        "tile_size": side,  # the plugin's manual has the first name, its code the second
        "tiles_overlap": min(overlap, 80),
        "standardization_mean": [value / 255 for value in contract.mean],
        "standardization_std": [value / 255 for value in contract.std],
        "seg_thresh": 0.0 if threshold is None else threshold,
        "seg_small_segment": 0,
    }
    if resolution is not None:
        values["resolution"] = resolution
    return {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
