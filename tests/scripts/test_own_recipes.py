"""`benchmarks/own_recipes.py` without a training: what it takes, that it goes on after a failure, its table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from intarsia import recipes

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

import own_recipes


def methods(names: list[str]) -> set[str]:
    return {method.name for method in map(recipes.method, names) if method is not None}


def test_one_of_each_method_and_the_smallest() -> None:
    found = own_recipes.smallest()
    assert all(recipes.is_for_data(name) for name in found)
    methods = {
        method.name
        for method in map(recipes.method, (*recipes.own_names(), *recipes.shown_names()))
        if method is not None
    }
    assert {method.name for method in map(recipes.method, found) if method is not None} == methods
    assert "pspnet_r18" in found
    assert "pspnet_r50" not in found


def test_a_recipe_that_fails_is_named_and_the_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def trained(recipe: str, data: Path, out: Path, steps: int, crop: tuple[int, int], **_: Any) -> float:
        if recipe == "pspnet_r18":
            sys.exit("intarsia train pspnet_r18\nerror: no room")
        assert (steps, crop) == (3, (64, 96))
        out.mkdir()
        classes = {"nucleus": {"IoU": 0.25}, "mitosis": {"IoU": None}}
        (out / "eval.json").write_text(json.dumps({"mIoU": 0.25, "classes": classes}))
        return 0.25

    monkeypatch.setattr(own_recipes, "trained", trained)
    words = ["--data", "data", "--steps", "3", "--crop", "64", "96", "--only", "pspnet_r18", "erfnet"]
    own_recipes.main([*words, "--work", str(tmp_path)])
    table = (tmp_path / "table.md").read_text()
    assert "| `erfnet` | 0.250 | nucleus 0.250, mitosis - |" in table
    assert "| `pspnet_r18` | failed | error: no room |" in table
    assert "no room" in capsys.readouterr().out
