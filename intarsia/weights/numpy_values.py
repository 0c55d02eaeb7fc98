"""Numbers and arrays of numpy inside a pickle, rebuilt from their bytes by us."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

from intarsia.weights.safe_pickle import Calls, Name, Opaque, Rebuilt

_PLAIN = re.compile(r"[<>|=]?[biufc]\d{1,2}")
"""Types of numbers by their codes. Records, texts and objects are left out."""


class Dtype(Rebuilt):
    """A type of number: its code, and the byte order that the pickle adds afterwards."""

    def __init__(self, code: str) -> None:
        self.code = code.lstrip("<>|=")
        self.order = "<"

    def take_state(self, state: Any) -> None:
        """(version, byte order, and what only records have)."""
        if isinstance(state, tuple) and len(state) > 1 and state[1] in ("<", ">", "|", "="):
            self.order = state[1]

    def numpy(self) -> np.dtype[Any]:
        """The real one. Raises TypeError for a code that numpy does not know."""
        return np.dtype(self.order + self.code)


class Array(Rebuilt):
    """An array; `value` is None until the pickle has given it plain numbers."""

    def __init__(self, *_: Any) -> None:
        self.value: np.ndarray[Any, Any] | None = None

    def take_state(self, state: Any) -> None:
        """(version, shape, dtype, column by column?, bytes)."""
        if not isinstance(state, tuple) or len(state) != 5:
            return
        _, shape, dtype, by_columns, data = state
        if isinstance(dtype, Dtype) and isinstance(data, bytes) and isinstance(shape, tuple):
            flat = np.frombuffer(data, dtype.numpy())
            self.value = flat.reshape(shape, order="F" if by_columns else "C")


def _dtype(code: Any = None, *_: Any) -> Any:
    return Dtype(code) if isinstance(code, str) and _PLAIN.fullmatch(code) else Opaque(Name("numpy", "dtype"))


def _scalar(dtype: Any = None, data: Any = None) -> Any:
    if not isinstance(dtype, Dtype) or not isinstance(data, bytes):
        return Opaque(Name("numpy", "scalar"))
    return np.frombuffer(data, dtype.numpy(), count=1)[0].item()


_CORE = ("numpy.core.multiarray", "numpy._core.multiarray")

CALLS: Calls = {
    ("numpy", "dtype"): _dtype,
    **{(module, "scalar"): _scalar for module in _CORE},
    **{(module, "_reconstruct"): Array for module in _CORE},
}
