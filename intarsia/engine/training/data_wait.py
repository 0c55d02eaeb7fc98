"""What a training says when it waits for its data: which stage of loading is the slowest, and what would help."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import psutil

from intarsia.contracts import LoadTimes
from intarsia.data.cache_place import in_words, samples_in_words
from intarsia.data.sample_cache import SampleCache
from intarsia.data.stage_times import READING
from intarsia.io.cores import available_cores

LONG = 0.1
"""Share of a step from which waiting is worth a word."""
_MUCH = 0.3
"""Share of the loading from which what would spare a stage is proposed."""
_SHOWN = 2


@dataclass
class DataWait:
    """Gathers what loading took, and says once what it comes from.

    workers: of this process. processes: of the training on this machine, which share its cores. images: of the data
    set. cache: of decoded samples, if there is one. movable: stages that the device could do instead. cacheable: tells
    whether the data could be read through a cache; it may have to look at all of them.
    """

    workers: int
    processes: int
    images: int
    cache: SampleCache | None = None
    movable: frozenset[str] = frozenset()
    cacheable: Callable[[], bool] | None = None
    _loading: LoadTimes = field(default_factory=LoadTimes)
    _laps: int = 0
    _said: bool = False
    _said_full: bool = False

    def add(self, loading: LoadTimes | None) -> None:
        """A batch was loaded."""
        if loading is not None:
            self._loading += loading

    def lines(self, wait: float) -> Iterator[str]:
        """What to say when steps have waited for data for this share of their time, 0 to 1; mostly nothing."""
        self._laps += 1
        if self.cache is not None and not self._said_full:
            ledger = self.cache.ledger()
            if ledger.full:
                self._said_full = True
                held = f"{samples_in_words(ledger.samples)}, {in_words(ledger.bytes)}"
                yield f"the cache is full: {held}; the others are read from their files, as before"
        if self._laps > 1 and wait > LONG and not self._said:  # the first lap waits for workers that start
            self._said = True
            yield self._advice(wait)

    def _advice(self, wait: float) -> str:
        seconds = self._loading.seconds
        total = sum(seconds.values())
        said = f"waiting for data takes {wait:.0%} of a step".replace("%", " %")
        if not total:
            return said
        slowest = sorted(seconds, key=lambda stage: -seconds[stage])[:_SHOWN]
        said += f"; slowest: {', '.join(f'{stage} {100 * seconds[stage] / total:.0f} %' for stage in slowest)}"
        proposals = [*self._more_workers(), *self._a_cache(seconds.get(READING, 0.0) / total)]
        if sum(seconds.get(stage, 0.0) for stage in self.movable) > _MUCH * total:
            proposals.append("--augment-on device")
        return f"{said}; try {' or '.join(proposals)}" if proposals else said

    def _more_workers(self) -> Iterator[str]:
        cores = available_cores() // self.processes
        if self.workers < cores:
            yield f"--workers {min(cores, max(2 * self.workers, 2))}"

    def _a_cache(self, share: float) -> Iterator[str]:
        if self.cache is not None or share < _MUCH or not self._loading.samples:
            return
        if self.cacheable is not None and not self.cacheable():
            return
        size = self._loading.bytes / self._loading.samples * self.images
        place = "memory" if size < psutil.virtual_memory().available / 2 else "DIR"
        yield f"--cache {place} (about {in_words(size)})"
