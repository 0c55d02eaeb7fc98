"""Activation checkpointing: memory for time, without a trace in the numbers.

Of a checkpointed block only the input is kept; the block runs a second time in the backward pass. Batch norms must
not count that batch twice: their running statistics stand still in the second run.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
import torch.utils.checkpoint
from torch import nn

from intarsia.layers import onednn

_WITH_STATISTICS = nn.modules.batchnorm._NormBase
"""What all batch and instance norms of torch are."""


def run_block(block: nn.Module, *inputs: Any, checkpoint: bool) -> Any:
    """`block(*inputs)`, recomputed in the backward pass if `checkpoint` and gradients are wanted."""
    if not (checkpoint and torch.is_grad_enabled()):
        return block(*inputs)

    def contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        return nullcontext(), _as_before(block, onednn.as_now())

    if torch.compiler.is_compiling():
        # A compiled graph recomputes without repeating side effects, and cannot trace the context managers.
        return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False)
    return torch.utils.checkpoint.checkpoint(block, *inputs, use_reentrant=False, context_fn=contexts)


@contextmanager
def _as_before(block: nn.Module, kernels: AbstractContextManager[None]) -> Iterator[None]:
    """The second run, to the bits of the first."""
    with kernels, _frozen_statistics(block):
        yield


@contextmanager
def _frozen_statistics(block: nn.Module) -> Iterator[None]:
    """Batch norms in training mode normalise by the batch as before, but leave their running statistics alone."""
    norms = [m for m in block.modules() if isinstance(m, _WITH_STATISTICS) and m.training and m.track_running_stats]
    settings = [(norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm in norms:
        norm.momentum, norm.num_batches_tracked = 0.0, None
    try:
        yield
    finally:
        for norm, (momentum, batches) in zip(norms, settings, strict=True):
            norm.momentum, norm.num_batches_tracked = momentum, batches
