"""Merging, `_delete_`, overrides, dotted paths."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from intarsia.config.errors import ConfigError
from intarsia.config.language.merge import merge, without_marks
from intarsia.config.language.paths import locate, split_path
from intarsia.config.language.reader import Config, read_file
from intarsia.config.language.values import annotate, plain
from intarsia.spec import Origin

CHILD = Origin("child.py", 1)
BASE = Origin("base.py", 1)


def merged(child: dict[str, Any], base: dict[str, Any]) -> Any:
    return plain(without_marks(merge(annotate(child, CHILD), annotate(base, BASE))))


@pytest.mark.parametrize(
    ("child", "base", "expected"),
    [
        ({"a": 1}, {"b": 2}, {"b": 2, "a": 1}),
        ({"a": {"x": 1}}, {"a": {"y": 2}}, {"a": {"y": 2, "x": 1}}),
        ({"a": {"x": {"p": 1}}}, {"a": {"x": {"p": 0, "q": 2}}}, {"a": {"x": {"p": 1, "q": 2}}}),
        ({"a": [1]}, {"a": [2, 3]}, {"a": [1]}),
        ({"a": [1]}, {"a": {"x": 1}}, {"a": [1]}),
        ({"a": None}, {"a": {"x": 1}}, {"a": None}),
        ({"a": {}}, {"a": {"x": 1}}, {"a": {"x": 1}}),
        ({"a": {"_delete_": True, "y": 2}}, {"a": {"x": 1}}, {"a": {"y": 2}}),
        ({"a": {"_delete_": False, "y": 2}}, {"a": {"x": 1}}, {"a": {"x": 1, "y": 2}}),
        ({"a": {"_delete_": True, "y": 2}}, {"a": [1]}, {"a": {"y": 2}}),
        ({"a": {"_delete_": True, "y": 2}}, {}, {"a": {"y": 2}}),
        ({"a": {"_delete_": True, "x": {"_delete_": True, "y": 2}}}, {"a": {"x": {"z": 1}}}, {"a": {"x": {"y": 2}}}),
        ({"a": {"x": {"_delete_": True, "y": 2}}}, {"a": {"x": {"z": 1}, "k": 1}}, {"a": {"x": {"y": 2}, "k": 1}}),
        ({"a": [{"_delete_": True, "y": 2}]}, {}, {"a": [{"y": 2}]}),
        ({"a": {"0": 5}}, {"a": {"0": 4}}, {"a": {"0": 5}}),
    ],
)
def test_merging(child: dict[str, Any], base: dict[str, Any], expected: dict[str, Any]) -> None:
    assert merged(child, base) == expected


def test_everything_that_does_not_merge_is_told_at_once() -> None:
    base = {"a": [1], "b": {"c": 3, "d": None}, "e": "x"}
    child = {"a": {"x": 1}, "b": {"c": {"y": 1}, "d": {"z": 1}}, "e": {"_delete_": True}}
    with pytest.raises(ConfigError) as caught:
        merged(child, base)
    assert [problem.path for problem in caught.value.problems] == ["a", "b.c", "b.d"]
    assert str(caught.value).splitlines()[1] == (
        "child.py:1: b.c: a dict cannot be merged into the value of base.py:1, which is an int. "
        "Write _delete_=True inside the dict to replace it"
    )


scalars = st.none() | st.booleans() | st.integers(-5, 5) | st.sampled_from(["", "a", "b"])
keys = st.sampled_from(["a", "b", "c"])
trees = st.dictionaries(
    keys, st.recursive(scalars | st.lists(scalars, max_size=2), lambda inner: st.dictionaries(keys, inner, max_size=3))
)
marked = st.dictionaries(
    keys,
    st.recursive(
        scalars,
        lambda inner: st.tuples(st.dictionaries(keys, inner, max_size=3), st.booleans()).map(
            lambda pair: {**pair[0], "_delete_": True} if pair[1] else pair[0]
        ),
    ),
)


def try_merged(child: dict[str, Any], base: dict[str, Any]) -> Any:
    try:
        return merged(child, base)
    except ConfigError:
        assume(False)


@settings(deadline=None)
@given(trees)
def test_merging_with_nothing_or_with_itself_changes_nothing(tree: dict[str, Any]) -> None:
    assert merged(tree, {}) == tree
    assert merged({}, tree) == tree
    assert merged(tree, tree) == tree


@settings(suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(marked, trees)
def test_merging_again_changes_nothing(child: dict[str, Any], base: dict[str, Any]) -> None:
    once = try_merged(child, base)
    assert merged(child, once) == once


@settings(suppress_health_check=[HealthCheck.filter_too_much], deadline=None)
@given(trees, trees, trees)
def test_merging_is_associative(a: dict[str, Any], b: dict[str, Any], c: dict[str, Any]) -> None:
    left = try_merged(a, try_merged(b, c))
    assert left == try_merged(try_merged(a, b), c)


@settings(deadline=None)
@given(trees, trees)
def test_delete_replaces(child: dict[str, Any], base: dict[str, Any]) -> None:
    assert merged({"top": {"_delete_": True, **child}}, {"top": base}) == {"top": child}


@settings(deadline=None)
@given(trees, trees)
def test_merging_changes_neither_side(child: dict[str, Any], base: dict[str, Any]) -> None:
    left, right = annotate(child, CHILD), annotate(base, BASE)
    try_merged(child, base)
    merge(left, right)
    assert plain(left) == child
    assert plain(right) == base


# --- Overrides ------------------------------------------------------------------------------------------------------


@pytest.fixture
def config(tmp_path: Path) -> Config:
    path = tmp_path / "a.py"
    path.write_text(
        "model = dict(depth=50, head=dict(type='A', num_classes=19), aux=[dict(n=1), dict(n=2)])\n"
        "pair = (1, dict(k=2))\n"
        "keys = {'backbone.norm': dict(lr=1), 'backbone': dict(other=2), 0: 'zero'}\n"
        "nothing = None\n"
    )
    return read_file(path)


@pytest.mark.parametrize(
    ("setting", "path", "expected"),
    [
        ("model.head.num_classes=3", "model.head.num_classes", 3),
        ("model.aux.1.n=7", "model.aux.1.n", 7),
        ("model.aux.-1.n=7", "model.aux.1.n", 7),
        ("pair.1.k=5", "pair.1.k", 5),
        ("pair.0=5", "pair.0", 5),
        ("keys.backbone.norm.lr=2", "keys.backbone.norm.lr", 2),
        ("keys.backbone.other=3", "keys.backbone.other", 3),
        ("keys.0=one", "keys.0", "one"),
        ('keys."a.b".lr=4', "keys.a.b.lr", 4),
        ("new.path.to=1", "new.path.to", 1),
        ("model=x", "model", "x"),
        ("a=[1,2]", "a", [1, 2]),
        ("a=(512,1024)", "a", (512, 1024)),
        ('a="x y"', "a", "x y"),
        ("a=None", "a", None),
        ("a=true", "a", True),
        ("a=False", "a", False),
        ("a=1e-3", "a", 1e-3),
        ("a=-1", "a", -1),
        ("a=", "a", ""),
        ("a = 5 ", "a", 5),
        ("a=data/x=y", "a", "data/x=y"),
        ("a=2024-10-12", "a", "2024-10-12"),
        ("a=len", "a", "len"),
        ("a=f'{1}'", "a", "f'{1}'"),
        ("a=__import__('os')", "a", "__import__('os')"),
        ("a=" + "[" * 500, "a", "[" * 500),
        ("a={{fileBasename}}", "a", "{{fileBasename}}"),
        ("model.head=dict(type='B', k=[1, dict(z=2)])", "model.head", {"type": "B", "k": [1, {"z": 2}]}),
    ],
)
def test_an_override_sets_one_value(config: Config, setting: str, path: str, expected: Any) -> None:
    changed = config.override([setting])
    keys, used = locate(changed.values, split_path(path))
    assert used == len(split_path(path))
    value: Any = changed.values
    for key in keys:
        value = value[key]
    assert value == expected
    assert type(value) is type(expected)
    assert changed.origin(path) == Origin(f"--set {setting}", 0)


def test_an_override_leaves_everything_else(config: Config) -> None:
    before = config.values
    changed = config.override(["model.aux.0.n=9", "pair.1.k=0"])
    assert changed.values == {
        **before,
        "model": {**before["model"], "aux": [{"n": 9}, {"n": 2}]},
        "pair": (1, {"k": 0}),
    }
    assert config.values["model"]["aux"] == [{"n": 1}, {"n": 2}]
    assert str(changed.origin("model.depth")) == f"{config.file}:1"
    assert str(changed.origin("model.aux.0.n")) == "--set model.aux.0.n=9"


def test_overrides_apply_in_order(config: Config) -> None:
    values = config.override(
        ["a.b=1", "a.c=2", "a.b-", "model.aux.0-", "model.aux.0.n=5", "nothing=dict(x=1)", "nothing.y=2"]
    )
    assert values.values["a"] == {"c": 2}
    assert values.values["model"]["aux"] == [{"n": 5}]
    assert values.values["nothing"] == {"x": 1, "y": 2}


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("model.aux.2.n=1", "model.aux is a list of 2 items and `2` is not one of its items, 0 to 1"),
        ("model.aux.x=1", "model.aux is a list of 2 items and `x` is not one of its items"),
        ("pair.2=1", "pair is a tuple of 2 items"),
        ("model.depth.x=1", "model.depth is 50, which has no keys. To make it a dict, set model.depth=dict(...)"),
        ("nothing.x=1", "nothing is None, which has no keys"),
        ("model.hed-", "model has no key `hed` to delete. Did you mean `model.head`?"),
        ("gone-", "the config has no key `gone` to delete"),
        ("model", "expected PATH=VALUE, or PATH- to delete"),
        ("a..b=1", "`a..b` is not a path"),
        (".a=1", "`.a` is not a path"),
        ("a.=1", "`a.` is not a path"),
        ("=1", "`` is not a path"),
        ('a."b=1', '`a."b` is not a path'),
    ],
)
def test_overrides_that_cannot_be(config: Config, setting: str, expected: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.override([setting])
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"--set {setting}: ")


def test_all_wrong_overrides_are_told_at_once(config: Config) -> None:
    with pytest.raises(ConfigError) as caught:
        config.override(["model.depth.x=1", "model.depth=3", "gone-"])
    assert len(caught.value.problems) == 2


@settings(deadline=None)
@given(st.text(max_size=30))
def test_any_text_is_applied_or_refused(text: str) -> None:
    config = Config.from_values({"a": {"b": [1, 2]}, "c": 3}, file="x")
    with contextlib.suppress(ConfigError):
        assert isinstance(config.override([text, f"a.b.0={text}", f"{text}=1"]).values, dict)
