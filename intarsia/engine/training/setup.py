"""From a built task to one that can take steps: on its device, frozen where it should be, in every process."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn
from torch.optim import Optimizer

from intarsia.distributed.training_step import TrainingStep
from intarsia.engine.optim.lora import TRUNK, LowRank, adapt
from intarsia.engine.optim.optimizers import optimizer_for
from intarsia.engine.training.run import Run
from intarsia.engine.training.unused_parameters import Rehearsal, rehearse
from intarsia.tasks.freezing import Frozen


@dataclass(frozen=True)
class Prepared:
    """A task ready for training.

    model: computes its losses. without_gradient: names of the parameters that no gradient reaches; a single process
    finds them out in its first step only. adapters: what the trunk learns besides itself, if that stands still.
    """

    task: nn.Module
    model: TrainingStep
    optimizer: Optimizer
    frozen: Frozen
    without_gradient: tuple[str, ...]
    adapters: tuple[LowRank, ...] = ()

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        return self.task.get_submodule("model")


def prepare(run: Run, module: nn.Module) -> Prepared:
    """Prepare `module`, which is the task of a run or a copy of it. Every process must call it."""
    runtime = run.runtime
    task = runtime.place(module)
    network = task.get_submodule("model")
    lora, patterns = run.safeguards.lora, run.safeguards.freeze
    adapters = () if lora is None else adapt(network, lora, seed=run.seed)
    frozen = Frozen(network, patterns if lora is None else (*patterns, TRUNK), spared=adapters)
    task.train()
    frozen.hold()
    rehearsal = Rehearsal((), frozenset())
    if runtime.world_size > 1:
        rehearsal = rehearse(task, network, run.pipeline, runtime.device, runtime.autocast())
    step = runtime.shared_out(task, rehearsal.called)
    optimizer = optimizer_for(network, run.optim, optimizer_class=run.optimizer_class, fused=runtime.fuses_optimizers)
    for name in rehearsal.without_gradient:  # the optimizer knows them, as it does in a single process; nobody waits
        network.get_parameter(name).requires_grad_(False)
    return Prepared(task, runtime.setup(step), optimizer, frozen, rehearsal.without_gradient, adapters)
