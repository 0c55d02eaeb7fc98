"""A GPU that is not there: tensors that say "cuda:0", keep their numbers on the processor, and behave as on a device.

What only a GPU runs is so run everywhere, with its numbers: an operation on tensors of two devices is an error, as
torch makes it one, and whatever would make the processor wait for the device is noted, with the line that asked for it.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from intarsia.distributed.runtime import FabricRuntime

aten = torch.ops.aten
DEVICE = torch.device("cuda", 0)
TORCH = Path(torch.__file__).parent
PACKAGE = Path(__file__).resolve().parent.parent / "intarsia"

READS = {
    aten._local_scalar_dense.default, aten.nonzero.default, aten.bincount.default, aten.masked_select.default,
    aten._unique2.default, aten.unique_dim.default, aten.unique_consecutive.default, aten.equal.default,
}  # fmt: skip
"""What gives a number, or a shape that depends on numbers: the processor waits until the device is that far."""
CROSSING = {aten.copy_.default, aten._to_copy.default, aten.index.Tensor, aten.index_put_.default}
"""What may have tensors of two devices."""
INDEXING = {aten.index.Tensor, aten.index_put_.default}
UNORDERED = {
    aten.nll_loss2d_forward.default, aten._adaptive_avg_pool2d_backward.default, aten.kthvalue.default,
    aten.cumsum.default, aten.upsample_bilinear2d_backward.default, aten.grid_sampler_2d_backward.default,
}  # fmt: skip
"""What adds in an order that changes, so that torch refuses it where the same bits are wanted every time."""
STRICT = {aten.cat.default, aten.stack.default}
"""What takes not even a single number of another device."""


@dataclass
class Waits:
    """Where the processor has waited: (what for, file and line of the package)."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def note(self, what: str) -> None:
        """The innermost line of the package is the one that asked."""
        frames = [frame for frame in traceback.extract_stack() if Path(frame.filename).is_relative_to(PACKAGE)]
        where = f"{Path(frames[-1].filename).relative_to(PACKAGE)}:{frames[-1].lineno}" if frames else "outside"
        self.found.append((what, where))

    @property
    def places(self) -> set[str]:
        """Files that have waited."""
        return {where.split(":")[0] for _, where in self.found}


_WAITS = Waits()


