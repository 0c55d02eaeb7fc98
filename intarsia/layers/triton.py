"""Whether kernels of Triton can run. Whoever has some imports triton, which takes a second, only when they do."""

from __future__ import annotations

import importlib.util
from functools import cache

import torch


def available(device: torch.device) -> bool:
    """Whether kernels can run on the device: a GPU that is there, of NVIDIA or AMD, and triton is installed."""
    return device.type == "cuda" and torch.cuda.is_available() and _installed()


@cache
def _installed() -> bool:
    return importlib.util.find_spec("triton") is not None
