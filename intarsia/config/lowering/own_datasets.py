"""A data set class that was put into a copy of MMSegmentation, read as data: nothing of its file is run.

Tutorials have users add a class with nothing but names and colours (METAINFO) and file suffixes to mmseg/datasets. That
is what `BaseSegDataset` takes as arguments, so a config that names such a class needs no code of it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import read_text

LEVELS = 6
"""How many folders above a config its project may begin."""

MOST_BYTES = 1_000_000
SUFFIXES = ("img_suffix", "seg_map_suffix", "reduce_zero_label")
"""Arguments of a class's constructor whose defaults it changes."""


@dataclass(frozen=True)
class OwnDataset:
    """What a class says. module: the dotted name by which custom_imports names its file, "" if it does not.

    metainfo: classes and palette. defaults: of `SUFFIXES`. methods: further ones, which change how files are read.
    """

    file: Path
    module: str
    metainfo: dict[str, Any]
    defaults: dict[str, Any] = field(default_factory=dict)
    methods: tuple[str, ...] = ()


def own_dataset(name: str, config_file: str, imports: Sequence[str]) -> OwnDataset | None:
    """The class `name` in a file that `custom_imports` names, or in mmseg/datasets, of the project around a config.

    None where there is none, or it does not say its classes as plain values.
    """
    for module, file in _candidates(config_file, imports):
        found = _class(file, name)
        if found is not None:
            metainfo = _metainfo(found, str(file))
            methods = tuple(
                node.name for node in found.body if isinstance(node, ast.FunctionDef) and node.name != "__init__"
            )
            return None if metainfo is None else OwnDataset(file, module, metainfo, _defaults(found), methods)
    return None


def _candidates(config_file: str, imports: Sequence[str]) -> Iterator[tuple[str, Path]]:
    here = Path(config_file).absolute().parent
    roots = list(dict.fromkeys([Path.cwd(), here, *list(here.parents)[:LEVELS]]))
    for root in roots:
        for module in imports:
            path = root.joinpath(*module.split("."))
            for file in (path.with_suffix(".py"), path / "__init__.py"):
                if file.is_file():
                    yield module, file
        for file in sorted((root / "mmseg" / "datasets").glob("*.py")):
            yield "", file


def _class(file: Path, name: str) -> ast.ClassDef | None:
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            return None
        text = file.read_text(encoding="utf-8")
        if f"class {name}" not in text:
            return None
        tree = ast.parse(text)
    except (OSError, ValueError, SyntaxError, RecursionError, MemoryError):
        return None
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _metainfo(found: ast.ClassDef, file: str) -> dict[str, Any] | None:
    """METAINFO, or CLASSES and PALETTE as before 1.0."""
    written = {
        target.id: ast.unparse(node.value)
        for node in found.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name) and target.id in ("METAINFO", "CLASSES", "PALETTE")
    }
    try:
        values = read_text("\n".join(f"{name} = {text}" for name, text in written.items()), file=file).values
    except ConfigError:
        return None
    old = {key: values[key.upper()] for key in ("classes", "palette") if key.upper() in values}
    metainfo = values.get("METAINFO", old)
    return metainfo if isinstance(metainfo, dict) and metainfo.get("classes") else None


def _defaults(found: ast.ClassDef) -> dict[str, Any]:
    """What its constructor sets where a config says nothing: as defaults, or in the call of the parent's."""
    given: dict[str, Any] = {}
    for node in found.body:
        if isinstance(node, ast.FunctionDef) and node.name == "__init__":
            arguments = [*node.args.posonlyargs, *node.args.args]
            pairs = [*zip(reversed(arguments), reversed(node.args.defaults), strict=False)]
            pairs += [
                (one, value) for one, value in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True) if value
            ]
            written = [(argument.arg, value) for argument, value in pairs]
            written += [(word.arg or "", word.value) for word in ast.walk(node) if isinstance(word, ast.keyword)]
            for name, value in written:
                if name in SUFFIXES and isinstance(value, ast.Constant):
                    given.setdefault(name, value.value)
    return given
