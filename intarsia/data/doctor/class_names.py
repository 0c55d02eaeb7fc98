"""Names and colours of classes as people and tools write them."""

from __future__ import annotations

import re

from intarsia.data.description.model import BACKGROUND, IGNORE
from intarsia.data.labels import Colour

_NOTHING = (
    *("ignore", "ignored", "void", "unlabeled", "unlabelled", "unknown", "undefined", "dontcare", "unannotated"),
    *("nodata", "novalue", "border"),
)
"""Words for pixels about which nothing is said, without blanks and signs."""

_THREE_NUMBERS = re.compile(
    r"(?:rgba?)?\s*[(\[]?\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})(?:[\s,;]+\d{1,3})?\s*[)\]]?", re.IGNORECASE
)


def cleaned(text: str) -> str:
    """A name without quotes, numbering and synonyms; words for "nothing said" become "ignore"."""
    text = "".join(letter if letter.isprintable() else " " for letter in text)
    name = re.split(r"[,;]", text)[0].strip().strip("\"'").strip()
    name = re.sub(r"^\d+[.)]\s+(?=\S)", "", name)
    bare = re.sub(r"[\s_'\-]", "", name.lower())
    if bare in _NOTHING:
        return IGNORE
    return BACKGROUND if bare in (BACKGROUND, "bg", "backgrnd") else name


def colour_of(text: str) -> Colour | None:
    """From "#c08000", "192 128 0", "(192, 128, 0)" or "rgb(192,128,0)"; None for anything else."""
    bare = text.strip().strip("\"'")
    if re.fullmatch(r"#?[0-9a-fA-F]{6}", bare) and not bare.isdecimal():
        code = int(bare.lstrip("#"), 16)
        return code >> 16, code >> 8 & 255, code & 255
    match = _THREE_NUMBERS.fullmatch(bare)
    if match is None or any(int(part) > 255 for part in match.groups()):
        return None
    return int(match[1]), int(match[2]), int(match[3])
