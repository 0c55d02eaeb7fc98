"""Convolutions of 1 x 1 on a processor with one thread, by oneDNN instead of a plain product of matrices.

With one thread torch leaves them to the product, unless they have a stride or a dilation, or come with 16 images
(`use_mkldnn` in aten/src/ATen/native/Convolution.cpp); with two threads it takes oneDNN for all. A dilation changes
nothing of a convolution of 1 x 1 without padding, so that here it is asked for: results are equal to float rounding.

Nothing of it is in a layer. Calls of `torch.conv2d` are answered otherwise while a network of ours runs, so that
layers keep their attributes, graphs are what they were, and threads do not see each other.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from intarsia.layers.eager import computes_here

LEAST_WORK = 192
"""Multiply-adds for each number that is read or written, from which on oneDNN is faster: it orders numbers anew before
and after it computes. Measured on an AMD EPYC with AVX-512; benchmarks/README.md has the figures."""


def by_onednn(network: nn.Module, images: Tensor) -> AbstractContextManager[Any]:
    """Around the call of a network on `images`: what is faster so is computed by oneDNN, forwards and backwards.

    Does nothing with several threads, elsewhere than on a processor with AVX-512, under autocast, for other numbers
    than float32, for a network without such a convolution, and while a graph is made of it (torch.compile,
    torch.export, torch.fx, torch.jit).
    """
    if not _applies(images):
        return nullcontext()
    # Asked anew each time, for a thousandth of a small network's time: it may have got another layer. The mode itself
    # costs some microseconds an operation.
    return _ByOneDNN() if any(_is_wide(layer) for layer in network.modules()) else nullcontext()


def as_now() -> AbstractContextManager[Any]:
    """For what is computed a second time, in the backward pass: the kernels of this moment."""
    return _ByOneDNN() if _is_active() else nullcontext()


_state = threading.local()


def _is_active() -> bool:
    """Whether the mode is on in this thread."""
    return getattr(_state, "active", False)


def _applies(images: Tensor) -> bool:
    return (
        not _is_active()
        and computes_here(images)
        and images.dtype == torch.float32
        and torch.get_num_threads() == 1
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and torch.backends.cpu.get_cpu_capability() == "AVX512"
    )


class _ByOneDNN(TorchFunctionMode):
    """Says a dilation of 2 in calls of `torch.conv2d` for which that changes the kernel and nothing else."""

    def __enter__(self) -> _ByOneDNN:
        self._before, _state.active = _is_active(), True
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        _state.active = self._before
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.conv2d and not kwargs and len(args) == 7 and not torch.compiler.is_compiling():
            x, weight, bias, stride, padding, dilation, groups = args
            if (stride, padding, dilation, groups) == ((1, 1), (0, 0), (1, 1), 1) and _takes(x, weight):
                return func(x, weight, bias, stride, padding, (2, 2), groups)
        return func(*args, **(kwargs or {}))


def _takes(x: Tensor, weight: Tensor) -> bool:
    """Input (N, C, H, W), weight (C', C, h, w)."""
    return (
        weight.shape[2:] == (1, 1)
        and _is_faster(weight.shape[1], weight.shape[0])
        and x.dim() == 4
        and x.dtype == weight.dtype == torch.float32
        and type(x) is Tensor
        and type(weight) in (Tensor, nn.Parameter)
        and not torch.is_autocast_enabled("cpu")
    )


def _is_wide(layer: nn.Module) -> bool:
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or layer.groups != 1:
        return False
    return _is_faster(layer.in_channels, layer.out_channels)


def _is_faster(in_channels: int, out_channels: int) -> bool:
    return in_channels * out_channels >= LEAST_WORK * (in_channels + out_channels)
