from __future__ import annotations

import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from intarsia.io.whole_files import DiskFullError, write_whole
from intarsia.weights.file import (
    AUXILIARY,
    WeightsMeta,
    WeightsMismatchError,
    apply_state,
    grouped,
    load_state,
    read_meta,
    save_weights,
)

META = WeightsMeta(
    config={"model": {"type": "EncoderDecoder", "depth": 18, "scale": [1, 2.5, None]}},
    classes=("Straße", "sky"),
    palette=((1, 2, 3), (255, 0, 9)),
    ignore_index=254,
    labels={"values": {"0": "sky", "255": "ignore"}},
    version="0.1.0",
    scores={"mIoU": 0.5, "aAcc": float("nan")},
    step=200,
)


class Model(nn.Module):
    def __init__(self, num_classes: int = 2, width: int = 4) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width))
        self.decode_head = nn.ModuleDict({"conv_seg": nn.Conv2d(width, num_classes, 1)})


def test_everything_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    state = Model().state_dict()
    state["shared"] = state["backbone.0.weight"].expand(4, 3, 3, 3).transpose(2, 3)  # not contiguous, shared memory
    save_weights(path, state, META)
    meta, loaded = read_meta(path), load_state(path)
    assert meta.scores == {"mIoU": 0.5}
    for name in ("config", "classes", "palette", "ignore_index", "labels", "version", "step"):
        assert getattr(meta, name) == getattr(META, name), name
    assert loaded.keys() == state.keys()
    assert all(torch.equal(loaded[name], state[name]) for name in state)
    assert [p.name for p in tmp_path.iterdir()] == ["weights.safetensors"]


