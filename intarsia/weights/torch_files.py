"""The files of torch.save, opened without torch and without running code from them.

Three formats are in the world, and all three are a pickle with the numbers beside it:

    archive    since torch 1.6: a zip with NAME/data.pkl and the storages as NAME/data/KEY
    stream     before: pickles one after the other, then the storages
    tar        before torch 0.2: the storages, the tensors' shapes, and the pickle as members of a tar file

A fourth is Paddle's (.pdparams): one pickle of arrays of numpy by name.

Opening reads the pickle only. Tensors are descriptions (`TensorInfo`) until `TorchFile.load` reads those that are
wanted: of a checkpoint in training that is less than half, as the rest belongs to the optimizer.
"""

from __future__ import annotations

import mmap
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.terminal import printable
from intarsia.weights import numpy_values, python_values
from intarsia.weights.safe_pickle import (
    Calls,
    DamagedPickleError,
    Name,
    RefusedPickleError,
    Stream,
    Unpickled,
    put,
    read_pickle,
)
from intarsia.weights.tensor_info import DIMENSIONS, ITEM_SIZES, Storage, TensorInfo, storage_of

if TYPE_CHECKING:
    from torch import Tensor

MAGIC = 0x1950A86A20F9469CFC6C
"""The first thing in a stream."""

DIRECTORY = 16 * 2**20
"""Bytes of an archive's table of contents; a checkpoint of a thousand tensors has a hundred thousand."""

MEMBERS = 1_000
"""Of a tar file; torch.save wrote four."""


@dataclass
class TorchFile:
    """An open file. value: what was saved, tensors as TensorInfo. left_out: classes of objects that were not rebuilt.

    places: key -> (position, bytes) of each storage in the file. held: storages that the pickle itself brought.
    """

    path: Path
    value: Any
    left_out: tuple[Name, ...]
    places: Mapping[str, tuple[int, int]]
    held: Mapping[str, bytes] = field(default_factory=dict)
    _read: dict[Storage, Tensor] = field(default_factory=dict)

    def load(self, infos: Mapping[str, TensorInfo]) -> dict[str, Tensor]:
        """The tensors themselves, on the CPU. Tensors that share a storage in the file share it here too.

        Raises DamagedPickleError if the file lacks one, RefusedPickleError if they claim more than the file holds.
        """
        storages = {info.storage for info in infos.values()}
        if sum(storage.size for storage in storages) > self.path.stat().st_size:
            raise RefusedPickleError("its tensors claim more bytes than the file has")
        with self.path.open("rb") as file:
            return {name: self._tensor(info, file) for name, info in infos.items()}

    def _tensor(self, info: TensorInfo, file: Any) -> Tensor:
        import torch

        dtype = getattr(torch, info.dtype, None)
        if dtype is None:
            raise DamagedPickleError(f"its numbers are of the type {info.dtype}, which this version of torch lacks")
        if not info.count:
            return torch.empty(info.shape, dtype=dtype)
        raw = self._read.get(info.storage)
        if raw is None:
            raw = self._read[info.storage] = self._bytes(info.storage, file)
        whole = raw.numel() - raw.numel() % ITEM_SIZES[info.dtype]
        return raw[:whole].view(dtype).as_strided(info.shape, info.strides, info.offset)

    def _bytes(self, storage: Storage, file: Any) -> Tensor:
        import torch

        if storage.key in self.held:
            return torch.frombuffer(bytearray(self.held[storage.key]), dtype=torch.uint8)
        position, size = self.places.get(storage.key, (0, -1))
        if storage.start + storage.size > size:
            raise DamagedPickleError(f"the storage {storage.key!r} has {max(size, 0)} bytes of {storage.size}")
        raw = torch.empty(storage.size, dtype=torch.uint8)
        file.seek(position + storage.start)
        if file.readinto(raw.numpy()) != storage.size:
            raise DamagedPickleError("it is cut short")
        return raw


