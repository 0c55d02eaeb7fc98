"""Words of the shell, and the command's shape: what loads, what help says, how errors look."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from intarsia.cli.arguments import prepare
from intarsia.cli.doctor import Package
from intarsia.cli.main import explain, main


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["train", "x", "--debug"], ["--debug", "train", "x"]),
        (["--debug", "train"], ["--debug", "train"]),
        (["show", "--set", "a.b=1", "c=2", "f.py"], ["show", "--set", "a.b=1", "--set", "c=2", "f.py"]),
        (["show", "--cfg-options", "a=1", "b.0.c=2"], ["show", "--cfg-options", "a=1", "--cfg-options", "b.0.c=2"]),
        (["show", "--set", "a=1", "--json", "b=2"], ["show", "--set", "a=1", "--json", "b=2"]),
        (["predict", "w", "--", "--debug"], ["predict", "w", "--", "--debug"]),
        (["eval", "w", "--slide", "--out", "x"], ["eval", "w", "--slide=auto", "--out", "x"]),
        (["eval", "w", "--slide", "512", "341", "7"], ["eval", "w", "--slide=512,341", "7"]),
        (["predict", "--slide", "512x1024", "w", "9"], ["predict", "--slide=512x1024", "w", "9"]),
        (["--debug", "train", "r", "--augment", "light"], ["--debug", "train", "r", "--augment", "light"]),
        (["data", "show", "--augment", "2"], ["data", "show", "--augment", "2"]),
        (["eval", "w", "--tta", "0.5", "1", ".75", "--augment"], ["eval", "w", "--tta=0.5,1,.75", "--augment=auto"]),
        (["predict", "w", "--", "--slide", "5"], ["predict", "w", "--", "--slide", "5"]),
    ],
)
def test_prepare(words: list[str], expected: list[str]) -> None:
    assert prepare(words) == expected


def test_help_loads_neither_torch_nor_numpy() -> None:
    code = (
        "import sys\nfrom intarsia.cli.main import main\nassert main(['--help']) == 0\n"
        "print(sorted({'torch', 'numpy', 'cv2', 'PIL', 'matplotlib', 'lightning_fabric', 'yaml'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize("words", [["config", "list"], ["config", "show", "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"]])
def test_looking_at_configs_loads_no_torch(words: list[str]) -> None:
    code = f"import sys\nfrom intarsia.cli.main import main\nassert main({words}) == 0\nprint('torch' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize("command", [[], ["train"], ["eval"], ["predict"], ["demo"], ["config"], ["data"], ["doctor"]])
def test_every_command_has_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    assert "Usage: intarsia" in capsys.readouterr().out


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    from intarsia import __version__

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"intarsia {__version__}\n"


def test_exceptions_become_messages_and_codes() -> None:
    assert explain(ValueError("what to do")) == ("what to do", 2)
    assert explain(KeyboardInterrupt()) == ("interrupted", 130)
    message, code = explain(OSError(errno.ENOSPC, "No space left on device", "runs/a"))
    assert code == 2
    assert "no space left on the disk for runs/a" in message
    assert explain(FileNotFoundError(errno.ENOENT, "No such file or directory", "x.jpg")) == (
        "x.jpg: No such file or directory",
        2,
    )
    assert "smaller --batch" in explain(RuntimeError("CUDA out of memory. Tried to allocate"))[0]
    message, code = explain(RuntimeError("boom"))
    assert code == 1
    assert "doctor --report" in message


def test_debug_lets_the_exception_through() -> None:
    with pytest.raises(ValueError, match="unknown recipe"):
        main(["config", "show", "fcn_r5", "--debug"])


@pytest.mark.parametrize(
    ("least", "found", "problem"),
    [
        ("2.6", "2.5.1+cu124", "too old: needs 2.6"),
        ("2.6", "2.6.0", None),
        ("6.0", "6", None),
        ("2.0", "1.26.4", "too old: needs 2.0"),
        ("4.13", "5.0.0.93", None),
        ("0.18", None, "missing"),
        ("", "1", None),
    ],
)
def test_doctor_compares_versions_as_numbers(least: str, found: str | None, problem: str | None) -> None:
    assert Package("torch", least, "", found).problem == problem


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "Everything required is there" in out
    assert 'pip install "intarsia[timm]"' in out or "timm" in out
    assert main(["doctor", "--report"]) == 0
    report = capsys.readouterr().out
    assert report.startswith("```")
    assert "torch: " in report


@pytest.mark.parametrize(
    "words",
    [
        ["train", "fast_scnn", "--out", "s3://bucket/run"], ["eval", "run", "-o", "s3://bucket/run"],
        ["eval", "run", "--report=gs://bucket/page"], ["data", "pack", "x", "-o", "s3://bucket/x.pack"],
        ["demo", "--out", "https://host/x"], ["cv", "fast_scnn", "--out", "s3://bucket/cv"],
        ["export", "run", "-o", "az://bucket/x"], ["data", "check", "x", "--write", "s3://bucket/data.yaml"],
    ],
)  # fmt: skip
def test_results_behind_addresses_are_refused_before_anything_is_done(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "this is written to a disk of this machine: give a path" in said
    assert not list(tmp_path.iterdir())
