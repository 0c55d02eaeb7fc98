"""Processes, devices and precision: Lightning Fabric behind one small class. No other file imports lightning_fabric."""

from __future__ import annotations

import atexit
import importlib
import importlib.metadata
import logging
import subprocess
import warnings
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from intarsia.distributed.elastic import is_elastic, join_elastic
from intarsia.distributed.fsdp import WholeCopy, blocks_of, own_part, shard, whole
from intarsia.distributed.launchers import Launch, launch_of, process_count
from intarsia.distributed.loss_scale import LossScale, scaler_for
from intarsia.distributed.sync_batch_norm import synchronise
from intarsia.distributed.training_step import TrainingForward, TrainingStep

if TYPE_CHECKING:
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

Precision = Literal["32-true", "16-mixed", "bf16-mixed", "64-true"]
Strategy = Literal["ddp", "fsdp"]
PRECISIONS: tuple[Precision, ...] = ("32-true", "16-mixed", "bf16-mixed", "64-true")
STRATEGIES: tuple[Strategy, ...] = ("ddp", "fsdp")
PATIENCE = 10.0
"""Seconds that a first process, at its end, gives those it has started to end by themselves."""


class FabricRuntime:
    """Where a run happens: one process, or several that share its batches.

    devices: number of processes in total, one device each; None: as many as torchrun or SLURM has started, or one.
    accelerator: "auto", "cpu", "cuda" or "mps". precision: what the network computes in; losses compute in float32
    whatever it is. loss_scale: for "16-mixed", a fixed factor, "dynamic", or the arguments of torch's GradScaler, which
    is dynamic. synchronise_batch_norm: batch statistics over all processes.
    average_statistics: every process keeps the running statistics of its own images until `average_statistics` is
    called; without, all have those of the first. backend: of torch.distributed; None
    chooses. strategy: "ddp" keeps the whole network in every process, "fsdp" slices of it.
    start: how processes come about that nobody has started: "command" runs the command again; "fork", "spawn" and
    "forkserver" are multiprocessing's ways, for `spawn`.

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
        average_statistics: bool = False,
        backend: str | None = None,
        strategy: Strategy = "ddp",
        start: Literal["command", "fork", "spawn", "forkserver"] = "command",
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
        self.averages_statistics = average_statistics and count > 1
        self.shards = strategy == "fsdp" and count > 1
        if self.shards and precision == "16-mixed":
            raise ValueError("loss scaling does not work on slices of gradients: with --strategy fsdp use bf16, or 32")
        with _quiet_fabric():
            self._fabric = self._make_fabric(launch, here, count, loss_scale, backend, start)
        self._launched = False
        self._backend = backend
        self._cpu_group: Any = None

    def _make_fabric(
        self, launch: Launch | None, here: int, count: int, loss_scale: LossScale, backend: str | None, start: str
    ) -> Fabric:
        from lightning_fabric import Fabric
        from lightning_fabric.plugins.precision import MixedPrecision
        from lightning_fabric.strategies.ddp import DDPStrategy

        environment = _environment(launch)
        plugins: list[Any] = []
        options: dict[str, Any] = {}
        if self.precision == "16-mixed":  # told, Fabric would compute in bfloat16 on processors
            plugins = [MixedPrecision("16-mixed", self.accelerator, scaler_for(loss_scale, self.accelerator))]
        else:
            options["precision"] = self.precision
        if count > 1:
            options["strategy"] = DDPStrategy(
                cluster_environment=environment,
                process_group_backend=backend,
                start_method="popen" if start == "command" else cast(Any, start),
                broadcast_buffers=not self.averages_statistics,
            )
            options["num_nodes"] = 1 if launch is None else launch.machines
        else:
            plugins.append(environment)
        return Fabric(accelerator=self.accelerator, devices=here, plugins=plugins, **options)

    def launch(self) -> None:
        """Start the processes, or join those that were started. Does nothing the second time."""
        if not self._launched:
            launch = launch_of()
            if launch is not None and launch.by == "torchrun" and launch.total > 1 and is_elastic():
                join_elastic(self._fabric.device, self._backend)
            with _quiet_fabric():
                self._fabric.launch()
            children: list[subprocess.Popen[bytes]] = getattr(self._fabric.strategy.launcher, "procs", [])
            if children:
                atexit.register(_await, children)
            self._joined()

    def _joined(self) -> None:
        """All processes are there. Numbers on the processor get a group of their own beside an accelerator's."""
        self._launched = True
        if self.world_size > 1 and self.device.type != "cpu":
            self._cpu_group = torch.distributed.new_group(backend="gloo")

    def spawn(self, function: Callable[[FabricRuntime], Any]) -> Any:
        """Run `function` in every process, which are started for it; gives what rank 0 returns.

        It must be picklable, unless the processes are forked.
        """
        return self._fabric.launch(_Spawned(self, function))

    @property
    def rank(self) -> int:
        """Number of this process, 0 to world_size - 1. Rank 0 writes files and talks to the user."""
        return self._fabric.global_rank

    @property
    def processes_here(self) -> int:
        """Number of processes on this machine, where each has as many."""
        launch = launch_of()
        return max(1, self.world_size // (1 if launch is None else launch.machines))

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
        """Whether an optimizer may do its step in one kernel."""
        return self.device.type == "cuda" and not self.shards

    @property
    def _scaler(self) -> torch.amp.GradScaler | None:
        """What scales losses under "16-mixed"."""
        return getattr(self._fabric.strategy.precision, "scaler", None)

    def place(self, module: nn.Module) -> nn.Module:
        """The module on this process's device, its precision and its batch norm set up. Optimizers come after this."""
        if self.synchronise_batch_norm and self.world_size > 1:
            module = synchronise(module, self.device)
        module = self._fabric.strategy.precision.convert_module(module)
        there = all(tensor.device == self.device for tensor in (*module.parameters(), *module.buffers()))
        return module if there else module.to(self.device)

    def shared_out(self, task: nn.Module, called: Collection[str]) -> nn.Module:
        """A placed task as `setup` takes it; with "fsdp" its parameters are slices now. Optimizers come after this.

        called: names of the modules in the network that a training step calls.
        """
        if not self.shards:
            return TrainingForward(task, None)
        network = task.get_submodule("model")
        blocks, step = blocks_of(network, called), TrainingForward(task, WholeCopy(network))
        shard(step, network, blocks, self.device)
        return step

    def setup(self, module: nn.Module) -> TrainingStep:
        """A task, placed and shared out, ready for steps in every process."""
        step = module if isinstance(module, TrainingForward) else TrainingForward(module, None)
        together = self.world_size > 1 and not self.shards
        parallel = self._fabric.strategy.setup_module(step) if together else step
        agree = self.agree_on_statistics if self.shards and not self.averages_statistics else None
        return TrainingStep(parallel, step, autocast=self.autocast, before_forward=agree)

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
        if self._scaler is not None:
            self._scaler.unscale_(optimizer)
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if max_norm is not None:
            return whole(nn.utils.clip_grad_norm_(parameters, max_norm, norm_type))
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        norms = torch._foreach_norm(gradients, norm_type)
        norm = whole(torch.linalg.vector_norm(torch.stack(norms), norm_type))
        if clip_value is not None:
            for gradient in gradients:
                own_part(gradient).clamp_(-clip_value, clip_value)
        return norm

    def update_loss_scale(self) -> None:
        """After a step: a smaller loss scale if gradients have overflowed, a larger one after many that have not."""
        if self._scaler is not None:
            self._scaler.update()

    def all_reduce_sum(self, value: Tensor) -> Tensor:
        """The sum over all processes, in each of them. With one process, `value` itself.

        A tensor on the processor is summed there, so that nothing waits for the device.
        """
        if self.world_size == 1:
            return value
        total = value.detach().clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total, group=self._cpu_group if total.device.type == "cpu" else None)
        return total

    def all_true(self, flag: Tensor) -> Tensor:
        """Whether a scalar flag is true in every process, as a scalar on its device. Nothing waits for the device."""
        if self.world_size == 1:
            return flag
        wrong = (~flag).to(torch.float32)
        torch.distributed.all_reduce(wrong)
        return wrong == 0

    def agree_on_statistics(self, network: nn.Module) -> None:
        """Give every process the running statistics of rank 0, which are the ones that are saved."""
        if self.world_size > 1 and (flat := _flattened(network)) is not None:
            torch.distributed.broadcast(flat, 0)
            _filled(network, flat)

    def average_statistics(self, network: nn.Module) -> None:
        """Give every process the mean of all running statistics, if the runtime averages them (MMEngine's buffers)."""
        if self.averages_statistics and (flat := _flattened(network)) is not None:
            torch.distributed.all_reduce(flat)
            _filled(network, flat / self.world_size)

    def statistics(self, network: nn.Module) -> list[Tensor]:
        """Those of every process, on the processor, as `load_statistics` takes them; none where all have the same."""
        flat = _flattened(network) if self.averages_statistics else None
        return [] if flat is None else self.all_gather(flat.cpu())

    def load_statistics(self, network: nn.Module, found: Sequence[Tensor]) -> None:
        """Go on from what `statistics` gave, with the mean of them in another number of processes."""
        if found:
            own = found[self.rank] if len(found) == self.world_size else torch.stack(list(found)).mean(dim=0)
            _filled(network, own)

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


