"""Batches on the device, one ahead of the computation."""

from __future__ import annotations

import time
from collections.abc import Iterator

import torch

from intarsia.contracts import Batch, LoadTimes
from intarsia.data.transforms.on_device import augmented


class DeviceBatches(Iterator[Batch]):
    """The batches of a loader on a device; an accelerator gets the next one while it computes on the present one.

    Batches in pinned memory are copied beside the computation. An error of a batch comes when that batch is asked for.
    """

    def __init__(self, batches: Iterator[Batch], device: torch.device) -> None:
        self._source = batches
        self._device = device
        self._ahead: Batch | Exception | None = None
        self._waited = 0.0
        self._loading = LoadTimes()
        is_cuda = device.type == "cuda" and torch.cuda.is_available()
        self._copying = torch.cuda.Stream(device) if is_cuda else None

    def __next__(self) -> Batch:
        if self._ahead is None:
            self._ahead = self._fetch()
        batch, self._ahead = self._ahead, None
        if isinstance(batch, Exception):
            raise batch
        if self._copying is not None:
            present = torch.cuda.current_stream(self._device)
            present.wait_stream(self._copying)
            for tensor in batch.tensors():
                tensor.record_stream(present)  # its memory was taken for the other stream
        return batch

    def prefetch(self) -> None:
        """Have the next batch loaded and copied, if the device works by itself meanwhile."""
        if self._device.type != "cpu" and self._ahead is None:
            self._ahead = self._fetch()

    def _fetch(self) -> Batch | Exception:
        began = time.perf_counter()
        try:
            batch = next(self._source)
        except Exception as error:  # of whatever is done to a sample; `__next__` raises it
            return error
        finally:
            self._waited += time.perf_counter() - began
        if batch.loading is not None:
            self._loading += batch.loading
        if self._copying is None:
            return augmented(batch.to(self._device))
        with torch.cuda.stream(self._copying):
            return augmented(batch.to(self._device))

    def take_waited(self) -> float:
        """Seconds spent waiting for the loader since this was last asked."""
        waited, self._waited = self._waited, 0.0
        return waited

    def take_loading(self) -> LoadTimes:
        """What it took to load the batches since this was last asked, in the workers."""
        loading, self._loading = self._loading, LoadTimes()
        return loading

    def close(self) -> None:
        """End the loader's workers."""
        close = getattr(self._source, "close", None)
        if close is not None:
            close()
