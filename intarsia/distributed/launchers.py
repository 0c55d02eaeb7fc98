"""Which process of a run this is, from what torchrun or SLURM put into the environment. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

INTERACTIVE = ("bash", "interactive")
"""Names of SLURM jobs that are a shell: what runs in them was not started as a task."""


@dataclass(frozen=True)
class Launch:
    """The processes that a launcher has started for this run, and the place of this one among them.

    total: over all machines. rank: from 0 to total - 1; local_rank: on its machine.
    """

    by: Literal["torchrun", "SLURM"]
    total: int
    per_machine: int
    rank: int
    local_rank: int

    def __post_init__(self) -> None:
        if self.per_machine < 1 or self.total % self.per_machine:
            raise ValueError(
                f"{self.by} started {self.total} processes, of which this machine has {self.per_machine}; "
                "every machine must have as many as the others"
            )

    @property
    def machines(self) -> int:
        """How many machines the processes are on."""
        return self.total // self.per_machine


def launch_of(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """What started this process as one of several; None where it was called alone.

    torchrun comes first, since it can run inside a SLURM job. A SLURM job of a single task counts as called alone: it
    may start processes on its machine by itself.

    Raises ValueError for a SLURM job that does not say how many of its tasks a machine has.
    """
    if "TORCHELASTIC_RUN_ID" in environment:
        return Launch(
            "torchrun",
            total=int(environment["WORLD_SIZE"]),
            per_machine=int(environment["LOCAL_WORLD_SIZE"]),
            rank=int(environment["RANK"]),
            local_rank=int(environment["LOCAL_RANK"]),
        )
    tasks = int(environment.get("SLURM_NTASKS", "1"))
    if tasks == 1 or environment.get("SLURM_JOB_NAME") in INTERACTIVE:
        return None
    if "SLURM_NTASKS_PER_NODE" not in environment:
        raise ValueError(
            f"this SLURM job has {tasks} tasks without saying how many a machine has; "
            "ask for them with --nodes and --ntasks-per-node in place of --ntasks"
        )
    return Launch(
        "SLURM",
        total=tasks,
        per_machine=int(environment["SLURM_NTASKS_PER_NODE"]),
        rank=int(environment["SLURM_PROCID"]),
        local_rank=int(environment["SLURM_LOCALID"]),
    )


def process_count(devices: int | None, environment: Mapping[str, str] = os.environ) -> int:
    """Processes of this run: those that were started, otherwise `devices`, otherwise one.

    Raises ValueError if `devices` contradicts what was started.
    """
    launch = launch_of(environment)
    if launch is None:
        return 1 if devices is None else devices
    if devices not in (None, launch.total):
        raise ValueError(
            f"{devices} devices are wanted, but {launch.by} has started {launch.total} processes; leave --devices out"
        )
    return launch.total


def is_secondary_error(error: BaseException) -> bool:
    """Whether an error only says that another process is no longer there, and hence that the cause is said there."""
    text = str(error)
    return isinstance(error, RuntimeError) and any(sign in text for sign in _GONE)


_GONE = (
    "Connection closed by peer",
    "Connection reset by peer",
    "NCCL communicator was aborted",
    "remote process exited",
)
"""What gloo and NCCL say then."""


def is_first(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the one that writes files and talks to the user."""
    launch = launch_of(environment)
    if launch is not None:
        return launch.rank == 0
    return environment.get("LOCAL_RANK", "0") == "0"  # set where a first process starts the others
