"""What a model takes of a GPU's memory: torch says it of itself, NVIDIA's driver of whole processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

import torch

SMI = "nvidia-smi"
PATIENCE = 30
"""Seconds after which it is taken for one that does not answer."""

IN_TORCH = "what torch has in tensors, at most, and in brackets what it holds of the GPU for them"
OF_PROCESS = f"what the process holds, as {SMI} says"
UNKNOWN = f"unknown of what others than torch compute: {SMI} is not there, or does not list this process"


@dataclass(frozen=True)
class GPUBytes:
    """More than was taken before. used: in tensors of torch, or else by the process; None if nothing here says it.

    reserved: what torch holds, with what it keeps for later; None of other programs.
    """

    used: int | None = None
    reserved: int | None = None


class GPUMemory:
    """Made before a model is opened. in_torch: whether torch is what computes, on a GPU."""

    def __init__(self) -> None:
        self._allocated, self._reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        self._process = process_bytes() or 0  # a process that has nothing on a GPU is in no list

    def begin(self, *, in_torch: bool) -> None:
        """From here on, look for the most that is taken."""
        if in_torch:
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()

    def taken(self, *, in_torch: bool) -> GPUBytes:
        """At most since then; of other programs now, which is as much, since they give nothing back."""
        if in_torch:
            used = torch.cuda.max_memory_allocated() - self._allocated
            return GPUBytes(max(0, used), max(0, torch.cuda.max_memory_reserved() - self._reserved))
        held = process_bytes()
        return GPUBytes(None if held is None else max(0, held - self._process))


def process_bytes() -> int | None:
    """Bytes that this process holds on all GPUs, as the driver says; None if it does not."""
    program = shutil.which(SMI)
    if program is None:
        return None
    words = [program, "--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(words, capture_output=True, timeout=PATIENCE, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = [line.split(",") for line in done.stdout.decode("ascii", "replace").splitlines()]
    found = [row[1].strip() for row in rows if len(row) == 2 and row[0].strip() == str(os.getpid())]
    if not found or not all(word.isdecimal() for word in found):  # "[N/A]" in some containers
        return None
    return sum(map(int, found)) * 2**20
