"""``intarsia bench``: how many images a second models of any kind label on this machine: weights and exported files."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import psutil
import torch
from torch import nn

from intarsia.contracts import Batch, ConditionalTask, PathLike, SampleMeta, Size
from intarsia.engine.memory import give_back
from intarsia.engine.training.environment import hardware
from intarsia.export.task import is_exported, runtime_name
from intarsia.terminal import progress
from intarsia.workflows.gpu_memory import IN_TORCH, OF_PROCESS, UNKNOWN, GPUBytes, GPUMemory
from intarsia.workflows.profile_model import WARM_UP, measured, note_of_load
from intarsia.workflows.trained_model import OpenModel, open_model

WHOLE, NETWORK = "pixels to labels", "network"


@dataclass(frozen=True, kw_only=True)
class BenchRequest:
    """What is measured. models: runs, weights, exported files. sizes: (height, width) of images, batches: of them.

    passes: timed, of each. threads: of the processor, for torch and for the runtimes; None leaves them as they are.
    precision, compile: how the networks of weights compute.
    """

    models: Sequence[PathLike]
    sizes: Sequence[Size] = ((512, 512),)
    batches: Sequence[int] = (1,)
    passes: int = 20
    device: str = "auto"
    threads: int | None = None
    precision: str = "32"
    compile: bool = False


@dataclass(frozen=True)
class Measurement:
    """Seconds of single passes over a batch, in the order measured.

    what: `WHOLE`, from stored pixels to label maps in memory, or `NETWORK` alone; of an exported file both are in it,
    and `NETWORK` is a call of its runtime. runs_on: the program that computes. grown: bytes of main memory that the
    process took during the passes, at most (where the system does not say: after them), more than before the model was
    opened. gpu: the same of a GPU; None where none computes.
    """

    model: str
    runs_on: str
    what: str
    size: Size
    batch: int
    seconds: tuple[float, ...]
    grown: int
    gpu: GPUBytes | None = None

    @property
    def images_per_second(self) -> float:
        """By the median."""
        return self.batch / statistics.median(self.seconds)

    def percentile(self, share: float) -> float:
        """The seconds that so many of the passes take at most."""
        return float(np.quantile(self.seconds, share))

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        latencies = {f"p{round(100 * share)}_seconds": self.percentile(share) for share in (0.5, 0.9, 0.99)}
        return {
            "model": self.model, "runs_on": self.runs_on, "what": self.what, "size": list(self.size),
            "batch": self.batch, "images_per_second": self.images_per_second, **latencies, "grown_bytes": self.grown,
            "gpu_bytes": self.gpu and self.gpu.used, "gpu_reserved_bytes": self.gpu and self.gpu.reserved,
            "passes": list(self.seconds),
        }  # fmt: skip


def bench(request: BenchRequest) -> tuple[list[Measurement], Mapping[str, str]]:
    """Measure models one after the other, and say on what.

    Raises ValueError for a model that cannot be opened, or that does not take images of such a size or so many.
    """
    if request.threads is not None:
        torch.set_num_threads(request.threads)
    note_of_load()
    found: list[Measurement] = []
    total = len(request.models) * len(request.sizes) * len(request.batches)
    with progress("measuring") as bar:
        for name in request.models:
            model: OpenModel | None = None  # so that what the last one took is free again
            before = _taken()
            gpu = GPUMemory()
            model = open_model(
                name, config=None, device=request.device, threads=request.threads, precision=request.precision,
                compile=request.compile,
            )  # fmt: skip
            for size in request.sizes:
                for batch in request.batches:
                    bar(len(found) // 2, total)
                    found += _measured(str(name), model, size, batch, request, before, gpu)
    return found, _where(request, found)


def _measured(
    name: str, model: OpenModel, size: Size, batch: int, request: BenchRequest, before: int, gpu: GPUMemory
) -> Iterator[Measurement]:
    runs_on, on_gpu = _program(model, request.device)
    in_torch = on_gpu and runs_on.startswith("torch")
    for what, work in _works(model, size, batch).items():
        is_known = _forget_peak()
        gpu.begin(in_torch=in_torch)
        seconds = measured(work, request.passes, _waiting(model.device))
        taken = _peak() if is_known else psutil.Process().memory_info().rss
        of_gpu = gpu.taken(in_torch=in_torch) if on_gpu else None
        yield Measurement(name, runs_on, what, size, batch, seconds, max(0, taken - before), of_gpu)


def _program(model: OpenModel, device: str) -> tuple[str, bool]:
    """What computes a model, and whether it does so on a GPU of NVIDIA."""
    if not is_exported(model.task):
        how = [model.precision] * (model.precision != "32") + ["compiled"] * model.compile
        return ", ".join(["torch", model.device, *how]), model.device == "cuda"
    name = runtime_name(model.task)
    return (f"{name}, cuda", True) if device == "cuda" else (name, name == "TensorRT")


def _taken() -> int:
    """Bytes of memory that this process takes, when all that is no longer used was given back."""
    give_back()
    return int(psutil.Process().memory_info().rss)


def _forget_peak() -> bool:
    """Begin to look for the most memory that is taken; False where the system has no such count (Linux has)."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return False
    return True


def _peak() -> int:
    """Bytes, since then."""
    status = Path("/proc/self/status").read_text(encoding="ascii", errors="replace")
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def _works(model: OpenModel, size: Size, batch: int) -> dict[str, Callable[[], object]]:
    predictor = model.predictor()
    task = predictor.task
    if isinstance(task, ConditionalTask):
        raise ValueError(
            f"{model.file}: {type(task).__name__} reads more of an image than its pixels, and is not timed"
        )
    channels = len(model.spec.preprocess.mean)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (batch, channels, *size), dtype=torch.uint8, generator=generator)
    metas = (SampleMeta(name="image", original_size=size),) * batch
    images = Batch(pixels, None, (size,) * batch, metas)
    shown = pixels if is_exported(task) else torch.rand(pixels.shape, generator=generator, device="cpu")
    shown = shown.to(predictor.device)
    cast("nn.Module", task).eval()

    def whole() -> object:
        return [label.cpu() for label in predictor.predict_batch(images)]

    def network() -> object:
        with torch.inference_mode():
            return predictor.network(shown)

    return {WHOLE: whole, NETWORK: network}


def _waiting(device: str) -> Callable[[], None]:
    return {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}.get(device, lambda: None)


def _where(request: BenchRequest, found: Sequence[Measurement]) -> dict[str, str]:
    machine = hardware()
    where = {
        "processor": str(machine["processor"]),
        "accelerators": ", ".join(machine["accelerators"]) or "none",
        "threads": str(request.threads or "as each program chooses"),
        "passes": f"{request.passes}, after {WARM_UP} that warm up",
        "images": "drawn at random: what a network takes does not depend on them, what labels take hardly",
    }
    if said := _of_gpu(found):
        where["memory of the GPU"] = said
    return where


def _of_gpu(found: Sequence[Measurement]) -> str:
    """What the bytes of a GPU are, of the programs that were measured; "" where none computes on one."""
    on_gpu = [one.gpu for one in found if one.gpu is not None]
    facts = {
        IN_TORCH: any(one.reserved is not None for one in on_gpu),
        OF_PROCESS: any(one.reserved is None and one.used is not None for one in on_gpu),
        UNKNOWN: any(one.used is None for one in on_gpu),
    }
    return "; ".join(text for text, is_so in facts.items() if is_so)
