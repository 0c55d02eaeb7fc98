"""What every worker does: read a job, prepare it, measure it, print figures. Imports nothing, so that it runs anywhere.

A worker is `python -m peer_parts.worker_NAME JOB` in the environment of its library, where JOB is JSON. It prints one
line of JSON behind `MARK`; whatever else a library prints is left to the driver's log.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

MARK = "\x1e"
"""Begins the line with the figures."""

STARTED = "PEERS_STARTED"
"""Environment variable: the seconds since 1970 at which the driver started this process."""

TURNS = "PEERS_TURNS"
"""Environment variable: passes are done when they are asked for, one for each line of the standard input."""

LONG = 6.0
"""Seconds of the processor after which a first pass counts, and is not a warm-up."""

Job = SimpleNamespace
Facts = Mapping[str, Any] | None
Works = Mapping[str, Callable[[Job], Callable[[], Facts]]]


def main(works: Works, versions: Callable[[], Mapping[str, str]]) -> None:
    """Do the job that the command line states."""
    job = Job(**json.loads(sys.argv[1]))
    try:
        if job.work == "versions":
            answer: dict[str, Any] = {"versions": dict(versions())}
        elif TURNS in os.environ:
            _in_turns(works[job.work](job))
            return
        else:
            answer = _measured(works[job.work](job), job)
    except Exception as error:  # of any library: the driver names it and goes on
        traceback.print_exc()
        answer = {"error": f"{type(error).__name__}: {str(error)[:300]}"}
    _say(answer)


def _say(answer: Mapping[str, Any]) -> None:
    print(f"\n{MARK}{json.dumps(answer, default=float)}", flush=True)


def _in_turns(work: Callable[[], Facts]) -> None:
    """A first pass that does not count; then one for each line that comes in, with its seconds."""
    work()
    _say({})
    for _ in sys.stdin:
        began = processor_seconds()
        work()
        _say({"seconds": processor_seconds() - began})


def _measured(work: Callable[[], Facts], job: Job) -> dict[str, Any]:
    """Processor seconds and wall seconds of the fastest pass; MB of all passes beyond what was there before."""
    if job.work in ("start", "help"):
        return _since_start(work)
    forget_peak()
    before, times, facts = resident("VmRSS"), [], None
    for number in range(1 + job.passes):
        wall, processor = time.perf_counter(), processor_seconds()
        facts = work() or facts
        times.append((processor_seconds() - processor, time.perf_counter() - wall))
        if number == 0 and times[0][0] > LONG:
            break
    peak = resident("VmHWM") - before
    kept = times[1:] or times
    return {"seconds": min(kept)[0], "wall": min(wall for _, wall in kept), "memory": peak, "facts": dict(facts or {})}


def _since_start(work: Callable[[], Facts]) -> dict[str, Any]:
    """Of the whole process, or of the one that it started, imports included."""
    facts = work()
    wall = time.time() - float(os.environ.get(STARTED, "nan"))
    peak = max(resident("VmHWM"), _most(resource.RUSAGE_CHILDREN))
    return {"seconds": processor_seconds(), "wall": wall, "memory": peak, "facts": dict(facts or {})}


def processor_seconds() -> float:
    """Of all threads of this process and of its children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def resident(field: str) -> float:
    """MB of this process now ("VmRSS") or at most ("VmHWM"). Elsewhere than on Linux only the most is known."""
    try:
        with open("/proc/self/status", encoding="ascii") as lines:
            return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) / 1024
    except OSError:
        return _most(resource.RUSAGE_SELF)


def _most(whose: int) -> float:
    return resource.getrusage(whose).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def forget_peak() -> None:
    """What imports took at most does not count, where the system can forget it."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="ascii") as file:
            file.write("5")
    except OSError:
        pass


# --- What is the same in every library of torch -------------------------------------------------------------------


def still(model: Any) -> None:
    """Dropout off, everything else as in training: the loss is then a function of weights and images."""
    model.train()
    for module in model.modules():
        if "drop" in type(module).__name__.lower():
            module.eval()


def batch_of(job: Job) -> tuple[Any, Any]:
    """Random images (N, 3, H, W) in RGB and labels (N, H, W), uint8, the same in each library."""
    import torch

    generator = torch.Generator().manual_seed(0)
    size, classes = tuple(job.size), job.classes
    images = torch.randint(0, 256, (job.batch, 3, *size), dtype=torch.uint8, generator=generator)
    labels = torch.randint(0, min(classes, 255), (job.batch, *size), generator=generator)
    labels[:, : size[0] // 16] = 255  # ignored
    return images, labels.to(torch.uint8)


def normalised(images: Any) -> Any:
    """What ImageNet's networks take, of images (N, 3, H, W) of 0 to 255."""
    import torch

    mean, std = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    return (images.float() - mean[:, None, None]) / std[:, None, None]


def counted(total: Any, label: Any, found: Any, classes: int) -> Any:
    """A confusion matrix with one image more: what people write who have no metric at hand. label: 255 is ignored."""
    import numpy as np

    known = label != 255
    pairs = label[known].astype(np.int64) * classes + found[known]
    return total + np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def mean_iou(total: Any) -> float:
    """Over the classes that there are."""
    import numpy as np

    both = np.diag(total)
    either = total.sum(0) + total.sum(1) - both
    return float(np.mean(both[either > 0] / either[either > 0]))


def shifted(label: Any) -> Any:
    """ADE20K's labels: 0 is ignored, 1 is the first class."""
    import numpy as np

    return np.where(label == 0, 255, label - 1).astype(np.uint8)
