from __future__ import annotations

from pathlib import Path

import pytest
import torch
from standins import tiny_run

from intarsia.engine.training.checkpoint import CheckpointError, Checkpoints, load_checkpoint
from intarsia.engine.training.loop import train
from intarsia.engine.training.run import RunFolder


def state(value: float) -> dict[str, object]:
    return {"task": {"weight": torch.full((1000,), value)}, "best": None, "step_names": ["a"]}


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.restore() is None
    for step in (5, 10, 15):
        checkpoints.save(step, state(float(step)))
    assert checkpoints.steps() == [10, 15]
    restored = checkpoints.restore()
    assert restored is not None
    assert restored.state["step"] == 15
    assert restored.state["task"]["weight"][0] == 15
    assert restored.notes == ()
    with pytest.raises(ValueError, match="at least one checkpoint"):
        Checkpoints(tmp_path, keep=0)


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped"])
def test_a_damaged_one_is_named_and_the_one_before_it_used(tmp_path: Path, damage: str) -> None:
    checkpoints = Checkpoints(tmp_path, keep=3)
    for step in (5, 10):
        checkpoints.save(step, state(float(step)))
    path = checkpoints.path(10)
    data = bytearray(path.read_bytes())
    if damage == "flipped":
        place = data.index(torch.full((8,), 10.0).numpy().tobytes()) + 100
        data[place] ^= 1  # one bit of one weight
    path.write_bytes({"cut": data[: len(data) // 2], "empty": b"", "flipped": data}[damage])
    restored = checkpoints.restore()
    assert restored is not None
    assert restored.state["step"] == 5
    assert len(restored.notes) == 1
    assert "step_00000010.pt is damaged" in restored.notes[0]
    # The damaged one does not push out good ones, and is replaced when the run gets there again.
    checkpoints.save(6, state(6.0))
    checkpoints.save(7, state(7.0))
    assert checkpoints.steps() == [5, 6, 7, 10]
    checkpoints.save(10, state(10.0))
    assert checkpoints.steps() == [6, 7, 10]
    assert load_checkpoint(path)["step"] == 10


def test_none_is_usable(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(5, state(5.0))
    checkpoints.path(5).write_bytes(b"PK")
    with pytest.raises(CheckpointError, match=r"no checkpoint is usable:\n.*step_00000005\.pt is damaged"):
        checkpoints.restore()


def test_a_later_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "step_00000001.pt"
    torch.save({"format": 99}, path)
    with pytest.raises(CheckpointError, match="has format 99; this version reads format 1"):
        load_checkpoint(path)


def test_nothing_but_plain_values_is_inside(out: Path) -> None:
    train(tiny_run(out))
    content = torch.load(out / "checkpoints/step_00000020.pt", weights_only=True)
    assert {"task", "optimizer", "precision", "log", "best", "evaluated_at", "seed", "batch", "step"} <= content.keys()


def test_a_run_says_which_checkpoint_was_damaged(out: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(tiny_run(out, steps=12, validate=False))
    newest = out / "checkpoints/step_00000012.pt"
    newest.write_bytes(newest.read_bytes()[:999])
    (out / "checkpoints/.step_00000012.pt.99.part").write_bytes(b"left by a crash")
    assert train(tiny_run(out, steps=12, validate=False, resume=True)).finished
    said = capsys.readouterr().out
    assert "step_00000012.pt is damaged or cut short (999 bytes); the one before it is used" in said
    assert "resumed at step 10 of 12" in said
    assert sorted(p.name for p in (out / "checkpoints").iterdir()) == ["step_00000010.pt", "step_00000012.pt"]


def test_a_damaged_run_json_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    for content in ("{", "[1]", ""):
        folder.run_json.write_text(content)
        with pytest.raises(
            ValueError, match=r"run\.json: is damaged, no JSON of a run: .* begin anew from its weights"
        ):
            folder.read()
