"""What numba (extra `fast`) compiles, where it can; imported by those who have asked whether it is there."""

from __future__ import annotations

import multiprocessing
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from numba import config, njit

from intarsia.terminal import Notice, say

PATIENCE = 2.0
"""Seconds after which a user is told what is waited for."""

inlined: Any = njit(inline="always")
"""Makes a function part of those that call it."""

_njit: Any = njit


def compiled(signature: Any, function: Callable[..., Any]) -> Any:
    """The function for this processor, without Python's lock; None where NUMBA_DISABLE_JIT asks for it, or, with a
    notice, where numba fails.

    It takes seconds, unless numba's cache (beside the function's file, or of the user) has it.
    """
    if getattr(config, "DISABLE_JIT", False):  # Python itself would take far longer than what is done without numba
        return None
    options = {"error_model": "numpy", "nogil": True}  # nothing is divided by zero, and no branch looks whether it is
    with _telling():
        try:
            return _njit(signature, cache=True, **options)(function)
        except Exception:  # numba has no error of its own for a cache that is damaged, or cannot be written
            try:
                return _njit(signature, **options)(function)
            except Exception as error:  # of numba or LLVM, neither of which is needed
                text = f"numba cannot compile here, and samples are made without it ({error})"
                warnings.warn(text, Notice, stacklevel=2)
                return None


@contextmanager
def _telling() -> Iterator[None]:
    """Say what takes long, if it does, once in a run."""
    if multiprocessing.parent_process() is not None or os.environ.get("LOCAL_RANK", "0") != "0":
        yield
        return
    timer = threading.Timer(PATIENCE, _tell)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()  # processes are forked after this


@cache
def _tell() -> None:
    say("numba compiles what makes samples faster, which takes some seconds once on a machine")
