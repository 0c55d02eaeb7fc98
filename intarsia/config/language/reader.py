"""Reading a config: a file with all that it inherits from becomes plain values that know where they were written.

    config = read_file("configs/fast_scnn_camvid.py").override(["train_dataloader.batch_size=4"])
    config.values["model"]["decode_head"]["num_classes"]
    config.origin("model.decode_head.num_classes")        # configs/_base_/models/fast_scnn.py:21

The language is the one that MMSegmentation's users know; docs/design.md section 4 describes it. Nothing of a file is
executed unless `trust` says so.
"""

from __future__ import annotations

import ast
import difflib
import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.evaluator import Evaluator
from intarsia.config.language.formats import load
from intarsia.config.language.imports import base_name, needs_no_python
from intarsia.config.language.limits import STEPS_PER_FILE, Budget, RefusedError
from intarsia.config.language.merge import is_literal, merge, override, without_marks, word
from intarsia.config.language.packages import package_file, package_values
from intarsia.config.language.paths import locate, split_path
from intarsia.config.language.source import Reference, Source, make_source, parse_python
from intarsia.config.language.statements import run
from intarsia.config.language.trusted import execute
from intarsia.config.language.values import DictValue, annotate, clone, plain, verify
from intarsia.spec import Origin

BASE = "_base_"


@dataclass(frozen=True, eq=False)
class Config:
    """A resolved config. Never changes; `override` gives another one.

    file: where it was read from. files: all files it was made of, itself last. tree: its values with their origins.
    """

    file: str
    tree: DictValue
    files: tuple[str, ...] = ()

    @classmethod
    def from_values(cls, values: Mapping[str, Any], *, file: str) -> Config:
        """A config of values that did not come from a file: a recipe's, or those stored in a weights file.

        file: what messages call the place ("recipe segformer_mit-b0").

        Raises:
            ConfigError: a value is not plain.
        """
        origin = Origin(file, 0)
        try:
            return cls(file, _settle(annotate(dict(values), origin), origin))
        except RecursionError:
            raise ConfigError([Problem("", "the values are nested too deeply", origin)]) from None

    @cached_property
    def values(self) -> dict[str, Any]:
        """The settings as plain dicts, lists, tuples and scalars; names with a leading underscore are left out."""
        return {name: plain(value) for name, value in self.tree.items() if not str(name).startswith("_")}

    def origin(self, path: str) -> Origin | None:
        """Where the value at a dotted path was written; its nearest container's place if it has none of its own.

        None when not even the first name of the path is there.
        """
        try:
            keys, _ = locate(self.tree, split_path(path))
        except ValueError:
            return None
        value: Any = self.tree
        found: Origin | None = None
        for key in keys:
            found = value.origins[key]
            value = value[key]
        return found

    def override(self, settings: Iterable[str]) -> Config:
        """A config with values replaced: "model.decode_head.num_classes=3", "train_pipeline.2.prob=0.1", "a.b-".

        Values are Python literals, ``dict(name=literal)`` included; true, false and none in any spelling; anything else
        is a string. A path whose last parts do not exist makes them; "a.b-" deletes. A dict replaces what was there.

        Raises:
            ConfigError: all settings that cannot be applied.
        """
        tree = self.tree
        problems: list[Problem] = []
        for setting in settings:
            try:
                tree = override(tree, setting, _parse_value)
            except ConfigError as error:
                problems += error.problems
        if problems:
            raise ConfigError(problems)
        return Config(self.file, _settle(tree, Origin("--set", 0)), self.files)

    def to_json(self) -> str:
        """The settings as JSON, in the file's order, tuples as lists."""
        return json.dumps(self.values, indent=2, ensure_ascii=False)


def read_file(path: str | os.PathLike[str], *, trust: bool = False) -> Config:
    """Read a .py, .yaml or .json config with everything that it inherits from.

    trust: run Python files as Python instead of reading them as data. Only for files one would also run as programs.

    Raises:
        ConfigError: with file, line and the line's text for whatever is wrong.
    """
    file = os.fspath(path)
    return _read(_Reading(trust), file, None)


