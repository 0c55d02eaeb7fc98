"""The three formats of torch.save against torch itself, and files that are made to harm."""

from __future__ import annotations

import io
import pickle
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch

from intarsia.weights.safe_pickle import DamagedPickleError, RefusedPickleError
from intarsia.weights.torch_files import TensorInfo, open_torch_file

DTYPES = (
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
)  # fmt: skip


def load(path: Path) -> dict[str, torch.Tensor]:
    file = open_torch_file(path)
    assert all(isinstance(value, TensorInfo) for value in file.value.values())
    return file.load(file.value)


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype, name
        assert found[name].shape == value.shape, name
        assert torch.equal(found[name], value), name


class Flagged(torch.nn.Parameter):
    """A parameter of a class of its own."""


@pytest.mark.parametrize("legacy", [False, True])
def test_tensors_of_every_kind(tmp_path: Path, legacy: bool) -> None:
    base = torch.arange(24.0).view(4, 6)
    parameter = torch.nn.Parameter(torch.ones(3))
    parameter.no_decay = True  # type: ignore[attr-defined]
    state: dict[str, torch.Tensor] = OrderedDict(
        whole=base,
        transposed=base.t(),
        slice=base[1:3, ::2],
        row=base[2],
        expanded=torch.ones(1, 3).expand(4, 3),
        scalar=torch.tensor(5),
        empty=torch.zeros(0, 3),
        parameter=parameter,
        flagged=Flagged(torch.ones(2)),
        channels_last=torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last),
        **{str(dtype): torch.tensor([0, 1, 2]).to(dtype) for dtype in DTYPES},
    )
    path = tmp_path / "a.pth"
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)
    found = load(path)
    same(found, state)
    found["whole"][2, 0] = -1
    assert found["row"][0] == -1, "tensors that share memory in the file share it here"


def test_types_without_a_storage_class(tmp_path: Path) -> None:
    state = {"a": torch.tensor([1, 65535], dtype=torch.uint16), "b": torch.ones(3).to(torch.float8_e4m3fn)}
    torch.save(state, tmp_path / "a.pth")
    found = load(tmp_path / "a.pth")
    assert found["a"].tolist() == [1, 65535]
    assert found["b"].float().tolist() == [1, 1, 1]


