"""Steps whose loss is not finite: left out, without waiting for the device; and which module was the first."""

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
from intarsia.distributed.fsdp import own_part
from intarsia.distributed.runtime import FabricRuntime
from intarsia.distributed.training_step import TrainingStep


class NonFiniteGuard:
    """Takes a step only if its losses and gradients are finite: otherwise weights and statistics stay as they were.

    The decision is made on the device, which nothing waits for. A fused optimizer leaves the step out itself
    ("found_inf"); with others on an accelerator the step is taken, and then taken back. What an optimizer counts on the
    processor counts such a step, too. Under "16-mixed" an overflow is such a step, and the loss scale follows.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, runtime: FabricRuntime) -> None:
        self._runtime = runtime
        self._optimizer = optimizer
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
        optimizer: Any = self._optimizer
        is_first = not optimizer.state
        if getattr(optimizer, "_step_supports_amp_scaling", False):  # torch's word for fused optimizers
            optimizer.found_inf, optimizer.grad_scale = (~finite).float(), None
            optimizer.step()
        elif finite.device.type == "cpu":
            if finite:
                optimizer.step()
            is_first = False
        else:
            before = {key: tensor.clone() for key, tensor in self._moving().items()}
            optimizer.step()
            after = self._moving()
            put_back([after[key] for key in before], list(before.values()), ~finite)
        if is_first:
            self._begin_state(~finite)
        self._runtime.update_loss_scale()

    def _keep_statistics(self, finite: Tensor) -> None:
        if not self._statistics:
            return
        if finite.device.type != "cpu":
            put_back(self._statistics, self._before, ~finite)
        elif not finite:
            torch._foreach_copy_(self._statistics, self._before)

    def _moving(self) -> dict[tuple[int, str], Tensor]:
        """What a step changes on the device: parameters with a gradient, and the tensors of their states."""
        found: dict[tuple[int, str], Tensor] = {}
        parameters = [parameter for group in self._optimizer.param_groups for parameter in group["params"]]
        for number, parameter in enumerate(parameters):
            if parameter.grad is None:
                continue
            found[number, ""] = own_part(parameter.detach())
            for name, value in self._optimizer.state.get(parameter, {}).items():
                if isinstance(value, Tensor) and value.device == parameter.device:
                    found[number, name] = own_part(value)
        return found

    def _begin_state(self, left_out: Tensor) -> None:
        """If the first step was left out, the states that it has made are those of an optimizer before its first step.

        Fused kernels leave memory as they find it then.
        """
        for group in self._optimizer.param_groups:
            for parameter in group["params"]:
                for name, value in self._optimizer.state.get(parameter, {}).items():
                    if isinstance(value, Tensor) and value.device == left_out.device:
                        held = own_part(value)
                        begin = group["lr"] if name in _BEGIN_AT_RATE else float(name in _BEGIN_AT_ONE)
                        put_back([held], [torch.full_like(held, begin)], left_out)


_BEGIN_AT_ONE, _BEGIN_AT_RATE = ("mu", "mu_product"), ("eta", "step_size")
"""States of torch's optimizers that do not begin at 0: of NAdam and ASGD, and of ASGD and Rprop."""


def put_back(now: Sequence[Tensor], before: Sequence[Tensor], wanted: Tensor) -> None:
    """Give tensors the bits of others of the same shapes and types if the scalar `wanted` is true.

    Three kernels for all of a size, and nothing waits for the device: now + (before - now) * wanted, on their bits read
    as integers, whose overflow wraps around; of floating point numbers, nan * 0 would be nan.
    """
    for size, integers in _INTEGERS.items():
        bits = [tensor.view(integers) for tensor in now if tensor.element_size() == size]
        if not bits:
            continue
        old = [tensor.view(integers) for tensor in before if tensor.element_size() == size]
        change = torch._foreach_sub(old, bits)
        torch._foreach_mul_(change, wanted.to(integers))
        torch._foreach_add_(bits, change)


_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
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
    problem = next(filter(None, (cast(Task, task).label_problem(batch) for batch in batches)), "")
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
