"""From what a config or a person has written to a file of pretrained weights."""

from __future__ import annotations

import difflib
from pathlib import Path

from intarsia.weights.pretrained import timm_hub
from intarsia.weights.pretrained.table import PLACED, PRETRAINED, SHORT_NAMES, Pretrained, digits_of

SCHEMES = {"mmpretrain": "mmcls", "openmmlab": "open-mmlab"}
"""Other words for a scheme -> its word in the table."""


def find_pretrained(written: str) -> Pretrained | None:
    """What is meant by an address, a short name with its scheme, a name of the table, or a file that users have placed.

    Gives None for a name that nobody knows. An address of the web that is not in the table stands for itself.
    """
    scheme, marked, rest = written.partition("://")
    if marked and scheme in ("http", "https"):
        known = next((entry for entry in PRETRAINED.values() if entry.address == written), None)
        return known or Pretrained(_stem(written), written, digits_of(written))
    if scheme == timm_hub.SCHEME and marked:
        return timm_hub.entry(rest)
    if marked:
        name = SHORT_NAMES.get(SCHEMES.get(scheme, scheme), {}).get(rest)
        return None if name is None else PRETRAINED[name]
    if written in PRETRAINED:
        return PRETRAINED[written]
    file = written.replace("\\", "/").rpartition("/")[2]
    if file in PLACED:
        return PRETRAINED[PLACED[file]]
    return next((e for e in PRETRAINED.values() if file in (_file(e), f"{e.name}.pth")), None)


def unknown(written: str) -> str:
    """What to say of a name that nobody knows."""
    if written.startswith(f"{timm_hub.SCHEME}://"):
        return timm_hub.unknown(written)
    near = difflib.get_close_matches(written, PRETRAINED, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(near)}?" if near else "."
    return (
        f"{written!r} is neither a file nor the name of pretrained weights{hint} "
        "All names: docs/pretrained.md; or give auto, imagenet, none, or a file"
    )


def _file(entry: Pretrained) -> str:
    return entry.address.rpartition("/")[2]


def _stem(address: str) -> str:
    return Path(address.rpartition("/")[2]).stem
