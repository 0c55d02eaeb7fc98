from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.weights.file import load_state
from intarsia.weights.foreign import Placeholder, _Unpickler, read_foreign


def test_a_checkpoint_of_the_original(shared: Path) -> None:
    found = read_foreign(shared / "golden/trained/fast_scnn_camvid_iter_700.pth")
    assert len(found.state) == 282
    assert found.state["decode_head.conv_seg.weight"].shape == (11, 128, 1, 1)
    assert found.meta["iter"] == 700
    assert found.meta["dataset_meta"]["classes"][0] == "Sky"
    assert found.meta["mmengine_version"] == "0.10.7"


class Trainer:
    """Stands for a class of a training framework: nothing of it may be needed, or run, to read a file."""

    def __init__(self) -> None:
        self.values = np.arange(3.0)
        self.name = "secret"

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("code from the file was run")


@pytest.mark.parametrize("legacy", [False, True])
def test_unknown_objects_become_placeholders(tmp_path: Path, legacy: bool) -> None:
    state = OrderedDict(weight=torch.arange(6.0).view(2, 3), half=torch.ones(2, dtype=torch.bfloat16))
    content = {
        "state_dict": state,
        "meta": {"epoch": np.int64(3), "loss": np.float32(0.5), "hub": Trainer(), "classes": ("a", "b"), "none": None},
        "hub": [Trainer()],
    }
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_foreign(path)
    assert list(found.state) == ["weight", "half"]
    assert all(torch.equal(found.state[name], value) for name, value in state.items())
    assert found.meta == {"epoch": 3, "loss": 0.5, "classes": ["a", "b"], "none": None}


def test_bare_and_wrapped_states(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    parameter = torch.nn.Parameter(torch.ones(2))
    torch.save({"module.a": parameter, "module.b": torch.zeros(1)}, path)
    assert list(load_state(path)) == ["a", "b"]
    torch.save({"model": {"c": torch.zeros(1)}, "optimizer": {}}, path)
    assert list(load_state(path)) == ["c"]


def calling(function: Any, *arguments: Any) -> Any:
    """An object whose pickle calls a function."""

    class Bomb:
        def __reduce__(self) -> Any:
            return function, arguments

    return Bomb()


def write(path: Path, data: bytes) -> None:
    """A checkpoint archive with this pickle inside."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    "attack",
    [
        lambda marker: calling(os.system, f"touch {marker}"),
        lambda marker: calling(eval, f"open({marker!r}, 'w')"),
        lambda marker: calling(exec, f"open({marker!r}, 'w')"),
        lambda marker: calling(io.open, marker, "w"),
        lambda marker: calling(torch.save, {}, marker),
        lambda marker: calling(np.save, marker + ".npy", np.zeros(1)),
        lambda marker: calling(getattr, calling(__import__, "os"), "mkdir"),
        lambda marker: calling(os.mkdir, marker),
    ],
)
def test_nothing_is_run(tmp_path: Path, attack: Any, legacy: bool) -> None:
    marker = tmp_path / "marker"
    path = tmp_path / "bad.pth"
    content = {"state_dict": {"a": torch.zeros(1), "b": attack(str(marker))}, "meta": {"c": attack(str(marker))}}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = read_foreign(path)
    assert list(found.state) == ["a"]
    assert found.meta == {}
    assert not list(tmp_path.glob("marker*"))


def run(*opcodes: bytes) -> Any:
    return _Unpickler(io.BytesIO(b"\x80\x02" + b"".join(opcodes) + b".")).load()


def test_hand_made_pickles_cannot_reach_further() -> None:
    # Names with dots, modules within modules, and the functions that torch itself lets a pickle call.
    for module, name in (
        ("os", "system"), ("builtins", "getattr"), ("torch", "nn.Module.__init__.__globals__"), ("torch.hub", "load"),
        ("torch._utils", "_rebuild_tensor_v2.__globals__"), ("collections", "OrderedDict.__init__"),
        ("posix", "system"),
        ("numpy.core.multiarray", "_reconstruct"), ("torch.serialization", "load"), ("functools", "partial"),
    ):  # fmt: skip
        found = run(f"c{module}\n{name}\n".encode())
        assert issubclass(found, Placeholder), (module, name)
    # What is allowed cannot be changed: BUILD would set attributes, here the defaults of a function of torch.
    change = pickle.dumps({"__defaults__": (1,)}, protocol=2)[2:-1]
    with pytest.raises(pickle.UnpicklingError, match="change a function"):
        run(b"ctorch._utils\n_rebuild_tensor_v2\n", change, b"b")
    with pytest.raises(TypeError):
        run(b"ccollections\nOrderedDict\n", b"N", pickle.dumps({"update": 1}, protocol=2)[2:-1], b"\x86b")


@pytest.mark.parametrize(
    "content",
    [b"", b"no checkpoint at all", b"PK\x03\x04 half an archive", b"\x80\x02c"],
)
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth is no checkpoint of torch\.save, or a damaged one"):
        read_foreign(path)


def test_checkpoints_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(ValueError, match="does not exist"):
        read_foreign(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ValueError, match="holds a list; expected a dict of tensors"):
        read_foreign(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ValueError, match="no tensors by name; its entries are: epoch"):
        read_foreign(path)
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ValueError, match="damaged"):
        read_foreign(path)


def test_calls_of_what_a_call_gives(tmp_path: Path) -> None:
    """getattr(__import__("os"), "mkdir")(marker), written as opcodes: pickle itself would not write it."""

    def text(value: str) -> bytes:
        return b"X" + len(value).to_bytes(4, "little") + value.encode()

    marker, path = tmp_path / "marker", tmp_path / "a.pth"
    imported = b"cbuiltins\n__import__\n" + text("os") + b"\x85R"
    function = b"cbuiltins\ngetattr\n" + imported + text("mkdir") + b"\x86R"
    write(path, b"\x80\x02" + function + text(str(marker)) + b"\x85R.")
    with pytest.raises(ValueError, match="holds a getattr; expected a dict"):
        read_foreign(path)
    assert not marker.exists()
