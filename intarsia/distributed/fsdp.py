"""Parameters, gradients and optimizer states shared out over processes, from outside the network (FSDP2).

Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, arXiv:2304.11277, as
`torch.distributed.fsdp.fully_shard` does it: of every parameter each process keeps a slice along the first axis. A
block of the network puts its parameters together when it is called, and lets go of them again; forward and backward are
what they are with DDP. A slice is a DTensor, which knows of the whole; only this file deals with them.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

LARGEST, SMALLEST = 1 / 8, 1 / 100
"""Shares of the network's parameters: a larger block is divided further where it can be, a smaller one is none."""


def blocks_of(network: nn.Module, called: Collection[str]) -> tuple[str, ...]:
    """Names of the parts that are to have their parameters together: items of lists and sequences, none in another.

    called: names of the modules that a training step calls. Others may have their parameters used from outside, where
    they would find slices.
    """
    total = _count(network)

    def inside(module: nn.Module, prefix: str) -> Iterator[str]:
        for name, child in module.named_children():
            share, path = _count(child) / total, f"{prefix}{name}"
            if share < SMALLEST:
                continue
            finer = list(inside(child, f"{path}."))
            is_item = isinstance(module, nn.ModuleList | nn.Sequential)
            if is_item and path in called and not (finer and share > LARGEST):
                yield path
            else:
                yield from finer

    return tuple(inside(network, ""))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def shard(root: nn.Module, network: nn.Module, blocks: Collection[str], device: torch.device) -> None:
    """Leave this process its slices of all parameters below `root`, whose call begins every step.

    The default process group must exist. Raises ValueError if torch is too old.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise ValueError(
            f"sharding needs torch 2.6 or newer, this is {torch.__version__}; use --strategy ddp"
        ) from error
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for name in blocks:
        fully_shard(network.get_submodule(name), mesh=mesh)
    fully_shard(root, mesh=mesh)


def own_part(tensor: Tensor) -> Tensor:
    """The slice that this process has of a sharded tensor, sharing its memory; any other tensor itself."""
    part: Tensor = cast(Any, tensor.detach()).to_local() if _is_sharded(tensor) else tensor
    return part


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together; any other itself. Every process must call it."""
    full: Tensor = cast(Any, tensor.detach()).full_tensor() if _is_sharded(tensor) else tensor
    return full


def gathered(value: Any, *, keep: bool) -> Any:
    """The same dicts, lists and plain values with every sharded tensor whole, on the CPU. Every process must call it.

    keep: whether this process wants them; without it they become None, which saves memory.
    """
    if isinstance(value, Mapping):
        return {key: gathered(item, keep=keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(item, keep=keep) for item in value)
    if isinstance(value, Tensor) and _is_sharded(value):
        full = whole(value)
        return full.cpu() if keep else None
    return value


def sliced_like(tensor: Tensor, full: Tensor) -> Tensor:
    """`full` as a tensor that can be copied into `tensor`: sharded if that is. Every process must call it."""
    if not _is_sharded(tensor):
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(full.to(tensor.device), mesh, placements)


def load_module(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """`module.load_state_dict` with whole tensors, also into a sharded module."""
    own = module.state_dict()
    module.load_state_dict({name: sliced_like(own.get(name, full), full) for name, full in state.items()})


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """`optimizer.load_state_dict` with whole tensors, also for sharded parameters."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def fitting(number: int, value: Any) -> Any:
        follows = isinstance(value, Tensor) and value.shape == parameters[number].shape
        return sliced_like(parameters[number], value) if follows else value

    entries = {
        number: {name: fitting(number, value) for name, value in entry.items()}
        for number, entry in state["state"].items()
        if number < len(parameters)
    }
    optimizer.load_state_dict({**state, "state": entries})


class WholeCopy:
    """A copy of a network that is about to be sharded; it has parameters only while it is used.

    For evaluation: images differ in number and size from process to process, so that no process may have to wait for
    slices of another between them. Buffers are those of the network itself.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = copy.deepcopy(network).requires_grad_(False)
        for mine, theirs in zip(self.network.modules(), network.modules(), strict=True):
            mine._buffers = theirs._buffers
        self.empty()

    def fill(self, network: nn.Module) -> nn.Module:
        """The copy, with the parameters of the sharded network. Every process must call it."""
        theirs = dict(network.named_parameters())
        for name, mine in self.network.named_parameters():
            mine.data = whole(theirs[name].data)
        return self.network

    def empty(self) -> None:
        """Let go of the parameters."""
        for mine in self.network.parameters():
            mine.data = mine.data.new_empty(0)


def _is_sharded(tensor: Tensor) -> bool:
    return hasattr(tensor, "full_tensor")
