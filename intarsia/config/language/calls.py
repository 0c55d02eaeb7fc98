"""The functions and methods that a config may call: closed tables, each entry with bounds on what it may make.

Every entry takes the values of its arguments; no name is ever looked up on an object.
"""

from __future__ import annotations

import ast
import string
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from intarsia.config.language.limits import Budget, RefusedError, check, check_keys, check_length, check_text
from intarsia.config.language.operators import binary, item_origins, located, render
from intarsia.config.language.values import DictValue, ListValue, TupleValue, entries
from intarsia.spec import Origin

_DIGITS = 1_000


@dataclass(frozen=True, slots=True)
class Call:
    """The arguments of one call with their origins, where it stands, and what it may spend."""

    arguments: list[Any]
    argument_origins: list[Origin]
    keywords: dict[str, Any]
    keyword_origins: dict[str, Origin]
    origin: Origin
    budget: Budget

    def only(self, most: int, least: int = 0) -> list[Any]:
        """The arguments; TypeError when their number is not within the bounds or there are keywords."""
        if self.keywords or not least <= len(self.arguments) <= most:
            number = str(most) if least == most else f"{least} to {most}"
            raise TypeError(f"expected {number} arguments and no keywords")
        return self.arguments


# --- Functions ----------------------------------------------------------------------------------------------------


def make_dict(call: Call) -> DictValue:
    """``dict(mapping_or_pairs, name=value, ...)``."""
    if not call.arguments:
        return DictValue(call.keywords, call.keyword_origins)
    made = DictValue()
    _dict_update(made, call)
    return made


def _make_list(call: Call) -> ListValue:
    return ListValue(*_sequence(call))


def _make_tuple(call: Call) -> TupleValue:
    return TupleValue(*_sequence(call))


def _sequence(call: Call) -> tuple[list[Any], list[Origin]]:
    if not call.only(1):
        return [], []
    source = call.arguments[0]
    call.budget.spend(check_length(len(source)))
    return list(source), item_origins(source, call.origin)


def _make_range(call: Call) -> range:
    made = range(*call.only(3, 1))
    if made and abs(made[-1] - made[0]) // abs(made.step) > 10**9:  # len() itself gives up on enormous ranges
        check_length(10**9)
    check_length(len(made))
    return made


def _make_int(call: Call) -> int:
    if call.arguments and isinstance(call.arguments[0], str) and len(call.arguments[0]) > _DIGITS:
        raise RefusedError(f"a number of more than {_DIGITS} digits")
    return int(*call.arguments, **call.keywords)


def _make_str(call: Call) -> str:
    return render(call.only(1, 1)[0], "", "s", call.budget) if call.arguments else ""


def _round(call: Call) -> Any:
    digits = (*call.arguments[1:], *call.keywords.values())
    if any(isinstance(number, int) and abs(number) > _DIGITS for number in digits):
        raise RefusedError(f"rounding to more than {_DIGITS} digits")
    return round(*call.arguments, **call.keywords)


def _sum(call: Call) -> Any:
    items, *start = call.arguments
    total = start[0] if start else call.keywords.get("start", 0)
    for item in items:
        total = binary(ast.Add, total, item, (call.origin, call.origin), call.budget)
    return total


def _enumerate(call: Call) -> ListValue:
    pairs = list(enumerate(*call.arguments, **call.keywords))
    origins = item_origins(call.arguments[0], call.argument_origins[0])
    return ListValue([TupleValue(pair, (at, at)) for pair, at in zip(pairs, origins, strict=True)], origins)


def _zip(call: Call) -> ListValue:
    rows = list(zip(*call.arguments, **call.keywords))  # noqa: B905 - `strict` is the caller's to say
    check_length(sum(map(len, rows)))
    sources = [item_origins(items, at) for items, at in zip(call.arguments, call.argument_origins, strict=True)]
    origins = list(zip(*sources, strict=False))
    return ListValue([TupleValue(row, at) for row, at in zip(rows, origins, strict=True)], [call.origin] * len(rows))


def _reversed(call: Call) -> ListValue:
    items, origins = _sequence(call)
    return ListValue(reversed(items), reversed(origins))