def open_torch_file(path: Path) -> TorchFile:
    """Read the pickle of a file of torch.save.

    Raises RefusedPickleError and DamagedPickleError, without the file's name.
    """
    with path.open("rb") as file:
        start = file.read(4)
        if start[:2] == b"PK":
            return _open_archive(path)
        if not start:
            raise DamagedPickleError("it is empty")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return _open_tar(path, mapped) if mapped[257:262] == b"ustar" else _open_stream(path, mapped)


# --- The three formats --------------------------------------------------------------------------------------------


def _open_archive(path: Path) -> TorchFile:
    _check_directory(path)
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename: info for info in archive.infolist()}
            root = next((name.removesuffix("data.pkl") for name in members if name.endswith("/data.pkl")), None)
            if root is None:
                raise DamagedPickleError("it is a zip archive, but not one of torch.save: it has no data.pkl")
            if f"{root}constants.pkl" in members:
                raise RefusedPickleError("it is a program (TorchScript), not a file of tensors")
            _place(path, members[f"{root}data.pkl"])
            order = members.get(f"{root}byteorder")
            if order is not None and _read(path, order, 16) != b"little":
                raise DamagedPickleError("its numbers are written in big-endian order; save it on another machine")
            with archive.open(f"{root}data.pkl") as stream:
                found = _unpickle(stream, _storage_of_archive)
        places = {
            name.removeprefix(f"{root}data/"): _place(path, info)
            for name, info in members.items()
            if name.startswith(f"{root}data/")
        }
    except (zipfile.BadZipFile, NotImplementedError, EOFError, RuntimeError) as error:
        raise DamagedPickleError(str(error)) from error
    return TorchFile(path, found.value, found.left_out, places)


def _check_directory(path: Path) -> None:
    """Refuse an archive whose table of contents is enormous, before Python's reader makes objects of it."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(size - 2**16 - 22, 0))
        end = file.read()
    at = end.rfind(b"PK\5\6")
    length = struct.unpack("<I", end[at + 12 : at + 16])[0] if 0 <= at <= len(end) - 16 else 0
    if length == 2**32 - 1:  # in archives of more than 4 GB, a record in front of it has the number
        at = end.rfind(b"PK\6\6")
        length = struct.unpack("<Q", end[at + 40 : at + 48])[0] if 0 <= at <= len(end) - 48 else 0
    if length > DIRECTORY:
        raise RefusedPickleError(f"its table of contents has {length:,} bytes, which no checkpoint has")


def _read(path: Path, info: zipfile.ZipInfo, most: int) -> bytes:
    """A short member, which is not compressed."""
    position, size = _place(path, info)
    with path.open("rb") as file:
        file.seek(position)
        return file.read(min(size, most))


def _place(path: Path, info: zipfile.ZipInfo) -> tuple[int, int]:
    """Where a member's bytes are. torch never compresses; the header in front of them has two lengths of its own."""
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        raise RefusedPickleError("its members are compressed or encrypted, which torch.save never does")
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + 30 + name + extra, info.file_size


def _storage_of_archive(reference: Any) -> Storage:
    """("storage", class, key, device, elements)."""
    kind, cls, key, _, count = reference
    if kind != "storage":
        raise DamagedPickleError(f"it refers to a {printable(repr(kind), 100)} outside of it")
    return storage_of(cls, key, count)


def _open_stream(path: Path, mapped: mmap.mmap) -> TorchFile:
    first = _first(mapped)
    if isinstance(first, dict):
        return _of_arrays(path, first)
    if first != MAGIC:
        raise DamagedPickleError("it does not begin as a file of torch.save does")
    _version, system = read_pickle(mapped, calls={}).value, read_pickle(mapped, calls={}).value
    if not isinstance(system, dict) or not system.get("little_endian", True):
        raise DamagedPickleError("its numbers are written in big-endian order; save it on another machine")
    sizes: dict[str, int] = {}

    def refer(reference: Any) -> Any:
        """("storage", class, key, device, elements, None or (key, first element, elements) of a view)."""
        if reference[0] != "storage":
            return _class_of(reference[1])  # ("module", class, its source): of models pickled whole
        _, cls, key, _, count, view = reference
        sizes[str(key)] = storage_of(cls, key, count).size
        if view is None:
            return storage_of(cls, key, count)
        return storage_of(cls, key, view[2], start=view[1], whole=count)

    found = _unpickle(mapped, refer)
    places: dict[str, tuple[int, int]] = {}
    for key in read_pickle(mapped, calls={}).value:
        if key not in sizes:
            raise DamagedPickleError(f"it holds a storage {key!r} that nothing refers to")
        places[key] = mapped.tell() + 8, sizes[key]  # in front stands the number of elements
        mapped.seek(min(sum(places[key]), mapped.size()))
    return TorchFile(path, found.value, found.left_out, places)