def read_text(text: str, *, file: str) -> Config:
    """Read a config from a text in Python syntax: a checkpoint carries that of its training, already resolved.

    file: what messages call the place. Raises ConfigError, as `read_file`.
    """
    return _read(_Reading(trust=False), file, parse_python(make_source(file, text)))


def _read(reading: _Reading, file: str, source: Source | None) -> Config:
    try:
        tree = _settle(reading.read(file, (), source), Origin(file, 0))
    except RecursionError:
        raise ConfigError([Problem("", "the config is nested too deeply", Origin(reading.current, 0))]) from None
    except RefusedError as error:
        raise ConfigError([Problem("", error.message, Origin(reading.current, 0), error.hint)]) from None
    return Config(file, tree, tuple(dict.fromkeys(reading.files)))


class _Reading:
    """One reading of a file and its bases, which share a budget."""

    def __init__(self, trust: bool) -> None:
        self.trust = trust
        self.budget = Budget()
        self.files: list[str] = []
        self.current = ""

    def read(self, file: str, chain: tuple[str, ...], source: Source | None = None) -> DictValue:
        """The values of a file merged over those of its bases.

        chain: the files that led here, outermost first. source: its text, where it is not to be loaded.
        """
        self.current = file
        self.budget.spend(STEPS_PER_FILE)
        source = source or load(file)
        bases, body = _split_bases(source)
        base = DictValue()
        if bases is not None:
            base = self._read_bases(source, bases, (*chain, file))
            self.current = file
        values = self._values(source, body, base if bases is not None else None, (*chain, file))
        self.current = file
        origin = Origin(file, 0)
        marked = verify(values, origin)
        self.files.append(file)
        if bases is not None:
            values = merge(values, base)
        return without_marks(values) if marked else values

    def _values(
        self, source: Source, body: list[ast.stmt], base: DictValue | None, chain: tuple[str, ...]
    ) -> DictValue:
        def read_base(statement: ast.ImportFrom) -> DictValue:
            return self._read_base(source.file, base_name(statement), source.origins[statement.lineno], chain)

        resolver = _Resolver(source, base, self.budget)
        names = {} if base is None else {BASE: base}
        evaluator = Evaluator(source, self.budget, names, resolver.resolve, read_base)
        if self.trust and source.file.endswith(".py"):
            run(evaluator, [statement for statement in body if needs_no_python(statement)])
            parts = {name: imported.part() for name, imported in evaluator.imports.items()}
            others = [statement for statement in body if not needs_no_python(statement)]
            return execute(source, others, base, resolver.resolve, given=evaluator.values(), parts=parts)
        run(evaluator, body)
        return evaluator.values()

    def _read_bases(self, source: Source, expression: ast.expr, chain: tuple[str, ...]) -> DictValue:
        """The values of all bases in order. Two bases must not set the same name."""
        evaluator = Evaluator(source, self.budget, {}, _Resolver(source, None, self.budget).resolve)
        names = evaluator.evaluate(expression)
        merged = DictValue()
        problems: list[Problem] = []
        for name in names if isinstance(names, (list, tuple)) else [names]:
            if not isinstance(name, str):
                message = f"`{BASE}` is a file name or a list of file names, found {name!r}"
                raise evaluator.error(expression, message)
            where = _line_of(name, expression, source)
            values = self._read_base(source.file, name, where, chain)
            for key, value in values.items():
                if key in merged and not key.startswith("_"):
                    message = f"set by two base files, at {merged.origins[key]} and at {values.origins[key]}"
                    problems.append(Problem(key, message, where, "Remove one of the bases, or set it in one of them"))
                merged.put(key, value, values.origins[key])
        if problems:
            raise ConfigError(problems)
        return merged

    def _read_base(self, file: str, name: str, where: Origin, chain: tuple[str, ...]) -> DictValue:
        """The values of one base that `file` names. chain: the files read on the way, `file` last."""
        path = package_file(name) if "::" in name else _base_file(file, name, where, chain)
        if path is None:
            self.current = name
            return package_values(name, where)
        return self.read(path, chain)