def tar_file(path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """What torch 0.1 wrote, by its description: storages, shapes and strides, and a pickle with their numbers."""
    storages, infos = io.BytesIO(), io.BytesIO()
    pickle.dump(len(tensors), storages, protocol=2)
    pickle.dump(len(tensors), infos, protocol=2)
    for number, tensor in enumerate(tensors.values()):
        pickle.dump((1000 + number, "cpu", torch.FloatStorage), storages, protocol=2)
        storages.write(struct.pack("<q", tensor.numel()) + tensor.numpy().tobytes())
        pickle.dump((number, 1000 + number, torch.FloatTensor), infos, protocol=2)
        shape, strides = tensor.shape, tensor.stride()
        infos.write(struct.pack(f"<i4x{2 * len(shape)}q", len(shape), *shape, *strides) + struct.pack("<q", 0))
    pickle.dump([], storages, protocol=2)

    class Pickler(pickle.Pickler):
        def persistent_id(self, item: Any) -> Any:
            return next((str(i) for i, tensor in enumerate(tensors.values()) if tensor is item), None)

    main = io.BytesIO()
    Pickler(main, protocol=2).dump(tensors)
    with tarfile.open(path, "w:") as archive:
        for name, content in (("sys_info", b""), ("pickle", main), ("tensors", infos), ("storages", storages)):
            data = content if isinstance(content, bytes) else content.getvalue()
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


def test_tar_files(tmp_path: Path) -> None:
    state = {"a": torch.arange(6.0).view(2, 3), "b": torch.ones(4)}
    path = tmp_path / "a.pth.tar"
    tar_file(path, state)
    same(torch.load(path, weights_only=False), state)
    same(load(path), state)


def test_names_of_the_format_do_not_matter(tmp_path: Path) -> None:
    """`.pth.tar` is what many call a file in the format of the day."""
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth.tar")
    assert load(tmp_path / "a.pth.tar")["a"].tolist() == [1, 1]


def test_opening_reads_no_tensor_and_needs_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save({"a": torch.zeros(1000, 1000)}, path)
    code = (
        "import sys; from pathlib import Path; from intarsia.weights.torch_files import open_torch_file; "
        f"print(open_torch_file(Path({str(path)!r})).value['a'].shape, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(1000, 1000) False"


# --- Damage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [False, True])
def test_every_shorter_file_is_damaged(tmp_path: Path, legacy: bool) -> None:
    whole, path = tmp_path / "whole.pth", tmp_path / "a.pth"
    torch.save({"a": torch.arange(100.0), "b": torch.ones(3)}, whole, _use_new_zipfile_serialization=not legacy)
    data = whole.read_bytes()
    for length in range(0, len(data) - 1, 13):
        path.write_bytes(data[:length])
        with pytest.raises((DamagedPickleError, struct.error)):
            load(path)


def archive(path: Path, main: bytes, storages: dict[str, bytes], *, method: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("archive/data.pkl", main)
        file.writestr("archive/version", "3\n")
        for key, data in storages.items():
            file.writestr(f"archive/data/{key}", data)


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


def number(value: int) -> bytes:
    return b"\x8a\x08" + value.to_bytes(8, "little", signed=True)


def storage(key: str, count: int, cls: bytes = b"ctorch\nFloatStorage\n") -> bytes:
    return b"(" + text("storage") + cls + text(key) + text("cpu") + number(count) + b"tQ"


def tensor(
    stored: bytes,
    shape: list[int],
    strides: list[int],
    offset: int = 0,
    more: bytes = b"\x89ccollections\nOrderedDict\n)R",
) -> bytes:
    sizes, steps = (b"(" + b"".join(map(number, numbers)) + b"t" for numbers in (shape, strides))
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + stored + number(offset) + sizes + steps + more + b"tR"


def holding(value: bytes) -> bytes:
    return b"\x80\x02}" + text("a") + value + b"s."


def test_the_hand_made_file_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    archive(path, holding(tensor(storage("0", 4), [2, 2], [2, 1])), {"0": struct.pack("<4f", 1, 2, 3, 4)})
    assert load(path)["a"].tolist() == [[1, 2], [3, 4]]
    assert torch.load(path, weights_only=True)["a"].tolist() == [[1, 2], [3, 4]]


HUGE = 10**15


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (tensor(storage("0", HUGE), [HUGE], [1]), "claim more bytes than the file"),
        (tensor(storage("0", 4), [HUGE], [1]), "reaches to element"),
        (tensor(storage("0", 4), [HUGE, HUGE], [0, 0]), "is made a tensor of"),
        (tensor(storage("0", 4), [2], [1], offset=HUGE), "reaches to element"),
        (tensor(storage("0", 4), [2], [-1]), "the strides"),
        (tensor(storage("0", 4), [-2], [1]), "the shape"),
        (tensor(storage("0", 4), [2], [1], offset=-1), "the strides"),
        (tensor(storage("0", 4), [2, 2], [1]), "the strides"),
        (tensor(storage("0", -4), [2], [1]), "no key or size"),
        (tensor(storage("0", 8), [8], [1]), "has 16 bytes of 32"),
        (tensor(storage("9", 2), [2], [1]), "has 0 bytes of 8"),
        (tensor(storage("0", 4, b"ctorch\nQuantumStorage\n"), [2], [1]), "unknown type torch.QuantumStorage"),
        (tensor(storage("0", 4, b"cos\nFloatStorage\n"), [2], [1]), "asks for os.FloatStorage"),
        (tensor(storage("0", 4, b"cmine\nFloatStorage\n"), [2], [1]), "unknown type mine.FloatStorage"),
        (tensor(b"N", [2], [1]), "made of a NoneType"),
        (tensor(b"ctorch\nhub\n)R", [2], [1]), "made of a Opaque"),
        (tensor(b"cos\nsystem\n" + text("true") + b"\x85R", [2], [1]), "asks for os.system"),
        (b"(" + text("storage") + b"cposix\nsystem\n" + text("0") + text("cpu") + b"K\x04tQ", "asks for posix.system"),
        (b"(" + text("module") + b"N" + text("0") + text("cpu") + b"K\x04tQ", "refers to a 'module'"),
        (text("storage") + b"Q", "unpack"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cos\nsystem\nN" + text("true") + b"\x85NtR", "asks for os.system"),
        (b"ctorch._tensor\n_rebuild_from_type_v2\n(cmine\nrun\nN" + text("true") + b"\x85NtR", "made by mine.run"),
    ],
)  # fmt: skip
def test_attacks_through_tensors(tmp_path: Path, value: bytes, said: str) -> None:
    """Sizes that would fill the memory, shapes beyond the storage, functions in the place of storages and hooks."""
    path = tmp_path / "a.pth"
    archive(path, holding(value), {"0": bytes(16)})
    with pytest.raises((DamagedPickleError, RefusedPickleError), match=said):
        load(path)


def test_hooks_are_left_behind(tmp_path: Path) -> None:
    """torch sets them on the tensor, and the backward pass would call them."""
    path = tmp_path / "a.pth"
    hooks = b"\x88}K\x00cbuiltins\nprint\ns}" + text("attribute") + b"cbuiltins\nprint\ns"
    archive(path, holding(tensor(storage("0", 4), [4], [1], more=hooks)), {"0": bytes(16)})
    found = load(path)["a"]
    assert found._backward_hooks is None
    assert not found.requires_grad


def test_one_storage_claimed_many_times(tmp_path: Path) -> None:
    """Members of a zip may overlap: few bytes, counted often."""
    path = tmp_path / "a.pth"
    items = b"".join(text(f"t{i}") + tensor(storage(str(i), 25_000), [25_000], [1]) for i in range(50))
    archive(path, b"\x80\x02}(" + items + b"u.", {"0": bytes(100_000)})
    with pytest.raises(RefusedPickleError, match="claim more bytes than the file has"):
        load(path)


def test_archives_that_torch_would_not_write(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    archive(path, holding(b"N"), {"0": bytes(10_000_000)}, method=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 20_000
    with pytest.raises(RefusedPickleError, match="compressed or encrypted"):
        open_torch_file(path)
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("notes.txt", "hello")
    with pytest.raises(DamagedPickleError, match=r"not one of torch\.save"):
        open_torch_file(path)
    archive(path, holding(b"N"), {})
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("archive/byteorder", "big")
    with pytest.raises(DamagedPickleError, match="big-endian"):
        open_torch_file(path)
    with tarfile.open(path, "w:") as tar:
        tar.addfile(tarfile.TarInfo("model.pth"), io.BytesIO())
    with pytest.raises(DamagedPickleError, match="unpack it first"):
        open_torch_file(path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_programs_are_not_loaded(tmp_path: Path) -> None:
    """torch.load gives such a file to torch.jit.load, which runs what is in it."""
    path = tmp_path / "a.pth"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    with pytest.raises(RefusedPickleError, match="TorchScript"):
        open_torch_file(path)
