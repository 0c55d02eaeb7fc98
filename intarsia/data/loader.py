"""From samples to batches, in worker processes or without.

What a batch holds depends on the seed and the step alone (`data/sampling.py`), never on who loaded it.
"""

from __future__ import annotations

import atexit
import itertools
import multiprocessing
import os
import re
import signal
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from pickle import PicklingError
from typing import Any

import cv2
import torch
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from intarsia.contracts import Batch, Sample
from intarsia.data.collate import collate
from intarsia.data.lost_workers import cannot_start, is_lost
from intarsia.data.pipeline import Pipeline
from intarsia.data.sample_errors import Failure
from intarsia.data.sampling import Order, RareClassOrder, WeightedOrder, sample_rng
from intarsia.data.stage_times import COLLATING
from intarsia.data.unlabelled import Unlabelled

Numbers = Callable[[], Iterable[int]]
"""The numbers of the batches of a pass, from the first one on."""

_EVALUATION_SEED = 0


def train_loader(
    pipeline: Pipeline,
    *,
    batch_size: int,
    seed: int,
    workers: int,
    start_step: int = 0,
    shuffle: bool = True,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    unlabelled: Unlabelled | None = None,
    order_seed: int | None = None,
) -> BatchIterator:
    """Batches without end, beginning with the one of `start_step`.

    batch_size: samples per process. Step s takes the positions from s * batch_size * world_size on, `batch_size` of
    them for each rank in turn. The batches are the same for every number of workers. pin_memory: batches come in memory
    that a GPU copies from by itself. unlabelled: further images that every batch gets. order_seed: of the order of the
    samples, if it is not `seed`, of which all that is drawn for them comes.

    An error of a sample comes as it was raised, from a worker too. Raises ValueError for workers that cannot be
    started, and for one that is gone.
    """
    _check_partition(batch_size, workers, rank, world_size)
    if unlabelled is not None:
        unlabelled.count(batch_size)
    order = pipeline.order(seed=seed if order_seed is None else order_seed, shuffle=shuffle)
    source = _TrainBatches(pipeline, order, seed, batch_size, rank, world_size, unlabelled)
    numbers = partial(itertools.count, start_step)
    pipeline.prepare()
    return iter(BatchLoader(source, numbers, workers=workers, pin_memory=pin_memory))


def eval_loader(
    pipeline: Pipeline,
    *,
    batch_size: int,
    workers: int,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
    persistent_workers: bool = False,
) -> BatchLoader:
    """Every image exactly once in each pass: image i on rank i % world_size, in order. The last batch may be smaller.

    persistent_workers: live from the first pass until the loader is closed. Errors, pin_memory: as of `train_loader`.
    """
    _check_partition(batch_size, workers, rank, world_size)
    source = _EvaluationBatches(pipeline, batch_size, rank, world_size)
    numbers = partial(range, len(source))
    return BatchLoader(source, numbers, workers=workers, pin_memory=pin_memory, persistent_workers=persistent_workers)


# --- Which samples make a batch -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _TrainBatches(TorchDataset["Batch | Failure"]):
    pipeline: Pipeline
    order: Order | WeightedOrder | RareClassOrder
    seed: int
    batch_size: int
    rank: int
    world_size: int
    unlabelled: Unlabelled | None = None

    def __getitem__(self, step: int) -> Batch | Failure:
        return _guarded(lambda: self._load(step))

    def _load(self, step: int) -> Batch:
        first = (step * self.world_size + self.rank) * self.batch_size
        positions = range(first, first + self.batch_size)
        samples = [self._sample(position) for position in positions]
        times = self.pipeline.times
        with times.measure(COLLATING):
            batch = _collated(self.pipeline, samples)
        if self.unlabelled is not None:
            with times.measure("images without labels"):
                batch = replace(batch, unlabelled=self.unlabelled.views(positions, step))
        return replace(batch, loading=times.take())

    def _sample(self, position: int) -> Sample:
        wanted = self.order.wanted(position) if isinstance(self.order, RareClassOrder) else -1
        together = self.batch_size * self.world_size
        return self.pipeline.get(
            self.order.index(position), sample_rng(self.seed, position),
            wanted=wanted, place=(position % together, together),
        )  # fmt: skip


