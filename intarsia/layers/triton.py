"""Whether kernels written in Triton can run here: it comes with torch for GPUs, and compiles at the first launch."""

from __future__ import annotations

import functools
import importlib.util
import os
import warnings

import torch

LEAST_CAPABILITY = (8, 0)
"""Of NVIDIA's devices; Triton supports none before."""


def interpreted() -> bool:
    """Whether kernels are run by Triton's interpreter, in numpy and on any device: for tests."""
    return os.environ.get("TRITON_INTERPRET") == "1"


@functools.cache
def available(device: torch.device) -> bool:
    """Whether kernels can be launched on a device. Warns once where one should, and cannot be made."""
    if importlib.util.find_spec("triton") is None:
        return False
    if interpreted():
        return True
    if device.type != "cuda" or not torch.cuda.is_available():
        return False
    if torch.version.hip is None and torch.cuda.get_device_capability(device) < LEAST_CAPABILITY:
        return False
    try:
        _launch_nothing(device)
    except Exception as error:  # a compiler or header that is missing has an error of any kind
        warnings.warn(
            f"Triton makes no kernels here, so that slower ways are taken ({type(error).__name__}: {error}). It needs "
            "a C compiler and Python's headers: on Debian and Ubuntu apt install gcc python3-dev",
            stacklevel=2,
        )
        return False
    return True


def _launch_nothing(device: torch.device) -> None:
    import triton

    @triton.jit  # type: ignore[untyped-decorator]
    def nothing(count: int) -> None:
        pass

    with torch.cuda.device(device):
        nothing[(1,)](2)
