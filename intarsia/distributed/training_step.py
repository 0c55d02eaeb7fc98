"""The call of a task on a batch in every process: precision, exchange of gradients, whole weights for evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from intarsia.contracts import Batch, LossTerm
from intarsia.distributed.fsdp import WholeCopy


class TrainingStep:
    """Calls a task on a batch, under the precision of the run and through the exchange of gradients.

    parallel: `step`, wrapped or sharded for several processes. autocast: the precision. before_forward: gets the
    network; DDP makes statistics agree by itself, sharding does not.
    """

    def __init__(
        self,
        parallel: nn.Module,
        step: TrainingForward,
        *,
        autocast: Callable[[], AbstractContextManager[Any]],
        before_forward: Callable[[nn.Module], None] | None = None,
    ) -> None:
        self._parallel = parallel
        self._step = step
        self._autocast = autocast
        self._before_forward = before_forward

    def __call__(self, batch: Batch) -> list[LossTerm]:
        """The loss terms of a batch, ready for `backward`."""
        if self._before_forward is not None:
            self._before_forward(self._step.task.get_submodule("model"))
        with self._autocast():
            values, sealed = self._parallel(_Sealed(batch))
        return [LossTerm(name, value, weight) for value, (name, weight) in zip(values, sealed.content, strict=True)]

    @contextmanager
    def no_sync(self, enabled: bool = True) -> Iterator[None]:
        """Inside, if enabled, gradients stay in this process: more micro-batches of the same step are to come."""
        if enabled and isinstance(self._parallel, DistributedDataParallel):
            with self._parallel.no_sync():
                yield
        elif self._step.copy is not None:
            cast(Any, self._parallel).set_requires_gradient_sync(not enabled)
            yield
        else:
            yield

    @contextmanager
    def whole(self) -> Iterator[None]:
        """Inside, the task's network has all of its parameters in this process. Every process must enter it."""
        task, copy = self._step.task, self._step.copy
        if copy is None:
            yield
            return
        sharded = task.get_submodule("model")
        task.model = copy.fill(sharded)
        try:
            yield
        finally:
            task.model = sharded
            copy.empty()

    def release(self) -> None:
        """Leave the task with a network that is whole, for whoever uses it next. Every process must call it."""
        if self._step.copy is not None:
            self._step.task.model = self._step.copy.fill(self._step.task.get_submodule("model"))


class _Sealed:
    """Carries what DDP, which takes containers apart and rebuilds them, must leave alone."""

    def __init__(self, content: Any) -> None:
        self.content = content


class TrainingForward(nn.Module):
    """The task's training method under the name that DDP and FSDP hook into; both must see its tensors.

    copy: of the network, if that is going to be sharded.
    """

    def __init__(self, task: nn.Module, copy: WholeCopy | None) -> None:
        super().__init__()
        self.task = task
        self.copy = copy

    def forward(self, sealed: _Sealed) -> tuple[tuple[Tensor, ...], _Sealed]:
        """A batch -> values of the loss terms, and their names and weights."""
        terms: list[LossTerm] = self.task.training_terms(sealed.content)  # type: ignore[operator]
        return tuple(term.value for term in terms), _Sealed([(term.name, term.weight) for term in terms])
