"""Processes that torchrun starts again: they meet each other, and not what is left of those before them.

torchrun's own process keeps the store in which processes tell each other their addresses, over all of its restarts and
under the same keys (torch 2.14). Whoever is first after a restart reads there where a dead process could be reached:
it is refused, or waits for that one, while the other waits for it. So a meeting is agreed on first, under a name that
nobody has used before. The number of restarts is no such name: a machine that has joined later counts from 0.
"""

from __future__ import annotations

import atexit
import os
import time
import uuid
from datetime import timedelta
from typing import TYPE_CHECKING

import torch
from torch import distributed
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

PATIENCE = timedelta(minutes=30)
"""How long the others are waited for: machines may come late."""

_LOOK_AGAIN = 0.02


def join_elastic(device: torch.device, backend: str | None) -> None:
    """Make the process group of processes that torchrun has started, if there is none yet. backend: by default the one
    that suits the device.

    Raises RuntimeError if the others do not come.
    """
    if distributed.is_initialized():
        return
    backend = backend or ("nccl" if device.type == "cuda" else "gloo")
    store, rank, total = next(rendezvous("env://", timeout=PATIENCE))
    distributed.init_process_group(
        backend,
        store=PrefixStore(meeting(store, rank, total, PATIENCE), store),
        rank=rank,
        world_size=total,
        timeout=PATIENCE,
        device_id=None if device.type == "cpu" else device,
    )
    if backend == "nccl":
        atexit.register(_leave)


def _leave() -> None:
    if distributed.is_initialized():
        distributed.destroy_process_group()


def meeting(store: Store, rank: int, total: int, patience: timedelta) -> str:
    """A name that these processes have in common, and none before them had.

    Each process leaves a word of its own. The first one answers every word that it finds with the name, also the words
    of dead processes, until as many as there are have taken it: a dead one takes nothing.

    Raises RuntimeError if not all have come after so long.
    """
    own = uuid.uuid4().hex
    if rank > 0:
        store.set(_word(rank), own)
        try:
            store.wait([_answer(own)], patience)
        except RuntimeError as error:
            raise RuntimeError(f"process {rank} of {total} has waited {patience} for the first one: {error}") from None
        name = store.get(_answer(own)).decode()
        store.add(_taken(name), 1)
        return name
    answered: dict[int, bytes] = {}
    until = time.monotonic() + patience.total_seconds()
    while store.add(_taken(own), 0) < total - 1:
        for other in range(1, total):
            if store.check([_word(other)]) and (word := store.get(_word(other))) != answered.get(other):
                store.set(_answer(word.decode()), own)
                answered[other] = word
        if time.monotonic() > until:
            raise RuntimeError(f"{store.add(_taken(own), 0) + 1} of {total} processes have come in {patience}")
        time.sleep(_LOOK_AGAIN)
    return own


def is_elastic() -> bool:
    """Whether torchrun keeps the store for this process, over restarts."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"


def _word(rank: int) -> str:
    return f"intarsia/word/{rank}"


def _answer(word: str) -> str:
    return f"intarsia/answer/{word}"


def _taken(name: str) -> str:
    return f"intarsia/taken/{name}"
