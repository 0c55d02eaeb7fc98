"""References in double braces: to the base, to the file itself, to the environment."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import read_file

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), encoding="utf-8")
        return path

    return write


def message(path: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        _ = read_file(path).values
    return str(caught.value).replace(str(path.parent) + "/", "")


def test_references_to_base_file_and_environment(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INTARSIA_ROOT", "C:\\data 'x'")
    monkeypatch.setenv("INTARSIA_BATCH", "8")
    monkeypatch.delenv("INTARSIA_UNSET", raising=False)
    write("base.py", "model = dict(depth=50, parts=[dict(k=1)])\nname = 'unet'\n")
    path = write(
        "my_leaf.py",
        """\
        _base_ = 'base.py'
        whole = '{{_base_.model}}'
        bare = {{ _base_.model.parts }}
        item = {{_base_.model.parts.0.k}}
        within = 'work/{{_base_.name}}/{{ fileBasenameNoExtension }}'
        directory = '{{ fileDirname }}'
        file = "{{fileBasename}}"
        extension = '{{fileExtname}}'
        root = '{{$INTARSIA_ROOT:data}}/train'
        batch = {{$INTARSIA_BATCH:2}}
        text = '{{$INTARSIA_BATCH:2}}'
        default = {{$INTARSIA_UNSET:[1, 2]}}
        word = {{ $INTARSIA_UNSET:plain }}
        formatted = f'{{fileBasenameNoExtension}}_{item}'
        braces = '{{ not a reference }}'
        """,
    )
    values = read_file(path).values
    assert values == {
        "model": {"depth": 50, "parts": [{"k": 1}]},
        "name": "unet",
        "whole": {"depth": 50, "parts": [{"k": 1}]},
        "bare": [{"k": 1}],
        "item": 1,
        "within": "work/unet/my_leaf",
        "directory": path.parent.as_posix(),
        "file": "my_leaf.py",
        "extension": ".py",
        "root": "C:\\data 'x'/train",
        "batch": 8,
        "text": "8",
        "default": [1, 2],
        "word": "plain",
        "formatted": "my_leaf_1",
        "braces": "{{ not a reference }}",
    }


def test_a_reference_is_a_copy(write: Write) -> None:
    write("base.py", "a = [1]\n")
    path = write("leaf.py", "_base_ = 'base.py'\nb = {{_base_.a}}\nb.append(2)\n")
    assert read_file(path).values == {"a": [1], "b": [1, 2]}


def test_an_unset_environment_variable(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("INTARSIA_UNSET", raising=False)
    text = message(write("a.py", "x = 1\nroot = '{{$INTARSIA_UNSET}}'\n"))
    assert text.startswith("a.py:2: the environment variable INTARSIA_UNSET is not set")
    assert "{{$INTARSIA_UNSET:default}}" in text
