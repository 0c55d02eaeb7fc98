"""Files of weights from the web, into a folder of this user, whole and checked or not at all."""

from __future__ import annotations

import hashlib
import os
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any

from intarsia.io.whole_files import whole_file
from intarsia.terminal import progress

CACHE = "INTARSIA_CACHE"
"""Environment variable: the folder of what was downloaded."""

PATIENCE = 30.0
"""Seconds without an answer after which a server is given up."""

_BLOCK = 2**20


def cache_folder() -> Path:
    """Where downloads are kept: `INTARSIA_CACHE`, or else `intarsia` in the user's folder for such files."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get(CACHE) or Path(base) / "intarsia") / "weights"


def fetch(address: str, *, sha256: str = "") -> Path:
    """The file at an address of the web, from the cache where it is there.

    sha256: the first digits of its hash; "" checks nothing but its length.

    Raises ValueError for an address that is none, a server that does not answer, a file that is cut short or another.
    """
    if not address.startswith(("https://", "http://")):
        raise ValueError(f"expected an address that begins with https://, found {address!r}")
    place = hashlib.sha256(address.encode()).hexdigest()[:8]
    file = cache_folder() / place / (address.rpartition("/")[2].partition("?")[0] or "weights")
    if file.is_file():
        return file
    by_hand = f"fetch it by other means and put it at {file}"
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(address, timeout=PATIENCE) as answer, whole_file(file) as aside:
            expected = int(answer.headers.get("Content-Length") or 0)
            with open(aside, "wb") as out, progress(f"fetching {file.name}") as bar:
                count, digits = _copy(answer, out, expected, bar)
            if expected and count != expected:
                raise ValueError(f"{address} was cut short: {count:,} bytes of {expected:,}; try again, or {by_hand}")
            if not digits.startswith(sha256):
                raise ValueError(
                    f"{address} is not the file that is expected: its SHA-256 begins with {digits[:8]}, expected "
                    f"{sha256}; it was not kept. Is something between this machine and the server? Or {by_hand}"
                )
    except (urllib.error.URLError, HTTPException, TimeoutError, ConnectionError) as error:
        raise ValueError(f"no answer from {address}: {error}; {by_hand}") from error
    return file


def _copy(answer: Any, out: IO[bytes], expected: int, bar: Any) -> tuple[int, str]:
    """Bytes copied, and their SHA-256."""
    count, digest = 0, hashlib.sha256()
    while block := answer.read(_BLOCK):
        out.write(block)
        digest.update(block)
        count += len(block)
        bar(count, max(expected, count))
    return count, digest.hexdigest()
