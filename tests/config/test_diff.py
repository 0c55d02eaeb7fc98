"""What differs between two configs."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from intarsia.config.diff import MISSING, Difference, diff
from intarsia.config.language.reader import Config, read_file
from intarsia.spec import Origin


def config(**values: object) -> Config:
    return Config.from_values(values, file="x")


def changes(a: Config, b: Config) -> list[tuple[str, object, object]]:
    return [(one.path, one.left, one.right) for one in diff(a, b)]


def test_differences_are_leaves_with_their_origins(tmp_path: Path) -> None:
    a, b = tmp_path / "a.py", tmp_path / "b.py"
    a.write_text("model = dict(\n    depth=50,\n    parts=[1, dict(k=2)])\nsame = 1\nold = 3\n")
    b.write_text("_base_ = 'a.py'\nmodel = dict(depth=101, parts=[1, dict(k=3), 4])\nnew = dict(x=1)\n")
    found = diff(read_file(a), read_file(b))
    assert found == [
        Difference("model.depth", 50, 101, Origin(str(a), 2), Origin(str(b), 2)),
        Difference("model.parts.1.k", 2, 3, Origin(str(a), 3), Origin(str(b), 2)),
        Difference("model.parts.2", MISSING, 4, Origin(str(a), 3), Origin(str(b), 2)),
        Difference("new", MISSING, {"x": 1}, None, Origin(str(b), 3)),
    ]
    assert str(found[0]) == f"model.depth: 50 ({a}:2) -> 101 ({b}:2)"
    assert str(found[3]) == f"new: (nothing) -> {{'x': 1}} ({b}:3)"


def test_what_counts_as_equal() -> None:
    assert changes(config(x=(1, 2)), config(x=[1, 2.0])) == []
    assert changes(config(x=float("nan")), config(x=float("nan"))) == []
    assert changes(config(x=True), config(x=1)) == [("x", True, 1)]
    assert changes(config(x=None), config()) == [("x", None, MISSING)]
    assert changes(config(x={}), config(x=[])) == [("x", {}, [])]
    assert changes(config(x={"a": 1}), config(x=[1])) == [("x", {"a": 1}, [1])]


trees = st.recursive(
    st.none() | st.integers(0, 3) | st.text(max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)
configs = st.dictionaries(st.sampled_from("mno"), trees, max_size=3).map(lambda values: config(**values))


@settings(deadline=None)
@given(configs, configs)
def test_both_directions_find_the_same(a: Config, b: Config) -> None:
    there, back = changes(a, b), changes(b, a)
    assert sorted(path for path, _, _ in there) == sorted(path for path, _, _ in back)
    assert {(path, repr(right), repr(left)) for path, left, right in there} == {
        (path, repr(left), repr(right)) for path, left, right in back
    }
    assert (there == []) == (a.values == b.values)


@settings(deadline=None)
@given(configs)
def test_nothing_differs_from_itself(a: Config) -> None:
    assert diff(a, a) == []
