"""Processes, devices and precision: Lightning Fabric behind one small class. No other file imports lightning_fabric."""

from __future__ import annotations

import atexit
import logging
import subprocess
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer

from intarsia.contracts import Batch, LossTerm
from intarsia.distributed.fsdp import WholeCopy, blocks_of, own_part, shard, whole
from intarsia.distributed.launchers import Launch, launch_of, process_count
from intarsia.distributed.sync_batch_norm import synchronise


@contextmanager
def _hidden(package: str) -> Iterator[None]:
    """Inside, a package that nobody has imported yet is as if it were not installed."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # which import takes for "there is none"
    try:
        yield
    finally:
        del sys.modules[package]


# Fabric imports all of torchmetrics to read its version, which imports torchvision and transformers: many seconds.
with _hidden("torchmetrics"):
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment
    from lightning_fabric.plugins.precision import MixedPrecision
    from lightning_fabric.strategies.ddp import DDPStrategy

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Strategy = Literal["ddp", "fsdp"]
LossScale = float | Literal["dynamic"] | Mapping[str, Any] | None
PRECISIONS: tuple[Precision, ...] = ("32-true", "16-mixed", "bf16-mixed", "64-true")
STRATEGIES: tuple[Strategy, ...] = ("ddp", "fsdp")
PATIENCE = 10.0
"""Seconds that a first process, at its end, gives those it has started to end by themselves."""

for _name in ("lightning_fabric", "lightning.fabric"):
    logging.getLogger(_name).setLevel(logging.WARNING)  # "Using 16bit ...", "Initializing distributed: ..."
warnings.filterwarnings("ignore", module="lightning_fabric")


class FabricRuntime:
    """Where a run happens: one process, or several that share its batches.

    devices: number of processes in total, one device each; None: as many as torchrun or SLURM has started, or one.
    accelerator: "auto", "cpu", "cuda" or "mps". precision: what the network computes in; losses compute in float32
    whatever it is. loss_scale: for "16-mixed", a fixed factor, "dynamic", or the arguments of torch's GradScaler, which
    is dynamic. synchronise_batch_norm: batch statistics over all processes. backend: of torch.distributed; None
    chooses. strategy: "ddp" keeps the whole network in every process, "fsdp" slices of it.
    start: how processes come about that nobody has started: "command" runs the command again, "fork" is for `spawn`.

    `device` holds from `launch` on. Raises ValueError for what the machine or its launcher does not have.
    """

    def __init__(
        self,
        *,
        devices: int | None = None,
        accelerator: str = "auto",
        precision: Precision = "32-true",
        loss_scale: LossScale = None,
        synchronise_batch_norm: bool = False,
        backend: str | None = None,
        strategy: Strategy = "ddp",
        start: Literal["command", "fork"] = "command",
    ) -> None:
        if precision not in PRECISIONS:
            raise ValueError(f"unknown precision {precision!r}; known: {', '.join(PRECISIONS)}")
        if strategy not in STRATEGIES:
            raise ValueError(f"unknown strategy {strategy!r}; known: {', '.join(STRATEGIES)}")
        launch, count = launch_of(), process_count(devices)
        here = count if launch is None else launch.per_machine
        self.accelerator = _accelerator(accelerator, here, launch)
        self.precision = precision
        self.synchronise_batch_norm = synchronise_batch_norm
        self.shards = strategy == "fsdp" and count > 1
        if self.shards and precision == "16-mixed":
            raise ValueError("loss scaling does not work on slices of gradients: with --strategy fsdp use bf16, or 32")
        environment = _environment(launch)
        plugins: list[Any] = []
        options: dict[str, Any] = {}
        if precision == "16-mixed":  # told, Fabric would compute in bfloat16 on processors
            plugins = [MixedPrecision("16-mixed", self.accelerator, scaler_for(loss_scale, self.accelerator))]
        else:
            options["precision"] = precision
        if count > 1:
            options["strategy"] = DDPStrategy(
                cluster_environment=environment,
                process_group_backend=backend,
                start_method="popen" if start == "command" else "fork",
            )
            options["num_nodes"] = 1 if launch is None else launch.machines
        else:
            plugins.append(environment)
        self._fabric = Fabric(accelerator=self.accelerator, devices=here, plugins=plugins, **options)
        self._launched = False

    def launch(self) -> None:
        """Start the processes, or join those that were started. Does nothing the second time."""
        if not self._launched:
            self._fabric.launch()
            self._launched = True
            children: list[subprocess.Popen[bytes]] = getattr(self._fabric.strategy.launcher, "procs", [])
            if children:
                atexit.register(_await, children)

    def spawn(self, function: Callable[[FabricRuntime], Any]) -> Any:
        """Run `function` in every process, which are forked for it; gives what rank 0 returns."""

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
        return self.device.type == "cuda" and self.precision != "16-mixed" and not self.shards

    @property
    def scales_loss(self) -> bool:
        """Whether a loss scaler watches over the gradients and leaves out steps in which they overflow."""
        return getattr(self._fabric.strategy.precision, "scaler", None) is not None

    def place(self, module: nn.Module) -> nn.Module:
        """The module on this process's device, its precision and its batch norm set up. Optimizers come after this."""
        if self.synchronise_batch_norm and self.world_size > 1:
            module = synchronise(module, self.device)
        module = self._fabric.strategy.precision.convert_module(module)
        return module.to(self.device)

    def shared_out(self, task: nn.Module, called: Collection[str]) -> nn.Module:
        """A placed task as `setup` takes it; with "fsdp" its parameters are slices now. Optimizers come after this.

        called: names of the modules in the network that a training step calls.
        """
        if not self.shards:
            return _Forward(task, None)
        network = task.get_submodule("model")
        blocks, step = blocks_of(network, called), _Forward(task, WholeCopy(network))
        shard(step, network, blocks, self.device)
        return step

    def setup(self, module: nn.Module, *optimizers: Optimizer) -> tuple[TrainingStep, list[Optimizer]]:
        """A task, placed and shared out, and its optimizers, ready for steps in every process.

        Raises ValueError for a fused optimizer beside a loss scaler: gradients could not be looked at before its step.
        """
        if self.scales_loss and any(optimizer.defaults.get("fused") for optimizer in optimizers):
            raise ValueError("an optimizer with fused=True hides its gradients from the loss scaler: use bf16, or 32")
        step = module if isinstance(module, _Forward) else _Forward(module, None)
        together = self.world_size > 1 and not self.shards
        parallel = self._fabric.strategy.setup_module(step) if together else step
        wrapped = [cast(Optimizer, self._fabric.setup_optimizers(optimizer)) for optimizer in optimizers]
        return TrainingStep(parallel, step, self), wrapped

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of the run for whatever is computed inside."""
        return self._fabric.autocast()

    def backward(self, loss: Tensor) -> None:
        """Add the gradients of `loss`, scaled where the precision asks for it."""
        self._fabric.backward(loss)

    def clip_gradients(
        self,
        optimizer: Optimizer,
        *,
        max_norm: float | None = None,
        norm_type: float = 2.0,
        clip_value: float | None = None,
    ) -> Tensor:
        """Limit the gradients of the optimizer's parameters: their norm, over all of them, or each value on its own.

        Gives the norm they had, a scalar; with neither limit it is only measured.
        """
        inner = getattr(optimizer, "optimizer", optimizer)
        self._fabric.strategy.precision.unscale_gradients(inner)
        parameters = [parameter for group in inner.param_groups for parameter in group["params"]]
        if max_norm is not None:
            return whole(nn.utils.clip_grad_norm_(parameters, max_norm, norm_type))
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms = torch._foreach_norm(gradients, norm_type)
        norm = whole(torch.linalg.vector_norm(torch.stack(norms), norm_type))
        if clip_value is not None:
            for gradient in gradients:
                own_part(gradient).clamp_(-clip_value, clip_value)
        return norm

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in each of them. With one process, `value` itself."""
        if self.world_size == 1:
            return value
        total = value.detach().to(self.device, copy=True)
        torch.distributed.all_reduce(total)
        return total.to(value.device)

    def all_true(self, flag: Tensor) -> Tensor:
        """Whether a scalar flag is true in every process, as a scalar on its device. Nothing waits for the device."""
        if self.world_size == 1:
            return flag
        wrong = (~flag).to(torch.float32)
        torch.distributed.all_reduce(wrong)
        return wrong == 0

    def agree_on_statistics(self, network: nn.Module) -> None:
        """Give every process the running statistics of rank 0, which are the ones that are saved."""
        buffers = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
        if self.world_size == 1 or not buffers:
            return
        flat = torch.cat([buffer.detach().reshape(-1) for buffer in buffers])
        torch.distributed.broadcast(flat, 0)
        for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
            buffer.copy_(values.view_as(buffer))

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has, in every process."""
        return self._fabric.broadcast(value) if self.world_size > 1 else value

    def all_gather(self, value: Any) -> list[Any]:
        """What every process has, in each of them. Anything that can be pickled."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        torch.distributed.all_gather_object(values, value)
        return values

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
    """Calls a task on a batch, under the precision of the run and through the exchange of gradients."""

    def __init__(self, parallel: nn.Module, step: _Forward, runtime: FabricRuntime) -> None:
        self._parallel = parallel
        self._step = step
        self._runtime = runtime

    def __call__(self, batch: Batch) -> list[LossTerm]:
        """The loss terms of a batch, ready for `backward`."""
        if self._runtime.shards:  # DDP does it by itself
            self._runtime.agree_on_statistics(self._step.task.get_submodule("model"))
        with self._runtime.autocast():
            values, sealed = self._parallel(_Sealed(batch))
        return [LossTerm(name, value, weight) for value, (name, weight) in zip(values, sealed.content, strict=True)]

    @contextmanager
    def gradients_later(self, later: bool) -> Iterator[None]:
        """Inside, gradients stay in this process: there are more parts of the same batch to come."""
        if later and isinstance(self._parallel, DistributedDataParallel):
            with self._parallel.no_sync():
                yield
        elif self._runtime.shards:
            cast(Any, self._parallel).set_requires_gradient_sync(not later)
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


