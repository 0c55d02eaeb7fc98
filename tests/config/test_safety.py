"""The closed evaluator refuses what is not data, and nothing that a file says can hurt."""

from __future__ import annotations

import builtins
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.limits import MAX_STEPS
from intarsia.config.language.reader import read_file


def read(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "config.py"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_file(path).values


def problems_of(folder: Path, text: str) -> tuple[Problem, ...]:
    try:
        read(folder, text)
    except ConfigError as error:
        return error.problems
    return ()


def refusal(folder: Path, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, text)
    return str(caught.value).replace(str(folder) + os.sep, "")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("import os\nx = os\n", "config.py:2: the module `os` is not a config value: `x = os`"),
        (
            "import os\nx = os.system('ls')",
            "config.py:2: calling `os.system` is not part",
        ),
        ("from os import system\nx = system('ls')", "config.py:2: calling `os.system` is not part"),
        ("from os import sep\nx = sep", "config.py:2: `os.sep` of Python's library is not a config value"),
        ("from os import *", "config.py:1: what `from os import *` brings cannot be known"),
        ("from .base import x", "config.py:1: a relative import is the form of inheritance"),
        ("from mmseg.models import build\nx = build(1)", "config.py:2: calling `mmseg.models.build` is not part"),
        ("with read_base():\n    x = 1", "config.py:1: `with` is not part"),
        ("with read_base() as y:\n    from .base import *", "config.py:1: `with` is not part"),
        ("def f():\n    return 1\n", "config.py:1: `def` is not part"),
        ("class A: pass", "config.py:1: `class` is not part"),
        ("x = lambda: 1", "config.py:1: `lambda` is not part"),
        ("while True:\n    pass", "config.py:1: `while` is not part"),
        ("with open('x') as f: pass", "config.py:1: `with` is not part"),
        ("try:\n    x = 1\nexcept ValueError:\n    pass", "config.py:1: `try` is not part"),
        ("x = (y := 1)", "config.py:1: `:=` is not part"),
        ("x = [await y for z in [1]]", "config.py:1: `await` is not part"),
        ("x = yield", "config.py:1: `yield` is not part"),
        ("assert True", "config.py:1: `assert` is not part"),
        ("raise ValueError", "config.py:1: `raise` is not part"),
        ("global x", "config.py:1: `global` is not part"),
        ("return", "config.py:1: `return` is not part"),
        ("for i in [1]: pass\nbreak", "config.py:2: `break` is not part"),
        ("x = [1] @ [2]", "config.py:1: this operator is not part"),
        ("x = dict(\n    a=1,\n    b=eval('1'))", "config.py:3: calling `eval` is not part"),
        ("x = 'a'.encode()", "config.py:1: the method `encode` of a str is not part"),
        ("x = (1).real", "config.py:1: the attribute `real` is not part"),
        ("x = len", "config.py:1: the function `len` can be called, but is not a value"),
        ("x = sorted([1], key=len)", "config.py:1: the function `len` can be called, but is not a value"),
        ("x = dict(a=1)()", "config.py:1: calling a value is not part"),
        ("__name__ = 1", "config.py:1: `__name__` cannot be set here"),
        ("x = dict(a=1, a=2)", "config.py:1: the keyword `a` is given twice"),
        ("x = dict(a=1, **{'a': 2})", "config.py:1: the keyword `a` is given twice"),
        ("x = {1, 2}", "config.py:1: x: a value of type set is not a config value. Write a list: [...]"),
        ("x = range(3)", "config.py:1: x: a value of type range is not a config value. Write list(range(...))"),
        ("x = {(1, 2): 3}", "config.py:1: x: a key must be a string or a number, found (1, 2)"),
        ("x = b'a'", "config.py:1: a value of type bytes is not a config value"),
        ("x = 2j", "config.py:1: a value of type complex is not a config value"),
        ("x = (-1) ** 0.5", "config.py:1: the result has type complex"),
        ("x = ...", "config.py:1: a value of type ellipsis is not a config value"),
        ("x = 1 / 0", "config.py:1: division by zero: `x = 1 / 0`"),
        ("x = [1, 2][5]", "config.py:1: list index out of range"),
        ("x = dict(a=1)\ny = x['b']", "config.py:2: there is no 'b': `y = x['b']`"),
        ("x = [1] + dict(a=1)", 'config.py:1: can only concatenate list (not "dict") to list'),
        ("x = 'a' + 1", "config.py:1: can only concatenate str"),
        ("a, b = 1, 2, 3", "config.py:1: 3 values cannot be assigned to 2 names"),
        ("a, b = 1", "config.py:1: 'int' object is not iterable"),
        ("x = y", "config.py:1: the name `y` is not defined in this file"),
    ],
)
def test_refusals_say_what_and_where(tmp_path: Path, text: str, expected: str) -> None:
    assert refusal(tmp_path, text).startswith(expected)


