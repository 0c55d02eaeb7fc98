"""`intarsia models download` and what `models show` and `doctor` say about files: fetched, copied, listed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intarsia.cli.main import main
from intarsia.guide.published import Checkpoint, published
from intarsia.weights.download import CACHE, MIRROR, OFFLINE, cache_folder, cached_file, fetch

NAME = "fast_scnn_8xb4-160k_cityscapes-512x1024"
OTHER = "cgnet_fcn_4xb4-60k_cityscapes-680x680"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "here"
    path.mkdir()
    monkeypatch.chdir(path)
    return path


def said(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    return captured.out + captured.err


def test_into_the_cache_and_into_a_folder(
    folder: Path, fabricated: Path, asked: list[str], expected_there: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "download", NAME, NAME]) == 0
    cached = cached_file(expected_there.address)
    assert f"{NAME}: {cached}" in said(capsys)
    assert cached.read_bytes() == fabricated.read_bytes()
    assert list(folder.iterdir()) == []
    copy = folder / "weights" / expected_there.file
    for damage in (None, b"", None):
        if damage is not None:
            copy.write_bytes(damage)
        written = copy.stat().st_mtime_ns if copy.is_file() else 0
        assert main(["models", "download", expected_there.file, "--out", "weights"]) == 0
        assert f"{NAME}: {Path('weights') / expected_there.file}" in said(capsys)
        assert copy.read_bytes() == fabricated.read_bytes()
    assert copy.stat().st_mtime_ns == written, "what is there is not copied again"
    assert len(asked) == 1


def test_what_cannot_be_had_stops_nothing_else(
    asked: list[str], expected_there: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "download", OTHER, NAME]) == 2
    text = said(capsys)
    assert f"{NAME}: {cached_file(expected_there.address)}" in text
    assert f"1 of 2 could not be had:\n{OTHER}: {published()[OTHER].file} could not be fetched. " in text
    assert f"put it at {cached_file(published()[OTHER].address)}" in text
    assert cached_file(expected_there.address).is_file()


def test_a_list_for_a_machine_with_a_network(
    folder: Path, fabricated: Path, expected_there: Checkpoint, monkeypatch: pytest.MonkeyPatch,
    asked: list[str], capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Each file is found where the table says: below a mirror's folder as wget -x makes it, or below the cache."""
    monkeypatch.setenv(OFFLINE, "1")
    assert main(["models", "download", NAME, OTHER, "--list", "files.txt"]) == 0
    text = said(capsys)
    assert "wget -x -c -P mirror -i files.txt" in text
    assert f"INTARSIA_MIRROR=mirror intarsia predict {NAME}" in text
    assert (folder / "files.txt").read_text().splitlines() == [published()[name].address for name in (NAME, OTHER)]
    titles, *rows = [line.split("\t") for line in (folder / "files.txt.places.tsv").read_text().splitlines()]
    assert [row[0] for row in rows] == [NAME, OTHER]
    assert rows[1][1] == published()[OTHER].address[-12:-4]
    row = dict(zip(titles, rows[0], strict=True))
    assert row["address"] == expected_there.address
    in_mirror = folder / "mirror" / row["below a mirror's folder"]
    in_mirror.parent.mkdir(parents=True)
    in_mirror.write_bytes(fabricated.read_bytes())
    monkeypatch.setenv(MIRROR, "mirror")
    assert fetch(row["address"], sha256=expected_there.sha256).resolve() == in_mirror
    in_mirror.unlink()
    monkeypatch.setenv(CACHE, str(folder / "cache"))
    in_cache = folder / "cache" / row["below the folder of INTARSIA_CACHE"]
    in_cache.parent.mkdir(parents=True)
    in_cache.write_bytes(fabricated.read_bytes())
    assert fetch(row["address"], sha256=expected_there.sha256) == in_cache
    assert asked == []


def test_a_list_of_all(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", "--all", "--list", "all.txt"]) == 0
    assert "626 checkpoints, together about 157 GB" in said(capsys)
    lines = (folder / "all.txt").read_text().splitlines()
    assert len(set(lines)) == 626
    assert len((folder / "all.txt.places.tsv").read_text().splitlines()) == 627


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["fast_scnn"], f"no published checkpoint is called fast_scnn; did you mean {NAME}?"),
        ([NAME, "nothing-like-it"], "no published checkpoint is called nothing-like-it\n`intarsia models show MODEL`"),
        (["--all", NAME], "leave out the names, or --all"),
        (["--out", "x"], "which checkpoints? Expected names"),
        ([NAME, "--out", "x", "--list", "y"], "leave out one of them"),
    ],
)
def test_what_makes_no_sense(words: list[str], part: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "download", *words]) == 2
    assert part in said(capsys)
    assert list(folder.iterdir()) == []


def test_show_says_what_is_here(
    expected_there: Checkpoint, fabricated: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "show", NAME]) == 0
    text = said(capsys)
    assert f"Checkpoint {NAME}:\n  trained on Cityscapes: mIoU 70.96, mIoU(ms+flip) 72.65\n" in text
    assert f"{expected_there.file}, about 6 MB; its SHA-256 begins with {expected_there.sha256}\n" in text
    assert "not in the cache yet" in text
    assert main(["models", "download", NAME]) == 0
    for name in (NAME, expected_there.file):
        assert main(["models", "show", name]) == 0
        text = said(capsys)
        assert f"{expected_there.file}, {fabricated.stat().st_size / 1e6:,.1f} MB; its" in text
        assert f"  in the cache: {cached_file(expected_there.address)}\n" in text
    assert main(["models", "show", NAME, "--json"]) == 0
    (one,) = json.loads(said(capsys))["published"]
    assert one["checkpoints"] == [
        {
            "name": NAME, "trained_on": "Cityscapes", "scores": dict(expected_there.scores), "cached": True,
            "address": expected_there.address, "sha256": expected_there.sha256,
        }
    ]  # fmt: skip


def test_show_gives_commands_of_the_checkpoint_that_was_named(capsys: pytest.CaptureFixture[str]) -> None:
    worse = "segformer_mit-b0_8xb1-160k_cityscapes-1024x1024"
    assert main(["models", "show", worse]) == 0
    text = said(capsys)
    assert f"intarsia predict {worse} IMAGES -o OUT\n" in text
    assert f"intarsia train segformer_mit-b0 --data DIR --out RUN --weights {worse} --allow-partial\n" in text


@pytest.mark.usefixtures("expected_there")
def test_doctor_shows_cache_and_mirror(
    fabricated: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "download", NAME]) == 0
    capsys.readouterr()
    assert main(["doctor", "--report"]) == 0
    text = said(capsys)
    assert f"downloaded weights: {cache_folder()} (1 file, {fabricated.stat().st_size / 1e6:.1f} MB)" in text
    assert "INTARSIA_MIRROR: http://127.0.0.1:" in text
    monkeypatch.delenv(MIRROR)
    assert main(["doctor", "--report"]) == 0
    assert "INTARSIA_MIRROR: not set" in said(capsys)