class _Forward(nn.Module):
    """The task's training method under the name that DDP and FSDP hook into; both must see its tensors.

    copy: of the network, if that is going to be sharded.
    """

    def __init__(self, task: nn.Module, copy: WholeCopy | None) -> None:
        super().__init__()
        self.task = task
        self.copy = copy

    def forward(self, sealed: _Sealed) -> tuple[tuple[Tensor, ...], _Sealed]:
        terms: list[LossTerm] = self.task.training_terms(sealed.content)  # type: ignore[operator]
        return tuple(term.value for term in terms), _Sealed([(term.name, term.weight) for term in terms])


class FixedScaler(torch.amp.GradScaler):
    """Scales losses by one factor for the whole run; steps whose gradients overflow are left out all the same."""

    def __init__(self, device: str, scale: float) -> None:
        super().__init__(device, init_scale=scale)
        self._fixed = scale

    def update(self, new_scale: float | Tensor | None = None) -> None:
        """Forget the overflow of this step, and keep the factor."""
        super().update(self._fixed if new_scale is None else new_scale)


def scaler_for(loss_scale: LossScale, device: str) -> torch.amp.GradScaler:
    """The loss scaler that a config asks for. Raises ValueError for arguments that it does not take."""
    if isinstance(loss_scale, Mapping):
        try:
            return torch.amp.GradScaler(device, **loss_scale)
        except (TypeError, AssertionError) as error:
            raise ValueError(f"loss_scale {dict(loss_scale)}: {error}") from error
    if isinstance(loss_scale, (int, float)):
        return FixedScaler(device, float(loss_scale))
    return torch.amp.GradScaler(device)


