"""Operators of the configuration language: Python's own, with bounds on what they may make."""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable
from typing import Any

from intarsia.config.language.limits import MAX_WIDTH, Budget, RefusedError, check, check_bits, check_length, check_text
from intarsia.config.language.values import DictValue, ListValue, TupleValue
from intarsia.spec import Origin

Binary = Callable[[Any, Any], Any]

UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}

COMPARE: dict[type[ast.cmpop], Binary] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda left, right: left in right,
    ast.NotIn: lambda left, right: left not in right,
}


def located(value: Any, origin: Origin) -> Any:
    """A list or tuple that Python made, as one that knows its origins."""
    if type(value) is list:
        return ListValue(value, [origin] * len(value))
    if type(value) is tuple:
        return TupleValue(value, [origin] * len(value))
    return value


def item_origins(value: Any, origin: Origin) -> list[Origin]:
    """The origin of every item of a sequence; `origin` where it keeps none."""
    if isinstance(value, (ListValue, TupleValue)):
        return list(value.origins)
    return [origin] * len(value)


def binary(kind: type[ast.operator], left: Any, right: Any, origins: tuple[Origin, Origin], budget: Budget) -> Any:
    """``left <kind> right``. Lists and dicts keep the origins of their entries.

    Raises:
        RefusedError: the operator is not part of the language, or the result is too large.
    """
    function = BINARY.get(kind)
    if function is None:
        raise RefusedError("this operator is not part of the configuration language")
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)) and kind is ast.Add:
        return _join(left, right, origins, budget)
    if kind is ast.Mult and (_is_sequence(left) or _is_sequence(right)):
        return _repeat(left, right, origins, budget)
    if kind is ast.BitOr and isinstance(left, DictValue) and isinstance(right, DictValue):
        budget.spend(len(left) + len(right))
        return check(DictValue({**left, **right}, {**left.origins, **right.origins}))
    if kind is ast.Mod and isinstance(left, str):
        return _percent(left, right, budget)
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
        budget.charge(left, right)
    return check(function(left, right))


def _is_sequence(value: Any) -> bool:
    return isinstance(value, (str, list, tuple))


def _join(left: Any, right: Any, origins: tuple[Origin, Origin], budget: Budget) -> Any:
    budget.spend(check_length(len(left) + len(right)))
    operator.add(left, right)  # a TypeError of Python's own for a list and a tuple
    sources = item_origins(left, origins[0]) + item_origins(right, origins[1])
    made = ListValue if isinstance(left, list) else TupleValue
    return made([*left, *right], sources)


def _repeat(left: Any, right: Any, origins: tuple[Origin, Origin], budget: Budget) -> Any:
    sequence, times, origin = (left, right, origins[0]) if _is_sequence(left) else (right, left, origins[1])
    if not isinstance(times, int):
        raise TypeError(f"can't multiply a {type(left).__name__} by a {type(right).__name__}")
    length = len(sequence) * max(times, 0)
    if isinstance(sequence, str):
        budget.spend(1 + check_text(length) // 64)
        return sequence * times
    budget.spend(check_length(length))
    made = ListValue if isinstance(sequence, list) else TupleValue
    return made(list(sequence) * times, item_origins(sequence, origin) * times)


def _power(base: Any, exponent: Any) -> Any:
    if isinstance(base, int) and isinstance(exponent, int) and exponent > 0 and abs(base) > 1:
        check_bits(exponent)
        check_bits((abs(base).bit_length() - 1) * exponent)
    return base**exponent


def _shift(value: Any, places: Any) -> Any:
    if isinstance(value, int) and isinstance(places, int):
        check_bits(places)
    return value << places


BINARY: dict[type[ast.operator], Binary] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
    ast.LShift: _shift,
    ast.RShift: operator.rshift,
    ast.BitOr: operator.or_,
    ast.BitAnd: operator.and_,
    ast.BitXor: operator.xor,
}


def compare(kind: type[ast.cmpop], left: Any, right: Any, budget: Budget) -> bool:
    """``left <kind> right``, with its cost taken off the budget."""
    looks_up = kind in (ast.In, ast.NotIn) and isinstance(right, (dict, set, range))
    budget.charge(*((left,) if looks_up else (left, right)))
    return bool(COMPARE[kind](left, right))


_PERCENT = re.compile(r"%(?:\(\w+\))?([^a-zA-Z%]*)")
_NUMBER = re.compile(r"\d+")


def _percent(text: str, values: Any, budget: Budget) -> str:
    if len(re.findall(r"%\(", text)) != len(re.findall(r"%\(\w+\)", text)):
        raise RefusedError("in `%(name)s` the name must be a plain word")
    for found in _PERCENT.finditer(text):
        check_width(found.group(1))
    size = budget.charge_printing(values)
    check_text(len(text) + (size * text.count("%") if isinstance(values, dict) else size))
    return str(check(text % (tuple(values) if isinstance(values, tuple) else values)))


def check_width(specification: str) -> str:
    """A format specification whose widths and precisions are small; RefusedError otherwise."""
    if "*" in specification or any(
        len(number) > 6 or int(number) > MAX_WIDTH for number in _NUMBER.findall(specification)
    ):
        raise RefusedError(f"a format width of more than {MAX_WIDTH}")
    return specification


_CONVERSIONS: dict[str, Callable[[Any], str]] = {"r": repr, "s": str, "a": ascii}


def render(value: Any, specification: str, conversion: str | None, budget: Budget) -> str:
    """One replacement field of an f-string or of `str.format`. conversion: "r", "s", "a" or None."""
    budget.charge_printing(value)
    if conversion is not None:
        value = _CONVERSIONS[conversion](value)
    return str(check(format(value, check_width(specification))))
