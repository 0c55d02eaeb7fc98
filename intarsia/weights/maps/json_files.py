"""Reading the JSON files that lie beside the tensors of other libraries."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from intarsia.terminal import printable

LARGEST = 16 * 2**20
"""Bytes of a file of JSON, or of a card."""


def json_object(path: Path) -> dict[str, Any]:
    """The object in a file. Raises ValueError, naming the file, if it is missing, too large, or holds no object."""
    if not path.is_file():
        raise ValueError(f"{path} does not exist")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"{path} is larger than {LARGEST:,} bytes, which no such file is")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {printable(str(error), 200)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"{path} holds a {type(values).__name__}; expected an object")
    return values
