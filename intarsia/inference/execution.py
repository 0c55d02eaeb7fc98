"""How a network computes when it predicts: in which precision, and whether through torch.compile."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from intarsia.contracts import Task
from intarsia.inference.compiled import CompiledNetwork
from intarsia.inference.precision import autocast, check_precision
from intarsia.layers.precision import full_precision


class Execution:
    """Calls the network of a task on its device: input (n, C, h, w) -> logits (n, K, h', w').

    precision: "32" (or what the weights are in), "bf16" or "16", see `precision`; logits are float32 all the same.
    compile: whether the network goes through torch.compile, see `compiled`.

    Raises ValueError for an unknown precision, and if there is no compiler to compile with.
    """

    def __init__(self, task: Task, device: torch.device, *, precision: str = "32", compile: bool = False) -> None:
        check_precision(precision, device)
        self.precision = precision
        self._task, self._device = task, device
        self._compiled = CompiledNetwork(cast("nn.Module", task.model), device) if compile else None

    @property
    def is_compiled(self) -> bool:
        """Whether it goes through torch.compile."""
        return self._compiled is not None

    def __call__(self, pixels: Tensor, *conditions: Tensor) -> Tensor:
        """See the class. conditions: what the network reads besides pixels, see `contracts.ConditionalTask`."""
        with autocast(self.precision, self._device):
            logits = (self._compiled or self._task.model)(pixels, *conditions)
        logits = logits.contiguous()  # row by row, as they are read: a network may leave them in channels last
        return logits if self.precision == "32" else full_precision(logits)
