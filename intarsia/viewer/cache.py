"""What several requests ask for is made once, and kept as long as there is room."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

Value = TypeVar("Value")


class Bounded(Generic[Value]):
    """Values by key, of which those that were not asked for the longest are forgotten.

    limit: of the sum of sizes, in bytes; the last value is kept even if it is larger by itself. size: of a value.

    Threads may share it: who asks for what another is making waits for that.
    """

    def __init__(self, limit: int, size: Callable[[Value], int]) -> None:
        self.limit, self._size = limit, size
        self.held = 0
        self._values: OrderedDict[Hashable, Value] = OrderedDict()
        self._making: dict[Hashable, threading.Lock] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._values)

    def peek(self, key: Hashable) -> Value | None:
        """What is held for a key, or None."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
            return self._values.get(key)

    def get(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """What is held for a key, else what `make` gives. Its errors are the caller's, and nothing is kept then."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                return self._values[key]
            making = self._making.setdefault(key, threading.Lock())
        with making:
            found = self.peek(key)
            if found is not None:
                return found
            try:
                value = make()
                self._keep(key, value)
            finally:
                with self._lock:
                    self._making.pop(key, None)
            return value

    def _keep(self, key: Hashable, value: Value) -> None:
        with self._lock:
            self._values[key] = value
            self.held += self._size(value)
            while self.held > self.limit and len(self._values) > 1:
                _, oldest = self._values.popitem(last=False)
                self.held -= self._size(oldest)


class Turns:
    """A lock whose next holder is who has waited first, or nearly so: no thread takes it again past one that waits.

    A thread that works through everything in the background so lets every request of a person in between.
    """

    def __init__(self) -> None:
        self._door, self._room = threading.Lock(), threading.Lock()

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold it."""
        with self._door:  # who waits for the room holds the door, where the last holder now has to queue
            self._room.acquire()
        try:
            yield
        finally:
            self._room.release()
