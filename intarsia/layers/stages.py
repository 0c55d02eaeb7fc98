"""What backbones have in common: which levels they return, and what of them stands still in training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from torch import nn


def checked_out_indices(out_indices: Sequence[int], levels: int, what: str = "stages") -> tuple[int, ...]:
    """`out_indices` as a tuple.

    Raises ValueError if there is none, or one that is no index of `levels` of these.
    """
    if not out_indices or any(not 0 <= index < levels for index in out_indices):
        raise ValueError(f"out_indices must name {what} from 0 to {levels - 1}; got {tuple(out_indices)}")
    return tuple(out_indices)


def layer_indices(out_indices: int | Sequence[int], layers: int) -> tuple[int, ...]:
    """The same of a backbone of one stage, where a number stands for one layer, and -1 for the last."""
    if out_indices == -1:
        return (layers - 1,)
    indices = (out_indices,) if isinstance(out_indices, int) else tuple(out_indices)
    if not indices or any(not 0 <= layer < layers for layer in indices):
        raise ValueError(f"out_indices must name layers from 0 to {layers - 1}, or be -1; got {out_indices}")
    return indices


def freeze(modules: Iterable[nn.Module]) -> None:
    """Weights and statistics stay as loaded: no gradients, evaluation mode. To be repeated after each `train()`."""
    for module in modules:
        module.eval().requires_grad_(False)


def keep_statistics(module: nn.Module) -> None:
    """Every batch norm uses its running statistics, whatever the mode of what is around it."""
    for norm in module.modules():
        if isinstance(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)):
            norm.eval()