ESCAPES = [
    "().__class__.__bases__[0].__subclasses__()",
    "''.__class__.__mro__[1].__subclasses__()[40]('/etc/passwd').read()",
    "[].append.__self__.__class__",
    "{{}}.__class__.__base__",
    "__import__('os').system('touch {marker}')",
    "__builtins__['eval']('1')",
    'eval(\'open("{marker}", "w")\')',
    'exec(\'open("{marker}", "w")\')',
    "compile('1', '', 'eval')",
    "open('{marker}', 'w')",
    "getattr('', '__class__')",
    "setattr(dict, 'x', 1)",
    "globals()['__builtins__']",
    "locals()",
    "vars()",
    "type('X', (), {{}})",
    "str.__class__",
    "dict.__init__.__globals__",
    "'{{0.__class__.__mro__}}'.format('')",
    "'{{a[0].__class__}}'.format(a=[1])",
    "'{{0[__class__]}}'.format(dict(a=1))",
    "f\"{{''.__class__}}\"",
    "f\"{{open('{marker}', 'w')}}\"",
    "[x for x in ().__class__.__bases__]",
    "(lambda: open('{marker}', 'w'))()",
    "(f for f in [open])",
    "[print][0]('x')",
    "{{'a': open}}['a']('{marker}')",
    "sorted(['{marker}'], key=open)",
    "max(['{marker}'], key=open)",
    "list(map(open, ['{marker}']))",
    "dict.fromkeys.__self__",
    "(x for x in ()).gi_frame.f_globals",
    "breakpoint()",
    "input()",
    "memoryview(b'x')",
    "object()",
    "super()",
    "help()",
    "''.join.__call__",
    "'x'.format_map(dict(x=1))",
    "'x'.translate(dict())",
    "dict(a=1).__class__",
    "dict(__class__=1)",
    "dict(**{{'__class__': 1}})",
    "_base_",
    "__file__",
    "__name__",
    "__debug__",
]


@pytest.mark.parametrize("escape", ESCAPES)
@pytest.mark.parametrize("frame", ["x = {}", "{}", "x = dict(a=[{}])", "for x in {}: pass", "x, y = {}, 1"])
def test_classic_escapes_run_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, escape: str, frame: str) -> None:
    def caught(*arguments: Any, **keywords: Any) -> None:
        pytest.fail(f"the config called something: {arguments}")

    marker = tmp_path / "marker"
    text = frame.format(escape.format(marker=marker))
    read(tmp_path, "x = 1")  # the codec of files is imported at the first
    for name in ("exec", "eval", "compile", "print", "input", "breakpoint"):
        if name != "compile":  # ast.parse is a call of compile
            monkeypatch.setattr(builtins, name, caught)
    monkeypatch.setattr(os, "system", caught)
    monkeypatch.setattr(subprocess, "Popen", caught)
    with pytest.raises(ConfigError):
        read(tmp_path, text)
    assert not marker.exists()


BOMBS = [
    "x = 10 ** 10 ** 10",
    "x = 2 ** 2 ** 2 ** 2 ** 2 ** 2",
    "x = (-3) ** 10 ** 9",
    "x = 1 << 10 ** 9",
    "x = 'a' * 10 ** 9",
    "x = 10 ** 9 * [0]",
    "x = range(10 ** 12)",
    "x = list(range(-10 ** 30, 10 ** 30))",
    "x = sum(range(10 ** 12))",
    "x = max(range(10 ** 9))",
    "x = 10 ** 9 in range(10 ** 12)",
    "x = f'{1:1000000000d}'",
    "x = f'{1:{10 ** 9}d}'",
    "x = f'{1.5:.1000000000f}'",
    "x = '{:>1000000000}'.format(1)",
    "x = '{:{}}'.format(1, 10 ** 9)",
    "x = '%1000000000d' % 1",
    "x = '%*d' % (10 ** 9, 1)",
    "x = '%.*f' % (10 ** 9, 1.0)",
    "x = '%%(a%1000000000d)' % 1",
    "x = '%(a(b)c)1000000000d' % {'a(b)c': 1}",
    "x = '%(a)s' * 100000 % dict(a='x' * 100000)",
    "x = 'x' * 100000\ny = '{0}' * 100000\nz = y.format(x)",
    "x = ('y' * 10 ** 6).replace('y', 'z' * 10 ** 6)",
    "x = 'abc'.replace('', 'z' * 10 ** 6)",
    "x = ('a' * 10 ** 6).join(['b'] * 10 ** 5)",
    "x = str(['a' * 10 ** 6] * 10 ** 5)",
    "x = 'a'\nfor i in range(100): x += x",
    "x = [0]\nfor i in range(100): x += x",
    "x = 3\nfor i in range(100): x *= x",
    "x = [0]\nfor i in x: x.append(i)",
    "x = [1]\nfor i in range(60): x = [x, x]",
    "x = [1]\nfor i in range(60): x = [x, x]\ny = x == x",
    "x = [1]\nfor i in range(60): x = [x, x]\ny = f'{x}'",
    "x = (1,)\nfor i in range(60): x = (x, x)\ny = {x: 1}",
    "x = (1,)\nfor i in range(60): x = (x, x)\ny = {1: 1}.get(x)",
    "x = (1,)\nfor i in range(60): x = (x, x)\ny = {x}",
    "x = dict(a=1)\nfor i in range(60): x = dict(a=x, b=x)",
    "x = [1]\nfor i in range(100000): x = [x]",
    "x = []\nx.append(x)",
    "x = dict()\nx['x'] = x\ny = f'{x}'",
    "x = [[0] * 100000 for i in range(100000)]",
    "x = [i for i in range(100000) for j in range(100000)]",
    "for i in range(100000):\n  for j in range(100000):\n    pass",
    "x = {i: i for i in range(100000)}",
    "x = list(zip(*[[0] * 1000] * 1000))",
    "x = [0] * 100000\nfor i in range(100000): x.insert(0, 1)",
    "x = [0] * 99999\nfor i in range(100000): y = 1 in x",
    "x = 'a' * 999999\nfor i in range(100000): y = x + 'b'",
    "x = round(5, -10 ** 9)",
    "x = int('9' * 100000)",
    "x = " + "9" * 5000,
    "x = 0x" + "f" * 100_000,
    "x = " + "(" * 1000 + ")" * 1000,
    "x = " + "[" * 90 + "]" * 90,
    "x = " + "-" * 100_000 + "1",
    "x = " + " + ".join(["1"] * 20_000),
    "x = y" + ".a" * 20_000,
    "x = y" + "[0]" * 20_000,
    "x = " + "not " * 50_000 + "1",
    "if 1: x = 1\n" + "\n".join(["elif 1: x = 1"] * 5000),
    "x = f" + "'" + "{1}" * 50_000 + "'" + " * 1000",
]


