"""Config files that are run as Python, because their user said so (`--trust-config`)."""

from __future__ import annotations

import ast
import copy
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.limits import RefusedError
from intarsia.config.language.source import Reference, Source
from intarsia.config.language.values import DictValue, annotate, plain
from intarsia.spec import Origin


class Namespace(dict[str, Any]):
    """A dict whose string keys can be read and set as attributes, as trusted files expect of `_base_`."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"there is no {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


def execute(
    source: Source,
    body: list[ast.stmt],
    base: DictValue | None,
    resolve: Callable[[Reference, bool], Any],
    given: DictValue,
    parts: Mapping[str, str],
) -> DictValue:
    """Run a file and collect its variables; modules, functions and names starting with two underscores are left out.

    base: what the file sees as `_base_`; what it changes there is changed in `base` too. given: variables that it has
    from the start, those of the bases of `read_base`. parts: names that stand for parts of OpenMMLab's packages.
    Every value has the line of its variable's last assignment as its origin.

    Raises:
        ConfigError: the file raised an exception.
    """
    spaces = None if base is None else _spaced(base)
    names: dict[str, Any] = {"__file__": source.file, "__name__": "__config__"}
    if spaces is not None:
        names["_base_"] = spaces
    names |= parts
    hidden = set(names)
    names |= {str(name): _spaced(value) for name, value in given.items()}
    try:
        for index, reference in enumerate(source.references):
            mark = f"{source.mark}{index}_"
            names[mark] = _spaced(resolve(reference, True))
            hidden.add(mark)
        module = ast.Module(copy.deepcopy(body), [])  # the parsed file is kept for later readings
        tree = ast.fix_missing_locations(_References(source, resolve).visit(module))
        exec(compile(tree, source.file, "exec"), names)
    except RefusedError as error:
        raise ConfigError([Problem("", error.message, Origin(source.file, 0), error.hint)]) from None
    except ConfigError:
        raise
    except Exception as error:
        raise _failure(source, error) from error
    lines = {
        target.id: statement.lineno
        for statement in body
        for target in ast.walk(statement)
        if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)
    }
    if base is not None and spaces is not None:
        _take_changes(base, spaces, Origin(source.file, 0))
    values = DictValue()
    for name, value in names.items():
        if name in hidden or name.startswith("__") or isinstance(value, (types.ModuleType, types.FunctionType)):
            continue
        origin = Origin(source.file, lines.get(name, 0))
        values.put(name, annotate(plain(value), origin), origin)
    return values


def _failure(source: Source, error: Exception) -> ConfigError:
    if isinstance(error, SyntaxError):
        line = error.lineno or 0
    else:
        frames = traceback.extract_tb(error.__traceback__)
        line = next((frame.lineno or 0 for frame in reversed(frames) if frame.filename == source.file), 0)
    message = f"running the file raised {type(error).__name__}: {error}"
    quoted = f": `{source.line(line)}`" if line else ""
    return ConfigError([Problem("", message + quoted, Origin(source.file, line))])


def _spaced(value: Any) -> Any:
    """Plain values in which dicts are namespaces."""
    if isinstance(value, dict):
        return Namespace({key: _spaced(item) for key, item in value.items()})
    if isinstance(value, list):
        return [_spaced(item) for item in value]
    if isinstance(value, tuple):
        return tuple(_spaced(item) for item in value)
    return value


def _take_changes(base: DictValue, spaces: Any, origin: Origin) -> None:
    """Put into `base` what a file changed in its `_base_`."""
    for name in list(base):
        if name not in spaces:
            base.take(name)
    for name, value in plain(spaces).items():
        if name not in base or plain(base[name]) != value:
            base.put(name, annotate(value, origin), origin)


class _References(ast.NodeTransformer):
    """Puts the values of references into the strings that name them."""

    def __init__(self, source: Source, resolve: Callable[[Reference, bool], Any]) -> None:
        self.source = source
        self.resolve = resolve

    def visit_Constant(self, node: ast.Constant) -> ast.expr:
        if not isinstance(node.value, str) or self.source.mark not in node.value:
            return node
        parts = self.source.split(node.value)
        values = [part if isinstance(part, str) else self.resolve(part, False) for part in parts]
        if len(values) == 1 and not isinstance(values[0], str):
            return ast.copy_location(ast.Name(node.value, ast.Load()), node)
        return ast.copy_location(ast.Constant("".join(map(str, values))), node)
