"""The closed evaluator computes what Python computes. What it refuses is in test_safety.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import read_file

QUIET = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow]


def read(folder: Path, text: str) -> dict[str, Any]:
    path = folder / "config.py"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return read_file(path).values


# --- The same as Python ---------------------------------------------------------------------------------------------


def normal(value: Any) -> Any:
    """Iterators and views, which the language gives as lists."""
    if isinstance(value, (str, int, float, bool, list, tuple, dict, type(None))):
        return value
    return list(value)


EXPRESSIONS = [
    "int((480 // 16) ** 2)",
    "[int(512 * x * 0.1) for x in range(5, 21)]",
    "[i * j for i in range(4) for j in range(i) if j if i > 1]",
    "{f'blocks.{i}.norm': dict(lr_mult=0.1 ** i) for i in range(3)}",
    "[dict(type='Resize', scale_factor=r) for r in [0.5, 0.75]]",
    "[*range(3), *'ab', *(1, 2)]",
    "(*[1],)",
    "{**dict(a=1), 'a': 2, **{'b': 3}}",
    "dict({'a': 1}, b=2, **{'c.d': 3})",
    "dict([('a', 1), ['b', 2]])",
    "1 if 2 > 1 > 0 else 0",
    "0 or [] or 'x'",
    "1 and 0 and 2",
    "not 1, -2, +3, ~4",
    "7 // 2, -7 // 2, 7 % 3, -7 % 3, 7 / 2, 2 ** -1, 1 << 4, 12 >> 1, 6 & 3, 6 | 1, 6 ^ 2",
    "'abcdef'[1:-1:2], [1, 2, 3][::-1], (1, 2, 3)[-1], {'a': 1}['a']",
    "1 in [1], 'a' not in 'abc', 3 in range(5), 'x' in {'x': 1}, 2 in {1, 2}",
    "None is None, [] is not None",
    "'%s_%03d' % ('a', 7), '%(x).2f%%' % dict(x=1)",
    "'{} {b:>5} {!r}'.format(1, 'y', b='x')",
    "'{0}{0}'.format('ab')",
    "f'{3.14159:.2f}|{\"a\"!r:>6}|{{x}}|{1 + 1}'",
    "','.join(str(i) for i in (1, 2)), 'a-b'.split('-'), ' x '.strip().upper(), 'aXb'.replace('X', 'yy')",
    "'resnet50'.startswith('res'), 'a.b'.rpartition('.'), 'ab'.removesuffix('b'), 'aab'.count('a')",
    "sum([1, 2.5]), sum([[1], [2]], []), min(3, 1), max([1, 4]), min([], default=0)",
    "sorted([3, 1, 2], reverse=True), sorted({'b', 'a'}), any(i for i in [0, 1]), all([])",
    "list(zip([1, 2], 'ab')), list(enumerate('ab', start=1)), list(reversed((1, 2))), tuple('ab')",
    "len({'a': 1}), abs(-2), round(2.567, 2), round(2.5), bool([]), int('12'), int('ff', 16), float('1e-3'), str([1])",
    "list(dict(a=1).items()), list(dict(a=1).keys()), list(dict(a=1).values()), dict(a=1).get('b', 2)",
    "[1, 2, 1].count(1), [1, 2].index(2), (1, 2).index(2), [1] * 3, 2 * (0,), 'ab' * 2, [1] + [2]",
    "dict(a=1) | dict(b=2)",
    "[x for x in [1, 2]] + [y for y, z in [(3, 4)]]",
    "[a + b for a, (b, *c) in [(1, (2, 3))]]",
    "{1: 'a', None: 'b', 2.5: 'c', True: 'd'}",
    "sorted({x % 3 for x in range(10)})",
    "1_000, 0x1f, 1e-5, -0.0, 1e400",
    "'a' 'b' \"c\"",
    "[[0] * 2 for _ in range(2)]",
    "1 == 1.0, [1] == [1], (1, 2) < (1, 3), 'a' < 'b', dict(a=1) == {'a': 1}",
]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expressions_mean_what_they_mean_in_python(tmp_path: Path, expression: str) -> None:
    expected = normal(eval(expression))
    found = read(tmp_path, f"x = {expression}\n")["x"]
    assert repr(found) == repr(expected)


PROGRAMS = [
    "a = b = [1]\na += [2]\na.append(3)\na.extend((4, 5))\na.insert(0, 0)\nc = a.pop()",
    "a = [1, 2, 3]\nd = a.pop(0)\na.remove(3)\na.append(9)\na.reverse()",
    "a = dict(x=1)\nb = a\nb['y'] = 2\nb.update(z=3)\nb.update({'w': 4})",
    "b = dict(x=1)\nc = b.pop('x')\nd = b.setdefault('q', 5)\ne = b\nb |= dict(r=1)",
    "a = dict(x=1)\nb = a.copy()\nb['x'] = 2\nc = [a, b].copy()\ndel b['x'], c[0]",
    "x, (y, *z), w = 1, (2, 3, 4), 'w'\n[p, q] = 'pq'\nn: int = 3\nn += 1\nn *= 2\nn **= 2\nn //= 3",
    "x = 0\nfor i in range(9):\n    if i == 2: continue\n    elif i > 5: break\n    x += i\nelse: x = -1",
    "x = []\nfor i, (a, b) in enumerate([(1, 2), (3, 4)]):\n    x.append(dict(i=i, s=a + b))\nelse:\n    done = True",
    "'a docstring'\nif 1 > 2:\n    x = 1\nelse:\n    x = 2\n    pass\ndel x\ny = 3",
    "items = [dict(type='A'), dict(type='B')]\nfor item in items:\n    item['n'] = len(item)\nitems[0]['n'] += 5",
    "a = [1, 2, 3, 4]\na[1:3] = 'xyz'\ndel a[-1]\nb = a[0], a[-1]",
    "x = [1]\nfor v in x:\n    if v < 5:\n        x.append(v + 1)",
    "dict = 3\nlist = dict + 1",
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_programs_mean_what_they_mean_in_python(tmp_path: Path, program: str) -> None:
    names: dict[str, Any] = {}
    exec(program, {}, names)
    expected = {name: value for name, value in names.items() if not name.startswith("_")}
    assert repr(read(tmp_path, program)) == repr(expected)


FAILED = object()


def python_value(expression: str) -> Any:
    try:
        return eval(expression)
    except Exception:
        return FAILED


def value_or_error(folder: Path, expression: str) -> tuple[Any, str | None]:
    try:
        return read(folder, f"x = {expression}")["x"], None
    except ConfigError as error:
        return None, str(error)


numbers = st.one_of(st.integers(-9, 9).map(str), st.floats(-9, 9).map(repr), st.sampled_from(["True", "False"]))


def binary(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    operators = [
        "+",
        "-",
        "*",
        "/",
        "//",
        "%",
        "**",
        "<<",
        ">>",
        "&",
        "|",
        "^",
        "<",
        "<=",
        "==",
        "!=",
        "and",
        "or",
        "in",
    ]
    return st.tuples(inner, st.sampled_from(operators), inner).map(lambda parts: f"({' '.join(parts)})")


def compound(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    several = st.lists(inner, max_size=3)
    functions = [
        "sum",
        "len",
        "max",
        "sorted",
        "list",
        "tuple",
        "abs",
        "round",
        "str",
        "bool",
        "int",
        "any",
    ]
    return st.one_of(
        binary(inner),
        several.map(lambda items: f"[{', '.join(items)}]"),
        several.map(lambda items: f"({' '.join(item + ',' for item in items)})"),
        st.tuples(st.sampled_from(functions), inner).map(lambda parts: f"{parts[0]}({parts[1]})"),
        st.tuples(inner, inner, inner).map(lambda parts: f"({parts[0]} if {parts[1]} else {parts[2]})"),
        st.tuples(inner, inner).map(lambda parts: f"[{parts[0]} for x in {parts[1]} if x]"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}]"),
        st.tuples(inner, inner).map(lambda parts: f"{parts[0]}[{parts[1]}:]"),
        inner.map(lambda item: f"f'{{{item}}}'" if "'" not in item else item),
        inner.map(lambda item: f"(-{item})"),
        inner.map(lambda item: f"list(reversed({item}))"),  # bare, Python's text of it holds an address
    )


@settings(max_examples=250, suppress_health_check=QUIET, deadline=None)
@given(st.recursive(numbers, compound, max_leaves=8))
@pytest.mark.filterwarnings("ignore::SyntaxWarning")
def test_random_expressions_against_python(tmp_path: Path, expression: str) -> None:
    expected = python_value(expression)
    found, error = value_or_error(tmp_path, expression)
    if error is None:
        assert repr(found) == repr(normal(expected))
    else:
        beyond = any(word in error for word in ("bits", "complex", "format width", "items", "characters"))
        assert beyond or expected is FAILED, f"{expression} is {expected!r} in Python, and here: {error}"
