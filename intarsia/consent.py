"""Whose code a config may name, and what a part must be. A file that somebody else made runs no code of its choice.

Named freely are the parts of the catalogue: its table, and what the person's own code or an installed package has put
beside it (`@register`, entry points of the group "intarsia.parts"). An import path ("mypackage.heads:MyHead") and
`custom_imports` need consent, also those into Intarsia itself. Only the person can give it, at the command line
(`--trust mypackage`, `--trust-config`, INTARSIA_TRUST=mypackage) or in a program (`intarsia.trust`); no file can, nor
the folder that it lies in. What is then named must be a class of the kind that its place asks for.

Imports no torch.
"""

from __future__ import annotations

import importlib
import inspect
import os
import re
import sys
from pathlib import Path
from typing import Any

TRUST = "INTARSIA_TRUST"
"""Environment variable: names of packages or modules, separated by commas; * is every package."""
EVERYTHING = "*"

_MODULE = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", re.ASCII)
LONGEST = 300
"""Letters of an import path; longer ones are shortened in messages and name nothing."""

_NEVER = frozenset(sys.stdlib_module_names) | {
    "_distutils_hack", "distutils", "ensurepip", "pip", "pkg_resources", "setuptools", "wheel",
}  # fmt: skip
"""Python itself and its installers: no part of a model is there, whatever is trusted."""


class ConsentError(ValueError):
    """A config names code that nobody has agreed to run."""


# --- Whose code ---------------------------------------------------------------------------------------------------


def trust(names: str) -> None:
    """Trust these packages or modules ("mypackage,other.heads") in this process and those that it starts.

    "*" is every package. Raises ValueError for what is no name of a module.
    """
    given = [name.strip() for name in names.split(",") if name.strip()]
    for name in given:
        if name != EVERYTHING and not _MODULE.fullmatch(name):
            raise ValueError(f"trust is given to packages or modules by name, such as mypackage; found {name[:80]!r}")
    os.environ[TRUST] = ",".join(dict.fromkeys([*_trusted(), *given]))


def _trusted() -> list[str]:
    return [name.strip() for name in os.environ.get(TRUST, "").split(",") if name.strip()]


def given(module: str) -> bool:
    """Whether the person trusts a module, or a package around it. Imports nothing."""
    if not possible(module):
        return False
    return any(name == EVERYTHING or f"{module}.".startswith(f"{name}.") for name in _trusted())


def possible(module: str) -> bool:
    """Whether consent to this module can be given at all: it has the name of one, and is not Python's own."""
    return len(module) <= LONGEST and bool(_MODULE.fullmatch(module)) and package(module) not in _NEVER


def package(module: str) -> str:
    """The package at the top of a module."""
    return module.partition(".")[0]


def require(module: str) -> None:
    """Raise ConsentError unless the person trusts `module`. Imports nothing."""
    if not given(module):
        raise ConsentError(f"the config names code of {module[:LONGEST]!r}. {how([module])}")


def how(modules: list[str]) -> str:
    """How consent to these modules is given, or that it cannot be."""
    names = ",".join(dict.fromkeys(package(module) for module in modules if possible(module)))
    if not names:
        return "No part of a model is there"
    return (
        "It would run with your rights. If you know that code and trust it: "
        f"--trust {names} (or {TRUST}={names}; in a program, intarsia.trust({names!r}))"
    )


def look_here() -> None:
    """Let modules be found in the folder in which the command runs, after all others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


# --- What it must be ----------------------------------------------------------------------------------------------

_BASES = {
    **dict.fromkeys(
        ("backbone", "head", "head_part", "loss", "model", "neck", "objective", "task", "text_encoder"),
        ("torch.nn", "Module"),
    ),
    "observer": ("intarsia.engine.callbacks.base", "Observer"),
    "optimizer": ("torch.optim", "Optimizer"),
}
"""Kind -> module and name of the class that a part of this kind inherits from."""

_METHODS = {
    "dataset": {"__len__": 0, "load": 1},
    "metric": {"update": 2, "state": 0, "load_state": 1, "report": 0},
    "sampler": {"__call__": 2},
    "target": {"__call__": 4},
    "transform": {"__call__": 2},
}
"""Kind -> the methods that a class of this kind defines, and how many arguments they take; the rest is in contracts."""


def require_part(kind: str, part: Any, module: str, name: str) -> None:
    """Raise ConsentError unless `part`, found as `name` in a trusted module, is a class of this kind and package."""
    written = f"{module}:{name}"
    if not inspect.isclass(part):
        raise ConsentError(
            f"{written} is a {type(part).__name__}, no class; a function is a {kind} where @register({kind!r}) of "
            "intarsia.catalog stands above it"
        )
    home = getattr(part, "__module__", None)
    if not isinstance(home, str) or package(home) != package(module):
        raise ConsentError(f"{written} is not defined in {package(module)!r} but imported from {home!r}")
    if kind in _BASES:
        base, base_name = _BASES[kind]
        if not issubclass(part, getattr(importlib.import_module(base), base_name)):
            raise ConsentError(f"{written} is no {kind}: expected a subclass of {base}.{base_name}")
    elif kind in _METHODS:
        lacking = [method for method, count in _METHODS[kind].items() if not _takes(part, method, count)]
        if lacking:
            wanted = ", ".join(f"{method}()" for method in lacking)
            raise ConsentError(f"{written} is no {kind}: it has no {wanted} as intarsia.contracts describes it")
    else:
        raise ConsentError(f"{written}: a {kind} is not named by an import path")


def _takes(part: type, method: str, count: int) -> bool:
    """Whether a class, and not only `object`, has a method that can be called with so many arguments beside itself."""
    found = next((vars(base)[method] for base in part.__mro__[:-1] if method in vars(base)), None)
    if not inspect.isfunction(found):
        return False
    try:
        inspect.signature(found).bind(*[None] * (count + 1))
    except TypeError:
        return False
    return True
