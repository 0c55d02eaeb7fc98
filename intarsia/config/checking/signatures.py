"""What a part's constructor takes, read from its source: nothing is imported, so torch stays out.

``signature_of("intarsia.methods.fcn:FCNHead")`` finds the file, parses it once, and gives the parameters.
``accepts(value, "int | None")`` is a small closed interpreter of annotations; one that it does not know accepts
anything. The vocabulary's expectations are written in the same notation.
"""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

from intarsia import catalog, consent
from intarsia.config.checking.optimizer_signatures import OPTIMIZERS
from intarsia.spec import Component

PACKAGE = Path(__file__).resolve().parents[2]

MOST_FILES = 2_000
"""Files of a package that are looked through for what they register."""

PARTS = {
    "Activation": "activation",
    "Backbone": "backbone",
    "Dataset": "dataset",
    "Head": "head",
    "KernelGenerateHead": "head",
    "KernelUpdateHead": "head_part",
    "KernelUpdator": "head_part",
    "LabelTable": "label_table",
    "Loss": "loss",
    "Neck": "neck",
    "Norm": "norm",
    "MaskClassificationHead": "head",
    "Transform": "transform",
}
"""Annotations that stand for a component -> its kind."""

GIVES = {"classifier": "head"}
"""Kinds of components that are built to one of another kind."""

ALIASES = {"Size": "tuple[int, int]", "PathLike": "str"}
"""Names of `contracts` that annotations use."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a constructor. annotation: as written, "" without one."""

    name: str
    annotation: str
    required: bool
    default: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a constructor. `open`: it also takes ``**kwargs``, so that any name is legal."""

    parameters: tuple[Parameter, ...]
    open: bool = False

    def __getitem__(self, name: str) -> Parameter:
        return next(parameter for parameter in self.parameters if parameter.name == name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in order."""
        return tuple(parameter.name for parameter in self.parameters)


# --- Signatures ---------------------------------------------------------------------------------------------------


@cache
def signature_of(location: str) -> Signature | None:
    """The signature of "module:attribute"; None where it cannot be known from the source."""
    module, _, attribute = location.partition(":")
    if module == "torch.optim":
        stubs = ast.parse(OPTIMIZERS)
        stub = next((item for item in stubs.body if isinstance(item, ast.FunctionDef) and item.name == attribute), None)
        return None if stub is None else _of_function(stub, {})
    found = _find(module, attribute)
    return _of_instance(module, attribute) if found is None else _of_definition(*found)


@cache
def source_file(module: str) -> Path | None:
    """The file of a module, found without importing it or the packages around it."""
    parts = module.split(".")
    if parts[0] == PACKAGE.name:
        below = PACKAGE.joinpath(*parts[1:])
        candidates = [below / "__init__.py", below.with_suffix(".py")]
        return next((file for file in candidates if file.is_file()), None)
    try:
        spec = importlib.util.find_spec(parts[0])
        for depth in range(1, len(parts)):
            if spec is None or spec.submodule_search_locations is None:
                return None
            folders = list(spec.submodule_search_locations)
            spec = importlib.machinery.PathFinder.find_spec(".".join(parts[: depth + 1]), folders)
    except (ImportError, ValueError):
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)


def registered_in(module: str) -> Iterator[tuple[str, str, str]]:
    """(kind, name, "module:attribute") of every part that a module or package registers with ``@register``."""
    file = source_file(module)
    if file is None:
        return
    files = sorted(islice(file.parent.rglob("*.py"), MOST_FILES)) if file.name == "__init__.py" else [file]
    for path in files:
        relative = path.relative_to(file.parent).with_suffix("").parts if file.name == "__init__.py" else ()
        name = ".".join((module, *(part for part in relative if part != "__init__")))
        for item in _module(path).tree.body:
            if isinstance(item, ast.ClassDef | ast.FunctionDef):
                for kind, registered in _registrations(item):
                    yield kind, registered, f"{name}:{item.name}"


def is_registered(kind: str, name: str, modules: Iterable[str]) -> bool:
    """Whether one of the modules registers a part of this name with ``@register``; those alone that may be imported."""
    agreed = (module for module in modules if consent.given(module) or catalog.is_declared(module))
    found = (part for module in agreed for part in registered_in(module))
    return any((kind, name) == (registered, called) for registered, called, _ in found)


