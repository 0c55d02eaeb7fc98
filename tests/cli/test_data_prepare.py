"""`intarsia data prepare` as one types it."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from intarsia.cli.main import main
from intarsia.data.prepare.table import BENCHMARKS


def download(path: Path) -> Path:
    """CHASEDB1.zip with small images."""
    image = cv2.imencode(".jpg", np.full((8, 10, 3), 90, np.uint8))[1].tobytes()
    mask = cv2.imencode(".png", np.full((8, 10), 255, np.uint8))[1].tobytes()
    with zipfile.ZipFile(path, "w") as file:
        for name in (f"Image_{number:02}{side}" for number in range(1, 15) for side in "LR"):
            for end, data in ((".jpg", image), ("_1stHO.png", mask), ("_2ndHO.png", mask)):
                file.writestr(name + end, data)
    return path


def test_from_an_archive_to_a_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    archive = download(tmp_path / "CHASEDB1.zip")
    assert main(["data", "prepare", "chase_db1", str(archive)]) == 0
    said = capsys.readouterr()
    assert "84 files written, 0 were there" in said.out + said.err
    assert "next: intarsia train unet-s5-d16_fcn_4xb4-40k_chase-db1-128x128" in said.out + said.err
    assert len(list(Path("data/CHASE_DB1/annotations/training").iterdir())) == 40
    assert main(["data", "prepare", "chase_db1", str(archive), "--processes", "2"]) == 0
    said = capsys.readouterr()
    assert "0 files written, 84 were there" in said.out + said.err


def test_the_list_says_what_to_download(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "prepare", "--list"]) == 0
    text = capsys.readouterr().out
    assert main(["data", "prepare", "--list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == set(BENCHMARKS)
    assert len(rows) == 17
    said = " ".join(text.split())
    for row in rows:
        assert all(value in said for key, value in row.items() if key != "facts from")
        assert row["from"].startswith("http")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "expected the name of a benchmark"),
        (["chase"], "'chase'; there are chase_db1"),
        (["drive"], "expected archives or folders: training.zip, test.zip"),
        (["drive", "nowhere.zip"], "nowhere.zip"),
        (["drive", "CHASEDB1.zip"], "expected training.zip and test.zip"),
        (["chase_db1", "CHASEDB1.zip", "--clip-size", "64"], "chase_db1 has no option --clip-size"),
    ],
)
def test_what_cannot_be_prepared_is_an_error(
    words: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    download(tmp_path / "CHASEDB1.zip")
    assert main(["data", "prepare", *words]) == 2
    assert expected in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "data").exists()
