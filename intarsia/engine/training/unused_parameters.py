"""Parameters that the losses do not depend on: useless in one process, a deadlock in several."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from intarsia.contracts import Batch
from intarsia.data.collate import collate
from intarsia.data.pipeline import Pipeline

SHOWN = 5
"""Names in a message before "and n more"."""


class FirstGradients:
    """Watches which parameters get a gradient in the first step; costs nothing after it."""

    def __init__(self, network: nn.Module) -> None:
        self._waiting = {name: p for name, p in network.named_parameters() if p.requires_grad}
        self._handles = [
            p.register_post_accumulate_grad_hook(lambda _, name=name: self._waiting.pop(name, None))
            for name, p in self._waiting.items()
        ]

    def missing(self) -> tuple[str, ...]:
        """Names of those without, once the step is done. Ends the watching."""
        for handle in self._handles:
            handle.remove()
        self._handles = []
        return tuple(self._waiting)


@dataclass(frozen=True)
class Rehearsal:
    """What a step before the first one shows: parameters without gradient, and the modules that were called."""

    without_gradient: tuple[str, ...]
    called: frozenset[str]


def rehearse(
    task: nn.Module,
    network: nn.Module,
    pipeline: Pipeline,
    device: torch.device,
    precision: AbstractContextManager[None],
) -> Rehearsal:
    """Try a forward and a backward pass on the first images, the same in every process, and leave no trace of it."""
    buffers = [(buffer, buffer.clone()) for buffer in network.buffers()]
    first = FirstGradients(network)
    samples = [pipeline.get(i, np.random.default_rng(i)) for i in range(min(2, len(pipeline)))]
    batch: Batch = collate(samples, ignore_index=pipeline.dataset.ignore_index).to(device)
    with _watched(network) as called, precision:
        terms = task.training_terms(batch)  # type: ignore[operator]
    torch.stack([term.weight * term.value for term in terms if term.weight]).sum().backward()
    without_gradient = first.missing()
    for parameter in network.parameters():
        parameter.grad = None
    for buffer, before in buffers:
        buffer.copy_(before)
    return Rehearsal(without_gradient, frozenset(called))


@contextmanager
def _watched(network: nn.Module) -> Iterator[set[str]]:
    called: set[str] = set()
    handles = [
        module.register_forward_pre_hook(lambda _module, _inputs, name=name: called.add(name))
        for name, module in network.named_modules()
    ]
    try:
        yield called
    finally:
        for handle in handles:
            handle.remove()


def listed(names: tuple[str, ...]) -> str:
    """Names for a message, the first few."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")
