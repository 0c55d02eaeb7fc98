"""Intarsia: train, evaluate and use semantic segmentation models."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from intarsia.api import list_models, load, predict, read_config, trunk
    from intarsia.consent import trust
    from intarsia.inference.prediction import Prediction

__version__ = "0.1.0"

__all__ = ["Prediction", "__version__", "list_models", "load", "predict", "read_config", "trunk", "trust"]

_HOME = {
    "Prediction": "intarsia.inference.prediction",
    "list_models": "intarsia.api",
    "load": "intarsia.api",
    "predict": "intarsia.api",
    "read_config": "intarsia.api",
    "trunk": "intarsia.api",
    "trust": "intarsia.consent",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'intarsia' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(importlib.import_module(_HOME[name]), name)
