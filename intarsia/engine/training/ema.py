"""A running average of the weights, which is what gets evaluated and kept (Polyak averaging)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor, nn

from intarsia.distributed.fsdp import own_part
from intarsia.distributed.state_dicts import sliced_like
from intarsia.spec import EmaSpec


class Ema:
    """average = (1 - share) * average + share * weights, after every step from `begin` on; `EmaSpec` has the shares.

    Until then, and in that first step, the average is the weights themselves. Statistics of batch norms and other
    buffers are copied unless the spec says otherwise: they are running averages already.
    """

    def __init__(self, network: nn.Module, spec: EmaSpec) -> None:
        self.spec = spec
        self._weights = list(network.parameters())
        self._buffers = list(network.buffers())
        self._copies = [buffer.detach().clone() for buffer in self._buffers]
        whole = [weight.detach().clone() for weight in self._weights]
        self._averages = [own_part(average) for average in whole]
        names = [name for name, _ in (*network.named_parameters(), *network.named_buffers())]
        self._named = dict(zip(names, (*whole, *self._copies), strict=True))

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after `step` steps."""
        weights = [own_part(weight) for weight in self._weights]
        since = step - max(self.spec.begin, 1)
        begun = since > 0
        if not begun:
            torch._foreach_copy_(self._averages, weights)
        elif since % self.spec.interval == 0:
            torch._foreach_lerp_(self._averages, weights, self._share(since))
        for copy, buffer in zip(self._copies, self._buffers, strict=True):
            if not (begun and self.spec.average_buffers and buffer.is_floating_point()):
                copy.copy_(buffer)
            elif since % self.spec.interval == 0:
                copy.lerp_(buffer, self._share(since))

    def _share(self, since: int) -> float:
        """Of the weights, so many steps after the average began."""
        spec = self.spec
        if spec.kind == "mean":
            return 1 / (since // spec.interval + 1)
        return max(spec.momentum, spec.gamma / (spec.gamma + since)) if spec.kind == "annealing" else spec.momentum

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the network has the averages for weights."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        """Swap contents, not tensors: optimizers, DDP and compiled graphs hold on to the tensors."""
        weights = [own_part(weight) for weight in self._weights]
        for mine, yours in zip((*self._averages, *self._copies), (*weights, *self._buffers), strict=True):
            held = mine.clone()
            mine.copy_(yours)
            yours.copy_(held)

    @torch.no_grad()
    def show(self, network: nn.Module) -> None:
        """Give a copy of the network the averages as its tensors: whatever they become, it has."""
        for name, tensor in (*network.named_parameters(), *network.named_buffers()):
            tensor.data = self._named[name]

    def state(self) -> dict[str, Tensor]:
        """The averages under the names of the network's state; slices, if the network has slices of its weights."""
        return dict(self._named)

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from what `state` gave."""
        for name, average in self._named.items():
            average.copy_(sliced_like(average, state[name]))


def begun_by_step(spec: EmaSpec, steps_per_epoch: int) -> EmaSpec:
    """The same average, whose begin is a step: the first one of the epoch that the spec names."""
    if not spec.begin_epoch:
        return spec
    return replace(spec, begin=(spec.begin_epoch - 1) * steps_per_epoch + 1, begin_epoch=0)
