"""Parts of one's own from beginning to end: by custom_imports, by import path, and through entry points."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
{imports}
model = dict(
    type="EncoderDecoder",
    data_preprocessor=dict(type="SegDataPreProcessor", mean=[100.0] * 3, std=[60.0] * 3, size=(64, 64)),
    backbone=dict(type="ResNetV1c", depth=18, base_channels=8, stem_channels=8),
    decode_head=dict(type="{prefix}PlainHead", in_channels=64, num_classes=2,
                     loss_decode=dict(type="{prefix}SquaredLoss", loss_name="loss_squared")),
    test_cfg=dict(mode="whole"),
)
train_dataloader = dict(batch_size=2, num_workers=0, dataset=dict(
    type="{prefix}Stripes", length=6,
    pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="{prefix}Dim", least=0.6),
              dict(type="PackSegInputs")]))
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(
    type="{prefix}Stripes", length=2,
    pipeline=[dict(type="LoadImageFromFile"), dict(type="LoadAnnotations"), dict(type="PackSegInputs")]))
val_evaluator = dict(type="IoUMetric")
optim_wrapper = dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.01))
train_cfg = dict(type="IterBasedTrainLoop", max_iters=4, val_interval=2)
val_cfg = dict(type="ValLoop")
custom_hooks = [dict(type="{prefix}Diary", file="notes.txt")]
"""
HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]


def intarsia(*words: str, folder: Path, path: Path) -> subprocess.CompletedProcess[str]:
    """The command as a user starts it in a folder, with a folder of modules on PYTHONPATH."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(path), str(REPOSITORY)])}
    environment.pop("INTARSIA_TRUST", None)
    command = [sys.executable, "-m", "intarsia.cli.main", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def check_run(folder: Path, path: Path, config: str, *, trust: str | None) -> None:
    """Train and evaluate. trust: the package that must be agreed to; None where nothing need be."""
    (folder / "mine.py").write_text(config)
    train = ("train", "mine.py", "--out", "run", "--device", "cpu")
    evaluate = ("eval", "run", "--device", "cpu", "--out", "scores")
    agreed = [] if trust is None else ["--trust", trust]
    if trust is not None:
        refused(folder, path, trust, *train)
    done = intarsia(*train, *agreed, folder=folder, path=path)
    assert done.returncode == 0, done.stderr
    assert [line.partition(":")[0] for line in (folder / "run/notes.txt").read_text().splitlines()] == [
        "after 2 steps", "after 4 steps",
    ]  # fmt: skip
    assert "decode.loss_squared" in (folder / "run/metrics.jsonl").read_text()
    if trust is not None:
        refused(folder, path, trust, *evaluate)
    again = intarsia(*evaluate, *agreed, folder=folder, path=path)
    assert again.returncode == 0, again.stderr


def refused(folder: Path, path: Path, package: str, *words: str) -> None:
    """The command says what it would have to run, and runs nothing of it."""
    done = intarsia(*words, folder=folder, path=path)
    assert done.returncode == 2
    assert f"--trust {package}" in " ".join(done.stderr.split())
    assert not (folder / "run/notes.txt").exists() or words[0] == "eval"


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    """A user's folder with the package in it."""
    shutil.copytree(HERE / "fieldwork", tmp_path / "fieldwork", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.slow
def test_by_custom_imports_from_the_folder_one_works_in(beside: Path) -> None:
    """No PYTHONPATH is needed."""
    imports = 'custom_imports = dict(imports=["fieldwork.parts"])'
    check_run(beside, beside / "nothing", CONFIG.format(imports=imports, prefix=""), trust="fieldwork")


@pytest.mark.slow
def test_by_import_path(beside: Path) -> None:
    check_run(beside, beside / "nothing", CONFIG.format(imports="", prefix="fieldwork.parts:"), trust="fieldwork")


@pytest.mark.slow
def test_through_entry_points(beside: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """An installed package: its folder elsewhere, with the metadata that pip writes. Installing it was the consent."""
    installed = tmp_path_factory.mktemp("site")
    install(beside, installed)
    check_run(beside, installed, CONFIG.format(imports="", prefix=""), trust=None)


def install(beside: Path, folder: Path) -> None:
    (beside / "fieldwork").rename(folder / "fieldwork")
    metadata = folder / "fieldwork-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fieldwork\nVersion: 1.0\n")
    kinds = {"head": "PlainHead", "loss": "SquaredLoss", "dataset": "Stripes", "transform": "Dim", "observer": "Diary"}
    points = "".join(f"{kind}.{name} = fieldwork.parts:{name}\n" for kind, name in kinds.items())
    (metadata / "entry_points.txt").write_text(f"[intarsia.parts]\n{points}")


@pytest.mark.slow
def test_metadata_in_the_folder_of_the_command_installs_nothing(beside: Path) -> None:
    elsewhere = beside / "mine"
    elsewhere.mkdir()
    install(beside, elsewhere)
    (elsewhere / "mine.py").write_text(CONFIG.format(imports="", prefix=""))
    done = intarsia("config", "check", "mine.py", folder=elsewhere, path=beside / "nothing")
    assert done.returncode == 2
    assert "unknown head 'PlainHead'" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_consent_lists_every_place(beside: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (beside / "fieldwork").rename(elsewhere / "fieldwork")
    (beside / "mine.py").write_text(CONFIG.format(imports="", prefix="fieldwork.parts:"))
    done = intarsia("config", "check", "mine.py", folder=beside, path=elsewhere)
    said = " ".join(done.stderr.split() + done.stdout.split())
    assert done.returncode == 2
    assert "6 places name code outside of Intarsia's catalogue" in said
    assert "--trust fieldwork (or INTARSIA_TRUST=fieldwork" in said
    for agreed in (["--trust", "fieldwork"], ["--trust", "fieldwork.parts"], ["--trust-config"]):
        trusted = intarsia("config", "check", "mine.py", *agreed, folder=beside, path=elsewhere)
        assert trusted.returncode == 0, trusted.stderr
