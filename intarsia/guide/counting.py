"""How the cost of a network is counted: multiply-adds, and the most that tensors take at once. No device is measured.

Multiply-adds are those of torch's own flop counter, halved, since that counts a multiply-add as two. It counts
convolutions, matrix products and attention, and nothing else: no norms, activations, pooling, resizing, or sampling of
deformable attention. `benchmarks/models.py` and `intarsia models profile` count with the same functions.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.utils.flop_counter import FlopCounterMode


class PeakCounter(Protocol):
    """Bytes of tensors: alive now, and the most that were alive at once."""

    alive: int
    peak: int

    def __enter__(self) -> PeakCounter: ...

    def __exit__(self, *error: Any) -> Any: ...


def fake_tensors() -> AbstractContextManager[Any]:
    """FakeTensors that answer a question about a number by no, or by 1: checks find nothing to complain of."""
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    class Answering(FakeTensorMode):
        def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten._local_scalar_dense.default:
                return False if args[0].dtype == torch.bool else 1
            return super().dispatch(func, types, args, kwargs)

    return Answering(allow_non_fake_inputs=True)


def peak_counter(known: Sequence[Tensor]) -> PeakCounter:
    """A mode that adds up the bytes of tensors alive, from `known` on: `.peak` is the most so far."""
    from torch import Tensor
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_iter

    class PeakMemory(TorchDispatchMode):
        def __init__(self) -> None:
            super().__init__()  # type: ignore[no-untyped-call]
            self.alive = self.peak = 0
            self._seen: weakref.WeakSet[Any] = weakref.WeakSet()
            for tensor in known:
                self._add(tensor)

        def _add(self, tensor: Tensor) -> None:
            storage = tensor.untyped_storage()
            if storage not in self._seen:
                self._seen.add(storage)
                size = storage.nbytes()
                self.alive += size
                self.peak = max(self.peak, self.alive)
                weakref.finalize(storage, self._remove, size)

        def _remove(self, size: int) -> None:
            self.alive -= size

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for value in tree_iter(result):
                if isinstance(value, Tensor):
                    self._add(value)
            return result

    return PeakMemory()


def flop_counter() -> FlopCounterMode:
    """The counter of torch, which does not know attention as it runs on processors. It counts a multiply-add as two."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode, sdpa_flop

    def attention(query: Any, key: Any, value: Any, *_: Any, out_val: Any = None, **__: Any) -> int:
        return sdpa_flop(query, key, value)

    known = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: attention}
    return FlopCounterMode(display=False, custom_mapping=known)


def parts_of(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The parts of a network as its weights name them: `backbone`, `neck`, `decode_head`; of a list, each one."""
    from torch import nn

    for name, child in model.named_children():
        if isinstance(child, nn.ModuleList):
            yield from ((f"{name}.{number}", one) for number, one in child.named_children())
        else:
            yield name, child


def multiply_adds_by_part(model: nn.Module, counter: FlopCounterMode) -> Mapping[str, int]:
    """What a counter that has seen the model counted in each of its parts, and under "" what it counted elsewhere."""
    counts = counter.get_flop_counts()
    root = type(model).__name__
    found = {name: sum(counts.get(f"{root}.{name}", {}).values()) // 2 for name, _ in parts_of(model)}
    return {**found, "": counter.get_total_flops() // 2 - sum(found.values())}