def _first(mapped: mmap.mmap) -> Any:
    """The first thing in a stream: a number of torch.save's, or what Paddle saved."""
    return read_pickle(mapped, calls={**python_values.CALLS, **numpy_values.CALLS}).value


def _of_arrays(path: Path, values: dict[Any, Any]) -> TorchFile:
    """A file of Paddle: arrays by name, and a dict of other names for them, which is left as it is.

    Raises RefusedPickleError for arrays that share bytes, as copies of them could fill any memory.
    """
    held: dict[str, bytes] = {}
    found: dict[Any, Any] = {}
    arrays = {id(value): value.value for value in values.values() if isinstance(value, numpy_values.Array)}
    if sum(array.nbytes for array in arrays.values() if array is not None) > path.stat().st_size:
        raise RefusedPickleError("its arrays claim more bytes than the file has")
    for name, value in values.items():
        array = arrays.get(id(value))
        if array is None or array.dtype.name not in ITEM_SIZES or array.dtype.byteorder == ">":
            found[name] = value
            continue
        key = str(id(value))
        data = held[key] = held.get(key) or array.tobytes()  # row by row, whatever the pickle had
        strides: list[int] = []
        step = 1
        for size in reversed(array.shape):
            strides.insert(0, step)
            step *= size
        stored = Storage(key, array.dtype.name, len(data))
        found[name] = TensorInfo(stored, stored.dtype, array.shape, tuple(strides), 0)
    if not held:
        raise DamagedPickleError("it is a dict without tensors or arrays")
    return TorchFile(path, found, (), {}, held)


def _class_of(name: Any) -> Name | None:
    """The class of a part of a network that was pickled whole: its name, as every class is one."""
    return name if isinstance(name, Name) else None


def _open_tar(path: Path, mapped: mmap.mmap) -> TorchFile:
    starts = _tar_members(mapped)
    if not {"storages", "tensors", "pickle"} <= starts.keys():
        raise DamagedPickleError("it is a tar file, but not one of torch.save; unpack it first")
    places, storages = _tar_storages(mapped, starts["storages"])
    tensors: dict[Any, Any] = {}
    mapped.seek(starts["tensors"])
    for _ in range(read_pickle(mapped, calls={}).value):
        key, storage, _class = read_pickle(mapped, calls={}).value
        (dimensions,) = struct.unpack("<i4x", mapped.read(8))
        if not 0 <= dimensions <= DIMENSIONS:
            raise DamagedPickleError(f"a tensor has {dimensions} dimensions")
        shape = struct.unpack(f"<{dimensions}q", mapped.read(8 * dimensions))
        strides = struct.unpack(f"<{dimensions}q", mapped.read(8 * dimensions))
        (offset,) = struct.unpack("<q", mapped.read(8))
        put(tensors, key, TensorInfo(storages[storage], storages[storage].dtype, shape, strides, offset))
    mapped.seek(starts["pickle"])

    def refer(reference: Any) -> Any:
        """The number of a tensor or storage; or (class, its source ...) of models pickled whole."""
        if isinstance(reference, tuple):
            return _class_of(reference[0])
        return tensors.get(int(reference)) or storages[int(reference)]

    found = _unpickle(mapped, refer)
    return TorchFile(path, found.value, found.left_out, places)


