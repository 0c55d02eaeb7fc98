"""What the shell's words need before typer sees them, and reading of values that several commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence

SETTERS = ("--set", "--cfg-options")
_SETTING = re.compile(r"[A-Za-z_][\w.\-\[\]]*=")


def prepare(words: Sequence[str]) -> list[str]:
    """`--debug` moved to the front, where the program's own options are, and `--set a=1 b=2` repeated per value."""
    prepared: list[str] = []
    setter: str | None = None
    for position, word in enumerate(words):
        if word == "--":
            return [*(["--debug"] if "--debug" in words[:position] else []), *prepared, *words[position:]]
        if word == "--debug":
            continue
        if word in SETTERS:
            setter = word
        elif setter is not None and _SETTING.match(word):
            if prepared[-1] != setter:
                prepared.append(setter)
        else:
            setter = None
        prepared.append(word)
    return [*(["--debug"] if "--debug" in words else []), *prepared]
