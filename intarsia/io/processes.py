"""Pools of processes that end with the one that they work for, and names of the signals that end a process.

Processes of a pool wait for work at a pipe of which each holds both ends. So they would wait forever, with all their
memory, where the first process was killed and could not tell them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import connection
from typing import Any


def process_pool(
    count: int, initializer: Callable[..., object] | None = None, initargs: tuple[Any, ...] = ()
) -> ProcessPoolExecutor:
    """A pool of so many new processes (spawned), each of which begins by calling `initializer`."""
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(initializer, initargs))


def _begin(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)  # whatever the other threads do; files that were begun are swept by the next command


def signal_name(number: int) -> str:
    """SIGKILL, or "signal 42" of one that has no name on this system."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
