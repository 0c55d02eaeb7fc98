"""Which sample comes at which position, and with which random stream: pure functions of the seed.

A position counts samples since the first step of a run, over all epochs and processes. Nothing here has a history, so
that a run resumed at any step, or split over any number of workers and processes, sees what it would have seen anyway.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import numpy.typing as npt

_SHUFFLE, _SAMPLE, _OTHER = 0, 1, 2


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


def _check_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"the seed must not be negative, got {seed}")
