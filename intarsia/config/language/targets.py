"""Binding of assignment targets, and the words for syntax that the configuration language does not have."""

from __future__ import annotations

import ast
from collections.abc import Callable
from typing import Any, Protocol

from intarsia.config.errors import ConfigError
from intarsia.config.language.limits import Budget, check
from intarsia.config.language.operators import item_origins
from intarsia.config.language.source import Source
from intarsia.config.language.values import DictValue, ListValue
from intarsia.spec import Origin

ValueWithOrigin = tuple[Any, Origin]
"""A value and where it was written."""

TRUST = "Configs are data; use --trust-config to run the file as Python"

WORDS: dict[type, str] = {
    ast.Assert: "assert",
    ast.AsyncFor: "async",
    ast.AsyncFunctionDef: "async",
    ast.AsyncWith: "async",
    ast.Await: "await",
    ast.Break: "break",
    ast.ClassDef: "class",
    ast.Continue: "continue",
    ast.FunctionDef: "def",
    ast.Global: "global",
    ast.Import: "import",
    ast.ImportFrom: "import",
    ast.Lambda: "lambda",
    ast.Match: "match",
    ast.NamedExpr: ":=",
    ast.Nonlocal: "nonlocal",
    ast.Raise: "raise",
    ast.Return: "return",
    ast.Starred: "*",
    ast.Try: "try",
    ast.While: "while",
    ast.With: "with",
    ast.Yield: "yield",
    ast.YieldFrom: "yield",
}
"""How a kind of syntax that is refused is written."""


class Evaluator(Protocol):
    """What binding a target needs of the evaluator of a file; `evaluator.Evaluator` is one."""

    source: Source
    budget: Budget
    variables: dict[str, ValueWithOrigin]
    scopes: list[dict[str, ValueWithOrigin]]

    def evaluate(self, node: ast.expr) -> Any:
        """The value of an expression."""
        ...

    def key(self, node: ast.expr) -> Any:
        """The value of what stands in square brackets."""
        ...

    def guard(self, node: ast.expr | ast.stmt, function: Callable[..., Any], *arguments: Any) -> Any:
        """``function(*arguments)``, with what goes wrong told at the line of `node`."""
        ...

    def error(self, node: ast.expr | ast.stmt, message: str, hint: str = "") -> ConfigError:
        """A problem at a line, which is quoted."""
        ...

    def refusal(self, node: ast.expr | ast.stmt) -> ConfigError:
        """The problem of syntax that the language does not have."""
        ...


def assign(evaluator: Evaluator, target: ast.expr, value: Any, origin: Origin) -> None:
    """Bind a target: a name, an entry of a container, or several of them at once."""
    if isinstance(target, ast.Name):
        if target.id.startswith(("__", evaluator.source.mark)) or target.id == "_base_":
            hint = "Set it once, at the top level of the file" if target.id == "_base_" else "Use another name"
            raise evaluator.error(target, f"`{target.id}` cannot be set here", hint)
        evaluator.scopes[-1][target.id] = (value, origin)
    elif isinstance(target, (ast.Tuple, ast.List)):
        _assign_several(evaluator, target, value, origin)
    elif isinstance(target, ast.Subscript):
        container = evaluator.evaluate(target.value)
        evaluator.guard(target, _set_item, container, evaluator.key(target.slice), value, origin)
    elif isinstance(target, ast.Attribute):
        container = evaluator.evaluate(target.value)
        if not isinstance(container, DictValue) or target.attr.startswith("__"):
            raise evaluator.error(target, f"the attribute `{target.attr}` cannot be set", TRUST)
        evaluator.guard(target, _set_item, container, target.attr, value, origin)
    else:
        raise evaluator.refusal(target)


def _assign_several(evaluator: Evaluator, target: ast.Tuple | ast.List, value: Any, origin: Origin) -> None:
    evaluator.guard(target, evaluator.budget.charge, value)
    items = evaluator.guard(target, list, value)
    pairs = list(zip(items, item_origins(value, origin) if items else [], strict=True))
    nodes: list[ast.expr] = []
    for index, node in enumerate(target.elts):
        if isinstance(node, ast.Starred):
            end = len(pairs) - (len(target.elts) - index - 1)
            rest = pairs[index:end]
            pairs[index:end] = [(ListValue([item for item, _ in rest], [at for _, at in rest]), origin)]
            node = node.value
        nodes.append(node)
    if len(pairs) != len(nodes):
        raise evaluator.error(target, f"{len(items)} values cannot be assigned to {len(nodes)} names")
    for node, (item, at) in zip(nodes, pairs, strict=True):
        assign(evaluator, node, item, at)


def _set_item(container: Any, key: Any, value: Any, origin: Origin) -> None:
    if isinstance(container, DictValue):
        container.put(key, value, origin)
    elif isinstance(container, ListValue) and isinstance(key, slice):
        items = list(value)
        container[key] = items
        container.origins[key] = item_origins(value, origin)
    elif isinstance(container, ListValue):
        container[key] = value
        container.origins[key] = origin
    else:
        raise TypeError(f"items of {kind_of(container)} cannot be set")
    check(container)


def delete(evaluator: Evaluator, target: ast.expr) -> None:
    """``del name`` or ``del container[key]``."""
    if isinstance(target, ast.Name):
        evaluator.guard(target, evaluator.variables.pop, target.id)
    elif isinstance(target, ast.Subscript):
        container = evaluator.evaluate(target.value)
        evaluator.guard(target, _delete_item, container, evaluator.key(target.slice))
    elif isinstance(target, ast.Attribute):
        evaluator.guard(target, _delete_item, evaluator.evaluate(target.value), target.attr)
    elif isinstance(target, (ast.Tuple, ast.List)):
        for node in target.elts:
            delete(evaluator, node)
    else:
        raise evaluator.refusal(target)


def _delete_item(container: Any, key: Any) -> None:
    if isinstance(container, DictValue):
        container.take(key)
    elif isinstance(container, ListValue):
        del container[key]
        del container.origins[key]
    else:
        raise TypeError(f"items of {kind_of(container)} cannot be deleted")


def kind_of(value: Any) -> str:
    """The type of a value, with its article, as a user knows it."""
    for kind in (dict, list, tuple):
        if isinstance(value, kind):
            return f"a {kind.__name__}"
    name = type(value).__name__
    return "None" if value is None else f"an {name}" if name == "int" else f"a {name}"
