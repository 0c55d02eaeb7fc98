"""Text files of the configuration language: decoded, their ``{{...}}`` references marked, their syntax parsed.

A reference may stand bare in the text (``model = {{_base_.model}}``), where it is no Python. So each is replaced by a
name that occurs nowhere else in the file, on the same line, and the evaluator gives that name its value.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from intarsia.config.errors import ConfigError, Problem
from intarsia.config.language.limits import MAX_BLOCKS, MAX_BRACES, MAX_SOURCE
from intarsia.spec import Origin


@dataclass(frozen=True, slots=True)
class Reference:
    """One ``{{...}}``. name: "a.b" of ``_base_.a.b``, "fileBasename" and the like, or an environment variable.

    text: as written in the file. default: of an environment variable; None when none is given.
    """

    kind: Literal["base", "file", "environment"]
    name: str
    text: str
    default: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One file of the language.

    text: with references replaced by names that start with `mark`. origins: index is the line, from 1.
    """

    file: str
    text: str
    lines: tuple[str, ...]
    mark: str
    references: tuple[Reference, ...]
    origins: tuple[Origin, ...]
    body: list[ast.stmt] = field(default_factory=list)

    def line(self, number: int) -> str:
        """A line as written, shortened."""
        text = self.lines[number - 1].strip() if 0 < number <= len(self.lines) else ""
        return text if len(text) <= 80 else text[:77] + "..."

    def split(self, value: str) -> list[str | Reference]:
        """A string cut at its references; empty parts left out."""
        parts: list[str | Reference] = list(re.split(rf"{self.mark}(\d+)_", value))
        parts[1::2] = [self.references[int(str(index))] for index in parts[1::2]]
        return [part for part in parts if part != ""]


_REFERENCE = re.compile(
    r"""\{\{['"]?[ \t]*
    (?:(?:_base_\.(?P<base>\w+(?:\.\w+)*)
         |(?P<file>fileDirname|fileBasenameNoExtension|fileBasename|fileExtname)
         |\$(?P<environment>\w+)) [ \t]*['"]?
      |\$(?P<with_default>\w+)[ \t]*:(?P<default>[^{}\n]*))
    \}\}""",
    re.VERBOSE,
)
"""Takes time in proportion to the text, whatever that is: no two parts that repeat can match the same letters."""

_MARK = "_reference"


def read_text(file: str) -> str:
    """The text of a file, its lines ended as on Unix.

    Raises:
        ConfigError: it cannot be read, is too large, or is not UTF-8.
    """
    origin = Origin(file, 0)
    try:
        with open(file, "rb") as stream:
            data = stream.read(MAX_SOURCE + 1)
    except OSError as error:
        raise ConfigError([Problem("", f"cannot read the file: {error.strerror or error}", origin)]) from None
    if len(data) > MAX_SOURCE:
        raise ConfigError([Problem("", f"the file is larger than {MAX_SOURCE:,} bytes, which no config is", origin)])
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        message = f"the file is not UTF-8: byte 0x{data[error.start]:02x} at position {error.start}"
        raise ConfigError([Problem("", message, Origin(file, line), "Save it in the encoding UTF-8")]) from None


def make_source(file: str, text: str) -> Source:
    """A source of a text: its references marked, nothing parsed yet. ConfigError when parsing would take very long."""
    if text.count("{") > MAX_BRACES:  # Python 3.11 needs quadratic time for the fields of an f-string
        raise ConfigError([Problem("", f"the file has more than {MAX_BRACES:,} opening braces", Origin(file, 0))])
    # One underscore more than wherever the file says it itself.
    mark = _MARK + "_" * max((len(run) + 1 for run in re.findall(f"{_MARK}(_*)", text)), default=0)
    references: list[Reference] = []

    def replace(found: re.Match[str]) -> str:
        default = found["default"]
        if default is not None:
            default = (default[:-1] if default[-1:] in ("'", '"') else default).rstrip(" \t")
        base, file_word, variable = found["base"], found["file"], found["environment"] or found["with_default"]
        kind: Literal["base", "file", "environment"] = "base" if base else "file" if file_word else "environment"
        references.append(Reference(kind, base or file_word or variable, found[0], default))
        return f"{mark}{len(references) - 1}_"

    lines = tuple(text.split("\n"))
    marked = _REFERENCE.sub(replace, text) if "{{" in text else text
    origins = tuple(Origin(file, line) for line in range(len(lines) + 2))
    return Source(file, marked, lines, mark, tuple(references), origins)


@lru_cache(maxsize=64)
def _parsed(file: str, text: str) -> Source:
    return parse_python(make_source(file, text))


def load_python(file: str) -> Source:
    """A Python file, parsed. A text that was parsed before is not parsed again: its tree is never written to.

    Raises:
        ConfigError: the file cannot be read, or its syntax is wrong.
    """
    return _parsed(file, read_text(file))


def forget() -> None:
    """Drop the syntax trees that are kept, so that the next reading parses every file anew."""
    _parsed.cache_clear()


def parse_python(source: Source) -> Source:
    """The same source with its statements in `body`."""
    text = source.text
    try:
        source.body.extend(ast.parse(text, source.file).body)
    except SyntaxError as error:
        line = error.lineno or 0
        quoted = f": `{source.line(line)}`" if line else ""
        origin = Origin(source.file, line)
        raise ConfigError([Problem("", f"not valid Python syntax ({error.msg}){quoted}", origin)]) from None
    except ValueError as error:  # a null byte, on some versions of Python
        raise ConfigError([Problem("", f"not valid Python syntax ({error})", Origin(source.file, 0))]) from None
    except (RecursionError, MemoryError):
        raise ConfigError([Problem("", "the syntax is nested too deeply", Origin(source.file, 0))]) from None
    _check_blocks(source)
    return source


_BLOCKS = (ast.If, ast.For)


def _check_blocks(source: Source) -> None:
    """Refuse blocks inside blocks beyond MAX_BLOCKS; every `elif` is one inside the `if` before it."""
    block: Sequence[ast.stmt] = source.body
    for _ in range(MAX_BLOCKS):
        block = [inner for outer in block if isinstance(outer, _BLOCKS) for inner in outer.body + outer.orelse]
        if not block:
            return
    for statement in block:
        if isinstance(statement, _BLOCKS):
            message = f"`if`, `elif` and `for` are nested deeper than {MAX_BLOCKS} levels"
            raise ConfigError([Problem("", message, Origin(source.file, statement.lineno))])
