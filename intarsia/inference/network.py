"""What a network needs around it: images that are large enough, errors that name images, threads that exist."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import SampleMeta

_process = 0
"""The process in which a predictor was made or used last."""


def at_least(inputs: Tensor, side: int) -> Tensor:
    """(n, C, H, W) with zeros, the mean of what training saw, at the right and bottom, up to a network's least side."""
    height, width = inputs.shape[2:]
    if height >= side and width >= side:
        return inputs
    return F.pad(inputs, (0, max(0, side - width), 0, max(0, side - height)))


@contextmanager
def network_errors(metas: Sequence[SampleMeta], size: Sequence[int]) -> Iterator[None]:
    """A kernel's complaint becomes an error of the images that it was given."""
    try:
        yield
    except RuntimeError as error:
        is_kernels = type(error) is RuntimeError  # memory, devices and other processes have errors of their own types
        if not is_kernels or (torch.distributed.is_available() and torch.distributed.is_initialized()):
            raise
        names = ", ".join(dict.fromkeys(meta.name or "image" for meta in metas))
        reason = str(error).splitlines()[0]
        raise ValueError(f"{names}: the network fails on {size[1]} x {size[0]} pixels: {reason}") from error


def one_thread_after_fork() -> None:
    """Where a process was forked from one that had a predictor, let torch and OpenCV compute in one thread.

    Their pools of threads do not exist in such a process, and waiting for them would never end.
    """
    global _process
    process = os.getpid()
    if _process not in (0, process):
        torch.set_num_threads(1)
        cv2.setNumThreads(0)  # of its numbers, the only one that does not wait for the threads to end
    _process = process
