"""YAML and JSON configs, encodings, trusted Python, values without a file."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.reader import Config, read_file
from intarsia.spec import Origin


def read(tmp_path: Path, name: str, text: str | bytes, *, trust: bool = False) -> Config:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_file(path, trust=trust)


def message(tmp_path: Path, name: str, text: str | bytes, *, trust: bool = False) -> str:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, name, text, trust=trust)
    return str(caught.value).replace(str(tmp_path) + "/", "")


def test_yaml(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("pair = (1, 2)\nmodel = dict(type='A', depth=50)\n")
    text = """\
_base_: base.py
model:
  depth: 101            # merged over the base
  parts: [a, 2, 2.5, null, true]
pair: '{{_base_.pair}}'
file: "{{fileBasename}}"
defaults: &defaults {lr: 1, power: 2}
first: {<<: *defaults, lr: 3}
number: {{ $INTARSIA_UNSET:3 }}
"""
    config = read(tmp_path, "a.yaml", text)
    assert config.values == {
        "pair": (1, 2),
        "model": {"type": "A", "depth": 101, "parts": ["a", 2, 2.5, None, True]},
        "file": "a.yaml",
        "defaults": {"lr": 1, "power": 2},
        "first": {"lr": 3, "power": 2},
        "number": 3,
    }
    assert config.origin("model.depth") == Origin(str(tmp_path / "a.yaml"), 3)
    assert config.origin("model.type") == Origin(str(tmp_path / "base.py"), 2)


def test_json(tmp_path: Path) -> None:
    (tmp_path / "base.json").write_text('{"model": {"type": "A", "depth": 50}}')
    text = (
        '{"_base_": ["base.json"],\n "model": {"depth": 101},\n "x": {{_base_.model}},\n "y": [true, null, 1e5, "\\/"]}'
    )
    config = read(tmp_path, "a.json", text)
    assert config.values == {
        "model": {"type": "A", "depth": 101},
        "x": {"type": "A", "depth": 50},
        "y": [True, None, 1e5, "/"],
    }
    assert config.origin("model.depth") == Origin(str(tmp_path / "a.json"), 2)


scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(scalars, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)
names = st.text(min_size=1).filter(lambda name: not name.startswith("_") and "{{" not in name)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.dictionaries(names, trees, max_size=4), st.booleans())
def test_json_is_read_as_json(tmp_path: Path, values: dict[str, object], ascii_only: bool) -> None:
    text = json.dumps(values, ensure_ascii=ascii_only)
    if "{{" not in text and "_delete_" not in text:
        assert read(tmp_path, "a.json", text.encode("utf-8", "surrogatepass")).values == values


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.yaml", "x: 1\ny: [\n", "a.yaml:3: not valid YAML"),
        ("a.yaml", "- 1\n", "a.yaml:1: a YAML config is a mapping"),
        ("a.yaml", "x: !!python/object/apply:os.system [ls]\n", "a.yaml:1: the YAML tag"),
        ("a.yaml", "x: !!python/name:os.system ''\n", "a.yaml:1: not valid YAML"),
        ("a.yaml", "x: 1\nday: 2024-01-01\n", "a.yaml:2: a value of type date is not a config value"),
        ("a.yaml", "x: &a [*a]\n", "a.yaml: the config is nested too deeply"),
        ("a.yaml", "x: " + "[" * 100_000, "a.yaml:1: the YAML is nested deeper than"),
        ("a.yaml", "- " * 100_000, "a.yaml:1: the YAML is nested deeper than"),
        ("a.yaml", "? [1, 2]\n: 3\n", "a.yaml:1: a key must be a string or a number"),
        ("a.yaml", "1: 2\n", "a.yaml:1: a top-level key must be a string"),
        ("a.json", "[1]", "a.json:1: a JSON config is an object"),
        ("a.json", '{"a":\n nul}', "a.json:2: the name `nul` is not defined in this file"),
        ("a.json", '{"a": ', "a.json:2: not valid JSON"),
        ("a.json", "[" * 100_000, "a.json:1: not valid JSON"),
        ("a.txt", "x = 1", "a.txt: a config file ends in .py, .yaml, .yml or .json; found `.txt`"),
        (
            "a.py",
            "x = 1\ny = 'é'".encode("latin-1"),
            "a.py:2: the file is not UTF-8: byte 0xe9 at position 11. Save it",
        ),
        ("a.py", "x = 1".encode("utf-16"), "a.py:1: the file is not UTF-8"),
        ("a.py", b"x = 1\x00", "a.py"),
        ("a.py", b"#" * 1_000_001, "a.py: the file is larger than 1,000,000 bytes"),
    ],
)
def test_files_that_cannot_be_read(tmp_path: Path, name: str, text: str | bytes, expected: str) -> None:
    assert message(tmp_path, name, text).startswith(expected)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the file: No such file"):
        read_file(tmp_path / "no.py")


def test_a_yaml_bomb_is_stopped(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "computes more than" in message(tmp_path, "a.yaml", "\n".join(lines))


def test_byte_order_mark_and_line_ends(tmp_path: Path) -> None:
    config = read(tmp_path, "a.py", "\ufeffx = 'é'\r\ny = 2\r\n".encode())
    assert config.values == {"x": "é", "y": 2}
    assert config.origin("y") == Origin(str(tmp_path / "a.py"), 2)


# --- Trusted files --------------------------------------------------------------------------------------------------


def test_a_trusted_file_runs_as_python(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text("import math\nlengths = [1, 2]\nmodel = dict(depth=50, part=dict(n=1))\n")
    text = """\
