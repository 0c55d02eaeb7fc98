"""Whether an operation computes numbers here and now: the condition of ways that give the same numbers in less time."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import get_proxy_mode


def computes_here(x: Tensor) -> bool:
    """Whether `x` lies on a processor, in single or double precision, and no graph is made and nothing rounded.

    A graph is made by torch.compile, torch.export, torch.fx and torch.jit; a tensor of another type is a proxy, or one
    of a mode that only counts; torch.func computes with many at once.
    """
    return (
        type(x) is Tensor
        and x.device.type == "cpu"
        and x.dtype in (torch.float32, torch.float64)
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and get_proxy_mode() is None
        and not torch._C._are_functorch_transforms_active()
    )