def _registrations(item: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, str]]:
    for decorator in item.decorator_list:
        if isinstance(decorator, ast.Call) and _last_name(decorator.func) == "register" and decorator.args:
            values = [argument.value for argument in decorator.args if isinstance(argument, ast.Constant)]
            values += [word.value.value for word in decorator.keywords if isinstance(word.value, ast.Constant)]
            texts = [value for value in values if isinstance(value, str)]
            if texts:
                yield texts[0], (texts[1] if len(texts) > 1 else item.name)


@dataclass(frozen=True)
class _Module:
    name: str
    file: Path
    tree: ast.Module
    aliases: Mapping[str, ast.expr]


@cache
def _module(file: Path, name: str = "") -> _Module:
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
    except (SyntaxError, ValueError, RecursionError):
        tree = ast.Module([], [])  # importing it will say what is wrong
    aliases: dict[str, ast.expr] = {}
    for item in tree.body:
        if isinstance(item, ast.Assign) and len(item.targets) == 1 and isinstance(item.targets[0], ast.Name):
            aliases[item.targets[0].id] = item.value
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name) and item.value is not None:
            aliases[item.target.id] = item.value
    return _Module(name, file, tree, aliases)


_Definition = ast.ClassDef | ast.FunctionDef


def _find(module: str, attribute: str, depth: int = 0) -> tuple[_Module, _Definition] | None:
    """Where a name is defined, following imports and plain assignments from name to name."""
    file = source_file(module)
    if file is None or depth > 5 or "." in attribute:
        return None
    source = _module(file, module)
    for item in reversed(source.tree.body):
        if isinstance(item, ast.ClassDef | ast.FunctionDef) and item.name == attribute:
            return source, item
        if isinstance(item, ast.ImportFrom):
            for alias in item.names:
                if (alias.asname or alias.name) == attribute:
                    return _find(_absolute(module, file, item), alias.name, depth + 1)
    alias_of = source.aliases.get(attribute)
    if isinstance(alias_of, ast.Name) and alias_of.id != attribute:
        return _find(module, alias_of.id, depth + 1)
    return None


def _absolute(module: str, file: Path, item: ast.ImportFrom) -> str:
    if not item.level:
        return item.module or ""
    parts = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    parts = parts[: len(parts) - (item.level - 1)]
    return ".".join([*parts, *([item.module] if item.module else [])])


def _of_instance(module: str, attribute: str) -> Signature | None:
    """What is taken by the call of an object that a module makes of a class: `ADE20KDataset = Family(...)`."""
    file = source_file(module)
    value = None if file is None else _module(file, module).aliases.get(attribute)
    if not isinstance(value, ast.Call) or not isinstance(value.func, ast.Name):
        return None
    found = _find(module, value.func.id)
    if found is None or not isinstance(found[1], ast.ClassDef):
        return None
    body = found[1].body
    call = next((part for part in body if isinstance(part, ast.FunctionDef) and part.name == "__call__"), None)
    return None if call is None else _of_function(call, found[0].aliases, skip=1)


def _of_definition(source: _Module, item: _Definition) -> Signature | None:
    if isinstance(item, ast.FunctionDef):
        return _of_function(item, source.aliases)
    own = next((part for part in item.body if isinstance(part, ast.FunctionDef) and part.name == "__init__"), None)
    if own is not None:
        return _of_function(own, source.aliases, skip=1)
    inherited: list[Parameter] = []
    for base in item.bases:
        found = _find(source.name, base.id) if isinstance(base, ast.Name) else None
        signature = None if found is None else _of_definition(*found)
        if signature is not None and not _is_dataclass(item):
            return signature
        inherited += [] if signature is None else signature.parameters
    if not _is_dataclass(item):
        return None if item.bases else Signature(())
    return Signature(tuple({p.name: p for p in [*inherited, *_fields(item, source.aliases)]}.values()))


def _is_dataclass(item: ast.ClassDef) -> bool:
    return any(_last_name(d.func if isinstance(d, ast.Call) else d) == "dataclass" for d in item.decorator_list)


def _fields(item: ast.ClassDef, aliases: Mapping[str, ast.expr]) -> Iterator[Parameter]:
    for part in item.body:
        if isinstance(part, ast.AnnAssign) and isinstance(part.target, ast.Name):
            annotation = _written(part.annotation, aliases)
            if annotation.startswith(("ClassVar", "KW_ONLY")) or _not_in_constructor(part.value):
                continue
            default = part.value
            if isinstance(default, ast.Call) and _last_name(default.func) == "field":
                default = next((w.value for w in default.keywords if w.arg in {"default", "default_factory"}), None)
            text = "" if default is None else ast.unparse(default)
            yield Parameter(part.target.id, annotation, default is None, text)


