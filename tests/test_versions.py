"""The versions that pyproject.toml states: they load beside one another, and the documentation names the same ones.

`make lowest` runs this file among all others where exactly the stated versions are installed.
"""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parent.parent
PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
NOT_LOADED = {
    "ruff",
    "mypy",
    "uv",
    "types-PyYAML",
    "lightning-fabric",
    "timm",
    "transformers",
    "torchmetrics",
    "torchvision",
}
"""Programs, and what takes seconds to load and is loaded by other tests anyway."""
MODULES = {
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "pyyaml": "yaml",
    "scikit-learn": "sklearn",
    "pytest-xdist": "xdist",
}
"""Those whose module is called otherwise."""


def requirements() -> list[Requirement]:
    """All that pyproject.toml names. Read as text: Python 3.10 parses no TOML, and what is installed may be older."""
    stated = PYPROJECT[PYPROJECT.index("\ndependencies = [") : PYPROJECT.index("[project.scripts]")]
    without_comments = re.sub(r"(?m)\s#.*$", "", stated)
    found = {text: Requirement(text) for text in re.findall(r'"([^"]+)"', without_comments)}
    return list(found.values())


def minimum(requirement: Requirement) -> Version:
    (specifier,) = (s for s in requirement.specifier if s.operator == ">=")
    return Version(specifier.version)


def installed(requirement: Requirement) -> Version | None:
    try:
        return Version(importlib.metadata.version(requirement.name))
    except importlib.metadata.PackageNotFoundError:
        return None


def test_a_package_has_one_minimum_in_all_extras() -> None:
    minima: dict[str, Version] = {}
    for requirement in requirements():
        assert minima.setdefault(requirement.name, minimum(requirement)) == minimum(requirement), requirement.name
    assert len(minima) > 20


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_what_is_installed_is_what_is_stated(requirement: Requirement) -> None:
    """With `make lowest`, nothing newer: a minimum that is not tried proves nothing."""
    found, least = installed(requirement), minimum(requirement)
    if found is None:
        pytest.skip(f"{requirement.name} is not installed")
    assert found >= least
    if os.environ.get("INTARSIA_VERSIONS") == "lowest":
        assert found.release[: len(least.release)] == least.release, f"state {found}, which is the lowest that installs"


def test_all_that_is_installed_loads_together() -> None:
    names = sorted({requirement.name for requirement in requirements() if installed(requirement)} - NOT_LOADED)
    modules = [MODULES.get(name, name.replace("-", "_")) for name in names]
    assert len(modules) >= 10
    program = "import importlib, sys\nfor module in sys.argv[1:]: importlib.import_module(module)"
    done = subprocess.run([sys.executable, "-c", program, *modules], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]


def test_documentation_names_the_same_minima() -> None:
    minima = {requirement.name.lower(): minimum(requirement) for requirement in requirements()}
    table = (REPOSITORY / "docs" / "design.md").read_text(encoding="utf-8")
    rows = {name.lower(): Version(least) for name, least in re.findall(r"(?m)^\| ([\w-]+) >= ([\d.]+) ", table)}
    assert {"pytorch", "lightning-fabric"} <= set(rows)
    for name, least in rows.items():
        assert minima[{"pytorch": "torch"}.get(name, name)] == least, name


def test_supported_versions_of_python_are_the_same_everywhere() -> None:
    (least,) = re.findall(r'(?m)^requires-python = ">=([\d.]+)"', PYPROJECT)
    (target,) = re.findall(r'(?m)^target-version = "py3(\d+)"', PYPROJECT)
    classified = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', PYPROJECT)
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    tried = dict(re.findall(r"(?m)^PYTHON_(LOWEST|NEWEST) \?= (3\.\d+)$", makefile))
    assert tried == {"LOWEST": least, "NEWEST": classified[-1]}
    assert (f"3.{target}", classified[0]) == (least, least)
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"Python {least} or newer" in (REPOSITORY / page).read_text(encoding="utf-8"), page
    ci = (REPOSITORY / ".ci" / "run").read_text(encoding="utf-8")
    assert set(re.findall(r"(?m)^make (\w+)", ci)) == {"test", "lowest", "newest", "slow"}
