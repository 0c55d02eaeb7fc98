"""Checkpoints of others: what is found in them, and what is made of files that want to run code."""

from __future__ import annotations

import datetime
import io
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from intarsia.weights.file import load_state
from intarsia.weights.foreign import ForeignFileError, open_foreign, read_foreign

CLASSES = ("sky", "road")


def test_a_checkpoint_of_the_original(shared: Path) -> None:
    """Written by its trainer: meta, message hub with history buffers, numpy scalars, optimizer, schedulers."""
    found = open_foreign(shared / "golden/trained/fast_scnn_camvid_iter_700.pth")
    assert len(found.tensors) == 282
    assert found.tensors["decode_head.conv_seg.weight"].shape == (11, 128, 1, 1)
    assert found.step == 700
    assert found.classes[0] == "Sky"
    assert found.palette[0] == (128, 128, 128)
    assert found.meta["mmengine_version"] == "0.10.7"
    assert found.entries == ("meta", "state_dict", "message_hub", "optimizer", "param_schedulers")
    assert found.left_out == ("mmengine.logging.history_buffer.HistoryBuffer", "__builtin__.getattr")
    assert "DepthwiseSeparableFCNHead" in (found.config_text or "")
    state = found.load()
    expected = torch.load(found.path, weights_only=False, map_location="cpu", pickle_module=Forgiving)["state_dict"]
    assert state.keys() == expected.keys()
    assert all(torch.equal(state[name], expected[name]) for name in state)


class Forgiving:
    """A pickle module for torch.load that knows the trainer's class: to compare with what torch reads."""

    class Unpickler(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            if module.startswith("mmengine"):
                return type("History", (), {"__setstate__": lambda *_: None, "mean": None, "min": None})
            if name == "getattr":
                return lambda *_: None
            return super().find_class(module, name)

    load = staticmethod(pickle.load)


class Trainer:
    """Stands for a class of a training framework: nothing of it may be needed, or run, to read a file."""

    def __init__(self) -> None:
        self.values = np.arange(3.0)

    def __setstate__(self, state: Any) -> None:
        raise AssertionError("code from the file was run")


@pytest.mark.parametrize("legacy", [False, True])
def test_what_is_plain_is_found_and_the_rest_is_named(tmp_path: Path, legacy: bool) -> None:
    state = OrderedDict(weight=torch.arange(6.0).view(2, 3), half=torch.ones(2, dtype=torch.bfloat16), extra=Trainer())
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    content = {
        "state_dict": state,
        "meta": {
            "epoch": np.int64(3), "loss": np.float32(0.5), "hub": Trainer(), "classes": CLASSES, "none": None,
            "when": datetime.datetime(2020, 1, 1), "folder": Path("a"), "shape": torch.Size([2, 3]),
        },
        "message_hub": {"runtime_info": {"best_score": np.float64(0.75), "loop": Trainer()}, "log": {"a": Trainer()}},
        "optimizer": {"state": {0: {"momentum": torch.ones(3)}}, "param_groups": [{"lr": 0.1}]},
    }  # fmt: skip
    path = tmp_path / "a.pth"
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    found = open_foreign(path)
    read = found.load()
    assert list(read) == ["weight", "half"]
    assert all(torch.equal(read[name], state[name]) for name in read)
    assert found.meta == {
        "epoch": 3, "loss": 0.5, "classes": ["sky", "road"], "none": None, "shape": [2, 3], "best_score": 0.75,
    }  # fmt: skip
    assert any("Trainer" in name for name in found.left_out)
    assert "datetime.datetime" in found.left_out


def test_the_descriptions_of_both_generations(tmp_path: Path) -> None:
    state = {"a": torch.zeros(1)}
    old, new, odd = tmp_path / "old.pth", tmp_path / "new.pth", tmp_path / "odd.pth"
    colours = np.array([[1, 2, 3], [4, 5, 6]])  # 0.x drew colours with numpy where a data set had none
    torch.save(
        {"state_dict": state, "meta": {"CLASSES": CLASSES, "PALETTE": colours, "config": "a = 1", "iter": 5}}, old
    )
    described = {"classes": list(CLASSES), "palette": [(1, 2, 3), (4, 5, 6)]}
    torch.save({"state_dict": state, "meta": {"dataset_meta": described, "cfg": "a = 1", "iter": 5}}, new)
    for path in (old, new):
        found = open_foreign(path)
        assert found.classes == CLASSES
        assert found.palette == ((1, 2, 3), (4, 5, 6))
        assert found.config_text == "a = 1"
        assert found.step == 5
    torch.save({"state_dict": state, "meta": {"CLASSES": 3, "PALETTE": [[1, 2, 3]], "cfg": {}, "iter": "many"}}, odd)
    found = open_foreign(odd)
    assert (found.classes, found.palette, found.config_text, found.step) == ((), (), None, None)


def test_bare_and_wrapped_states(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    parameter = torch.nn.Parameter(torch.ones(2))
    torch.save({"module.a": parameter, "module.b": torch.zeros(1)}, path)
    assert list(load_state(path)) == ["a", "b"]
    torch.save({"_orig_mod.module.a": parameter, "_orig_mod.module.b": torch.zeros(1)}, path)
    assert list(load_state(path)) == ["a", "b"]
    torch.save({"model": {"c": torch.zeros(1)}, "optimizer": {}}, path)
    assert list(load_state(path)) == ["c"]


def test_the_optimizer_is_not_read(tmp_path: Path) -> None:
    """Its bytes are gone from the file here; the model's are not."""
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.ones(3)}, "optimizer": {"momentum": torch.full((1000,), 7.0)}}, path)
    data = path.read_bytes().replace(torch.full((1000,), 7.0).numpy().tobytes(), b"?" * 4000)
    path.write_bytes(data)
    assert read_foreign(path).state["a"].tolist() == [1, 1, 1]


