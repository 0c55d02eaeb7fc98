"""Packing from the command line, and training, evaluating and dividing what was packed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from intarsia.cli.main import main
from intarsia.data.description.read import read_description
from intarsia.workflows import pack_data
from intarsia.workflows.names import typical_size

SIZE = (48, 64)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part, count in (("train", 6), ("val", 2)):
        for number in range(count):
            rng = np.random.default_rng((number, count))
            label = np.repeat(np.repeat(rng.integers(0, 2, (6, 8), dtype=np.uint8), 8, 0), 8, 1)
            picture = rng.integers(0, 90, (*SIZE, 3), dtype=np.uint8) + label[:, :, None] * 120
            for name, array in (("images", picture), ("masks", label)):
                place = tmp_path / "data" / name / part / f"{number}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(place)
    return tmp_path / "data"


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [value for line in lines for name, value in line.items() if "loss" in name]


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_pack_train_eval_and_divide(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.pack"
    assert run("data", "pack", folder, "-o", file, "--processes", 1) == 0
    assert "6 train, 2 val samples" in capsys.readouterr().err
    assert typical_size(read_description(file)) == SIZE
    assert run("data", "check", file) == 0
    assert "packed data in a.pack" in capsys.readouterr().out
    assert run("data", "show", file, "-o", tmp_path / "sheet.png") == 0
    training = ("--for", "2 steps", "--batch", 2, "--crop", 32, 32, "--workers", 0)
    assert run("train", "small_r18", "--data", file, "--out", tmp_path / "run", *training) == 0
    assert "packed: a.pack" in (tmp_path / "run/data.yaml").read_text()
    assert run("train", "small_r18", "--data", folder, "--out", tmp_path / "files", *training) == 0
    assert losses(tmp_path / "run") == losses(tmp_path / "files") != []
    capsys.readouterr()
    assert run("eval", tmp_path / "run") == 0
    first = capsys.readouterr().out
    assert run("eval", tmp_path / "run", "--data", folder) == 0
    assert capsys.readouterr().out == first
    assert run("data", "split", file, "-o", tmp_path / "folds", "--folds", 2, "--pool", "train,val") == 0
    fold = read_description(tmp_path / "folds/fold_1.yaml")
    assert len(fold.pairs("train")) + len(fold.pairs("val")) == 8
    fold.dataset("train").load(0)


def test_dry_run_writes_nothing(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "pack", folder, "-o", tmp_path / "a.pack", "--dry-run", "--compression", "none") == 0
    out = capsys.readouterr().out
    assert "6 train, 2 val" in out
    assert "with compression none" in out
    assert not (tmp_path / "a.pack").exists()


def test_a_disk_that_is_too_full_is_refused_before(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pack_data.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1000})())
    assert run("data", "pack", folder, "-o", tmp_path / "a.pack") == 2
    assert "make room, choose another disk or another --compression" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-o", "a.zip"), "must end in .pack"),
        (("-o", "a.pack", "--compression", "lzo"), "compression 'lzo' is not known"),
        (("-o", "a.pack", "--shard-size", "many"), "--shard-size: expected a size such as 2GB"),
        (("-o", "a.pack", "--shard-size", "10"), "at least 1MB"),
        (("-o", "there.pack"), "is there already"),
    ],
)
def test_errors_say_what_to_do(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...], message: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.pack").write_bytes(b"x")
    assert run("data", "pack", folder, *arguments) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_sizes() -> None:
    assert pack_data.parse_size("2GB") == 2 * 10**9
    assert pack_data.parse_size("1.5 MiB") == 3 * 2**19
    assert pack_data.parse_size("700") == 700
