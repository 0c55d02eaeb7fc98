"""Whose code a config may name. A config or a weights file that somebody else made must not run code of its choice.

A part can be named by an import path ("mypackage.heads:MyHead") and modules by `custom_imports`. Both run code that is
on this machine already; but `subprocess:call` is on this machine, too. Named may be: Intarsia itself; modules in the
folder in which the command runs; packages that declare parts for Intarsia (entry points "intarsia.parts"); and what the
user trusts by INTARSIA_TRUST=package,package or `--trust-config`.
"""

from __future__ import annotations

import importlib.metadata
import os
import sys
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Any

TRUST = "INTARSIA_TRUST"
"""Environment variable: names of packages, separated by commas; * is every package."""


class ConsentError(ValueError):
    """A config names code that is not the user's."""


def trust(names: str) -> None:
    """Trust these packages (or "*") in this process and those that it starts."""
    os.environ[TRUST] = ",".join(filter(None, (os.environ.get(TRUST, ""), names)))


def require(module: str) -> None:
    """Raise ConsentError unless a config may name `module`. Imports nothing."""
    top = module.partition(".")[0]
    trusted = os.environ.get(TRUST, "").split(",")
    if top == "intarsia" or top in trusted or "*" in trusted or top in _with_parts() or _is_beside_the_user(top):
        return
    raise ConsentError(
        f"the config names code of {top!r}, which was not made for Intarsia and is not in this folder. "
        f"If you trust it: {TRUST}={top}, or --trust-config"
    )


def require_own(part: Any, module: str, name: str) -> None:
    """Raise ConsentError if `part`, found as `name` in `module`, is from another package: one that `module` imports."""
    home = getattr(part, "__module__", None)
    if not isinstance(home, str) or home.partition(".")[0] != module.partition(".")[0]:
        raise ConsentError(f"{module}:{name} is not defined in {module.partition('.')[0]!r} but imported from {home!r}")


def look_here() -> None:
    """Let modules be found in the folder in which the command runs, after all others."""
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)


def _is_beside_the_user(top: str) -> bool:
    """Whether a module lies in the current folder or below it, but in no environment there."""
    if top in sys.stdlib_module_names:
        return False
    here = Path.cwd().resolve()
    found = PathFinder.find_spec(top, [*sys.path, str(here)])
    if found is None:
        return True  # there is nothing to run; importing it says so
    places = [found.origin] if found.origin else list(found.submodule_search_locations or ())
    paths = [Path(place).resolve() for place in places]
    environment = {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}
    return all(
        here in path.parents and not environment & set(path.parents) and "site-packages" not in path.parts
        for path in paths
    )


@cache
def _with_parts() -> frozenset[str]:
    """Packages that declare parts for Intarsia."""
    points = importlib.metadata.entry_points(group="intarsia.parts")
    return frozenset(point.value.partition(":")[0].partition(".")[0] for point in points)
