"""A dumped config reads back to the same value."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.config.dump import WIDTH, dump
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import read_file


def back(folder: Path, values: dict[str, Any], header: str | None = None) -> dict[str, Any]:
    path = folder / "dumped.py"
    path.write_text(dump(values, header=header), encoding="utf-8")
    return read_file(path).values


CASES: list[dict[str, Any]] = [
    {},
    {"x": ()},
    {"x": (1,), "y": [()], "z": [[]], "w": {}},
    {"x": {"type": "A", "in": 1}, "y": {"a.b": 1}, "z": {"": 1}, "w": {0: 1, None: 2, 2.5: 3}},
    {"x": float("inf"), "y": [-float("inf")], "z": {"k": float("inf")}},
    {"dict": {"a": 1}, "float": float("inf"), "list": [{"b": {}}]},
    {"x": -0.0, "y": 1e-300, "z": 1e22, "w": 10**1000},
    {"x": "'", "y": "\"'", "z": "a\nb\t\\", "w": "{{fileBasename}} {{{ {{_base_.x}}", "v": "é\ud800\U0001f600\x00"},
    {"x": "z" * 500, "y": ["word"] * 200, "z": [[i, i, i] for i in range(150)]},
    {"x": {"_delete": 1, "__class__": 2, "_base_": 3, "true": True}},
    {"type": 1, "print": 2, "range": 3, "len": 4},
    {"model": {"decode_head": {"loss": [{"a": {"b": {"c": {"d": [1, (2, {"e": (3,)})]}}}}]}}},
]


@pytest.mark.parametrize("values", CASES, ids=lambda values: ",".join(values) or "empty")
def test_the_same_value_comes_back(tmp_path: Path, values: dict[str, Any]) -> None:
    found = back(tmp_path, values)
    assert repr(found) == repr(values)


def test_nan_comes_back(tmp_path: Path) -> None:
    assert math.isnan(back(tmp_path, {"x": float("nan")})["x"])
    assert math.isnan(back(tmp_path, {"x": [float("nan")], "float": 1})["x"][0])


def test_it_is_written_as_people_write_it() -> None:
    text = dump(
        {
            "crop_size": (512, 1024),
            "norm_cfg": {"type": "BN", "requires_grad": True},
            "model": {
                "type": "EncoderDecoder",
                "backbone": {"type": "ResNetV1c", "depth": 101, "out_indices": (0, 1, 2, 3), "dilations": (1, 1, 2, 4)},
                "auxiliary_head": None,
            },
            "class_weight": [
                0.8373,
                0.918,
                0.866,
                1.0345,
                1.0166,
                0.9969,
                0.9754,
                1.0489,
                0.8786,
                1.0023,
                0.9539,
                0.9843,
                1.1116,
                0.9037,
                1.0865,
                1.0955,
            ],
        },
        header="resolved from a.py\n\nby hand",
    )
    assert (
        text
        == """\
# resolved from a.py
#
# by hand
crop_size = (512, 1024)
norm_cfg = dict(type='BN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    backbone=dict(type='ResNetV1c', depth=101, out_indices=(0, 1, 2, 3), dilations=(1, 1, 2, 4)),
    auxiliary_head=None,
)
class_weight = [
    0.8373, 0.918, 0.866, 1.0345, 1.0166, 0.9969, 0.9754, 1.0489, 0.8786, 1.0023, 0.9539, 0.9843, 1.1116, 0.9037,
    1.0865, 1.0955,
]
"""
    )


@pytest.mark.parametrize("name", ["a-b", "class", "_hidden", "", "1a", "a.b", "ünïcode"])
def test_names_that_no_file_can_set(name: str) -> None:
    with pytest.raises(ConfigError, match="must be a Python name"):
        dump({name: 1})


def test_values_that_no_file_can_hold() -> None:
    with pytest.raises(ConfigError, match=r"a\.b\.1: a value of type set"):
        dump({"a": {"b": [1, {2}]}})


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(alphabet=st.characters(), max_size=12)
    | st.sampled_from(["{{_base_.x}}", "{{$HOME:1}}", "{{ fileDirname }}", "_delete", "dict", "'''", '"""', "\\x7b{"])
)
keys = st.text(max_size=6).filter(lambda key: key != "_delete_") | st.sampled_from(
    ["type", "lambda", "a.b", "_x", "__x"]
)
trees = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys | st.integers(), inner, max_size=4),
    ),
    max_leaves=15,
)
names = st.sampled_from(["model", "dict", "float", "x", "crop_size", "tuple", "type", "inf", "reference"])


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None
)
@given(st.dictionaries(names, trees, max_size=4))
def test_any_value_comes_back(tmp_path: Path, values: dict[str, Any]) -> None:
    assert repr(back(tmp_path, values)) == repr(values)


@settings(max_examples=50, deadline=None)
@given(st.dictionaries(names, trees, max_size=4))
def test_lines_are_broken_where_they_can_be(values: dict[str, Any]) -> None:
    for line in dump(values).splitlines():
        assert len(line) <= WIDTH or line.count(",") <= 1 or "'" in line or '"' in line


def test_all_configs_of_mmsegmentation_come_back(shared: Path, tmp_path: Path) -> None:
    with gzip.open(shared / "facts" / "mmseg_configs.json.gz") as stream:
        configs: dict[str, dict[str, Any]] = json.load(stream)
    assert len(configs) == 681
    different = [name for name, values in configs.items() if back(tmp_path, values) != values]
    assert different == []
