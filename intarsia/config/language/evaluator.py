"""The closed evaluator: walks the syntax tree of a config file and computes its values.

Every kind of syntax that is not in the two tables at the end is refused, with its line. Python's own machinery
(`eval`, `exec`, attribute lookup, calls) is never used on what a file says: names are looked up in the file's own
variables, attributes are keys of dicts, calls go through the tables of `calls.py`.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Iterator
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.calls import FUNCTIONS, METHODS, Call, call_function, call_method
from intarsia.config.language.imports import IMPORTED_FUNCTIONS, Imported, call_imported
from intarsia.config.language.limits import Budget, RefusedError, check, check_text
from intarsia.config.language.operators import UNARY, binary, compare, item_origins, render
from intarsia.config.language.source import Reference, Source
from intarsia.config.language.targets import TRUST, WORDS, ValueWithOrigin, assign, kind_of
from intarsia.config.language.values import DictValue, ListValue, TupleValue, check_key
from intarsia.spec import Origin

_INTERNAL = re.compile(r"\b(Dict|List|Tuple)Value\b")
_ERRORS = (TypeError, ValueError, ArithmeticError, LookupError, RuntimeError)


class Evaluator:
    """Computes the values of one file.

    names: constants that the file may use, such as "_base_" for the merged values of the files it inherits from.
    resolve: gives the value of a ``{{...}}`` reference; the second argument says whether it stands bare in the text.
    """

    def __init__(
        self,
        source: Source,
        budget: Budget,
        names: dict[str, Any],
        resolve: Callable[[Reference, bool], Any],
        read_base: Callable[[ast.ImportFrom], DictValue] | None = None,
    ) -> None:
        self.source = source
        self.budget = budget
        self.resolve = resolve
        self.origins = source.origins
        self.names = names
        self.read_base = read_base
        self.imports: dict[str, Imported] = {}
        self.variables: dict[str, ValueWithOrigin] = {}
        self.scopes: list[dict[str, ValueWithOrigin]] = [self.variables]

    def values(self) -> DictValue:
        """The variables of the file, as a dict."""
        made = DictValue()
        for name, (value, origin) in self.variables.items():
            made.put(name, value, origin)
        return made

    # --- What goes wrong ------------------------------------------------------------------------------------------

    def error(self, node: ast.expr | ast.stmt, message: str, hint: str = "") -> ConfigError:
        """A problem at a line, which is quoted."""
        line = node.lineno
        return ConfigError([Problem("", f"{message}: `{self.source.line(line)}`", self.origins[line], hint)])

    def refusal(self, node: ast.expr | ast.stmt) -> ConfigError:
        """The problem of syntax that the language does not have."""
        what = WORDS.get(type(node), type(node).__name__)
        return self.error(node, f"`{what}` is not part of the configuration language", TRUST)

    def guard(self, node: ast.expr | ast.stmt, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``, with what goes wrong told at the line of `node`."""
        try:
            return function(*arguments)
        except RefusedError as error:
            raise self.error(node, error.message, error.hint) from None
        except KeyError as error:
            raise self.error(node, f"there is no {error.args[0]!r}") from None
        except _ERRORS as error:
            raise self.error(node, _INTERNAL.sub(lambda found: found[1].lower(), str(error))) from None

    # --- Expressions ----------------------------------------------------------------------------------------------

    def evaluate(self, node: ast.expr) -> Any:
        """The value of an expression."""
        return self.evaluate_with_origin(node)[0]

    def evaluate_with_origin(self, node: ast.expr) -> ValueWithOrigin:
        """The value of an expression and where it was written."""
        self._step(node)
        kind = type(node)
        handler = _VALUES.get(kind)
        if handler is not None:
            return handler(self, node), self.origins[node.lineno]
        elsewhere = _VALUES_WITH_ORIGIN.get(kind)
        if elsewhere is None:
            raise self.refusal(node)
        return elsewhere(self, node)

    def _step(self, node: ast.expr) -> None:
        self.budget.steps -= 1
        if self.budget.steps < 0:
            self.guard(node, self.budget.spend, 0)

    def _constant(self, node: ast.Constant) -> Any:
        value: Any = node.value
        kind = type(value)
        if kind is str:
            return self._text(node, value) if self.source.references and self.source.mark in value else value
        if kind is int:
            return value if -65536 < value < 65536 else self.guard(node, check, value)
        if value is None or kind is float or kind is bool:
            return value
        raise self.error(node, f"a value of type {kind.__name__} is not a config value")

    def _text(self, node: ast.Constant, value: str) -> Any:
        """A string with references in it: their values put in, or the base's value itself where it is all."""
        made = ""
        parts = self.source.split(value)
        for part in parts:
            found = part if isinstance(part, str) else self.guard(node, self.resolve, part, False)
            if len(parts) == 1:
                return found
            if isinstance(found, (dict, list, tuple)):
                raise self.error(node, f"{kind_of(found)} cannot be put into a string")
            made += str(found)
        return self.guard(node, check, made)

    def _name(self, node: ast.Name) -> ValueWithOrigin:
        name = node.id
        for scope in reversed(self.scopes):
            if name in scope:
                return scope[name]
        if name in self.names:
            return self.names[name], self.origins[node.lineno]
        if name.startswith(self.source.mark):
            reference = self.source.split(name)[0]
            return self.guard(node, self.resolve, reference, True), self.origins[node.lineno]
        if name in self.imports:
            return self.guard(node, self.imports[name].part), self.origins[node.lineno]
        if name.startswith("__"):
            raise self.error(node, f"`{name}` is not part of the configuration language", TRUST)
        if name in FUNCTIONS:
            raise self.error(node, f"the function `{name}` can be called, but is not a value")
        hint = f"Write _base_.{name} for the value of the base config" if name in self.names.get("_base_", ()) else ""
        raise self.error(node, f"the name `{name}` is not defined in this file", hint)

    def _imported(self, node: ast.expr) -> Imported | None:
        """What an import statement brought, or something in it, if a name or a chain of attributes means that."""
        if isinstance(node, ast.Attribute):
            inside = self._imported(node.value)
            return None if inside is None else inside.member(node.attr)
        if not isinstance(node, ast.Name) or any(node.id in scope for scope in self.scopes):
            return None
        return self.imports.get(node.id)

    def _attribute(self, node: ast.Attribute) -> ValueWithOrigin:
        imported = self._imported(node)
        if imported is not None:
            return self.guard(node, imported.part), self.origins[node.lineno]
        value = self.evaluate(node.value)
        if not isinstance(value, DictValue) or node.attr.startswith("__"):
            raise self.error(node, f"the attribute `{node.attr}` is not part of the configuration language", TRUST)
        return self.guard(node, value.__getitem__, node.attr), value.origins[node.attr]

    def _subscript(self, node: ast.Subscript) -> ValueWithOrigin:
        value, origin = self.evaluate_with_origin(node.value)
        key = self.key(node.slice)
        found = self.guard(node, operator.getitem, value, key)
        if isinstance(key, slice):
            self.guard(node, self.budget.spend, len(found))
            if isinstance(found, (list, tuple)):
                made = ListValue if isinstance(found, list) else TupleValue
                found = made(found, item_origins(value, origin)[key])
        elif isinstance(value, (DictValue, ListValue, TupleValue)):
            origin = value.origins[key]
        return found, origin

    def key(self, node: ast.expr) -> Any:
        """A key, an index or a slice."""
        if isinstance(node, ast.Slice):
            bounds = (node.lower, node.upper, node.step)
            return slice(*[None if bound is None else self.evaluate(bound) for bound in bounds])
        key = self.evaluate(node)
        if type(key) is not str and type(key) is not int:
            self.guard(node, self.budget.charge, key)
        return key

    def _conditional(self, node: ast.IfExp) -> ValueWithOrigin:
        return self.evaluate_with_origin(node.body if self.evaluate(node.test) else node.orelse)

    def _boolean(self, node: ast.BoolOp) -> ValueWithOrigin:
        stops = isinstance(node.op, ast.Or)
        for operand in node.values[:-1]:
            found = self.evaluate_with_origin(operand)
            if bool(found[0]) is stops:
                return found
        return self.evaluate_with_origin(node.values[-1])

    def _unary(self, node: ast.UnaryOp) -> Any:
        return self.guard(node, UNARY[type(node.op)], self.evaluate(node.operand))

    def _binary(self, node: ast.BinOp) -> Any:
        left, left_origin = self.evaluate_with_origin(node.left)
        right, right_origin = self.evaluate_with_origin(node.right)
        return self.guard(node, binary, type(node.op), left, right, (left_origin, right_origin), self.budget)

    def _compare(self, node: ast.Compare) -> bool:
        left = self.evaluate(node.left)
        for kind, operand in zip(node.ops, node.comparators, strict=True):
            right = self.evaluate(operand)
            if not self.guard(node, compare, type(kind), left, right, self.budget):
                return False
            left = right
        return True

    def _formatted(self, node: ast.JoinedStr) -> str:
        made = ""
        for part in node.values:
            if isinstance(part, ast.FormattedValue):
                specification = self.evaluate(part.format_spec) if part.format_spec else ""
                conversion = chr(part.conversion) if part.conversion > 0 else None
                made += self.guard(node, render, self.evaluate(part.value), specification, conversion, self.budget)
            else:
                made += str(self.evaluate(part))
            self.guard(node, check_text, len(made))
        return made

    # --- Displays and comprehensions ------------------------------------------------------------------------------

    def _items(self, nodes: list[ast.expr]) -> tuple[list[Any], list[Origin]]:
        items: list[Any] = []
        origins: list[Origin] = []
        for node in nodes:
            if isinstance(node, ast.Starred):
                for item, origin in self.iterate(node.value):
                    items.append(item)
                    origins.append(origin)
                    self.guard(node, check, items)
            else:
                item, origin = self.evaluate_with_origin(node)
                items.append(item)
                origins.append(origin)
        return items, origins

    def _list(self, node: ast.List) -> ListValue:
        return ListValue(*self._items(node.elts))

    def _tuple(self, node: ast.Tuple) -> TupleValue:
        return TupleValue(*self._items(node.elts))

    def _set(self, node: ast.Set) -> set[Any]:
        items = self._items(node.elts)[0]
        return self._set_of(node, items)

    def _set_of(self, node: ast.expr, items: list[Any]) -> set[Any]:
        self.guard(node, self.budget.charge, items)
        for count, item in enumerate(items):
            self.guard(node, check_key, item, count)
        made: set[Any] = self.guard(node, check, set(items))
        return made

    def _dict(self, node: ast.Dict) -> DictValue:
        made = DictValue()
        for key, value in zip(node.keys, node.values, strict=True):
            if key is None:
                self._unpack(made, value)
            else:
                self.guard(value, made.put, self.key(key), *self.evaluate_with_origin(value))
        self.guard(node, check, made)
        return made

    def _unpack(self, target: DictValue, node: ast.expr) -> None:
        value = self.evaluate(node)
        if not isinstance(value, DictValue):
            raise self.error(node, f"`**` takes a dict, found {kind_of(value)}")
        self.guard(node, self.budget.spend, len(value))
        for key, item in value.items():
            target.put(key, item, value.origins[key])

    def iterate(self, node: ast.expr) -> Iterator[ValueWithOrigin]:
        """The items of an expression with their origins. A list is followed while it changes, as in Python."""
        value, origin = self.evaluate_with_origin(node)
        if isinstance(value, (ListValue, TupleValue)):
            index = 0
            while index < len(value):
                self._step(node)
                yield value[index], value.origins[index]
                index += 1
        else:
            iterator = self.guard(node, iter, value)
            while True:
                self._step(node)
                item = self.guard(node, next, iterator, _END)
                if item is _END:
                    return
                yield item, origin

    def _comprehend(self, generators: list[ast.comprehension], emit: Callable[[], None]) -> None:
        """Run `emit` for every combination of the loops, innermost last."""
        loop, *inner = generators
        if loop.is_async:
            raise self.error(loop.target, "`async` is not part of the configuration language", TRUST)
        for item, origin in self.iterate(loop.iter):
            assign(self, loop.target, item, origin)
            if all(self.evaluate(test) for test in loop.ifs):
                if inner:
                    self._comprehend(inner, emit)
                else:
                    emit()

    def _collect(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp) -> ListValue:
        made = ListValue()
        self.scopes.append({})
        self._comprehend(node.generators, lambda: self._append(made, node.elt))
        self.scopes.pop()
        return made

    def _append(self, made: ListValue, node: ast.expr) -> None:
        made.add(*self.evaluate_with_origin(node))
        self.guard(node, check, made)

    def _set_comprehension(self, node: ast.SetComp) -> set[Any]:
        return self._set_of(node, self._collect(node))

    def _dict_comprehension(self, node: ast.DictComp) -> DictValue:
        made = DictValue()

        def emit() -> None:
            self.guard(node, made.put, self.key(node.key), *self.evaluate_with_origin(node.value))
            self.guard(node, check, made)

        self.scopes.append({})
        self._comprehend(node.generators, emit)
        self.scopes.pop()
        return made

    # --- Calls ----------------------------------------------------------------------------------------------------

    def _call(self, node: ast.Call) -> Any:
        function = node.func
        imported = self._imported(function)
        if imported is not None:
            if imported.path not in IMPORTED_FUNCTIONS:
                raise self.error(node, f"calling `{imported.path}` is not part of the configuration language", TRUST)
            return self.guard(node, call_imported, imported.path, self._arguments(node))
        if isinstance(function, ast.Name):
            name = function.id
            if name not in FUNCTIONS or any(name in scope for scope in self.scopes):
                raise self.error(node, f"calling `{name}` is not part of the configuration language", TRUST)
            return self.guard(node, call_function, name, self._arguments(node))
        if isinstance(function, ast.Attribute):
            target = self.evaluate(function.value)
            if function.attr not in METHODS.get(type(target), ()):
                what = f"the method `{function.attr}` of {kind_of(target)}"
                raise self.error(node, f"{what} is not part of the configuration language", TRUST)
            return self.guard(node, call_method, target, function.attr, self._arguments(node))
        raise self.error(node, "calling a value is not part of the configuration language", TRUST)

    def _arguments(self, node: ast.Call) -> Call:
        arguments, argument_origins = self._items(node.args) if node.args else ([], [])
        keywords: dict[str, Any] = {}
        origins: dict[str, Origin] = {}
        for keyword in node.keywords:
            if keyword.arg is not None:
                self._check_keyword(keyword, keyword.arg, keywords)
                keywords[keyword.arg], origins[keyword.arg] = self.evaluate_with_origin(keyword.value)
                continue
            given = DictValue()
            self._unpack(given, keyword.value)
            for name in given:
                self._check_keyword(keyword, name, keywords)
            keywords.update(given)
            origins.update(given.origins)
        return Call(arguments, argument_origins, keywords, origins, self.origins[node.lineno], self.budget)

    def _check_keyword(self, node: ast.keyword, name: Any, known: dict[str, Any]) -> None:
        if name in known:
            raise self.error(node.value, f"the keyword `{name}` is given twice")
        if not isinstance(name, str) or name.startswith("__"):
            raise self.error(node.value, f"`{name}` cannot be a keyword")


_END = object()

_VALUES: dict[type, Callable[[Evaluator, Any], Any]] = {
    ast.BinOp: Evaluator._binary,
    ast.Call: Evaluator._call,
    ast.Compare: Evaluator._compare,
    ast.Constant: Evaluator._constant,
    ast.Dict: Evaluator._dict,
    ast.DictComp: Evaluator._dict_comprehension,
    ast.GeneratorExp: Evaluator._collect,
    ast.JoinedStr: Evaluator._formatted,
    ast.List: Evaluator._list,
    ast.ListComp: Evaluator._collect,
    ast.Set: Evaluator._set,
    ast.SetComp: Evaluator._set_comprehension,
    ast.Tuple: Evaluator._tuple,
    ast.UnaryOp: Evaluator._unary,
}
"""Syntax that makes a value where it stands."""

_VALUES_WITH_ORIGIN: dict[type, Callable[[Evaluator, Any], ValueWithOrigin]] = {
    ast.Attribute: Evaluator._attribute,
    ast.BoolOp: Evaluator._boolean,
    ast.IfExp: Evaluator._conditional,
    ast.Name: Evaluator._name,
    ast.Subscript: Evaluator._subscript,
}
"""Syntax that leads to a value written elsewhere."""
