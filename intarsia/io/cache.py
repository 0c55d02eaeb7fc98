"""The folder of what can be made or fetched again: weights, compiled networks."""

from __future__ import annotations

import os
from pathlib import Path

from intarsia.io.stores import refuse_output

CACHE = "INTARSIA_CACHE"
"""The environment variable that names the folder."""


def cache_root() -> Path:
    """`INTARSIA_CACHE`, or else `intarsia` in the user's folder for such files.

    Raises ValueError for an address, which is no folder.
    """
    if os.environ.get(CACHE):
        refuse_output(os.environ[CACHE], CACHE)
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(base) / "intarsia")
