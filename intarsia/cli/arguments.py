"""What the shell's words need before typer sees them, and reading of values that several commands take."""

from __future__ import annotations

import re
from collections.abc import Sequence

SETTERS = ("--set", "--cfg-options")
_SETTING = re.compile(r"[A-Za-z_][\w.\-\[\]]*=")

WITH_NUMBERS = {
    "--slide": (re.compile(r"\d+(x\d+)?"), 2),
    "--augment": (re.compile(r"\d*\.?\d+"), None),
    "--tta": (re.compile(r"\d*\.?\d+"), None),
}
"""Options that take any number of numbers, or at most so many: `--slide`, `--slide 512`, `--slide 512 341`."""

ONE_WORD = {"train": "--augment", "data": "--augment"}
"""Commands -> an option of that name which takes one word there, as any option does."""


OUTPUTS = ("-o", "--out", "--write", "--report")
"""Options whose value is a place to write to."""


def prepare(words: Sequence[str]) -> list[str]:
    """`--debug` moved to the front, where the program's own options are, and `--set a=1 b=2` repeated per value.

    The numbers behind an option of `WITH_NUMBERS` become one value, "512,341", or "auto" where there are none.
    """
    prepared: list[str] = []
    setter: str | None = None
    words = _with_numbers(words)
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


def refuse_addresses(words: Sequence[str]) -> None:
    """Raises ValueError for a command that is to write behind an address, which `predict` alone does.

    words: of the command line, the command first.
    """
    if not words or words[0] == "predict":
        return
    for position, word in enumerate(words):
        option, equals, value = word.partition("=")
        if option in OUTPUTS:
            from intarsia.io.stores import refuse_output

            refuse_output(value if equals else "".join(words[position + 1 : position + 2]), option)


def _with_numbers(words: Sequence[str]) -> list[str]:
    joined: list[str] = []
    position = 0
    plain = ONE_WORD.get(next((word for word in words if not word.startswith("-")), ""))
    while position < len(words):
        word = words[position]
        if word == "--":
            return [*joined, *words[position:]]
        position += 1
        joined.append(word)
        if word in WITH_NUMBERS and word != plain:
            pattern, most = WITH_NUMBERS[word]
            numbers: list[str] = []
            while position < len(words) and len(numbers) != most and pattern.fullmatch(words[position]):
                numbers.append(words[position])
                position += 1
            joined[-1] = f"{word}={','.join(numbers) or 'auto'}"
    return joined
