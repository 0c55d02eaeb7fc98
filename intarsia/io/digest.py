"""What tells one file from another."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_hash(file: Path) -> str:
    """The SHA-256 of a file of any size, in hexadecimal digits."""
    found = hashlib.sha256()
    with open(file, "rb") as data:
        while block := data.read(2**20):
            found.update(block)
    return found.hexdigest()
