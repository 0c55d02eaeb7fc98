"""Batch norm over the batches of all processes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

OURS = ("torch", "intarsia")
"""Packages whose batch norms compute nothing but a batch norm."""


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """A batch norm whose mean and variance are those of all processes together, gradients included; of any dimensions.

    For processors; torch has nn.SyncBatchNorm for accelerators only. Two sums travel: that of the values, then that of
    the squared distances from the common mean, which loses no digits where the mean is far from 0.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(N, C, ...) -> (N, C, ...); every process must call it.

        Raises ValueError, as torch's norms do, if all processes together have one value per channel.
        """
        if not self.training:
            return super().forward(input)
        axes = (0, *range(2, input.dim()))
        shape = (1, -1, *(1 for _ in axes[1:]))
        values = input.float() if input.dtype in (torch.bfloat16, torch.float16) else input
        count = torch.tensor(float(values.numel() // values.shape[1]), dtype=torch.float64, device=values.device)
        torch.distributed.all_reduce(count)
        if count <= 1:
            raise ValueError(f"Expected more than 1 value per channel when training, got input size {input.size()}")
        total = count.to(values.dtype)
        mean = _over_processes(values.sum(axes)) / total  # (C)
        centred = values - mean.view(shape)
        variance = _over_processes(centred.square().sum(axes)) / total  # (C)
        self._remember(mean.detach(), variance.detach() * total / (total - 1))
        out = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.weight is not None:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(input.dtype)

    def _check_input_dim(self, input: Tensor) -> None:
        """Whatever the norm that this one replaces has taken."""

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        if not self.track_running_stats:  # by whom it is told so for a while, as torch's norms may be
            return
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _SumOverProcesses(torch.autograd.Function):
    """The sum is used by the losses of all processes, so that its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        total = gradient.clone(memory_format=torch.contiguous_format)
        torch.distributed.all_reduce(total)
        return total


def _over_processes(own: Tensor) -> Tensor:
    total: Tensor = _SumOverProcesses.apply(own)
    return total


def synchronise(module: nn.Module, device: torch.device) -> nn.Module:
    """The module with its batch norms over all processes, parameters and statistics kept.

    Raises ValueError for a batch norm of another package that does more than normalise: replacing it would change the
    network.
    """
    for name, child in module.named_modules():
        author = type(child).forward.__module__.split(".")[0]
        if isinstance(child, nn.modules.batchnorm._BatchNorm) and author not in OURS:
            raise ValueError(
                f"{name} is a {type(child).__name__} with a forward of its own, which cannot be synchronised between "
                "processes; leave SyncBN out, or give the network another norm"
            )
    return _replaced(module) if device.type == "cpu" else nn.SyncBatchNorm.convert_sync_batchnorm(module)


def _replaced(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.modules.batchnorm._BatchNorm):
        norm = SynchronisedBatchNorm(
            module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats
        )
        norm.weight, norm.bias = module.weight, module.bias
        norm.running_mean, norm.running_var = module.running_mean, module.running_var
        norm.num_batches_tracked = module.num_batches_tracked
        return norm.train(module.training)
    for name, child in module.named_children():
        setattr(module, name, _replaced(child))
    return module
