"""Which sample comes at which position, and with which random stream: pure functions of the seed.

A position counts samples since the first step of a run, over all epochs and processes. Nothing here has a history, so
that a run resumed at any step, or split over any number of workers and processes, sees what it would have seen anyway.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import accumulate

import numpy as np
import numpy.typing as npt

_SHUFFLE, _SAMPLE, _OTHER, _PARTS, _WITHIN = 0, 1, 2, 3, 4
LEAST_PERIOD = 1000
"""Positions over which the parts of a `WeightedOrder` have their shares at least: these are then right to a thousandth.
"""


@dataclass(frozen=True)
class Order:
    """An endless order of `length` samples: every epoch holds each of them once.

    seed: not negative. shuffle: a fresh permutation per epoch; without it, samples come as they are stored.
    """

    length: int
    seed: int = field(kw_only=True)
    shuffle: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.length < 1:
            raise ValueError("there are no samples to put in order")
        _check_seed(self.seed)

    def index(self, position: int) -> int:
        """The sample at `position`."""
        epoch, place = divmod(position, self.length)
        return int(_permutation(self.length, self.seed, epoch)[place]) if self.shuffle else place


@dataclass(frozen=True)
class WeightedOrder:
    """An endless order of the samples of several data sets, each of which has its share of the positions.

    In every stretch of `period` positions a data set comes exactly `turns` times, in an order drawn afresh for each
    stretch. Its own samples come one after the other in permutations of their own, so that none comes again before all
    have come.

    lengths: of the data sets. weights: positive; their shares of the sum are those of the positions, to one position of
    a period, and no data set is left out. seed: not negative. shuffle: without it, the samples of each data set come as
    they are stored.
    """

    lengths: tuple[int, ...]
    weights: tuple[float, ...]
    seed: int = field(kw_only=True)
    shuffle: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        if not self.lengths or min(self.lengths) < 1 or len(self.weights) != len(self.lengths):
            raise ValueError(f"expected a weight for each of some data sets, got {self.weights} for {self.lengths}")
        if not all(math.isfinite(weight) and weight > 0 for weight in self.weights):
            raise ValueError(f"weights of data sets must be positive numbers, got {self.weights}")
        _check_seed(self.seed)

    @property
    def period(self) -> int:
        """Positions over which every data set has its share."""
        return max(sum(self.lengths), LEAST_PERIOD)

    @cached_property
    def turns(self) -> tuple[int, ...]:
        """How often each data set comes in a period: its share, rounded by the largest remainders, at least once."""
        exact = [self.period * weight / sum(self.weights) for weight in self.weights]
        found = [max(1, math.floor(share)) for share in exact]
        while sum(found) != self.period:
            step = 1 if sum(found) < self.period else -1
            owed = [step * (share - count) for share, count in zip(exact, found, strict=True)]
            allowed = [part for part, count in enumerate(found) if count + step >= 1]
            found[max(allowed, key=lambda part: (owed[part], -part))] += step
        return tuple(found)

    def index(self, position: int) -> int:
        """The sample at `position`, counted over the data sets one after the other."""
        stretch, place = divmod(position, self.period)
        parts, turns = _turns(self.turns, self.seed, stretch)
        part = int(parts[place])
        epoch, inner = divmod(stretch * self.turns[part] + int(turns[place]), self.lengths[part])
        if self.shuffle:
            inner = int(_within(self.lengths[part], self.seed, part, epoch)[inner])
        return sum(self.lengths[:part]) + inner


@dataclass(frozen=True)
class RareClassOrder:
    """An endless order in which some classes have samples of their own: rare class sampling.

    After Hoyer, Dai, Van Gool, DAFormer, arXiv:2111.14887, section 3.3; there, a class is drawn by its share of the
    pixels, here each has one of `every` samples, so that one knows how many show it. Over a thousand samples these
    shares are exact, as those of a `WeightedOrder`. Each class goes through its images before one comes again, and so
    do the samples that are drawn for none, which come from all.

    length: of the data set. images: for each class the samples that show it. every: more than there are classes.
    """

    length: int
    images: Mapping[int, tuple[int, ...]]
    every: int
    seed: int = field(kw_only=True)
    shuffle: bool = field(kw_only=True)

    def __post_init__(self) -> None:
        if self.every <= len(self.images):
            raise ValueError(
                f"one of every {self.every} samples is drawn for each of {len(self.images)} rare classes, which leaves "
                f"none for all images: every must be {len(self.images) + 1} or more"
            )

    def index(self, position: int) -> int:
        """The sample at `position`."""
        part, inner = self._place(position)
        return inner if part == 0 else self.images[self._classes[part - 1]][inner]

    def wanted(self, position: int) -> int:
        """The class that the sample at `position` is drawn for; -1 for none."""
        part, _ = self._place(position)
        return -1 if part == 0 else self._classes[part - 1]

    @cached_property
    def _classes(self) -> tuple[int, ...]:
        return tuple(self.images)

    @cached_property
    def _parts(self) -> WeightedOrder:
        """All samples, then those of each class."""
        lengths = (self.length, *map(len, self.images.values()))
        weights = (float(self.every - len(self.images)), *(1.0 for _ in self.images))
        return WeightedOrder(lengths, weights, seed=self.seed, shuffle=self.shuffle)

    def _place(self, position: int) -> tuple[int, int]:
        found, ends = self._parts.index(position), list(accumulate(self._parts.lengths))
        part = bisect_right(ends, found)
        return part, found - (ends[part - 1] if part else 0)


def sample_rng(seed: int, position: int) -> np.random.Generator:
    """The random stream of the sample at `position`, independent of all others."""
    _check_seed(seed)
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_SAMPLE, position))))


def other_seed(seed: int) -> int:
    """The seed of a second stream of samples beside the one of `seed`: it shares no random number with that."""
    _check_seed(seed)
    return int(np.random.SeedSequence(seed, spawn_key=(_OTHER,)).generate_state(1)[0])


@lru_cache(maxsize=4)  # a batch may reach from one epoch into the next
def _permutation(length: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_SHUFFLE, epoch)))
    return np.random.Generator(stream).permutation(length)


@lru_cache(maxsize=2)
def _turns(turns: tuple[int, ...], seed: int, stretch: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.int64]]:
    """(the part at each position of a stretch, how often that part has come in it before)."""
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_PARTS, stretch)))
    parts = np.random.Generator(stream).permutation(np.repeat(np.arange(len(turns)), turns))
    before = np.empty(len(parts), np.int64)
    for part, count in enumerate(turns):
        before[parts == part] = np.arange(count)
    return parts, before


@lru_cache(maxsize=16)  # an epoch of each of some parts, and where one ends the next
def _within(length: int, seed: int, part: int, epoch: int) -> npt.NDArray[np.int64]:
    stream = np.random.PCG64(np.random.SeedSequence(seed, spawn_key=(_WITHIN, part, epoch)))
    return np.random.Generator(stream).permutation(length)


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