def _not_in_constructor(value: ast.expr | None) -> bool:
    if not isinstance(value, ast.Call) or _last_name(value.func) != "field":
        return False
    return any(w.arg == "init" and isinstance(w.value, ast.Constant) and not w.value.value for w in value.keywords)


def _of_function(item: ast.FunctionDef, aliases: Mapping[str, ast.expr], skip: int = 0) -> Signature:
    given = item.args
    positional = [*given.posonlyargs, *given.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(given.defaults)) + list(given.defaults)
    keyword_only = zip(given.kwonlyargs, given.kw_defaults, strict=True)
    pairs = [*list(zip(positional, defaults, strict=True))[skip:], *keyword_only]
    parameters = tuple(
        Parameter(
            argument.arg,
            "" if argument.annotation is None else _written(argument.annotation, aliases),
            default is None,
            "" if default is None else ast.unparse(default),
        )
        for argument, default in pairs
    )
    return Signature(parameters, open=given.kwarg is not None)


def _written(annotation: ast.expr, aliases: Mapping[str, ast.expr]) -> str:
    """The text of an annotation, with the names that its module defines for types put in."""

    class Resolve(ast.NodeTransformer):
        def visit_Name(self, node: ast.Name) -> ast.AST:
            return aliases.get(node.id, node) if node.id[:1].isupper() or node.id[:1] == "_" else node

    return ast.unparse(Resolve().visit(ast.parse(ast.unparse(annotation), mode="eval").body))


def _last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


# --- Annotations --------------------------------------------------------------------------------------------------


def accepts(value: Any, annotation: str) -> bool:
    """Whether a value of a config fits an annotation. Lists and tuples are the same; an int is a float."""
    return not annotation or _fits(value, _parsed(ALIASES.get(annotation, annotation)))


@cache
def _parsed(annotation: str) -> ast.expr:
    return ast.parse(annotation, mode="eval").body


def _is_number(value: Any, types: type | tuple[type, ...]) -> bool:
    return isinstance(value, types) and not isinstance(value, bool)


_PLAIN: dict[str, Callable[[Any], bool]] = {
    "int": lambda value: _is_number(value, int),
    "float": lambda value: _is_number(value, (int, float)),
    "bool": lambda value: isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "None": lambda value: value is None,
    "EllipsisType": lambda value: value is ...,
    **dict.fromkeys(
        ("Sequence", "Iterable", "Collection", "list", "List", "tuple", "Tuple", "set", "frozenset"),
        lambda value: isinstance(value, list | tuple),
    ),
    **dict.fromkeys(("Mapping", "dict", "Dict"), lambda value: isinstance(value, Mapping)),
}


def _fits(value: Any, node: ast.expr) -> bool:
    if isinstance(node, ast.BinOp):
        return _fits(value, node.left) or _fits(value, node.right)
    if isinstance(node, ast.Constant):
        return value is None if node.value is None else accepts(value, str(node.value))
    if isinstance(node, ast.Subscript):
        return _fits_subscript(value, node)
    name = _last_name(node)
    if name in ALIASES:
        return accepts(value, ALIASES[name])
    if name in PARTS:
        return isinstance(value, Component) and GIVES.get(value.kind, value.kind) == PARTS[name]
    test = _PLAIN.get(name)
    return True if test is None else test(value)


def _fits_subscript(value: Any, node: ast.Subscript) -> bool:
    name = _last_name(node.value)
    inner = node.slice
    items = list(inner.elts) if isinstance(inner, ast.Tuple) else [inner]
    if name == "Literal":
        return any(value == i.value and type(value) is type(i.value) for i in items if isinstance(i, ast.Constant))
    if name == "Optional":
        return value is None or _fits(value, inner)
    if name == "Union":
        return any(_fits(value, item) for item in items)
    if name in {"Annotated", "Final"}:
        return _fits(value, items[0])
    if name not in _PLAIN:
        return True
    if not _PLAIN[name](value):
        return False
    if name in {"Mapping", "dict", "Dict"}:
        return all(_fits(k, items[0]) and _fits(v, items[-1]) for k, v in value.items())
    if name in {"tuple", "Tuple"} and not (isinstance(items[-1], ast.Constant) and items[-1].value is Ellipsis):
        return len(value) == len(items) and all(_fits(v, item) for v, item in zip(value, items, strict=True))
    return all(_fits(v, items[0]) for v in value)
