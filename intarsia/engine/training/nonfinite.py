"""Steps whose loss is not finite: not taken, without waiting for the device to find out; and who was to blame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from intarsia.contracts import Batch, Task
from intarsia.distributed.runtime import FabricRuntime, TrainingStep


class Guard:
    """Takes a step only if its losses and gradients are finite: otherwise weights and statistics stay as they were.

    The decision is made on the device. A fused optimizer takes it there ("found_inf"), so that nothing waits; for
    others on an accelerator it costs one synchronisation a step. Under "16-mixed" the loss scaler decides.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, runtime: FabricRuntime) -> None:
        self._runtime = runtime
        self._optimizer = optimizer
        self._inner = cast(Any, getattr(optimizer, "optimizer", optimizer))
        self._fused = bool(self._inner.defaults.get("fused"))
        self._statistics = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        self._before = [buffer.clone() for buffer in self._statistics]

    def begin(self) -> None:
        """Before the forward pass: remember the statistics that it will change."""
        if self._statistics:
            torch._foreach_copy_(self._before, self._statistics)

    def step(self, finite: Tensor) -> None:
        """Let the optimizer do its step if the scalar `finite` is true in every process."""
        finite = self._runtime.all_true(finite)
        self._keep_statistics(finite)
        if self._runtime.scales_loss:
            self._optimizer.step()
        elif self._fused:
            self._inner.found_inf = (~finite).float()
            self._inner.grad_scale = None
            self._optimizer.step()
        elif bool(finite):
            self._optimizer.step()

    def _keep_statistics(self, finite: Tensor) -> None:
        if not self._statistics:
            return
        if finite.device.type != "cpu":
            put_back(self._statistics, self._before, ~finite)
        elif not finite:
            torch._foreach_copy_(self._statistics, self._before)


def put_back(now: Sequence[Tensor], before: Sequence[Tensor], wanted: Tensor) -> None:
    """Give floating point tensors the bits of others of the same shapes if the scalar `wanted` is true.

    Three kernels for all of them, and nothing waits for the device: now + (before - now) * wanted, on their bits read
    as integers, whose overflow wraps around; of floating point numbers, nan * 0 would be nan.
    """
    bits = [tensor.view(_INTEGERS[tensor.element_size()]) for tensor in now]
    change = torch._foreach_sub([tensor.view(_INTEGERS[tensor.element_size()]) for tensor in before], bits)
    torch._foreach_mul_(change, wanted.to(bits[0].dtype))
    torch._foreach_add_(bits, change)


_INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}
"""Integers of as many bytes."""


@dataclass(frozen=True)
class Culprit:
    """What was found by computing a step again. module: the first whose output is not finite, or None.

    images: names of the images that the step was computed on; those that are not finite themselves come alone.
    labels: what is wrong with the labels, which says it all.
    before: how many modules had given something finite by then; the process with the fewest has the cause.
    """

    module: str | None
    images: tuple[str, ...]
    before: float = math.inf
    labels: str = ""

    def __str__(self) -> str:
        if self.labels:
            return self.labels
        where = (
            "computed again, every output is finite"
            if self.module is None
            else f"the first output that is not finite is that of {self.module}"
        )
        return f"{where}; the images were {', '.join(self.images)}"


def find_culprit(task: nn.Module, model: TrainingStep, batches: Sequence[Batch]) -> Culprit:
    """Compute the losses of a step again, watching every module. The task is left as it was.

    Every process must call it: in their forward passes they may wait for each other.
    """
    names = tuple(meta.name or meta.image_path for batch in batches for meta in batch.metas)
    broken = tuple(
        meta.name or meta.image_path
        for batch in batches
        for meta, image in zip(batch.metas, batch.images, strict=True)
        if not image.isfinite().all()
    )
    problem = next(filter(None, (cast("Task", task).label_problem(batch) for batch in batches)), "")
    if problem:
        return Culprit(None, names, -1, problem)
    buffers = [(buffer, buffer.clone()) for buffer in task.buffers()]
    with _watched(task) as outputs, torch.no_grad():
        for batch in batches:
            outputs += [(f"the loss {term.name}", not term.value.isfinite()) for term in model(batch)]
        for buffer, before in buffers:
            buffer.copy_(before)
    if broken:
        return Culprit("the image file itself", broken, -1)
    first = next((number for number, (_, bad) in enumerate(outputs) if bad), None)
    return Culprit(None, names) if first is None else Culprit(outputs[first][0], names, first)


@contextmanager
def _watched(task: nn.Module) -> Iterator[list[tuple[str, bool]]]:
    """Inside, the list gets every module that has given an output, and whether that is not finite, in order."""
    outputs: list[tuple[str, bool]] = []

    def watch(name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            tensors = output if isinstance(output, list | tuple) else (output,)
            bad = any(isinstance(x, Tensor) and not x.isfinite().all() for x in tensors)
            outputs.append((f"{name} ({type(module).__name__})", bad))

        return hook

    handles = [module.register_forward_hook(watch(name)) for name, module in task.named_modules() if name]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()
