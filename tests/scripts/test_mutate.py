"""The mutation run: what it breaks, what it leaves alone, and that its tables are about files and faults that exist."""

from __future__ import annotations

from pathlib import Path

import mutate
import pytest
from mutation.equivalent import EQUIVALENT
from mutation.operators import compiles, mutants
from mutation.running import ROOT, _fault
from mutation.selection import TABLE, groups_for


def changes(source: str) -> list[tuple[str, str, str]]:
    found = mutants("file.py", source)
    assert len({mutant.name for mutant in found}) == len(found)
    assert all(mutant.applied(source) != source for mutant in found)
    return [(mutant.operator, mutant.before, mutant.after) for mutant in found]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", [("compare", "<", "<=")]),
        ("a is not None", [("compare", "is not", "is")]),
        ("a not in b", [("compare", "not in", "in")]),
        ("x = a - b // c", [("arithmetic", "-", "+"), ("arithmetic", "//", "*")]),
        ("x = a and not b", [("boolean", "and", "or"), ("sign", "not b", "b")]),
        ("x = (1, 2.5, 0.0, True)", [("constant", "1", "2"), ("constant", "2.5", "5.0"), ("constant", "0.0", "1.0"),
                                     ("constant", "True", "False")]),
        ("x = a if b else c", [("condition", "b", "False"), ("condition", "b", "True")]),
        ("if a:\n    raise ValueError(b + 1)", [("condition", "a", "False")]),
        ("f(a)", [("statement", "f(a)", "pass")]),
        ("total += a", [("statement", "total += a", "pass")]),
        ("x = f(a)", [("call", "f(a)", "(a)")]),
        ("x = a.f()", [("call", "a.f()", "a")]),
        ("x = f(a, b)", [("arguments", "a, b", "b, a")]),
        ("x = f(a, b=c)", [("keyword", ", b=c", "")]),
        ("x = f(b=c, d=e)", [("keyword", "b=c, ", ""), ("keyword", ", d=e", "")]),
        ("x = f(mode='fan_out', b=c)", [("keyword", "mode='fan_out', ", ""), ("constant", "'fan_out'", "'fan_in'"),
                                        ("keyword", ", b=c", "")]),
        ("x = [a for a in b if c]", [("condition", "c", "True")]),
        ("key = lambda a: -a", [("sign", "-a", "a")]),
    ],
)  # fmt: skip
def test_what_is_changed(source: str, expected: list[tuple[str, str, str]]) -> None:
    assert changes(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Text of 1."""',
        "import a",
        "x: Literal[1, 2]",
        "assert a < b",
        "raise ValueError(f(a, b))",
        "x = f'{a + 1}'",
        "x = a + 'b'",
        "x = isinstance(a, b)",
        "x = len(a)",
        "x = Class(a)",
        "x = zip(a, b, strict=c)",
        "class A(Protocol):\n    x = 1",
        "def __repr__(self):\n    return 1",
        "def f(a: int | None) -> int | None: ...",
        "super().__init__(a)",
    ],
)
def test_what_is_left_alone(source: str) -> None:
    assert changes(source) == []


def test_places_are_right_behind_letters_of_several_bytes() -> None:
    source = "x = 'Lovász'; y = a < b\n"
    (mutant,) = mutants("file.py", source)
    assert mutant.applied(source) == "x = 'Lovász'; y = a <= b\n"
    assert (mutant.line, mutant.scope) == (1, "module")


def test_names_stay_when_lines_move() -> None:
    source = "class A:\n    def f(self):\n        return a < b < c\n"
    names = [mutant.name for mutant in mutants("file.py", source)]
    assert names == ["file.py A.f [compare] < -> <=", "file.py A.f [compare] < -> <= #2"]
    assert names == [mutant.name for mutant in mutants("file.py", "\n\n" + source)]


def test_samples_are_the_same_every_time_and_have_every_file() -> None:
    texts = mutate.sources(["intarsia/layers", "intarsia/losses/dice.py"])
    first, equivalent = mutate.chosen(texts, 60, 3, "")
    assert (first, equivalent) == mutate.chosen(texts, 60, 3, "")
    assert first != mutate.chosen(texts, 60, 4, "")[0]
    with_mutants = {path for path, text in texts.items() if mutants(path, text)}
    assert {mutant.path for mutant in first} == with_mutants
    assert all(compiles(mutant.applied(texts[mutant.path])) for mutant in first)


def test_every_file_that_is_broken_has_tests_that_exist() -> None:
    for path, text in mutate.sources([]).items():
        for group in groups_for(path) if mutants(path, text) else ():
            assert all((ROOT / file).exists() for file in group.files), path
    for beginning in TABLE:
        assert any((ROOT / beginning).parent.glob(f"{Path(beginning).name}*")), f"{beginning} is gone"
    with pytest.raises(ValueError, match=r"no tests are listed for intarsia/cli/main\.py"):
        groups_for("intarsia/cli/main.py")


def test_equivalent_mutants_exist_and_have_reasons() -> None:
    paths = {name.partition(" ")[0] for name in EQUIVALENT}
    existing = {mutant.name for path in paths for mutant in mutants(path, (ROOT / path).read_text(encoding="utf-8"))}
    assert set(EQUIVALENT) <= existing, sorted(set(EQUIVALENT) - existing)
    assert all(len(reason.split()) > 2 for reason in EQUIVALENT.values())


def test_a_fault_is_taken_back(tmp_path: Path) -> None:
    source = "x = a < b\n"
    (tmp_path / "file.py").write_text(source)
    (mutant,) = mutants("file.py", source)
    with _fault(tmp_path, mutant):
        assert (tmp_path / "file.py").read_text() == "x = a <= b\n"
    assert (tmp_path / "file.py").read_text() == source


@pytest.mark.slow
def test_calls_that_are_left_out_are_killed(capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate.main(["--only", "intarsia/metrics/confusion.py", "--match", "[call]", "--processes", "1"]) == 0
    assert "none survived" in capsys.readouterr().out
