"""Processes that torchrun starts again meet each other, and not those before them."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest
from torch.distributed import HashStore

from intarsia.distributed.elastic import meeting

SOON = timedelta(seconds=20)


def meet(store: HashStore, rank: int, total: int = 3, *, late: float = 0.0, patience: timedelta = SOON) -> str:
    time.sleep(late)
    return meeting(store, rank, total, patience)


def together(store: HashStore, late: dict[int, float]) -> set[str]:
    with ThreadPoolExecutor(3) as pool:
        waiting = [pool.submit(meet, store, rank, late=late.get(rank, 0.0)) for rank in range(3)]
        return {one.result() for one in waiting}


def test_every_time_another_name_whoever_comes_first() -> None:
    """In one store, over restarts, in which processes also died while they waited."""
    store, names = HashStore(), set[str]()
    for late in ({}, {0: 0.1}, {1: 0.1}, {0: 0.1, 2: 0.2}, {1: 0.2, 2: 0.1}):
        store.set("intarsia/word/1", f"of a process that died before the first one came {len(names)}")
        found = together(store, late)
        assert len(found) == 1
        assert not found & names
        names |= found


def test_who_does_not_come_is_said() -> None:
    """The first says how many are there, others that the first is not."""
    store, late = HashStore(), timedelta(seconds=0.3)
    with pytest.raises(RuntimeError, match=r"process 1 of 3 has waited 0:00:00\.300000 for the first one"):
        meet(store, 1, patience=late)
    other = threading.Thread(target=meet, args=(store, 2))
    other.start()
    with pytest.raises(RuntimeError, match="2 of 3 processes have come"):
        meet(store, 0, patience=late)
    other.join()


PROGRAM = """
import os, sys, time
from intarsia.distributed.runtime import FabricRuntime
import torch
attempt, rank = int(os.environ["TORCHELASTIC_RESTART_COUNT"]), int(os.environ["RANK"])
if rank == attempt % 2:
    time.sleep(1.0)  # the other one is there first, and would read where this one's forerunner was
FabricRuntime(accelerator="cpu").launch()
runtime = FabricRuntime(accelerator="cpu")  # a process may ask more than once, and meets the others once
runtime.launch()
assert runtime.all_reduce_sum(torch.ones(1)).item() == 2
if rank == 0:
    print(f"met: {attempt}", flush=True)
runtime.barrier()
sys.exit(attempt < 3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--master-port 29637", "--rdzv-backend c10d --rdzv-endpoint localhost:0"])
def test_three_restarts_of_torchrun(how: str, tmp_path: Path) -> None:
    """With torch's own meeting most of them fail or hang: the store has the addresses of dead processes."""
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--max-restarts", "3"]
    done = subprocess.run([*torchrun, *how.split(), str(program)], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if "met" in line] == [f"met: {attempt}" for attempt in range(4)]
