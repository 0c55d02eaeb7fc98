"""Processes, devices and precision: Lightning Fabric behind one small class. No other file imports lightning_fabric."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal, cast

import torch
from lightning_fabric import Fabric
from lightning_fabric.plugins.precision import MixedPrecision
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from intarsia.contracts import Batch, LossTerm

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
PRECISIONS: tuple[Precision, ...] = ("32-true", "16-mixed", "bf16-mixed", "64-true")

for _name in ("lightning_fabric", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # "Using 16bit ...", "Initializing distributed: ..."
warnings.filterwarnings("ignore", module="lightning_fabric")


class FabricRuntime:
    """Where a run happens: one process, or several that share its batches.

    devices: number of processes, one device each. accelerator: "auto", "cpu", "cuda" or "mps". precision: what the
    network computes in; losses compute in float32 whatever it is. loss_scale: for "16-mixed", a fixed factor or
    "dynamic". synchronise_batch_norm: batch statistics over all processes. backend: of torch.distributed; None chooses.
    strategy: how Fabric starts the processes; "ddp" runs the command again in each.

    `rank`, `world_size` and `device` hold from `launch` on.
    """

    def __init__(
        self,
        *,
        devices: int = 1,
        accelerator: str = "auto",
        precision: Precision = "32-true",
        loss_scale: float | Literal["dynamic"] | None = None,
        synchronise_batch_norm: bool = False,
        strategy: str = "ddp",
        backend: str | None = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        self.accelerator = _accelerator(accelerator, devices)
        self.precision = precision
        self.synchronise_batch_norm = synchronise_batch_norm
        options: dict[str, Any] = {}
        if precision == "16-mixed" and self.accelerator == "cuda" and isinstance(loss_scale, (int, float)):
            scaler = torch.amp.GradScaler("cuda", init_scale=float(loss_scale), growth_interval=2**31 - 1)
            options["plugins"] = [MixedPrecision("16-mixed", "cuda", scaler)]
        else:
            options["precision"] = precision
        if devices > 1:
            options["strategy"] = _strategy(strategy, backend)
        self._fabric = Fabric(accelerator=self.accelerator, devices=devices, **options)
        self._launched = False

    def launch(self) -> None:
        """Start the processes. Does nothing the second time."""
        if not self._launched:
            self._fabric.launch()
            self._launched = True

    def spawn(self, function: Callable[[FabricRuntime], Any]) -> Any:
        """Run `function` in every process of a "ddp_spawn" or "ddp_fork" strategy; gives what rank 0 returns."""

        def entered(_: Fabric) -> Any:
            self._launched = True
            return function(self)

        return self._fabric.launch(entered)

    @property
    def rank(self) -> int:
        """Number of this process, 0 to world_size - 1. Rank 0 writes files and talks to the user."""
        return self._fabric.global_rank

    @property
    def world_size(self) -> int:
        """Number of processes."""
        return self._fabric.world_size

    @property
    def device(self) -> torch.device:
        """The device of this process."""
        return self._fabric.device

    @property
    def fuses_optimizers(self) -> bool:
        """Whether an optimizer may do its step in one kernel: gradients could not be clipped with a loss scale then."""
        return self.device.type == "cuda" and self.precision != "16-mixed"

    def place(self, module: nn.Module) -> nn.Module:
        """The module on this process's device, its precision and its batch norm set up. Optimizers come after this."""
        if self.synchronise_batch_norm and self.world_size > 1:
            if self.device.type == "cpu":
                warnings.warn(
                    "torch synchronises batch norm on accelerators only; each process uses its own", stacklevel=2
                )
            else:
                module = nn.SyncBatchNorm.convert_sync_batchnorm(module)
        module = self._fabric.strategy.precision.convert_module(module)
        return module.to(self.device)

    def setup(self, module: nn.Module, *optimizers: Optimizer) -> tuple[TrainingStep, list[Optimizer]]:
        """A placed task and its optimizers, ready for steps in every process."""
        step = _Forward(module)
        parallel = self._fabric.strategy.setup_module(step) if self.world_size > 1 else step
        wrapped = [cast(Optimizer, self._fabric.setup_optimizers(optimizer)) for optimizer in optimizers]
        return TrainingStep(parallel, self._fabric), wrapped

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the run for whatever is computed inside."""
        return self._fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled where the precision asks for it."""
        self._fabric.backward(loss)

    def clip_gradients(self, optimizer: Optimizer, *, max_norm: float, norm_type: float = 2.0) -> Tensor:
        """Shorten the gradient over all of the optimizer's parameters to `max_norm`; gives the norm it had."""
        inner = getattr(optimizer, "optimizer", optimizer)
        self._fabric.strategy.precision.unscale_gradients(inner)
        parameters = [parameter for group in inner.param_groups for parameter in group["params"]]
        return nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in each of them. With one process, `value` itself."""
        if self.world_size == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(value.device)

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has, in every process."""
        return self._fabric.broadcast(value) if self.world_size > 1 else value

    def barrier(self) -> None:
        """Wait for all processes."""
        self._fabric.barrier()

    def precision_state(self) -> dict[str, Any]:
        """What the precision must remember: the loss scale, if it is dynamic."""
        return dict(self._fabric.strategy.precision.state_dict())

    def load_precision_state(self, state: dict[str, Any]) -> None:
        """Go on from what `precision_state` gave."""
        self._fabric.strategy.precision.load_state_dict(state)


class TrainingStep:
    """Calls a task on a batch, under the precision of the run and through the gradient exchange of DDP."""

    def __init__(self, module: nn.Module, fabric: Fabric) -> None:
        self._module = module
        self._fabric = fabric

    def __call__(self, batch: Batch) -> list[LossTerm]:
        """The loss terms of a batch, ready for `backward`."""
        with self._fabric.autocast():
            terms: list[LossTerm] = self._module(_Sealed(batch)).content
        return terms

    def gradients_later(self, later: bool) -> AbstractContextManager[Any]:
        """Inside, gradients stay in this process: there are more parts of the same batch to come."""
        if later and isinstance(self._module, DistributedDataParallel):
            return cast(AbstractContextManager[Any], self._module.no_sync())
        return nullcontext()


class _Sealed:
    """Carries a batch or loss terms through DDP, which would take frozen dataclasses apart and fail to rebuild them."""

    def __init__(self, content: Any) -> None:
        self.content = content


class _Forward(nn.Module):
    """The task's training method under the name that DDP hooks into."""

    def __init__(self, task: nn.Module) -> None:
        super().__init__()
        self.task = task

    def forward(self, sealed: _Sealed) -> _Sealed:
        return _Sealed(self.task.training_terms(sealed.content))  # type: ignore[operator]


def _accelerator(wanted: str, devices: int) -> str:
    """The accelerator, checked against what this machine has."""
    found = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "cuda" if found else "mps" if torch.backends.mps.is_available() else "cpu"
    if devices < 1:
        raise ValueError(f"a run needs at least one device, found devices={devices}")
    if wanted == "cuda" and found < devices:
        raise ValueError(
            f"{devices} CUDA devices wanted, this machine has {found}"
            + ("; accelerator='cpu' runs without" if not found else "")
        )
    return wanted


def _strategy(name: str, backend: str | None) -> Any:
    from lightning_fabric.strategies.ddp import DDPStrategy

    start: dict[str, Any] = {"ddp": "popen", "ddp_spawn": "spawn", "ddp_fork": "fork"}
    if name not in start:
        raise ValueError(f"unknown strategy {name!r}; known: {', '.join(start)}")
    return DDPStrategy(start_method=start[name], process_group_backend=backend)