@dataclass(frozen=True)
class _EvaluationBatches(TorchDataset["Batch | Failure"]):
    pipeline: Pipeline
    batch_size: int
    rank: int
    world_size: int

    def __len__(self) -> int:
        own = len(range(self.rank, len(self.pipeline), self.world_size))
        return -(-own // self.batch_size)

    def __getitem__(self, number: int) -> Batch | Failure:
        own = range(self.rank, len(self.pipeline), self.world_size)
        return _guarded(lambda: self._load(own[number * self.batch_size : (number + 1) * self.batch_size]))

    def _load(self, indices: range) -> Batch:
        samples = [self.pipeline.get(index, sample_rng(_EVALUATION_SEED, index)) for index in indices]
        return _collated(self.pipeline, samples)


def _collated(pipeline: Pipeline, samples: Sequence[Sample]) -> Batch:
    return collate(samples, ignore_index=pipeline.dataset.ignore_index, label_size=pipeline.label_size)


# --- Workers ------------------------------------------------------------------------------------------------------


class _WorkerError(Exception):
    def __str__(self) -> str:
        return f"in a data worker\n\n{self.args[0]}"


def _guarded(load: Callable[[], Batch]) -> Batch | Failure:
    try:
        return load()
    except Exception as error:  # whatever a user's data set or transform raises; it goes on in the main process
        return Failure.of(error)


class BatchLoader(Iterable[Batch]):
    """Batches by worker processes, or by this one (`workers` of 0). `close` ends the workers; so does a program's end.

    source: gives whole batches by number. numbers: those of one pass, in order.
    """

    def __init__(
        self,
        source: TorchDataset[Batch | Failure],
        numbers: Numbers,
        *,
        workers: int,
        pin_memory: bool = False,
        persistent_workers: bool = False,
    ) -> None:
        self._source, self._numbers, self._count = source, numbers, workers
        self._pins = pin_memory and can_pin_memory()
        self._keeps_workers = persistent_workers and workers > 0
        self._loader: DataLoader[Any] | None = None
        self._workers: _Workers | None = None

    def __iter__(self) -> BatchIterator:
        """A new pass; one that is still going on is ended."""
        if not self._count:
            return BatchIterator(self._without_workers(), None)
        if self._workers is None or not self._keeps_workers:
            self.close()
            self._loader = self._make_loader()
            try:
                self._workers = _Workers(iter(self._loader))
            except (AttributeError, TypeError, PicklingError) as error:  # what pickle raises, by its version
                raise cannot_start(error) from error
        else:
            assert self._loader is not None
            iter(self._loader)  # the same workers begin again
        workers = self._workers
        if not self._keeps_workers:
            self._workers = None  # the pass alone holds them, and ends them with itself
        return BatchIterator(workers.batches, workers, keep_workers=self._keeps_workers)

    def _without_workers(self) -> Iterator[Batch | Failure]:
        for number in self._numbers():
            item = self._source[number]
            yield item.pin_memory() if self._pins and isinstance(item, Batch) else item

    def _make_loader(self) -> DataLoader[Any]:
        if multiprocessing.get_start_method() == "forkserver":
            multiprocessing.set_forkserver_preload(["__main__", __name__])  # torch is imported once, not by each worker
        return DataLoader(
            self._source,
            batch_size=None,  # `source` makes whole batches
            sampler=_Sampler(self._numbers),
            num_workers=self._count,
            worker_init_fn=_start_worker,
            collate_fn=_unchanged,
            pin_memory=self._pins,
            persistent_workers=self._keeps_workers,
        )

    def close(self) -> None:
        """End the workers."""
        if self._workers is not None:
            self._workers.close()
        self._workers = self._loader = None


def can_pin_memory() -> bool:
    """Whether there is a GPU that could copy by itself."""
    return torch.cuda.is_available()


class BatchIterator(Iterator[Batch]):
    """One pass over a `BatchLoader`. `close` ends the workers, if a program leaves it early.

    keep_workers: they stay for another pass when this one is over.
    """

    def __init__(
        self, batches: Iterator[Batch | Failure], workers: _Workers | None, *, keep_workers: bool = False
    ) -> None:
        self._batches, self._workers, self._keep_workers = batches, workers, keep_workers

    def __next__(self) -> Batch:
        try:
            item = next(self._batches)
        except StopIteration:
            if not self._keep_workers:
                self.close()
            raise
        except RuntimeError as error:  # errors of samples come as a Failure
            if not _WORKER_DIED.search(str(error)):
                raise
            codes = [worker.exitcode for worker in getattr(self._batches, "_workers", ())]
            self.close()
            raise is_lost(codes) from error
        if isinstance(item, Failure):
            raise item.error() from _WorkerError(item.trace)
        return item

    def close(self) -> None:
        """End the workers of this pass, and no other process."""
        self._batches = iter(())
        if self._workers is not None:
            self._workers.close()


_WORKER_DIED = re.compile(r"DataLoader worker \(pid.*\) (is killed by signal|exited unexpectedly)", re.DOTALL)
"""What torch says when a worker is gone. Its errors about a worker's error begin with "Caught"."""


class _Workers:
    """The worker processes of torch's iterator, which end with this object, and at the latest with the program."""

    def __init__(self, batches: Any) -> None:
        self.batches = batches
        self.close = weakref.finalize(self, _end_workers, batches, os.getpid())
        self.close.atexit = False  # which would be too late
        _OPEN.add(self)
        _close_at_exit()


def _end_workers(batches: Any, process: int) -> None:
    if os.getpid() != process:  # a fork has not started them
        return
    try:
        batches._shutdown_workers()  # torch has no public word for it
    except RuntimeError as error:
        if not _WORKER_DIED.search(str(error)):  # it was to end in any case
            raise
    for worker in batches._workers:
        if worker.is_alive():  # it is in the midst of a sample, or has missed its call on a busy machine
            worker.kill()  # SIGTERM is ignored, see below


_OPEN: weakref.WeakSet[_Workers] = weakref.WeakSet()
"""Those that may be alive."""


@cache
def _close_at_exit() -> None:
    """Python ends its helpers by SIGTERM, which workers ignore, and waits for them; torch reports those that are gone.

    So they are ended in an orderly way before both, which is what the order of registrations says.
    """

    def close() -> None:
        for workers in list(_OPEN):
            workers.close()

    atexit.register(close)


@dataclass(frozen=True)
class _Sampler:
    """What DataLoader calls so."""

    numbers: Numbers

    def __iter__(self) -> Iterator[int]:
        return iter(self.numbers())


def _unchanged(batch: Any) -> Any:
    return batch


def _start_worker(number: int) -> None:
    # One core per worker. Signals to stop, which shells and schedulers send to every process, are for the main process:
    # it saves and then ends the workers; should it die, they notice and end by themselves.
    cv2.setNumThreads(0)
    torch.set_num_threads(1)
    if multiprocessing.parent_process() is not None:
        atexit.register(_leave)
    for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGBREAK"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def _leave() -> None:
    """End this process without Python's last steps, as multiprocessing does wherever it forks; here it has spawned.

    In them Python stops the thread that sends batches by unwinding its stack, which aborts the process if the thread is
    in torch's C++.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            with suppress(OSError, ValueError):  # closed, or the reader has gone
                stream.flush()
    os._exit(0)


def _check_partition(batch_size: int, workers: int, rank: int, world_size: int) -> None:
    if batch_size < 1:
        raise ValueError(f"the batch size must be at least 1, got {batch_size}")
    if workers < 0:
        raise ValueError(f"the number of workers must be 0 (load in this process) or more, got {workers}")
    if not 0 <= rank < world_size:
        raise ValueError(f"the rank must be from 0 to {world_size - 1}, got {rank}")