def chain(branches: int) -> str:
    return "if 0: x = 0\n" + "".join(f"elif {i} == {branches}: x = {i}\n" for i in range(1, branches + 1))


@pytest.mark.parametrize(
    "text", [chain(200), "y = 1\n" + chain(200), "for i in [1]:\n if 0: pass\n" + " elif 0: pass\n" * 199]
)
def test_blocks_in_blocks_have_a_limit_that_no_version_of_python_moves(tmp_path: Path, text: str) -> None:
    line = text.count("\n")
    assert refusal(tmp_path, text) == f"config.py:{line}: `if`, `elif` and `for` are nested deeper than 200 levels"


def test_as_many_blocks_as_the_limit_allows(tmp_path: Path) -> None:
    assert read(tmp_path, chain(199)) == {"x": 199}


@pytest.mark.parametrize("bomb", BOMBS, ids=lambda text: text[:40])
def test_bombs_are_stopped_quickly(tmp_path: Path, bomb: str) -> None:
    start = time.process_time()
    with pytest.raises(ConfigError):
        read(tmp_path, bomb)
    assert time.process_time() - start < 5


def test_many_steps_that_do_little_are_stopped(tmp_path: Path) -> None:
    assert f"computes more than {MAX_STEPS:,} steps" in refusal(tmp_path, "for i in range(99999):\n  x = i * i + i - 1")


tokens = st.sampled_from(
    [
        "x",
        "y",
        "_base_",
        "__class__",
        "=",
        "==",
        "+=",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ",",
        ":",
        ".",
        "*",
        "**",
        "@",
        "->",
        ":=",
        "1",
        "2.5",
        "1e999",
        "0x1f",
        "'a'",
        '"b"',
        "'''c",
        "f'{x}'",
        "f'{x:{y}}'",
        "{{_base_.x}}",
        "{{fileBasename}}",
        "{{$HOME:1}}",
        "dict",
        "list",
        "len",
        "range",
        "sum",
        "format",
        "join",
        "update",
        "append",
        "if",
        "else",
        "elif",
        "for",
        "in",
        "not",
        "and",
        "or",
        "is",
        "lambda",
        "def",
        "class",
        "import",
        "from",
        "while",
        "with",
        "try",
        "del",
        "pass",
        "break",
        "continue",
        "return",
        "yield",
        "await",
        "None",
        "True",
        "\n",
        "\n\t",
        "\n\n",
        "\\",
        "#",
        "é",
        "\x00",
        "%",
        "%d",
        "'%s'",
        "[0]",
        "[:]",
        "()",
        "-1",
        "~",
        ";",
        "`",
    ]
)


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.one_of(st.text(max_size=60), st.lists(tokens, max_size=25).map(" ".join)))
@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_any_text_is_read_or_refused(tmp_path: Path, text: str) -> None:
    problems = problems_of(tmp_path, text)
    assert all(problem.origin is not None and problem.message for problem in problems)