def _split_bases(source: Source) -> tuple[ast.expr | None, list[ast.stmt]]:
    """The expression that `_base_` is set to at the top level, and the other statements."""
    for index, statement in enumerate(source.body):
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == BASE for target in statement.targets
        ):
            return statement.value, source.body[:index] + source.body[index + 1 :]
    return None, source.body


def _line_of(name: str, expression: ast.expr, source: Source) -> Origin:
    """The line on which a base file is named."""
    lines = [node.lineno for node in ast.walk(expression) if isinstance(node, ast.Constant) and node.value == name]
    return source.origins[lines[0] if lines else expression.lineno]


def _base_file(file: str, name: str, where: Origin, chain: tuple[str, ...]) -> str:
    """The path of a base file, relative to the file that names it. chain: the files read on the way, `file` last."""
    path = os.path.normpath(os.path.join(os.path.dirname(file), os.path.expanduser(name)))
    if not os.path.isfile(path):
        via = f", included by {' <- '.join(reversed(chain))}" if len(chain) > 1 else ""
        message = f"the base file `{name}` does not exist (looked for {path}){via}"
        raise ConfigError([Problem("", message, where, f"Paths are relative to {os.path.dirname(file) or '.'}")])
    seen = [os.path.realpath(one) for one in chain]
    if os.path.realpath(path) in seen:
        circle = [*chain[seen.index(os.path.realpath(path)) :], path]
        raise ConfigError([Problem("", f"the files inherit in a circle: {' -> '.join(circle)}", where)])
    return path


class _Resolver:
    """Values of the ``{{...}}`` references of one file."""

    def __init__(self, source: Source, base: DictValue | None, budget: Budget) -> None:
        self.path = PurePath(os.path.abspath(source.file))
        self.base = base
        self.budget = budget

    def resolve(self, reference: Reference, bare: bool) -> Any:
        """The value of a reference. bare: it stands outside of quotes, so that an environment's "8" is a number.

        Raises:
            RefusedError: the base has no such value, or the variable is not set.
        """
        if reference.kind == "base":
            return self._base_value(reference)
        if reference.kind == "file":
            return {
                "fileDirname": self.path.parent.as_posix(),
                "fileBasename": self.path.name,
                "fileBasenameNoExtension": self.path.stem,
                "fileExtname": self.path.suffix,
            }[reference.name]
        text = os.environ.get(reference.name, reference.default)
        if text is None:
            message = f"the environment variable {reference.name} is not set"
            raise RefusedError(message, f"Set it, or give a default: {{{{${reference.name}:default}}}}")
        return _parse_value(text, Origin("", 0)) if bare else text

    def _base_value(self, reference: Reference) -> Any:
        if self.base is None:
            raise RefusedError(f"`{reference.text}` needs a `{BASE}`, which this file does not set")
        value: Any = self.base
        for part in reference.name.split("."):
            index = int(part) if isinstance(value, (list, tuple)) and part.isdecimal() and len(part) < 9 else part
            known = value if isinstance(value, dict) else range(len(value)) if isinstance(value, (list, tuple)) else ()
            if index not in known:
                near = difflib.get_close_matches(part, [str(key) for key in known], 1)
                hint = f"The nearest name is `{near[0]}`" if near else ""
                raise RefusedError(f"the base files set no `{reference.name}`: there is no `{part}`", hint)
            value = value[index]
        self.budget.charge(value)
        return clone(value)


def _settle(tree: DictValue, origin: Origin) -> DictValue:
    """A tree that was checked and has no `_delete_` marks."""
    settled: DictValue = without_marks(tree) if verify(tree, origin) else tree
    return settled


def _parse_value(text: str, origin: Origin) -> Any:
    """A literal written on the command line or in an environment variable; a string where it is none."""
    try:
        node = ast.parse(text.strip(), mode="eval").body
        if not is_literal(node):
            return word(text)
        source = make_source(origin.file, "")
        return annotate(plain(Evaluator(source, Budget(), {}, lambda *_: None).evaluate(node)), origin)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return word(text)