def _simple(function: Callable[..., Any]) -> Callable[[Call], Any]:
    return lambda call: function(*call.arguments, **call.keywords)


FUNCTIONS: dict[str, Callable[[Call], Any]] = {
    "abs": _simple(abs),
    "all": _simple(all),
    "any": _simple(any),
    "bool": _simple(bool),
    "dict": make_dict,
    "enumerate": _enumerate,
    "float": _simple(float),
    "int": _make_int,
    "len": _simple(len),
    "list": _make_list,
    "max": _simple(max),
    "min": _simple(min),
    "range": _make_range,
    "reversed": _reversed,
    "round": _round,
    "sorted": _simple(sorted),
    "str": _make_str,
    "sum": _sum,
    "tuple": _make_tuple,
    "zip": _zip,
}


def call_function(name: str, call: Call) -> Any:
    """The result of ``name(...)``; `name` is in FUNCTIONS.

    Raises:
        RefusedError: too large. TypeError, ValueError ...: as Python itself has them.
    """
    if name not in ("dict", "len"):
        call.budget.charge(*call.arguments)
    return located(check(FUNCTIONS[name](call)), call.origin)


# --- Methods ------------------------------------------------------------------------------------------------------


def _dict_update(target: DictValue, call: Call) -> None:
    if len(call.arguments) > 1:
        raise TypeError(f"expected at most 1 argument, got {len(call.arguments)}")
    for source in call.arguments:
        call.budget.spend(check_keys(len(target) + len(source)))
        if isinstance(source, dict):
            pairs = [(key, value, origin) for key, value, origin in entries(source, call.origin)]
        else:
            pairs = [
                (pair[0], pair[1], item_origins(pair, origin)[1])
                for pair, origin in zip(source, item_origins(source, call.origin), strict=True)
                if _is_pair(pair)
            ]
        for key, value, origin in pairs:
            target.put(key, value, origin)
    for name, value in call.keywords.items():
        target.put(name, value, call.keyword_origins[name])


def _is_pair(value: Any) -> bool:
    if len(value) != 2:
        raise ValueError(f"expected pairs of key and value, found {len(value)} values")
    return True


def _dict_get(target: DictValue, call: Call) -> Any:
    return target.get(*call.only(2, 1))


def _dict_pop(target: DictValue, call: Call) -> Any:
    key, *default = call.only(2, 1)
    return target.take(key) if key in target or not default else default[0]


def _dict_setdefault(target: DictValue, call: Call) -> Any:
    key, *default = call.only(2, 1)
    if key not in target:
        target.put(key, default[0] if default else None, call.argument_origins[-1])
        check(target)
    return target[key]


def _dict_copy(target: DictValue, call: Call) -> DictValue:
    call.only(0)
    return target.duplicate()


def _dict_keys(target: DictValue, call: Call) -> ListValue:
    call.only(0)
    return ListValue(target, [target.origins[key] for key in target])


def _dict_values(target: DictValue, call: Call) -> ListValue:
    call.only(0)
    return ListValue(target.values(), [target.origins[key] for key in target])


def _dict_items(target: DictValue, call: Call) -> ListValue:
    call.only(0)
    origins = [target.origins[key] for key in target]
    return ListValue([TupleValue(item, (at, at)) for item, at in zip(target.items(), origins, strict=True)], origins)


def _list_append(target: ListValue, call: Call) -> None:
    check_length(len(target) + 1)
    target.add(call.only(1, 1)[0], call.argument_origins[0])


def _list_extend(target: ListValue, call: Call) -> None:
    items, origins = _sequence(call)
    extend(target, items, origins)


def extend(target: ListValue, items: list[Any], origins: list[Origin]) -> None:
    """``target += items``, in place."""
    check_length(len(target) + len(items))
    target.extend(items)
    target.origins.extend(origins)


def _list_insert(target: ListValue, call: Call) -> None:
    index, value = call.only(2, 2)
    check_length(len(target) + 1)
    target.insert(index, value)
    target.origins.insert(index, call.argument_origins[1])