def _statistics(network: nn.Module) -> list[Tensor]:
    """Buffers that differ between processes; whole numbers count steps, or are constants."""
    return [buffer for buffer in network.buffers() if buffer.is_floating_point()]


def _flattened(network: nn.Module) -> Tensor | None:
    """A copy of the statistics as one tensor; None for a network without."""
    buffers = _statistics(network)
    return torch.cat([buffer.detach().reshape(-1) for buffer in buffers]) if buffers else None


def _filled(network: nn.Module, flat: Tensor) -> None:
    """The statistics become those of a tensor that `_flattened` gave."""
    buffers = _statistics(network)
    for buffer, values in zip(buffers, flat.split([buffer.numel() for buffer in buffers]), strict=True):
        buffer.copy_(values.view_as(buffer))


@dataclass(frozen=True)
class _Spawned:
    """What a process that was started for a function does; pickled for it."""

    runtime: FabricRuntime
    function: Callable[[FabricRuntime], Any]

    def __call__(self, fabric: Fabric) -> Any:
        self.runtime._fabric = fabric
        self.runtime._joined()
        return self.function(self.runtime)


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


@contextmanager
def _quiet_fabric() -> Iterator[None]:
    """Inside, Fabric does not tell what it does: "Using 16bit ...", "Initializing distributed: ..."."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning_fabric")
        _import_fabric()
        loggers = [logging.getLogger(name) for name in ("lightning_fabric", "lightning.fabric")]
        levels = [logger.level for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.WARNING)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@cache
def _import_fabric() -> None:
    """Fabric would import torchmetrics to read its version, and so torchvision and transformers: many seconds."""
    imports: Any = importlib.import_module("lightning_utilities.core.imports")  # comes with Fabric, which asks it
    compare = imports.compare_version

    def by_metadata(package: str, op: Callable[[Any, Any], bool], version: str, **options: Any) -> Any:
        if package != "torchmetrics":
            return compare(package, op, version, **options)
        try:
            return op(imports.Version(importlib.metadata.version(package)), imports.Version(version))
        except importlib.metadata.PackageNotFoundError:
            return False

    imports.compare_version = by_metadata
    try:
        import lightning_fabric  # noqa: F401
    finally:
        imports.compare_version = compare


def _environment(launch: Launch | None) -> ClusterEnvironment:
    """Fabric's name for what has started the processes; its own guess sees clusters where nothing was started."""
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.plugins.environments.slurm import SLURMEnvironment
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

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
