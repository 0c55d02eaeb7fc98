"""Python's own containers inside a pickle, rebuilt as dicts, lists, tuples and bytes."""

from __future__ import annotations

from typing import Any

from intarsia.weights.safe_pickle import Calls, DamagedPickleError, Name, Opaque, put


def _mapping(pairs: Any = ()) -> dict[Any, Any]:
    """OrderedDict(), Counter(mapping), OrderedDict([[key, value], ...]) as protocol 0 has it."""
    found: dict[Any, Any] = {}
    for key, value in pairs.items() if isinstance(pairs, dict) else pairs:
        put(found, key, value)
    return found


def _sequence(items: Any = ()) -> list[Any]:
    return list(items) if isinstance(items, (list, tuple, dict)) else []


def _encode(text: Any, encoding: Any = "latin1") -> bytes:
    """How protocol 2 writes bytes."""
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
        raise DamagedPickleError(f"bytes are written as text in latin1, found {type(text).__name__} in {encoding!r}")
    return text.encode("latin1")


def _byte_array(data: Any = b"", encoding: Any = "latin1") -> bytes:
    return data if isinstance(data, bytes) else _encode(data, encoding)


def _of_class(kind: Any = None, *_: Any) -> Opaque:
    """The functions of copyreg build an object of the class that they are given."""
    return Opaque(kind if isinstance(kind, Name) else Name("copyreg", "object"))


CALLS: Calls = {
    ("collections", "OrderedDict"): _mapping,
    ("collections", "Counter"): _mapping,
    ("collections", "defaultdict"): lambda _factory=None, pairs=(): _mapping(pairs),
    ("collections", "deque"): lambda items=(), _length=None: _sequence(items),
    ("_codecs", "encode"): _encode,
    ("copyreg", "_reconstructor"): _of_class,
    ("copy_reg", "_reconstructor"): _of_class,
    ("copyreg", "__newobj__"): _of_class,
    **{
        (module, name): call
        for module in ("builtins", "__builtin__")
        for name, call in {
            "dict": _mapping,
            "list": _sequence,
            "set": _sequence,
            "frozenset": _sequence,
            "tuple": lambda items=(): tuple(_sequence(items)),
            "bytearray": _byte_array,
            "bytes": _byte_array,
        }.items()
    },
}
