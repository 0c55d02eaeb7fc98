"""Reading checkpoints that others wrote with torch.save, without running code from them.

A pickle is a program that may call any function of any importable module. OpenMMLab's checkpoints need very little of
that: tensors, ordered dicts, numpy numbers. Beside those they hold objects of the trainer (HistoryBuffer ...), which
are replaced by inert placeholders: their class is never imported, their constructor never called, their state
forgotten.
Nothing outside `_allowed` is ever looked up.
"""

from __future__ import annotations

import collections
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import IO, Any

import numpy as np
import torch
from torch import Tensor

_STATE_KEYS = ("state_dict", "model_state_dict", "model")


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """state: tensors by name. meta: what else the file says in plain values (iterations, classes, palette ...)."""

    state: dict[str, Tensor]
    meta: Mapping[str, Any]


def read_foreign(path: Path | str) -> ForeignCheckpoint:
    """Read a checkpoint of torch.save, both the archive format and the one before torch 1.6.

    Raises ValueError for a file that is none, is damaged, or holds no tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    try:
        content = torch.load(path, map_location="cpu", weights_only=False, pickle_module=_RESTRICTED)
    except (
        RuntimeError,
        EOFError,
        pickle.UnpicklingError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no checkpoint of torch.save, or a damaged one: {reason}") from error
    if not isinstance(content, Mapping):
        raise ValueError(
            f"{path} holds a {type(content).__name__}; expected a dict of tensors or one with 'state_dict'"
        )
    key = next((key for key in _STATE_KEYS if isinstance(content.get(key), Mapping)), None)
    entries: Mapping[Any, Any] = content if key is None else content[key]
    state = {str(name): value for name, value in entries.items() if isinstance(value, Tensor)}
    if not state:
        raise ValueError(f"{path} holds no tensors by name; its entries are: {', '.join(map(str, list(content)[:10]))}")
    if all(name.startswith("module.") for name in state):  # written from inside DistributedDataParallel
        state = {name.removeprefix("module."): value for name, value in state.items()}
    meta = {} if key is None else {str(k): plain for k, v in content.items() if k == "meta" and (plain := _plain(v))}
    return ForeignCheckpoint(state, dict(meta.get("meta", {})))


def _plain(value: Any) -> Any:
    """The value with everything that is no plain data left out."""
    if isinstance(value, (str, int, float, bool)) or value is None:
        return value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items() if not isinstance(v, Placeholder)}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value if not isinstance(item, Placeholder)]
    return None


class Placeholder:
    """Stands for an object of a class that is not let in. Takes whatever a pickle gives it and forgets it."""

    __slots__ = ()

    def __new__(cls, *args: object, **kwargs: object) -> Placeholder:
        """Build one, whatever the arguments."""
        return object.__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None: ...

    def __call__(self, *args: object, **kwargs: object) -> Placeholder:
        """A placeholder for what the call would have given."""
        return self

    def __setstate__(self, state: object) -> None: ...

    def __setitem__(self, key: object, value: object) -> None: ...

    def append(self, item: object) -> None:
        """Forget the item."""

    def extend(self, items: object) -> None:
        """Forget the items."""


class _Call:
    """A function as a thing that can be called and not be changed: a pickle may try to set attributes on it."""

    __slots__ = ("__function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__function = function

    def __call__(self, *args: Any) -> Any:
        return self.__function(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("the file tries to change a function")


def _numpy_scalar(dtype: Any, data: Any = None) -> Any:
    """A numpy number from its dtype and bytes."""
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(data, (bytes, str)):
        return Placeholder()
    raw = data.encode("latin1") if isinstance(data, str) else data
    return np.frombuffer(raw, dtype=dtype, count=1)[0]


def _numpy_dtype(name: Any, *_: Any) -> Any:
    return np.dtype(name) if isinstance(name, str) and "O" not in name else Placeholder()


def _encode(text: Any, encoding: Any = "latin1") -> Any:
    """How protocol 2 writes bytes: codecs.encode(text, "latin1"); other codecs are not needed."""
    return text.encode("latin1") if isinstance(text, str) and encoding in ("latin1", "latin-1") else Placeholder()


def _allowed() -> dict[tuple[str, str], Any]:
    from torch import _utils

    functions: dict[tuple[str, str], Callable[..., Any]] = {("_codecs", "encode"): _encode}
    for name in ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter"):
        functions["torch._utils", name] = getattr(_utils, name)
    for module in ("numpy", "numpy.core.multiarray", "numpy._core.multiarray"):
        functions[module, "scalar"] = _numpy_scalar
        functions[module, "dtype"] = _numpy_dtype
    table: dict[tuple[str, str], Any] = {key: _Call(function) for key, function in functions.items()}
    table["collections", "OrderedDict"] = collections.OrderedDict
    table["torch", "Size"] = torch.Size
    table["torch", "device"] = torch.device
    for builtins in ("builtins", "__builtin__"):
        for kind in (set, frozenset, list, dict, tuple, int, float, bool, complex, bytearray, slice):
            table[builtins, kind.__name__] = kind
    for name, value in vars(torch).items():
        if isinstance(value, torch.dtype):
            table["torch", name] = value
    return table


class _Unpickler(pickle.Unpickler):
    """Finds what `_allowed` lists, and a fresh placeholder class for everything else."""

    _table = _allowed()

    def find_class(self, module: str, name: str) -> Any:
        found = self._table.get((module, name))
        return found if found is not None else type(name.rsplit(".", 1)[-1], (Placeholder,), {"__slots__": ()})


def _load(file: IO[bytes], **options: Any) -> Any:
    return _Unpickler(file, **options).load()


_RESTRICTED = SimpleNamespace(Unpickler=_Unpickler, load=_load, __name__="intarsia.weights.foreign")
"""What torch.load takes for the pickle module."""
