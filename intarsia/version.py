"""The version of Intarsia and of what it stands on, for whoever writes them into a file."""

from __future__ import annotations

from collections.abc import Iterable

__version__ = "0.1.0"


def versions_of(packages: Iterable[str]) -> dict[str, str]:
    """Python's and the packages' versions; packages that are not installed are left out."""
    import importlib.metadata
    import platform

    found = {"python": platform.python_version()}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
