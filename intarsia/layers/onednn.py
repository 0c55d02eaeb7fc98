"""Convolutions on a processor with one thread, in the forms in which oneDNN is fastest.

Convolutions of 1 x 1: with one thread torch leaves them to a plain product of matrices, unless they have a stride or
a dilation, or come with 16 images (`use_mkldnn` in aten/src/ATen/native/Convolution.cpp); with two threads it takes
oneDNN for all. A dilation changes nothing of a convolution of 1 x 1 without padding, so that here it is asked for.

While a network predicts (nothing has gradients) there is more: its maps are in channels last, in which oneDNN computes
without ordering numbers anew before and after, and wide convolutions of 3 x 3 take half of the products (`winograd`).
All results are equal to float rounding.

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

from intarsia.layers import winograd
from intarsia.layers.eager import computes_here

LEAST_WORK = 192
"""Multiply-adds for each number that is read or written, from which on oneDNN is faster at a convolution of 1 x 1: it
orders numbers anew before and after it computes. Measured on an AMD EPYC with AVX-512; benchmarks/README.md has the
figures. In channels last it need not order, and takes all."""

PROCESSORS = ("AVX2", "AVX512")
"""On which it was measured, as torch names what it computes with. Where they have AVX2 alone, predictions gain as much,
and training steps nothing."""

KNOWN = ("torch.nn.", "intarsia.")
"""Whose layers are known to read maps in channels last; others may take it that numbers lie row by row."""


def by_onednn(network: nn.Module, images: Tensor) -> AbstractContextManager[Any]:
    """Around the call of a network on `images`: what is faster so is computed by oneDNN, forwards and backwards.

    Does nothing with several threads, elsewhere than on a processor with AVX2 or AVX-512, under autocast, for other
    numbers than float32, for a network without such a convolution, and while a graph is made of it (torch.compile,
    torch.export, torch.fx, torch.jit).
    """
    if not _applies(images):
        return nullcontext()
    # Asked anew each time, for a thousandth of a small network's time: it may have got another layer. The mode itself
    # costs some microseconds an operation.
    if _predicts() and all(type(layer).__module__.startswith(KNOWN) for layer in network.modules()):
        return _ByOneDNN(channels_last=True)
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
        and torch.backends.cpu.get_cpu_capability() in PROCESSORS
    )


def _predicts() -> bool:
    """Whether nothing has gradients, and nobody watches the operations (to count them, say)."""
    return not torch.is_grad_enabled() and torch._C._len_torch_dispatch_stack() == 0


class _ByOneDNN(TorchFunctionMode):
    """Answers calls of `torch.conv2d` by another kernel where that changes nothing else.

    channels_last: while nothing has gradients: convolutions give, and are given, maps in channels last.
    """

    def __init__(self, *, channels_last: bool = False) -> None:
        super().__init__()
        self._scratch = winograd.Scratch() if channels_last else None

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
        if func is not torch.conv2d or kwargs or len(args) != 7 or torch.compiler.is_compiling():
            return func(*args, **(kwargs or {}))
        x, weight, bias, stride, padding, dilation, groups = args
        if not _takes(x, weight):
            return func(*args)
        scratch = self._scratch if _predicts() else None
        if scratch is not None:
            x = x.contiguous(memory_format=torch.channels_last)
            if winograd.is_faster(x, weight, stride, padding, dilation, groups):
                return winograd.convolution(x, weight, bias, dilation[0], scratch)
        plain = weight.shape[2:] == (1, 1) and (stride, padding, dilation, groups) == ((1, 1), (0, 0), (1, 1), 1)
        if plain and (scratch is not None or _is_faster(weight.shape[1], weight.shape[0])):
            dilation = (2, 2)
        return func(x, weight, bias, stride, padding, dilation, groups)


def _takes(x: Tensor, weight: Tensor) -> bool:
    """Input (N, C, H, W), weight (C', C, h, w)."""
    return (
        x.dim() == 4
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
