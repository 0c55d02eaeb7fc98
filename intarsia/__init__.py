"""Intarsia: train, evaluate and use semantic segmentation models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from intarsia.version import __version__

if TYPE_CHECKING:
    from intarsia import losses, metrics
    from intarsia.api import list_models, load, predict, read_config, trunk
    from intarsia.consent import trust
    from intarsia.inference.prediction import Prediction
    from intarsia.tasks.segmentation_model import SegmentationModel
    from intarsia.workflows.create_model import create_model
    from intarsia.workflows.ray_predict import predict_dataset
    from intarsia.workflows.save_model import save
    from intarsia.workflows.train_in_python import TrainedRun, evaluate, find_batch, find_learning_rate, train

_HOME = {
    "intarsia.api": ("list_models", "load", "predict", "read_config", "trunk"),
    "intarsia.consent": ("trust",),
    "intarsia.inference.prediction": ("Prediction",),
    "intarsia.tasks.segmentation_model": ("SegmentationModel",),
    "intarsia.workflows.create_model": ("create_model",),
    "intarsia.workflows.ray_predict": ("predict_dataset",),
    "intarsia.workflows.save_model": ("save",),
    "intarsia.workflows.train_in_python": ("TrainedRun", "evaluate", "find_batch", "find_learning_rate", "train"),
}
_ROOMS = ("losses", "metrics")

__all__ = [
    "Prediction", "SegmentationModel", "TrainedRun", "__version__", "create_model", "evaluate", "find_batch",
    "find_learning_rate", "list_models", "load", "losses", "metrics", "predict", "predict_dataset", "read_config",
    "save", "train", "trunk", "trust",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return importlib.import_module(f"intarsia.{name}")
    for module, names in _HOME.items():
        if name in names:
            return getattr(importlib.import_module(module), name)
    raise AttributeError(f"module 'intarsia' has no attribute {name!r}; it has {', '.join(__all__)}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