def test_reading_the_description_loads_no_torch(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_weights(path, Model().state_dict(), META)
    code = (
        "import sys; from intarsia.weights.file import read_meta; "
        f"print(read_meta({str(path)!r}).step, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["200", "False"]


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    with pytest.raises(ValueError, match=r"a\.safetensors does not exist"):
        read_meta(path)
    with pytest.raises(ValueError, match="is a folder"):
        load_state(tmp_path)
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="is no safetensors file"):
        read_meta(path)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 100)
    with pytest.raises(ValueError, match="is no safetensors file"):
        load_state(path)
    path.write_bytes(struct.pack("<Q", 200_000) + b"[" * 200_000)
    with pytest.raises(ValueError, match=r"no safetensors file: its header is not JSON \(maximum recursion depth"):
        read_meta(path)
    save_file({"a": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="not written by Intarsia"):
        read_meta(path)
    save_weights(path, {"a": torch.zeros(300)}, META)
    path.write_bytes(path.read_bytes()[:-100])
    for read in (read_meta, load_state):
        with pytest.raises(ValueError, match="is incomplete"):
            read(path)
    with pytest.raises(ValueError, match=r"ends in \.safetensors, found 'a\.pth'"):
        save_weights(tmp_path / "a.pth", {}, META)


def test_a_later_version_may_say_more() -> None:
    assert WeightsMeta.from_json('{"step": 3, "mood": "good"}') == WeightsMeta(step=3)


def test_applying_what_fits() -> None:
    source, target = Model(), Model()
    report = apply_state(target, source.state_dict())
    assert report.complete
    assert torch.equal(target.backbone[0].weight, source.backbone[0].weight)


def test_old_checkpoints_without_batch_counters() -> None:
    state = {k: v for k, v in Model().state_dict().items() if not k.endswith("num_batches_tracked")}
    assert apply_state(Model(), state).complete


def test_another_number_of_classes_is_said() -> None:
    target = Model(num_classes=7)
    before = {k: v.clone() for k, v in target.state_dict().items()}
    with pytest.raises(WeightsMismatchError, match="the file was trained for 2 classes, the model has 7") as caught:
        apply_state(target, Model().state_dict())
    assert "decode_head.conv_seg.weight: file [2, 4, 1, 1], model [7, 4, 1, 1]" in str(caught.value)
    assert all(torch.equal(v, before[k]) for k, v in target.state_dict().items())

    source = Model()
    report = apply_state(target, source.state_dict(), allow_partial=True)
    assert [name for name, _, _ in report.mismatched] == ["decode_head.conv_seg.weight", "decode_head.conv_seg.bias"]
    assert "backbone.0.weight" in report.loaded
    assert torch.equal(target.backbone[0].weight, source.backbone[0].weight)
    assert torch.equal(target.decode_head["conv_seg"].weight, before["decode_head.conv_seg.weight"])


def test_messages_are_grouped_and_short() -> None:
    state = Model().state_dict()
    state.pop("backbone.0.bias")
    state |= {f"auxiliary_head.{i}.weight": torch.zeros(1) for i in range(500)}
    state |= {f"neck.convs.{i}.conv.{kind}": torch.zeros(1) for i in range(2) for kind in ("weight", "bias")}
    with pytest.raises(WeightsMismatchError) as caught:
        apply_state(Model(), state)
    message = str(caught.value)
    assert "1 missing in the file, left as they were:\n  backbone.0.bias" in message
    assert (
        "504 in the file but not in the model:\n  auxiliary_head.*  500 tensors\n"
        "  neck.convs.0.conv.weight\n  neck.convs.0.conv.bias\n" in message
    )
    assert len(message.splitlines()) < 20
    assert caught.value.report.missing == ("backbone.0.bias",)


@given(st.sets(st.lists(st.sampled_from("abcd"), min_size=1, max_size=4).map(".".join), min_size=1), st.integers(1, 12))
def test_groups_count_every_name_once(names: set[str], most: int) -> None:
    lines = grouped(sorted(names), lines=most)
    count = sum(int(line.split()[1]) if "*" in line else int(line.split()[1]) if " " in line else 1 for line in lines)
    assert len(lines) <= most + 1
    if not lines[-1].startswith("and "):
        assert count == len(names)


def test_groups_open_the_largest_part() -> None:
    names = [f"backbone.layer{i}.{j}.weight" for i in (1, 2) for j in range(3)] + ["head.weight", "head.bias"]
    assert grouped(names, lines=3) == [
        "backbone.layer1.*  3 tensors",
        "backbone.layer2.*  3 tensors",
        "head.*  2 tensors",
    ]
    assert grouped(["a.b"], {"a.b": ": file [2], model [3]"}) == ["a.b: file [2], model [3]"]


def test_parts_that_only_training_needs() -> None:
    state = Model().state_dict()
    model = nn.ModuleDict({**dict(Model().named_children()), "auxiliary_head": nn.Linear(2, 2)})
    with pytest.raises(WeightsMismatchError, match="auxiliary_head"):
        apply_state(model, state)
    report = apply_state(model, state, optional=AUXILIARY)
    assert report.missing == ("auxiliary_head.weight", "auxiliary_head.bias")
    extra = state | {"auxiliary_head.conv.weight": torch.zeros(1)}
    assert apply_state(Model(), extra, optional=AUXILIARY).unexpected == ("auxiliary_head.conv.weight",)
    with pytest.raises(WeightsMismatchError, match="conv_seg"):
        apply_state(model, {name: value for name, value in state.items() if "head" not in name}, optional=AUXILIARY)


def test_what_a_part_has_left_away_may_be_in_the_file() -> None:
    """As a network of timm states it; any other name that the model lacks is an error still."""
    model = nn.ModuleDict({"backbone": nn.Linear(2, 2)})
    model["backbone"].__dict__["left_away"] = ("fc.weight",)
    state = {**model.state_dict(), "backbone.fc.weight": torch.zeros(1)}
    assert apply_state(model, state).complete
    with pytest.raises(WeightsMismatchError, match=r"backbone\.fc\.bias"):
        apply_state(model, {**state, "backbone.fc.bias": torch.zeros(1)})


def test_weights_of_something_else() -> None:
    with pytest.raises(WeightsMismatchError, match="not one tensor of the file fits"):
        apply_state(Model(), {"a": torch.zeros(1)}, allow_partial=True)


def test_a_width_that_differs_is_no_class_count() -> None:
    with pytest.raises(WeightsMismatchError) as caught:
        apply_state(Model(), Model(width=8).state_dict())
    assert "classes" not in str(caught.value)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, lambda file: file.write(b"old"))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError, match=r"no room on the disk for .*file, "):
        write_whole(path, lambda file: file.write(b"new"))
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's full device")
def test_a_disk_that_fills_up_in_the_middle_of_torch_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """/dev/full refuses every byte, with torch's archive writer holding the file."""
    import builtins

    real = builtins.open
    monkeypatch.setattr(
        builtins,
        "open",
        lambda name, mode="r", **o: real("/dev/full" if str(name).endswith(".part") else name, mode, **o),
    )
    with pytest.raises(DiskFullError):
        write_whole(tmp_path / "file", lambda file: torch.save({"a": torch.zeros(1_000_000)}, file))
    assert not (tmp_path / "file").exists()


def test_a_crash_while_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def crash(file: object) -> None:
        file.write(b"ne")  # type: ignore[attr-defined]
        raise RuntimeError("power")

    with pytest.raises(RuntimeError, match="power"):
        write_whole(path, crash)
    assert path.read_bytes() == b"old"