def _accelerator(wanted: str, devices: int, launch: Launch | None) -> str:
    """The accelerator, checked against what this machine has. devices: wanted on this machine."""
    found = torch.cuda.device_count()
    if wanted == "auto":
        wanted = "cuda" if found else "mps" if torch.backends.mps.is_available() else "cpu"
    if devices < 1:
        raise ValueError(f"a run needs at least one device, found devices={devices}")
    if wanted == "cuda" and found < devices:
        fix = "; accelerator='cpu' runs without" if not found else ""
        if found and launch is not None and launch.by == "SLURM":
            fix = "; every task must see all of its machine's GPUs: ask for --gpus-per-node, not --gpus-per-task"
        raise ValueError(f"{devices} CUDA devices wanted, this machine has {found}{fix}")
    if wanted == "mps" and devices > 1:
        raise ValueError(f"{devices} processes cannot share the one GPU of a Mac; leave --devices out")
    return wanted


def _environment(launch: Launch | None) -> ClusterEnvironment:
    """Fabric's name for what has started the processes; its own guess sees clusters where nothing was started."""
    if launch is None:
        return LightningEnvironment()
    return TorchElasticEnvironment() if launch.by == "torchrun" else SLURMEnvironment()


def _await(children: Sequence[subprocess.Popen[bytes]]) -> None:
    """Do not end before the processes that this one has started; after an error here they may wait for it forever."""
    for child in children:
        try:
            child.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            child.kill()
