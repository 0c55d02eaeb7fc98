"""Config files of three formats, as one syntax tree: each top-level key becomes an assignment.

YAML and JSON files therefore have references, inheritance, bounds and origins exactly as Python files do.
"""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.source import Source, load_python, make_source, read_text
from intarsia.config.language.values import MAX_DEPTH
from intarsia.spec import Origin

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_JSON = {"true": True, "false": False, "null": None, "NaN": float("nan"), "Infinity": float("inf")}


def load(file: str) -> Source:
    """The syntax tree of a .py, .yaml, .yml or .json file.

    Raises:
        ConfigError: unreadable, of another format, or with wrong syntax.
    """
    suffix = PurePath(file).suffix.lower()
    if suffix == ".py":
        return load_python(file)
    if suffix == ".json":
        return _load_json(make_source(file, read_text(file)))
    if suffix in (".yaml", ".yml"):
        return _load_yaml(make_source(file, read_text(file)))
    found = f"found `{suffix}`" if suffix else "found none"
    raise ConfigError([Problem("", f"a config file ends in .py, .yaml, .yml or .json; {found}", Origin(file, 0))])


def _fail(source: Source, line: int, message: str) -> ConfigError:
    quoted = f": `{source.line(line)}`" if source.line(line) else ""
    return ConfigError([Problem("", message + quoted, Origin(source.file, line))])


def _assignments(source: Source, pairs: list[tuple[ast.expr | None, ast.expr]]) -> Source:
    for key, value in pairs:
        if not isinstance(key, ast.Constant) or not isinstance(key.value, str):
            raise _fail(source, value.lineno, "a top-level key must be a string")
        at: dict[str, Any] = {"lineno": value.lineno, "col_offset": 0}
        source.body.append(ast.Assign([ast.Name(key.value, ast.Store(), **at)], value, **at))
    return source


# --- JSON: the expression part of Python, but for three words and the escape of a slash -----------------------------


def _load_json(source: Source) -> Source:
    text = re.sub(r"\\.", lambda found: "/" if found[0] == r"\/" else found[0], source.text)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(f"({text}\n)", source.file, mode="eval").body
    except SyntaxError as error:
        raise _fail(source, error.lineno or 0, f"not valid JSON ({error.msg})") from None
    except ValueError as error:
        raise _fail(source, 0, f"not valid JSON ({error})") from None
    except (RecursionError, MemoryError):
        raise _fail(source, 0, "the JSON is nested too deeply") from None
    if not isinstance(tree, ast.Dict):
        raise _fail(source, tree.lineno, "a JSON config is an object: {...}")
    tree = _Words().visit(tree)
    return _assignments(source, list(zip(tree.keys, tree.values, strict=True)))


class _Words(ast.NodeTransformer):
    """JSON's words for true, false and nothing, and its pairs of surrogates, as Python has them."""

    def visit_Name(self, node: ast.Name) -> ast.expr:
        return ast.copy_location(ast.Constant(_JSON[node.id]), node) if node.id in _JSON else node

    def visit_Constant(self, node: ast.Constant) -> ast.Constant:
        if isinstance(node.value, str) and not node.value.isascii():
            node.value = node.value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return node


# --- YAML -------------------------------------------------------------------------------------------------------------


def _load_yaml(source: Source) -> Source:
    import yaml  # 20 ms, and most configs are Python

    kind = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    loader = kind(source.text)
    try:
        _check_depth(source, yaml, yaml.parse(source.text, kind))
        root = loader.get_single_node()
        if root is None:
            return source
        tree = _YamlTree(source, loader).expression(root)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if error.problem and "nesting" in error.problem:  # the limit of libyaml itself, since its version 0.2.5
            raise _fail(source, mark.line + 1 if mark else 0, f"the YAML is {_TOO_DEEP}") from None
        raise _fail(source, mark.line + 1 if mark else 0, f"not valid YAML ({error.problem})") from None
    except (yaml.YAMLError, ValueError, ArithmeticError) as error:
        if isinstance(error, ConfigError):
            raise
        raise _fail(source, 0, f"not valid YAML ({error})") from None
    except RecursionError:
        raise _fail(source, 0, "the YAML is nested too deeply") from None
    finally:
        loader.dispose()
    if not isinstance(tree, ast.Dict):
        raise _fail(source, tree.lineno, "a YAML config is a mapping: `key: value` lines")
    return _assignments(source, list(zip(tree.keys, tree.values, strict=True)))


def _check_depth(source: Source, yaml: Any, events: Iterable[Any]) -> None:
    """Refuse what the parser would descend into too far: it does so in C, where nothing stops it."""
    depth = 0
    for event in events:
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise _fail(source, event.start_mark.line + 1, f"the YAML is {_TOO_DEEP}")


MAX_SCALAR = 1_000
"""Of what is no text: YAML 1.1 has numbers to the base of 60, which take long to read."""

_TEXT = "tag:yaml.org,2002:str"
_PLAIN = ("tag:yaml.org,2002:seq", "tag:yaml.org,2002:map")


class _YamlTree:
    """Turns YAML nodes into syntax. A node that is used again (``*alias``) gives the same piece of syntax."""

    def __init__(self, source: Source, loader: Any) -> None:
        self.source = source
        self.loader = loader
        self.known: dict[int, ast.expr] = {}

    def expression(self, node: Any) -> ast.expr:
        """The syntax of one node."""
        known = self.known.get(id(node))
        if known is not None:
            return known
        at: dict[str, Any] = {"lineno": node.start_mark.line + 1, "col_offset": 0}
        if node.id != "scalar" and node.tag not in _PLAIN:
            raise _fail(self.source, at["lineno"], f"the YAML tag `{node.tag}` is not a config value")
        if node.id == "sequence":
            items = ast.List([], ast.Load(), **at)
            self.known[id(node)] = items  # before its items, which may contain it
            items.elts += [self.expression(item) for item in node.value]
            return items
        if node.id == "mapping":
            entries = ast.Dict([], [], **at)
            self.known[id(node)] = entries
            self._fill(entries, node)
            return entries
        bare = not node.style and self.source.mark in node.value and len(self.source.split(node.value)) == 1
        value = ast.Name(node.value, ast.Load(), **at) if bare else self._scalar(node, at)
        self.known[id(node)] = value
        return value

    def _scalar(self, node: Any, at: dict[str, Any]) -> ast.expr:
        if len(node.value) > MAX_SCALAR and node.tag != _TEXT:
            raise _fail(self.source, at["lineno"], f"a number of more than {MAX_SCALAR:,} characters")
        return ast.Constant(self.loader.construct_object(node), **at)

    def _fill(self, entries: ast.Dict, node: Any) -> None:
        """Entries of a mapping; what ``<<`` merges in comes first, so that the mapping's own keys win."""
        merged: list[ast.expr] = []
        pairs: list[tuple[ast.expr, ast.expr]] = []
        for key, value in node.value:
            if key.tag == "tag:yaml.org,2002:merge":
                parts = reversed(value.value) if value.id == "sequence" else (value,)
                merged += [self.expression(part) for part in parts]
            elif key.id != "scalar":
                raise _fail(self.source, key.start_mark.line + 1, "a key must be a string or a number")
            else:
                pairs.append((self.expression(key), self.expression(value)))
        entries.keys += [*(None for _ in merged), *(key for key, _ in pairs)]
        entries.values += [*merged, *(value for _, value in pairs)]
