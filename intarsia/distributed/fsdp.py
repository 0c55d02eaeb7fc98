"""Parameters, gradients and optimizer states shared out over processes, from outside the network (FSDP2).

Zhao et al., PyTorch FSDP: Experiences on Scaling Fully Sharded Data Parallel, arXiv:2304.11277, as
`torch.distributed.fsdp.fully_shard` does it: of every parameter each process keeps a slice along the first axis. A
block of the network puts its parameters together when it is called, and lets go of them again; forward and backward are
what they are with DDP. A slice is a DTensor, which knows of the whole; state_dicts.py brings them to files and back.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any, cast

import torch
from torch import Tensor, nn

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

    The default process group must exist.
    """
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    for name in blocks:
        fully_shard(network.get_submodule(name), mesh=mesh)
    fully_shard(root, mesh=mesh)


def own_part(tensor: Tensor) -> Tensor:
    """The slice that this process has of a sharded tensor, sharing its memory; any other tensor itself."""
    part: Tensor = cast(Any, tensor.detach()).to_local() if is_sharded(tensor) else tensor
    return part


def whole(tensor: Tensor) -> Tensor:
    """A sharded tensor put together; any other itself. Every process must call it."""
    full: Tensor = cast(Any, tensor.detach()).full_tensor() if is_sharded(tensor) else tensor
    return full


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


def is_sharded(tensor: Tensor) -> bool:
    """Whether this process has a slice of it only."""
    return hasattr(tensor, "full_tensor")
