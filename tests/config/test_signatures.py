from __future__ import annotations

import ast
import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

import pytest

from intarsia import catalog
from intarsia.config.checking.signatures import accepts, registered_in, signature_of, source_file
from intarsia.spec import Component

NORM = Component("norm", "Norm")


@pytest.mark.parametrize(
    ("annotation", "right", "wrong"),
    [
        ("int", [0, -3], [1.5, True, "1", None, [1]]),
        ("float", [0.5, 1], [False, "x", None]),
        ("bool", [True], [0, 1, "True"]),
        ("str", ["a"], [1, None]),
        ("int | None", [1, None], ["1"]),
        ("Optional[int]", [1, None], [1.5]),
        ("Union[int, str]", [1, "a"], [None]),
        ("Literal['a', 'b']", ["a"], ["c", 1]),
        ("Literal[1, 2]", [1], [True, 3]),
        ("Sequence[int]", [[], (1, 2)], ["ab", 1, [1, "a"]]),
        ("Sequence[str]", [["a"]], ["a", [1]]),
        ("tuple[int, int]", [(1, 2), [1, 2]], [(1,), (1, 2, 3), ("a", 1)]),
        ("tuple[float, ...]", [(), (1, 2.5)], ["x", ("a",)]),
        ("list", [[1], ()], [{}]),
        ("dict[str, int]", [{"a": 1}], [{"a": "b"}, [1]]),
        ("Mapping[str, Sequence[int]]", [{"a": [1]}], [{1: [1]}]),
        ("int | Sequence[int]", [1, (1, 2)], ["12"]),
        ("Norm | None", [NORM, None], ["BN", 3, Component("activation", "Activation")]),
        ("Size", [(1, 2)], [1]),
        ("Something | None", [1, "a", None, NORM], []),
        ("np.ndarray", [1], []),
        ("Callable[[int], str]", [1], []),
        ("", [1, None], []),
        ("Any", [1, None], []),
        ("int", [], [NORM]),
    ],
)
def test_annotations(annotation: str, right: list[Any], wrong: list[Any]) -> None:
    assert all(accepts(value, annotation) for value in right)
    assert not any(accepts(value, annotation) for value in wrong)


LOCATIONS = sorted(
    {location for kind, table in catalog.TABLE.items() if kind != "optimizer" for location in table.values()}
)


@pytest.mark.parametrize("location", LOCATIONS)
def test_what_is_read_from_source_is_what_python_sees(location: str) -> None:
    signature = signature_of(location)
    assert signature is not None
    module, _, attribute = location.partition(":")
    seen = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    assert signature.names == tuple(seen)
    assert [parameter.required for parameter in signature.parameters] == [
        parameter.default is inspect.Parameter.empty for parameter in seen.values()
    ]


@pytest.mark.parametrize("name", sorted(catalog.TABLE["optimizer"]))
def test_table_of_optimizers_fits_the_installed_torch(name: str) -> None:
    signature = signature_of(f"torch.optim:{name}")
    assert signature is not None
    import torch

    seen = inspect.signature(getattr(torch.optim, name)).parameters
    assert set(signature.names) == set(seen) - {"params"}
    for parameter in signature.parameters:
        if parameter.name != "lr":
            assert ast.literal_eval(parameter.default) == seen[parameter.name].default, parameter.name


USERS = """
from dataclasses import dataclass, field, KW_ONLY
from typing import ClassVar, Literal

from users.base import Parent
from .more import other as renamed

Style = Literal["a", "b"]

class Own(Parent):
    def __init__(self, width: int, *, style: Style = "a", **rest: int) -> None: ...

class Inherits(Parent): ...

@dataclass(frozen=True)
class Fields:
    kind: str
    _: KW_ONLY
    size: int = 3
    names: list[str] = field(default_factory=list)
    hidden: int = field(default=1, init=False)
    LIMIT: ClassVar[int] = 5

class Foreign(Unknown): ...

Alias = Own

raise RuntimeError("this module must not be imported")
"""


@pytest.fixture
def users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "users"
    package.mkdir()
    package.joinpath("__init__.py").write_text("raise RuntimeError('this package must not be imported')\n")
    package.joinpath("heads.py").write_text(USERS)
    package.joinpath("base.py").write_text("class Parent:\n    def __init__(self, depth: int = 1) -> None: ...\n")
    package.joinpath("more.py").write_text("def other(x): ...\n")
    package.joinpath("registered.py").write_text(
        "from intarsia.catalog import register\n\n@register('head')\nclass Mine:\n    ...\n\n"
        "@register('neck', name='Scarf')\ndef make(width): ...\n\nclass NotRegistered: ...\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    signature_of.cache_clear()
    source_file.cache_clear()


@pytest.mark.usefixtures("users")
def test_users_own_parts_are_read_without_importing_them() -> None:
    own = signature_of("users.heads:Own")
    assert own is not None
    assert (own.names, own.open) == (("width", "style"), True)
    assert accepts("a", own["style"].annotation)
    assert not accepts("c", own["style"].annotation)
    assert signature_of("users.heads:Alias") == own
    inherits = signature_of("users.heads:Inherits")
    assert inherits is not None
    assert inherits.names == ("depth",)
    fields = signature_of("users.heads:Fields")
    assert fields is not None
    assert [(parameter.name, parameter.required) for parameter in fields.parameters] == [
        ("kind", True), ("size", False), ("names", False)
    ]  # fmt: skip
    renamed = signature_of("users.heads:renamed")
    assert renamed is not None
    assert renamed.names == ("x",)
    assert signature_of("users.heads:Foreign") is None
    assert signature_of("users.heads:Missing") is None
    assert signature_of("no.such:Thing") is None
    assert "users" not in sys.modules


@pytest.mark.usefixtures("users")
def test_registrations_are_found_in_source() -> None:
    found = {("head", "Mine", "users.registered:Mine"), ("neck", "Scarf", "users.registered:make")}
    assert set(registered_in("users.registered")) == found
    assert set(registered_in("users")) == found
    assert set(registered_in("no.such.module")) == set()
