"""`intarsia config`: show, check, diff, dump, list."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from intarsia import recipes
from intarsia.cli.main import main

NAME = "fcn_r50-d8_4xb2-40k_cityscapes-512x1024"
OTHER = "fcn_r50-d8_4xb2-80k_cityscapes-512x1024"


def out(capsys: pytest.CaptureFixture[str]) -> str:
    return capsys.readouterr().out


def test_show_json_is_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "show", NAME, "--json"]) == 0
    assert json.loads(out(capsys)) == json.loads(json.dumps(recipes.get(NAME)))


def test_show_applies_settings_and_tells_origins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = tmp_path / "base.py"
    base.write_text("model = dict(type='A', size=1)\n")
    file = tmp_path / "mine.py"
    file.write_text("_base_ = './base.py'\nmodel = dict(size=2)\nother = [1, 2]\n")
    assert main(["config", "show", str(file), "--origins", "--set", "model.extra=7", "other=3"]) == 0
    lines = out(capsys).splitlines()
    assert f"model.type = 'A'  # {base}:1" in lines
    assert f"model.size = 2  # {file}:2" in lines
    assert any(line.startswith("model.extra = 7  # --set") for line in lines)
    assert any(line.startswith("other = 3  # --set") for line in lines)


def test_dump_reads_to_the_same_value(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "sub" / "dumped.py"
    assert main(["config", "dump", NAME, "-o", str(file)]) == 0
    assert main(["config", "show", str(file), "--json"]) == 0
    assert json.loads(out(capsys)) == json.loads(json.dumps(recipes.get(NAME)))
    assert main(["config", "diff", NAME, str(file)]) == 0
    assert out(capsys) == "no differences\n"


def test_diff_names_every_difference(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "diff", NAME, OTHER]) == 0
    paths = [line.partition(":")[0] for line in out(capsys).splitlines()]
    assert sorted(paths) == [
        "default_hooks.checkpoint.interval",
        "param_scheduler.0.end",
        "train_cfg.max_iters",
        "train_cfg.val_interval",
    ]


def test_check_says_no_problems(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "check", NAME]) == 0
    assert out(capsys).splitlines()[-1] == "no problems"


def test_check_lists_all_problems_with_their_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "wrong.py"
    text = "\n".join(
        [
            "model = dict(",
            "    type='EncoderDecoder',",
            "    backbone=dict(type='ResNetV1c', depth=18, stridez=(1, 2, 2, 2)),",
            "    decode_head=dict(type='FCNHed', in_channels=512, channels=16, num_classes=3),",
            "    test_cfg=dict(mode='whole'))",
        ]
    )
    file.write_text(text + "\n")
    assert main(["config", "check", str(file)]) == 2
    lines = out(capsys).splitlines()
    assert any(f"{file}:3" in line and "stridez" in line and "strides" in line for line in lines)
    assert any(f"{file}:4" in line and "FCNHed" in line and "FCNHead" in line for line in lines)


def test_list(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "list"]) == 0
    text = out(capsys)
    assert all(f"  {name}\n" in text for name in [*recipes.short_names(), *recipes.names()])
    assert main(["config", "list", "b3"]) == 0
    assert "mit-b5" not in out(capsys)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["show", "nothing.py"], "does not exist"),
        (["show", "fcn_r51"], "unknown recipe 'fcn_r51'"),
        (["show", "fcn_r50"], "--data DIR"),
        (["show", NAME, "--set", "model"], "PATH=VALUE"),
        (["dump", NAME, "-o", "x.txt"], ".py"),
        (["list", "zzz"], "no recipe"),
    ],
)
def test_errors(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", *words]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert "Traceback" not in captured.err