# --- Code in files ------------------------------------------------------------------------------------------------


def calling(function: Any, *arguments: Any) -> Any:
    """An object whose pickle calls a function."""

    class Bomb:
        def __reduce__(self) -> Any:
            return function, arguments

    return Bomb()


REFUSED = {
    "os.system": lambda marker: calling(os.system, f"touch {marker}"),
    "eval": lambda marker: calling(eval, f"open({marker!r}, 'w')"),
    "exec": lambda marker: calling(exec, f"open({marker!r}, 'w')"),
    "open": lambda marker: calling(io.open, marker, "w"),
    "getattr of an import": lambda marker: calling(getattr, calling(__import__, "os"), "mkdir"),
    "os.mkdir": lambda marker: calling(os.mkdir, marker),
    "a chain": lambda marker: calling(list, calling(map, os.mkdir, [marker])),
    "an argument of torch's own": lambda marker: calling(
        torch._utils._rebuild_tensor_v2, calling(os.mkdir, marker), 0, (1,), (1,), False, OrderedDict()
    ),
    "an item of an ordered dict": lambda marker: OrderedDict(a=calling(os.mkdir, marker)),
}
LEFT_ALONE = {
    "torch.save": lambda marker: calling(torch.save, {}, marker),
    "torch.load": lambda marker: calling(torch.load, marker),
    "np.save": lambda marker: calling(np.save, marker + ".npy", np.zeros(1)),
    "np.loadtxt": lambda marker: calling(np.loadtxt, marker),
    "an array of objects": lambda marker: np.array([calling(np.save, marker + ".npy", np.zeros(1))], dtype=object),
}


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("attack", "place"),
    [
        (attack, place)
        for attack in [*REFUSED, *LEFT_ALONE]
        for place in ("state", "meta", "everything", "optimizer", "keys", "nested")
        if place != "keys" or not attack.startswith("an ")  # dicts and arrays cannot be keys
    ],
)
def test_nothing_is_run(tmp_path: Path, attack: str, place: str, legacy: bool) -> None:
    marker, path = tmp_path / "marker", tmp_path / "bad.pth"
    bomb = {**REFUSED, **LEFT_ALONE}[attack](str(marker))
    content: dict[Any, Any] = {"state_dict": {"a": torch.zeros(1)}, "meta": {"kept": 1}}
    if place == "state":
        content["state_dict"]["b"] = bomb
    elif place == "meta":
        content["meta"]["b"] = bomb
    elif place == "everything":
        content = bomb
    elif place == "optimizer":
        content["optimizer"] = [bomb]
    elif place == "keys":
        content["meta"][bomb] = 1
    else:
        content["meta"]["b"] = [{"c": (bomb, [bomb])}, {1: {2: bomb}}]
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    if attack in REFUSED:
        with pytest.raises(ForeignFileError, match=r"bad\.pth is refused: it asks for .* Nothing of it was run"):
            read_foreign(path)
    elif place == "everything":
        with pytest.raises(ForeignFileError, match=r"bad\.pth holds .*torch\.save\(model\.state_dict"):
            read_foreign(path)
    else:
        found = read_foreign(path)
        assert list(found.state) == ["a"]
        assert found.meta["kept"] == 1
    assert not list(tmp_path.glob("marker*"))


def test_billions_of_values_in_few_bytes(tmp_path: Path) -> None:
    """Lists that hold each other twice, forty deep, would be a trillion values written out; and one holds itself."""
    value: list[Any] = ["boom"]
    for _ in range(40):
        value = [value, value]
    value.append(value)
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": {"bomb": value, "iter": 3}}, path)
    assert list(read_foreign(path).state) == ["a"]


def test_depth_is_no_danger(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    depth = 300_000
    inner = b"]" * depth + b"a" * (depth - 1)
    main = b"\x80\x02}(X\x04\x00\x00\x00meta}X\x01\x00\x00\x00a" + inner + b"su."
    magic = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2) + pickle.dumps({"little_endian": True}, 2)
    path.write_bytes(magic + main + pickle.dumps([], 2))
    with pytest.raises(ForeignFileError, match="no tensors by name; its entries are: meta"):
        read_foreign(path)


# --- Files that are something else --------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b"no checkpoint at all", b"PK\x03\x04 half an archive", b"\x80\x02c", b"{}"])
def test_files_that_are_no_checkpoint(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.pth"
    path.write_bytes(content)
    with pytest.raises(ForeignFileError, match=r"a\.pth is no checkpoint of torch\.save, or a damaged one"):
        read_foreign(path)


def test_checkpoints_without_tensors(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(ForeignFileError, match="does not exist"):
        read_foreign(path)
    torch.save([torch.zeros(1)], path)
    with pytest.raises(ForeignFileError, match="holds list; expected a dict of tensors"):
        read_foreign(path)
    torch.save(Trainer(), path)
    with pytest.raises(ForeignFileError, match=r"a whole object of the class test_foreign\.Trainer"):
        read_foreign(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(ForeignFileError, match="no tensors by name; its entries are: epoch"):
        read_foreign(path)
    torch.save({"a": torch.zeros(1000)}, path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ForeignFileError, match="damaged"):
        read_foreign(path)
