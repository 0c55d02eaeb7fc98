"""What a model takes of a GPU: with torch's counters and the driver's program in other forms, for want of a GPU."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia.workflows import bench
from intarsia.workflows.bench import WHOLE, Measurement
from intarsia.workflows.gpu_memory import IN_TORCH, OF_PROCESS, UNKNOWN, GPUBytes, GPUMemory, process_bytes

MIB = 2**20


class Counters:
    """Those of torch: what is allocated and reserved, and the most since they were reset."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.most = {"allocated": 0, "reserved": 0}, {"allocated": 0, "reserved": 0}
        for name in self.now:
            monkeypatch.setattr(torch.cuda, f"memory_{name}", lambda name=name: self.now[name])
            monkeypatch.setattr(torch.cuda, f"max_memory_{name}", lambda name=name: self.most[name])
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda: self.most.update(self.now))
        monkeypatch.setattr(torch.cuda, "empty_cache", lambda: self.take(0, self.now["allocated"]))

    def take(self, allocated: int, reserved: int) -> None:
        """So many more in tensors, and so many held."""
        self.now = {"allocated": self.now["allocated"] + allocated, "reserved": reserved}
        self.most = {name: max(value, self.now[name]) for name, value in self.most.items()}


@pytest.fixture
def counters(monkeypatch: pytest.MonkeyPatch) -> Counters:
    return Counters(monkeypatch)


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts a program in the place of nvidia-smi, which prints these lines."""
    monkeypatch.setenv("PATH", str(tmp_path))

    def says(*lines: str, code: int = 0) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text("#!/bin/sh\n" + "".join(f"echo '{line}'\n" for line in lines) + f"exit {code}\n")
        program.chmod(0o755)

    return says


@pytest.mark.usefixtures("driver")
def test_torch_says_what_a_model_took_at_most(counters: Counters) -> None:
    counters.take(100, 300)  # of somebody else, of which nothing counts
    memory = GPUMemory()
    counters.take(50, 400)  # the weights
    counters.take(900, 2000)
    counters.take(-900, 2000)  # an earlier measurement
    memory.begin(in_torch=True)
    counters.take(70, 500)
    counters.take(-70, 500)
    assert memory.taken(in_torch=True) == GPUBytes(used=120, reserved=200)


@pytest.mark.skipif(sys.platform == "win32", reason="the program is a script of the shell")
@pytest.mark.usefixtures("counters")
def test_of_other_programs_the_driver_says_what_the_process_holds(driver: Any) -> None:
    assert process_bytes() is None  # no such program
    driver(f"1, 500, {MIB}", f"{os.getpid()}1, 40")
    memory = GPUMemory()
    assert process_bytes() is None  # others alone
    assert memory.taken(in_torch=False) == GPUBytes()
    driver(f"{os.getpid()}, 300", f"{os.getpid()}, 20", "1, 500")  # two GPUs
    assert memory.taken(in_torch=False) == GPUBytes(used=320 * MIB)
    assert GPUMemory().taken(in_torch=False) == GPUBytes(used=0)
    driver(f"{os.getpid()}, [N/A]")
    assert process_bytes() is None
    driver(f"{os.getpid()}, 300", code=9)  # no driver behind it
    assert process_bytes() is None


def measured(gpu: GPUBytes | None) -> Measurement:
    return Measurement("a", "b", WHOLE, (1, 1), 1, (1.0,), 0, gpu)


def test_what_the_bytes_are_is_said() -> None:
    of_gpu = bench._of_gpu
    assert of_gpu([measured(None)]) == ""
    assert of_gpu([measured(GPUBytes(1, 2)), measured(None)]) == IN_TORCH
    assert of_gpu([measured(GPUBytes(1, 2)), measured(GPUBytes(3))]) == f"{IN_TORCH}; {OF_PROCESS}"
    assert of_gpu([measured(GPUBytes())]) == UNKNOWN
    assert (
        measured(GPUBytes(1, 2)).to_json() | {"gpu_bytes": 1, "gpu_reserved_bytes": 2}
        == measured(GPUBytes(1, 2)).to_json()
    )
    assert measured(None).to_json()["gpu_bytes"] is None
