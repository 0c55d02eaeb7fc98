"""The process that does the checks, one after the other, and tells the supervisor."""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # before torch makes the first product of matrices

import torch

from gpu_parts.checks import CHECKS, Check
from gpu_parts.notes import Notes, tell

POISONED = 3
"""Exit code of a worker whose device answers no more."""


def work(names: Sequence[str], out: Path, *, device: str, small: bool) -> int:
    """Do the checks of these names. Ends early where the device is lost; the supervisor then starts another."""
    if device == "cuda" and not torch.cuda.is_available():
        tell("nothing", reason="torch sees no GPU here; to try the script: --device cpu --small")
        return 2
    tell("machine", **_machine(device))
    folder = out / "work"
    folder.mkdir(parents=True, exist_ok=True)
    by_name = {check.name: check for check in CHECKS}
    for name in names:
        with tempfile.TemporaryDirectory(dir=folder) as place:
            notes = Notes(torch.device(device, 0) if device == "cuda" else torch.device("cpu"), small, Path(place))
            tell("begun", name=name)
            lost = _do(by_name[name], notes)
            tell("done", name=name, failures=notes.failures)
        if lost:
            return POISONED
    return 0


def _do(check: Check, notes: Notes) -> bool:
    """Whether the device was lost meanwhile."""
    module, _, function = check.work.partition(":")
    try:
        with _as_found():
            getattr(importlib.import_module(f"gpu_parts.{module}"), function)(notes, check.argument)
            notes.synchronise()
    except Exception as error:
        notes.failures += 1
        tell("broken", what=check.name, error=f"{type(error).__name__}: {error}", traceback=traceback.format_exc())
    try:
        notes.synchronise()
        if notes.on_gpu:
            torch.cuda.empty_cache()
    except RuntimeError:
        return True
    return False


@contextmanager
def _as_found() -> Iterator[None]:
    """The switches of torch are for every check what they are by default."""
    torch.manual_seed(0)
    tf32 = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    benchmark = torch.backends.cudnn.benchmark
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32
        torch.backends.cudnn.benchmark = benchmark
        if "torch._dynamo" in sys.modules:
            torch._dynamo.reset()


def _machine(device: str) -> dict[str, str]:
    from intarsia.version import __version__

    found = {"torch": torch.__version__, "intarsia": __version__, "python": sys.version.split()[0]}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found |= {
            "gpu": properties.name, "memory": f"{properties.total_memory / 2**30:.0f} GiB",
            "cuda": str(torch.version.cuda), "cudnn": str(torch.backends.cudnn.version()),
        }  # fmt: skip
    return {**found, "processors": str(os.cpu_count()), "date": time.strftime("%Y-%m-%d")}
