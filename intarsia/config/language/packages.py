"""Bases that lie in another package: "mmseg::_base_/models/fcn_r50-d8.py".

They are looked for in the package if it is installed, which is not imported for it, and then among the recipes of ours.
"""

from __future__ import annotations

from importlib.machinery import PathFinder
from pathlib import Path, PurePosixPath

from intarsia import recipes
from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.values import DictValue, annotate
from intarsia.spec import Origin

FOLDERS = (".mim/configs", "configs")
"""Where OpenMMLab's packages keep their configs, below the package; the first in a wheel."""


def package_file(name: str) -> str | None:
    """The file that a name such as "mmseg::fcn/fcn_r50-d8.py" means, if that package is installed and has it."""
    package, _, inside = name.partition("::")
    parts = PurePosixPath(inside).parts
    if not package.isidentifier() or not parts or ".." in parts or PurePosixPath(inside).is_absolute():
        return None
    found = PathFinder.find_spec(package)  # other finders import what they look for, such as that of setuptools
    for root in (found.submodule_search_locations or ()) if found is not None else ():
        for folder in FOLDERS:
            file = Path(root, folder, inside)
            if file.is_file():
                return str(file)
    return None


def package_values(name: str, where: Origin) -> DictValue:
    """The recipe, or the part of recipes, that a name of MMSegmentation's package means.

    where: the line that names it. Raises ConfigError where no recipe is of that name.
    """
    package, _, inside = name.partition("::")
    values = recipes.base_file(inside) if package == "mmseg" else None
    if values is None:
        message = f"the base `{name}` was not found: the package {package!r} is not installed"
        if package == "mmseg":
            message += f", and no recipe of ours is called {PurePosixPath(inside).stem!r}"
        hint = "Copy that file beside this one and name its path; `intarsia config list` shows the recipes"
        raise ConfigError([Problem("", message, where, hint)])
    origin = Origin(f"recipe {name}", 0)
    made = annotate(values, origin)
    assert isinstance(made, DictValue)
    return made