def _list_pop(target: ListValue, call: Call) -> Any:
    index = call.only(1)[0] if call.arguments else -1
    value = target.pop(index)
    target.origins.pop(index)
    return value


def _list_remove(target: ListValue, call: Call) -> None:
    index = target.index(*call.only(1, 1))
    del target[index], target.origins[index]


def _list_reverse(target: ListValue, call: Call) -> None:
    call.only(0)
    target.reverse()
    target.origins.reverse()


def _list_copy(target: ListValue, call: Call) -> ListValue:
    call.only(0)
    return ListValue(target, target.origins)


def _index(target: list[Any] | tuple[Any, ...], call: Call) -> int:
    call.budget.charge(target, *call.arguments)
    return target.index(*call.only(3, 1))


def _count(target: list[Any] | tuple[Any, ...], call: Call) -> int:
    call.budget.charge(target, *call.arguments)
    return target.count(*call.only(1, 1))


def _str_join(target: str, call: Call) -> str:
    parts = list(call.only(1, 1)[0])
    check_text(sum(len(part) for part in parts if isinstance(part, str)) + len(target) * len(parts))
    return target.join(parts)


def _str_replace(target: str, call: Call) -> str:
    old, new, *_ = call.only(3, 2)
    check_text(len(target) + (target.count(old) * len(new) if len(new) > len(old) else 0))
    return target.replace(*call.arguments)


def _str_format(target: str, call: Call) -> str:
    made, automatic = "", 0
    for text, field, specification, conversion in string.Formatter().parse(target):
        made += text
        if field is not None:
            if field and not field.isidentifier() and not field.isdigit():
                raise RefusedError(f"`{{{field}}}`: a format field is a plain name or number", "Use an f-string")
            if "{" in (specification or ""):
                raise RefusedError("a format specification inside a format specification", "Use an f-string")
            name = field or str(automatic)
            automatic += not field
            if automatic and field.isdigit():
                raise ValueError("format fields are either all numbered or all empty")
            value = call.arguments[int(name)] if name.isdigit() else call.keywords[name]
            made += render(value, specification or "", conversion, call.budget)
        check_text(len(made))
    return made


def _text(function: Callable[..., Any]) -> Callable[[str, Call], Any]:
    return lambda target, call: function(target, *call.arguments, **call.keywords)


METHODS: dict[type, dict[str, Callable[[Any, Call], Any]]] = {
    DictValue: {
        "copy": _dict_copy,
        "get": _dict_get,
        "items": _dict_items,
        "keys": _dict_keys,
        "pop": _dict_pop,
        "setdefault": _dict_setdefault,
        "update": _dict_update,
        "values": _dict_values,
    },
    ListValue: {
        "append": _list_append,
        "copy": _list_copy,
        "count": _count,
        "extend": _list_extend,
        "index": _index,
        "insert": _list_insert,
        "pop": _list_pop,
        "remove": _list_remove,
        "reverse": _list_reverse,
    },
    TupleValue: {"count": _count, "index": _index},
    str: {
        "format": _str_format,
        "join": _str_join,
        "replace": _str_replace,
        **{
            name: _text(getattr(str, name))
            for name in (
                "capitalize", "count", "endswith", "find", "index", "isdigit", "lower", "lstrip", "partition",
                "removeprefix", "removesuffix", "rfind", "rpartition", "rsplit", "rstrip", "split", "splitlines",
                "startswith", "strip", "title", "upper",
            )
        },
    },
}  # fmt: skip


def call_method(target: Any, name: str, call: Call) -> Any:
    """The result of ``target.name(...)``; `name` is among METHODS of the target's type.

    Raises:
        RefusedError: too large. TypeError, KeyError ...: as Python itself has them.
    """
    call.budget.spend(1 + len(target) // 8)
    call.budget.charge(*call.arguments)
    result = check(METHODS[type(target)][name](target, call))
    check(target)
    if isinstance(result, str):
        call.budget.spend(len(result) // 64)
    elif isinstance(result, (list, tuple)):
        call.budget.spend(len(result))
    return located(result, call.origin)