_base_ = 'base.py'
import os
def double(x):
    return 2 * x
name = os.path.join('a', 'b')
depth = double(_base_.model.depth)
part = {{_base_.model.part}}
quoted = '{{_base_.model.part}}'
file = 'x/{{fileBasename}}'
model = dict(depth=depth)
_base_.lengths[0] = 9
"""
    config = read(tmp_path, "a.py", text, trust=True)
    assert config.values == {
        "lengths": [9, 2],
        "model": {"depth": 100, "part": {"n": 1}},
        "name": "a/b",
        "depth": 100,
        "part": {"n": 1},
        "quoted": {"n": 1},
        "file": "x/a.py",
    }
    assert config.origin("depth") == Origin(str(tmp_path / "a.py"), 6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x = 1\ny = 1 / 0\n", "a.py:2: running the file raised ZeroDivisionError: division by zero: `y = 1 / 0`"),
        ("x = open\n", "a.py:1: x: a value of type builtin_function_or_method is not a config value"),
        ("class A: pass\n", "a.py"),
        ("return 3\n", "a.py:1: running the file raised SyntaxError"),
    ],
)
def test_what_a_trusted_file_cannot_do(tmp_path: Path, text: str, expected: str) -> None:
    assert message(tmp_path, "a.py", text, trust=True).startswith(expected)


# --- Values without a file ------------------------------------------------------------------------------------------


def test_values_of_a_recipe() -> None:
    given_values = {"model": {"depth": (1, 2)}, "_private": 1}
    config = Config.from_values(given_values, file="recipe fcn")
    assert config.values == {"model": {"depth": (1, 2)}}
    assert str(config.origin("model.depth.0")) == "recipe fcn"
    given_values["model"]["depth"] = 3  # type: ignore[index]
    assert config.values == {"model": {"depth": (1, 2)}}


def test_values_that_are_no_config() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_values({"a": {"b": [1, {2}]}, "c": object()}, file="weights.safetensors")
    assert [problem.path for problem in caught.value.problems] == ["a.b.1", "c"]
    assert caught.value.problems[0] == Problem(
        "a.b.1",
        "a value of type set is not a config value",
        Origin("weights.safetensors", 0),
        "Write a list: [...]",
    )


def test_infinite_numbers_are_values() -> None:
    assert math.isnan(Config.from_values({"a": float("nan")}, file="x").values["a"])


def test_values_that_contain_themselves() -> None:
    values: dict[str, object] = {}
    values["a"] = [values]
    with pytest.raises(ConfigError, match="nested too deeply"):
        Config.from_values(values, file="x")
