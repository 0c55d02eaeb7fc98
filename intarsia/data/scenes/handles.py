"""Open files of this process: a few are kept open, and none crosses a fork."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Handle = TypeVar("Handle")

MOST = 64
"""Files that a process keeps open, of each kind."""


class Handles(Generic[Handle]):
    """The last few things that were opened. One that is forgotten closes when nobody holds it any more.

    After a fork a process opens its own: GDAL's handles hold positions in files and locks that two processes must not
    share. What it has inherited stays referenced, since closing it could wait for a lock that a thread of the other
    process held.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._inherited: list[OrderedDict[Hashable, Handle]] = []
        self._begin()

    def _begin(self) -> None:
        self._process, self._lock = os.getpid(), threading.Lock()
        self._open: OrderedDict[Hashable, Handle] = OrderedDict()

    def get(self, key: Hashable, open_it: Callable[[], Handle]) -> Handle:
        """The thing of this key, opened where it is not."""
        if self._process != os.getpid():
            self._inherited.append(self._open)
            self._begin()
        with self._lock:
            if key not in self._open:
                self._open[key] = open_it()
            self._open.move_to_end(key)
            if len(self._open) > self._most:
                self._open.popitem(last=False)
            return self._open[key]
