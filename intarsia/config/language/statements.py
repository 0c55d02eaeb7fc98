"""Statements of the configuration language: assignments, `if`, `for`, `del`, and calls for their effect."""

from __future__ import annotations

import ast
import difflib
from collections.abc import Callable
from typing import Any, Literal

from intarsia.config.language.calls import extend
from intarsia.config.language.evaluator import Evaluator
from intarsia.config.language.imports import imported_names, reads_bases
from intarsia.config.language.limits import check, check_length
from intarsia.config.language.operators import binary, item_origins
from intarsia.config.language.targets import assign, delete
from intarsia.config.language.values import DictValue, ListValue

Exit = Literal["break", "continue"] | None
"""How a block ended: None when it ran through."""


def run(evaluator: Evaluator, body: list[ast.stmt], *, in_loop: bool = False) -> Exit:
    """Carry out statements in order.

    Raises:
        ConfigError: a statement is not part of the language, or what it computes fails.
    """
    for statement in body:
        evaluator.guard(statement, evaluator.budget.spend, 1)
        handler = STATEMENTS.get(type(statement))
        if handler is not None:
            handler(evaluator, statement)
        elif isinstance(statement, (ast.If, ast.For)):
            ended = _if(evaluator, statement, in_loop) if isinstance(statement, ast.If) else _for(evaluator, statement)
            if ended:
                return ended
        elif isinstance(statement, (ast.Break, ast.Continue)) and in_loop:
            return "break" if isinstance(statement, ast.Break) else "continue"
        else:
            raise evaluator.refusal(statement)
    return None


def _if(evaluator: Evaluator, statement: ast.If, in_loop: bool) -> Exit:
    return run(evaluator, statement.body if evaluator.evaluate(statement.test) else statement.orelse, in_loop=in_loop)


def _for(evaluator: Evaluator, statement: ast.For) -> Exit:
    for item, origin in evaluator.iterate(statement.iter):
        assign(evaluator, statement.target, item, origin)
        if run(evaluator, statement.body, in_loop=True) == "break":
            return None
    return run(evaluator, statement.orelse)


def _assign(evaluator: Evaluator, statement: ast.Assign) -> None:
    value, origin = evaluator.evaluate_with_origin(statement.value)
    for target in statement.targets:
        assign(evaluator, target, value, origin)


def _annotated(evaluator: Evaluator, statement: ast.AnnAssign) -> None:
    if statement.value is not None:
        assign(evaluator, statement.target, *evaluator.evaluate_with_origin(statement.value))


def _augmented(evaluator: Evaluator, statement: ast.AugAssign) -> None:
    """``target += value``. Lists and dicts grow in place, as in Python, so that every name for them sees it."""
    left, left_origin = evaluator.evaluate_with_origin(statement.target)
    right, right_origin = evaluator.evaluate_with_origin(statement.value)
    if isinstance(left, ListValue) and isinstance(statement.op, ast.Add):
        evaluator.guard(statement, _grow, evaluator, left, right, right_origin)
    elif isinstance(left, DictValue) and isinstance(statement.op, ast.BitOr) and isinstance(right, DictValue):
        evaluator.guard(statement, evaluator.budget.spend, len(right))
        for key, value in right.items():
            left.put(key, value, right.origins[key])
        evaluator.guard(statement, check, left)
    else:
        origins = (left_origin, right_origin)
        left = evaluator.guard(statement, binary, type(statement.op), left, right, origins, evaluator.budget)
        assign(evaluator, statement.target, left, evaluator.origins[statement.lineno])


def _grow(evaluator: Evaluator, target: ListValue, items: Any, origin: Any) -> None:
    evaluator.budget.spend(check_length(len(items)))
    extend(target, list(items), item_origins(items, origin))


def _delete(evaluator: Evaluator, statement: ast.Delete) -> None:
    for target in statement.targets:
        delete(evaluator, target)


def _expression(evaluator: Evaluator, statement: ast.Expr) -> None:
    evaluator.evaluate(statement.value)


def _import(evaluator: Evaluator, statement: ast.Import | ast.ImportFrom) -> None:
    evaluator.guard(statement, lambda: evaluator.imports.update(imported_names(statement)))


def _with(evaluator: Evaluator, statement: ast.With) -> None:
    """``with read_base():``: the variables of the files that it names become variables of this one."""
    if evaluator.read_base is None or not reads_bases(statement):
        raise evaluator.refusal(statement)
    for inner in statement.body:
        if isinstance(inner, ast.ImportFrom):
            _include(evaluator, inner, evaluator.read_base(inner))


def _include(evaluator: Evaluator, statement: ast.ImportFrom, values: DictValue) -> None:
    for alias in statement.names:
        names = [name for name in values if not name.startswith("_")] if alias.name == "*" else [alias.name]
        for name in names:
            if name not in values:
                near = difflib.get_close_matches(name, list(values), 1)
                hint = f"The nearest name is `{near[0]}`" if near else ""
                raise evaluator.error(statement, f"the base file sets no `{name}`", hint)
            evaluator.variables[alias.asname or name] = (values[name], values.origins[name])


def _pass(evaluator: Evaluator, statement: ast.Pass) -> None:
    """Nothing."""


STATEMENTS: dict[type, Callable[[Evaluator, Any], None]] = {
    ast.AnnAssign: _annotated,
    ast.Assign: _assign,
    ast.AugAssign: _augmented,
    ast.Delete: _delete,
    ast.Expr: _expression,
    ast.Import: _import,
    ast.ImportFrom: _import,
    ast.Pass: _pass,
    ast.With: _with,
}
