"""``intarsia predict --part``: jobs that know nothing of each other leave what one leaves, tables and all."""

from __future__ import annotations

from pathlib import Path

import pytest

from intarsia.cli.main import main

KINDS = "label,rle"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def predict(*words: str | Path) -> int:
    return main(["predict", *map(str, words), "--device", "cpu"])


def test_parts_together_are_the_whole(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert predict(weights, photos, "-o", whole, "--save", KINDS, "--areas", whole / "areas.csv") == 0
    words = ["--save", KINDS, "--areas", parts / "areas.csv"]
    monkeypatch.setenv("JOB_COMPLETION_INDEX", "2")
    for part in ("1/3", "2/3", "auto/3"):
        assert predict(weights, photos, "-o", parts, *words, "--part", part) == 0
    said = capsys.readouterr().err
    assert "part 2 of 3: 0 of 4 images" in said  # by their names
    labels = {name: data for name, data in contents(whole).items() if "areas" not in name and "annotat" not in name}
    found = contents(parts)
    assert {name: found[name] for name in labels} == labels
    assert {name for name in found if name not in labels} == {
        "areas_part1of3.csv", "areas_part3of3.csv", "annotations_part1of3.json", "annotations_part3of3.json",
    }  # fmt: skip
    assert predict(weights, photos, "-o", parts, *words, "--skip-existing") == 0
    said = capsys.readouterr().err
    assert "all 4 images were done before" in said
    assert "areas of the classes, of 2 parts" in said
    assert contents(parts) == contents(whole)


def test_a_part_goes_on_by_itself(
    weights: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    words = ["--save", "label", "--areas", out / "areas.csv", "--part", "3/3"]
    assert predict(weights, photos, "-o", out, *words) == 0
    before = contents(out)
    next(file for file in out.rglob("*.png")).unlink()
    assert predict(weights, photos, "-o", out, *words, "--skip-existing") == 0
    assert "1 of" in capsys.readouterr().err
    assert contents(out) == before
