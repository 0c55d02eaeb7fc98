"""What a network needs around it: images that are large enough, errors that name images, threads that exist."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import cv2
import torch
import torch.nn.functional as F
from torch import Tensor

from intarsia.contracts import SampleMeta
from intarsia.inference.memory import is_out_of_memory
from intarsia.terminal import Notice


class Soundness:
    """Whether the network gave nan or infinity, image by image; found out without waiting for the device.

    `warn` waits for it, and says the names; what is on the processor is said at once.

    of: what is made of the answers, which means nothing then.
    """

    def __init__(self, of: str = "labels") -> None:
        self._of = of
        self._names: list[str] = []
        self._finite: list[Tensor] = []  # of the names, in order

    def note(self, logits: Tensor, metas: Sequence[SampleMeta]) -> None:
        """Logits (n, K, h, w), and the image that each of them shows."""
        self._names += [meta.name or "image" for meta in metas]
        self._finite.append(logits.isfinite().flatten(1).all(dim=1))
        if logits.device.type == "cpu":
            self.warn()
        elif len(self._finite) == COMPACT:
            self._finite = [torch.cat(self._finite)]

    def warn(self) -> None:
        """One warning for each image whose labels mean nothing in some places; what was noted is forgotten.

        Python's own filter shows the same text only once.
        """
        finite = torch.cat(self._finite).cpu().tolist() if self._finite else []
        for name, is_finite in zip(self._names, finite, strict=True):
            if not is_finite:
                text = f"{name}: the network gave nan or infinity; its {self._of} mean nothing there"
                warnings.warn(text, Notice, stacklevel=3)
        self._names, self._finite = [], []


COMPACT = 64
"""Tensors on a device that become one, since each has a block of memory to itself."""

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
        if is_out_of_memory(error):
            raise MemoryError(str(error)) from error
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
