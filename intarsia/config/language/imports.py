"""Imports in a config. Nothing is imported: a name from another module is the name of a part, or a known function.

    from mmseg.models import EncoderDecoder       # the value "EncoderDecoder"
    from mmdet.models import CrossEntropyLoss     # "mmdet.CrossEntropyLoss": mmseg has one of that name, too
    from myproject.heads import MyHead            # "myproject.heads:MyHead", which needs its user's consent
    import torch.nn as nn                         # nn.GELU is "GELU"
    import os.path as osp                         # osp.join("data", "ade") is computed

    with read_base():                             # inheritance as MMEngine writes it since 2023
        from .._base_.models.fcn import *

MMEngine calls the last form a lazy config. Its bases are read like any other, and their variables are variables of the
file, which it changes as it likes: nothing is merged.
"""

from __future__ import annotations

import ast
import math
import os
import posixpath
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from intarsia.config.language.calls import Call
from intarsia.config.language.limits import RefusedError, check, check_text
from intarsia.config.language.operators import located
from intarsia.config.language.values import TupleValue, clone

OPENMMLAB = ("mmcls", "mmcv", "mmdet", "mmengine", "mmpretrain", "mmseg")
NAMED_BY_THEIR_LAST_WORD = ("mmcv", "mmengine", "mmseg", "torch", "torchvision")
"""Packages whose parts the catalogue has under the name alone."""

NAMED_WITH_THEIR_PACKAGE = {"mmcls": "mmpretrain", "mmdet": "mmdet", "mmpretrain": "mmpretrain"}
"""Packages whose parts have names that mmseg uses for others -> the scope that tells them apart."""

READ_BASE = "read_base"


@dataclass(frozen=True, slots=True)
class Imported:
    """What a name of an import statement stands for: "torch.nn" for a module, "torch.nn.GELU" for something in it."""

    path: str
    is_module: bool = False

    def member(self, name: str) -> Imported:
        """Something in it."""
        return Imported(f"{self.path}.{name}")

    def part(self) -> str:
        """The name of the part that it is in a config. Raises RefusedError for a module."""
        module, _, name = self.path.rpartition(".")
        if self.is_module or not module:
            raise RefusedError(f"the module `{self.path}` is not a config value", "Name something in it")
        package = module.partition(".")[0]
        if package in sys.stdlib_module_names:
            raise RefusedError(f"`{self.path}` of Python's library is not a config value")
        if package in NAMED_BY_THEIR_LAST_WORD:
            return name
        if package in NAMED_WITH_THEIR_PACKAGE:
            return f"{NAMED_WITH_THEIR_PACKAGE[package]}.{name}"
        return f"{module}:{name}"


def imported_names(statement: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, Imported]]:
    """The names that an import outside of `read_base` binds. Raises RefusedError for what has no meaning here."""
    if isinstance(statement, ast.Import):
        for alias in statement.names:
            name = alias.asname or alias.name.partition(".")[0]
            yield name, Imported(alias.name if alias.asname else name, is_module=True)
        return
    if statement.level or statement.module is None:
        raise RefusedError(
            "a relative import is the form of inheritance, and belongs into `with read_base():`",
            "Put it there, or name the file in _base_",
        )
    for alias in statement.names:
        if alias.name == "*":
            message = f"what `from {statement.module} import *` brings cannot be known without running it"
            raise RefusedError(message, "Name what is needed; bases belong into `with read_base():`")
        yield alias.asname or alias.name, Imported(f"{statement.module}.{alias.name}")


def reads_bases(statement: ast.With) -> bool:
    """Whether it is ``with read_base():``, with imports alone inside."""
    item = statement.items[0]
    call = item.context_expr
    function = call.func if isinstance(call, ast.Call) else None
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", None)
    plain = len(statement.items) == 1 and item.optional_vars is None and name == READ_BASE
    return plain and all(isinstance(inner, ast.ImportFrom | ast.Pass) for inner in statement.body)


def needs_no_python(statement: ast.stmt) -> bool:
    """Whether a statement means the same in a file that is run as Python: bases, and names of OpenMMLab's packages."""
    if isinstance(statement, ast.ImportFrom):
        return not statement.level and (statement.module or "").partition(".")[0] in OPENMMLAB
    return isinstance(statement, ast.With) and reads_bases(statement)


def base_name(statement: ast.ImportFrom) -> str:
    """The file that an import inside of `read_base` names, as `_base_` would name it.

    "../_base_/models/fcn.py" for ``.._base_.models.fcn``; "mmseg::_base_/models/fcn.py" for ``mmseg.configs...``.
    """
    words = (statement.module or "").split(".")
    if statement.level:
        return "/".join([*[".."] * (statement.level - 1), *words]) + ".py"
    package, *inside = [word for word in words if word not in (".mim", "configs")]
    return f"{package}::{'/'.join(inside)}.py"


# --- Functions ----------------------------------------------------------------------------------------------------


def _of_texts(function: Callable[..., Any]) -> Callable[[Call], Any]:
    """A function of strings, whose result is one, or a tuple of them."""

    def apply(call: Call) -> Any:
        texts = call.only(64, 1)
        if not all(isinstance(text, str) for text in texts):
            raise TypeError("expected strings")
        result = function(*texts)
        check_text(len("".join(result)))
        return TupleValue(result, [call.origin] * len(result)) if isinstance(result, tuple) else result

    return apply


def _of_number(function: Callable[[float], Any]) -> Callable[[Call], Any]:
    return lambda call: function(*call.only(1, 1))


def _environment(call: Call) -> Any:
    name, *default = call.only(2, 1)
    return os.environ.get(str(name), *default)


def _copy(call: Call) -> Any:
    return clone(call.only(1, 1)[0])


def _working_folder(call: Call) -> str:
    call.only(0)
    return os.getcwd()


IMPORTED_FUNCTIONS: dict[str, Callable[[Call], Any]] = {
    "copy.copy": _copy,
    "copy.deepcopy": _copy,
    "math.ceil": _of_number(math.ceil),
    "math.floor": _of_number(math.floor),
    "math.sqrt": _of_number(math.sqrt),
    "os.environ.get": _environment,
    "os.getcwd": _working_folder,
    "os.getenv": _environment,
    "os.path.basename": _of_texts(posixpath.basename),
    "os.path.dirname": _of_texts(posixpath.dirname),
    "os.path.join": _of_texts(posixpath.join),
    "os.path.normpath": _of_texts(posixpath.normpath),
    "os.path.splitext": _of_texts(posixpath.splitext),
}
"""What configs call of Python's own library, with the bounds of every other function."""


def call_imported(path: str, call: Call) -> Any:
    """The result of calling one of IMPORTED_FUNCTIONS. Raises as `call_function`."""
    call.budget.charge(*call.arguments)
    return located(check(IMPORTED_FUNCTIONS[path](call)), call.origin)
