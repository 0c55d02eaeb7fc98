"""Tensors of a file that have not been read: where their numbers lie, and how they are laid out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from intarsia.terminal import printable
from intarsia.weights.safe_pickle import DamagedPickleError, Name, RefusedPickleError

REPEATS, SMALL = 16, 2**20
"""A tensor may show its storage's elements so often, or have so many of them; more would be an attack on memory."""

DIMENSIONS, LARGEST = 16, 2**60
"""Of a tensor, and what each of its sizes, strides and its offset are below."""

DTYPES = {
    "DoubleStorage": "float64",
    "FloatStorage": "float32",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "LongStorage": "int64",
    "IntStorage": "int32",
    "ShortStorage": "int16",
    "CharStorage": "int8",
    "ByteStorage": "uint8",
    "BoolStorage": "bool",
    "ComplexDoubleStorage": "complex128",
    "ComplexFloatStorage": "complex64",
    "UntypedStorage": "uint8",
}
ITEM_SIZES = {
    "float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int64": 8, "int32": 4, "int16": 2, "int8": 1, "uint8": 1,
    "bool": 1, "complex128": 16, "complex64": 8, "uint16": 2, "uint32": 4, "uint64": 8, "float8_e4m3fn": 1,
    "float8_e5m2": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Storage:
    """A run of numbers in the file. size: in bytes, from byte `start` of what the file has under `key`."""

    key: str
    dtype: str
    size: int
    start: int = 0


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """A tensor that has not been read: `shape` with `strides`, in elements, over a storage from `offset` on."""

    storage: Storage
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    def __post_init__(self) -> None:
        numbers = (*self.shape[: DIMENSIONS + 1], *self.strides[: DIMENSIONS + 1], self.offset)
        wrong = any(type(number) is not int or not 0 <= number < LARGEST for number in numbers)
        if wrong or len(self.shape) != len(self.strides) or len(self.shape) > DIMENSIONS:
            said = printable(f"the shape {self.shape} and the strides {self.strides}", 300)
            raise DamagedPickleError(f"a tensor has {said}")
        held = self.storage.size // ITEM_SIZES[self.dtype]
        last = self.offset + sum((size - 1) * stride for size, stride in zip(self.shape, self.strides, strict=True))
        if self.count and last >= held:
            raise DamagedPickleError(f"a tensor reaches to element {last} of a storage with {held}")
        if self.count > max(REPEATS * held, SMALL):
            raise RefusedPickleError(f"a storage of {held} elements is made a tensor of {self.count:,}")

    @property
    def count(self) -> int:
        """The number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def storage_of(cls: Any, key: Any, count: Any, start: int = 0, whole: int | None = None) -> Storage:
    """The storage of a class of torch's, with `count` elements.

    start, whole: of a view, the first element and the number of elements that it is a view of.
    """
    dtype = DTYPES.get(cls.name) if isinstance(cls, Name) and cls.module.partition(".")[0] == "torch" else None
    if dtype is None:
        raise DamagedPickleError(f"a storage is of the unknown type {printable(str(cls), 100)}")
    numbers = (count, start, count if whole is None else whole)
    if not isinstance(key, str) or any(type(number) is not int or number < 0 for number in numbers):
        raise DamagedPickleError("a storage has no key or size")
    if start + count > numbers[2]:
        raise DamagedPickleError(f"a view reaches to element {start + count} of a storage with {numbers[2]}")
    return Storage(key, dtype, count * ITEM_SIZES[dtype], start * ITEM_SIZES[dtype])
