"""Recipes for own data on a network of transformers: HEAD_hf:NAME, such as ``upernet_hf:facebook/dinov2-small``.

NAME is OWNER/NAME of the Hugging Face Hub, or a folder with a config.json. Where that is and what it says is not known
in this room: who asks for a recipe gives a function of the name. Heads are in `trunk_heads.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from intarsia.recipes.hf_facts import MARK, OfTransformers
from intarsia.recipes.published import Family
from intarsia.recipes.trunk_heads import HEADS, family_on

FORM = re.compile(rf"(\w+?)(?:-(sfp|adapter))?{MARK}(.+)")
FindNetwork = Callable[[str], OfTransformers]
"""The NAME of a recipe -> what is known of that network. Raises ValueError where there is none."""


def network_name(name: str) -> str | None:
    """The network of transformers that a recipe is on, or None for another recipe."""
    found = FORM.fullmatch(name)
    return found[3] if found is not None and found[1] in HEADS else None


def family(name: str, find: FindNetwork | None) -> Family | None:
    """The recipe as a family of one; None for another name.

    Raises ValueError for a network that there is not, that transformers does not know or that takes no images of any
    size; for a head that cannot be on networks of transformers; and where transformers is not installed.
    """
    found = FORM.fullmatch(name)
    if found is None or found[1] not in HEADS:
        return None
    assert find is not None, "a recipe on a network of transformers needs to know where that is"
    head, pyramid, place = found[1], found[2] or "", found[3]
    if pyramid == "adapter":
        raise ValueError(
            f"a ViT-Adapter stands on networks of timm only: take {head}-adapter_timm:NAME, or {head}-sfp{MARK}{place}"
        )
    return family_on(find(place), name, head, pyramid)
