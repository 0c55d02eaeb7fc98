"""States with whole tensors on the processor, of networks and optimizers that may be shared out, and back.

Of sharded modules torch's own functions do it. Theirs for optimizers name states by parameter, while a checkpoint of
ours has the numbers of `Optimizer.state_dict`, which one process and several can read; averages belong to no module.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from intarsia.distributed.fsdp import is_sharded, whole


def module_state(module: nn.Module) -> Mapping[str, Any]:
    """`module.state_dict()`; of a sharded module whole tensors, in the first process. Every process must call it."""
    if not any(map(is_sharded, module.parameters())):
        return module.state_dict()
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    return get_model_state_dict(module, options=StateDictOptions(full_state_dict=True, cpu_offload=True))


def load_module(module: nn.Module, state: Mapping[str, Tensor]) -> None:
    """`module.load_state_dict` with whole tensors, also into a sharded module. Every process must call it."""
    if not any(map(is_sharded, module.parameters())):
        module.load_state_dict(state)
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict

    set_model_state_dict(module, dict(state), options=StateDictOptions(full_state_dict=True))


def gathered(value: Any, *, keep: bool) -> Any:
    """The same dicts, lists and plain values with every tensor whole, on the processor. Every process must call it.

    keep: whether this process wants them; without it they become None, which saves memory.
    """
    if isinstance(value, Mapping):
        return {key: gathered(item, keep=keep) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(gathered(item, keep=keep) for item in value)
    if isinstance(value, Tensor):
        full = whole(value)
        return full.detach().cpu() if keep else None
    return value


def sliced_like(tensor: Tensor, full: Tensor) -> Tensor:
    """`full` as a tensor that can be copied into `tensor`: sharded if that is. Every process must call it."""
    if not is_sharded(tensor):
        return full
    from torch.distributed.tensor import distribute_tensor

    mesh, placements = tensor.device_mesh, tensor.placements  # type: ignore[attr-defined]
    return distribute_tensor(full.to(tensor.device), mesh, placements)


def load_optimizer(optimizer: Optimizer, state: Mapping[str, Any]) -> None:
    """`optimizer.load_state_dict` with whole tensors, also for sharded parameters. Every process must call it."""
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
