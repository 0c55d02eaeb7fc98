"""Memory that work takes."""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import psutil
import torch

LOOK_EVERY = 0.005
"""Seconds between two looks at the memory of this process."""


def give_back() -> None:
    """Let the process return memory that it no longer uses to the system, where the C library has a way."""
    gc.collect()
    with suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)


@contextmanager
def memory_used(device: torch.device) -> Iterator[Callable[[], int]]:
    """Gives a function for the bytes that were used inside, beyond those before, at most at one time."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        yield lambda: max(0, torch.cuda.max_memory_allocated(device) - before)
        return
    process, over = psutil.Process(), threading.Event()
    before = peak = process.memory_info().rss

    def look() -> None:
        nonlocal peak
        while not over.wait(LOOK_EVERY):
            peak = max(peak, process.memory_info().rss)

    looking = threading.Thread(target=look, daemon=True)
    looking.start()
    try:
        yield lambda: max(0, peak - before)
    finally:
        over.set()
        looking.join()