def _tar_members(mapped: mmap.mmap) -> dict[str, int]:
    """Where the files of an archive begin, by name. Extensions of the format are passed over.

    By hand, since Python's reader unpacks what is compressed and follows headers that say how long the next name is.
    """
    starts: dict[str, int] = {}
    position = 0
    for _ in range(MEMBERS):
        header = mapped[position : position + 512]
        if len(header) < 512 or not header.strip(b"\0"):
            break
        name, size = header[:100].rstrip(b"\0").decode("latin-1"), header[124:136].strip(b"\0 ")
        if not size.isdigit() or size.strip(b"01234567"):
            raise DamagedPickleError("it is a damaged tar file")
        if header[156:157] in (b"0", b"\0"):
            starts.setdefault(name, position + 512)
        position += 512 + -(-int(size, 8) // 512) * 512
    return starts


def _tar_storages(mapped: mmap.mmap, start: int) -> tuple[dict[str, tuple[int, int]], dict[Any, Storage]]:
    mapped.seek(start)
    places: dict[str, tuple[int, int]] = {}
    storages: dict[Any, Storage] = {}
    for _ in range(read_pickle(mapped, calls={}).value):
        key, _device, cls = read_pickle(mapped, calls={}).value
        (count,) = struct.unpack("<q", mapped.read(8))
        stored = storage_of(cls, str(key), count)
        put(storages, key, stored)
        places[str(key)] = mapped.tell(), stored.size
        mapped.seek(min(sum(places[str(key)]), mapped.size()))
    for key, root, first, count in read_pickle(mapped, calls={}).value:
        whole = storages[root]
        size = ITEM_SIZES[whole.dtype]
        if any(type(number) is not int or number < 0 for number in (first, count)):
            raise DamagedPickleError("a view of a storage has no place or size")
        put(storages, key, Storage(whole.key, whole.dtype, count * size, first * size))
    return places, storages


# --- What torch's pickles call ------------------------------------------------------------------------------------


def _unpickle(stream: Stream, persistent: Callable[[Any], Any]) -> Unpickled:
    return read_pickle(stream, calls=_CALLS, persistent=persistent)


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_hooks_and_flags: Any) -> TensorInfo:
    """Whether it wants gradients, and its hooks, are of no interest."""
    return _tensor_of(storage, offset, shape, strides, None)


def _tensor_of_dtype(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> TensorInfo:
    """For types that have no storage class of their own; the dtype comes third behind the strides."""
    return _tensor_of(storage, offset, shape, strides, rest[2])


def _tensor_of(storage: Any, offset: Any, shape: Any, strides: Any, dtype: Any) -> TensorInfo:
    if not isinstance(storage, Storage) or not all(isinstance(sizes, (tuple, list)) for sizes in (shape, strides)):
        raise DamagedPickleError(f"a tensor is made of a {type(storage).__name__}")
    name = storage.dtype if dtype is None else getattr(dtype, "name", "")
    if name not in ITEM_SIZES:
        raise DamagedPickleError(f"a tensor is of the unknown type {printable(str(dtype), 100)}")
    return TensorInfo(storage, name, tuple(shape), tuple(strides), offset)


def _parameter(data: Any, *_: Any) -> Any:
    return data


def _tensor_with_attributes(function: Any, _class: Any, arguments: Any, *_state: Any) -> Any:
    """A tensor with Python attributes: how it is made without them, and then the attributes."""
    known = _CALLS.get((function.module, function.name)) if isinstance(function, Name) else None
    if known is None or known is _tensor_with_attributes:
        raise RefusedPickleError(f"a tensor is to be made by {function}")
    return known(*arguments)


_CALLS: Calls = {
    **python_values.CALLS,
    **numpy_values.CALLS,
    ("torch._utils", "_rebuild_tensor"): _tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _tensor_of_dtype,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("torch._utils", "_rebuild_parameter_with_state"): _parameter,
    ("torch._tensor", "_rebuild_from_type_v2"): _tensor_with_attributes,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
}