class GpuTensor(torch.Tensor):
    """A tensor of the device; `inner` has its numbers."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner: torch.Tensor) -> GpuTensor:
        assert type(inner) is torch.Tensor or isinstance(inner, torch.nn.Parameter), type(inner)
        inner = inner.detach()
        made = torch.Tensor._make_wrapper_subclass(  # type: ignore[attr-defined]
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            layout=inner.layout, device=inner.device,
        )  # fmt: skip
        made.inner = inner
        return made  # type: ignore[no-any-return]

    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    def __repr__(self, *, tensor_contents: object = None) -> str:
        return f"GpuTensor({self.inner!r})"

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        return DEVICE

    @property
    def is_cuda(self) -> bool:  # type: ignore[override]
        return True

    @property
    def is_cpu(self) -> bool:  # type: ignore[override]
        return False

    def __tensor_flatten__(self) -> tuple[list[str], None]:
        return ["inner"], None

    @staticmethod
    def __tensor_unflatten__(inner: Mapping[str, torch.Tensor], *_: object) -> GpuTensor:
        return GpuTensor(inner["inner"])

    @classmethod
    def __torch_dispatch__(
        cls, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, torch.Tensor)]
        others = [value for value in tensors if not isinstance(value, GpuTensor)]
        if func not in CROSSING and any(value.dim() or func in STRICT for value in others):
            raise RuntimeError(f"{func}: Expected all tensors to be on the same device, found cuda:0 and cpu")
        if func in UNORDERED and torch.are_deterministic_algorithms_enabled() and not _ordered(func, args):
            raise RuntimeError(f"{func} does not have a deterministic implementation")
        masked = func is aten.index.Tensor and any(i is not None and i.dtype == torch.bool for i in args[1])
        if func in READS or masked:
            _WAITS.note(str(func))
        if func in INDEXING and any(value.dim() for value in others):
            _WAITS.note("copy from the processor")  # of the places that a list or an array names
        if func is aten.copy_.default and others:
            _note_copy(args[1], non_blocking=len(args) > 2 and bool(args[2]))
        owners = {id(value.inner): value for value in tensors if isinstance(value, GpuTensor)}
        result = func(*tree_map(_inner, args), **tree_map(_inner, kwargs))
        if func is aten.copy_.default and not isinstance(args[0], GpuTensor):
            return args[0]

        def wrapped(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value
            return owners[id(value)] if id(value) in owners else GpuTensor(value)

        return tree_map(wrapped, result)


def _ordered(func: Any, args: tuple[Any, ...]) -> bool:
    """Whether such an operation is of a kind that needs no order: losses pixel by pixel, sums of integers."""
    if func is aten.nll_loss2d_forward.default:
        return bool(args[3] == 0)
    return func is aten.cumsum.default and not args[0].is_floating_point()


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, GpuTensor) else value


def _note_copy(source: torch.Tensor, *, non_blocking: bool) -> None:
    if isinstance(source, GpuTensor):
        _WAITS.note("copy to the processor")
    elif not non_blocking:
        _WAITS.note("copy from the processor")


def to_gpu(value: torch.Tensor) -> torch.Tensor:
    """The tensor on the device; differentiable."""
    if isinstance(value, GpuTensor):
        return value
    return _ToGpu.apply(value) if value.requires_grad and torch.is_grad_enabled() else GpuTensor(value)  # type: ignore[no-any-return,no-untyped-call]


def to_cpu(value: torch.Tensor) -> torch.Tensor:
    """The tensor in memory; notes that the processor waits for it."""
    if not isinstance(value, GpuTensor):
        return value
    _WAITS.note("copy to the processor")
    return _ToCpu.apply(value) if value.requires_grad and torch.is_grad_enabled() else value.inner.clone()  # type: ignore[no-any-return,no-untyped-call]


class _ToGpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: torch.Tensor) -> torch.Tensor:
        return GpuTensor(value.clone())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.inner if isinstance(gradient, GpuTensor) else gradient


class _ToCpu(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: GpuTensor) -> torch.Tensor:
        return value.inner.clone()

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:
        return GpuTensor(gradient)


class _Devices(TorchFunctionMode):
    """Gives words about devices their meaning: device=, .to, .cpu, .cuda, .pin_memory."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        if func is torch.Tensor.pin_memory:
            pinned = args[0].clone()
            pinned.pinned = True
            return pinned
        if func is torch.Tensor.cpu:
            return to_cpu(args[0])
        if func is torch.Tensor.tolist:
            return to_cpu(args[0]).tolist()
        if func is torch.Tensor.cuda:
            return self._sent(args[0], DEVICE, non_blocking=False)
        if func is torch.Tensor.to:
            return self._moved(func, args, kwargs)
        device = kwargs.get("device")
        if device is None:
            return func(*args, **kwargs)
        wanted = torch.device(device)
        kwargs["device"] = torch.device("cpu") if wanted.type == "cuda" else wanted
        if wanted.type == "cpu":
            return func(*tree_map(_inner, args), **kwargs)
        if func in (torch.tensor, torch.as_tensor):
            _WAITS.note("copy from the processor")
        result = func(*tree_map(_inner, args), **kwargs)
        return tree_map(lambda value: to_gpu(value) if isinstance(value, torch.Tensor) else value, result)

    def _moved(self, func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        tensor, *rest = args
        non_blocking = bool(kwargs.pop("non_blocking", False))
        device = kwargs.pop("device", None)
        others = []
        for value in rest:
            if isinstance(value, torch.device | str):
                device = torch.device(value)
            elif value is None:
                continue
            elif isinstance(value, bool):
                non_blocking |= value
            elif isinstance(value, torch.Tensor):
                device = value.device
                others.append(value.dtype)
            else:
                others.append(value)
        if device is not None:
            tensor = self._sent(tensor, torch.device(device), non_blocking=non_blocking)
        return func(tensor, *others, **kwargs) if others or kwargs else tensor

    @staticmethod
    def _sent(tensor: torch.Tensor, device: torch.device, *, non_blocking: bool) -> torch.Tensor:
        if device.type == "cpu":
            # torch groups tensors by the device that its C++ sees, which is that of the numbers.
            by_torch = Path(sys._getframe(3).f_code.co_filename).is_relative_to(TORCH)
            return tensor if by_torch else to_cpu(tensor)
        if not isinstance(tensor, GpuTensor):
            _note_copy(tensor, non_blocking=non_blocking)
        return to_gpu(tensor)


@contextmanager
def simulated_gpu() -> Iterator[Waits]:
    """Inside, "cuda" is the simulated device; gives the waits since the beginning."""
    _WAITS.found.clear()
    with _Devices():
        yield _WAITS


class SimulatedRuntime(FabricRuntime):
    """One process on the simulated device."""

    def __init__(self, **options: Any) -> None:
        super().__init__(accelerator="cpu", **options)

    @property
    def device(self) -> torch.device:
        return DEVICE
