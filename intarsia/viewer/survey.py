"""Going through all images in the background, so that they can be sorted and chosen by what they show."""

from __future__ import annotations

import threading
from typing import Any

from intarsia.viewer.samples import Collection


class Survey:
    """Measures images one after the other, until it is done or told to stop. It is a thread of low priority in effect:
    a request for a prediction is served before its next image.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._lock = threading.Lock()

    @property
    def running(self) -> bool:
        """Whether it is at work."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Begin, or go on."""
        with self._lock:
            if not self.running:
                self._stop.clear()
                self._thread = threading.Thread(target=self._work, daemon=True, name="survey")
                self._thread.start()

    def stop(self) -> None:
        """Stop after the present image, and wait for that."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def state(self) -> dict[str, Any]:
        """How far it is."""
        measures = self._collection.measures
        return {
            "done": measures.done,
            "total": len(self._collection),
            "failed": len(measures.failed),
            "running": self.running,
        }

    def _work(self) -> None:
        collection = self._collection
        for index in range(len(collection)):
            if self._stop.is_set():
                return
            if collection.measures.measured[index] or index in collection.measures.failed:
                continue
            try:
                collection.measure(index)
            except Exception as error:  # whatever is wrong with one image, the others are still to be measured
                collection.measures.fail(index, str(error))
