"""Recipes for own data on any network of timm: HEAD_timm:NAME, such as ``upernet_timm:convnext_tiny.in12k``.

Heads are in `trunk_heads.py`.
"""

from __future__ import annotations

import re

from intarsia.recipes.published import Family
from intarsia.recipes.timm_facts import OfTIMM
from intarsia.recipes.trunk_heads import HEADS, family_on

FORM = re.compile(r"(\w+?)(?:-(sfp|adapter))?_timm:([\w.-]+)")


def network_name(name: str) -> str | None:
    """The network of timm that a recipe is on, or None for another recipe."""
    found = FORM.fullmatch(name)
    return found[3] if found is not None and found[1] in HEADS else None


def family(name: str) -> Family | None:
    """The recipe as a family of one; None for another name.

    Raises ValueError for a network that timm does not know, or that takes no images of any size; for a pyramid of a
    network, or for a head, that has no use for one; and where timm is not installed.
    """
    found = FORM.fullmatch(name)
    if found is None or found[1] not in HEADS:
        return None
    return family_on(OfTIMM(found[3]), name, found[1], found[2] or "")
