"""Fonts for any letter: those that come with the dependencies, the user's own, and those of the system.

Aileron (in Pillow) has ASCII, DejaVu Sans (in matplotlib) most alphabets; both are the same on every machine. Other
scripts, such as Chinese, Japanese and Korean, are looked for on the system: fontconfig is asked, and where there is
none, the folders of fonts are gone through. A letter that no font has is a box, and is said.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

from PIL import ImageFont, features

from intarsia.contracts import PathLike
from intarsia.io.folders import walk_files
from intarsia.terminal import Notice

Font = ImageFont.FreeTypeFont

FONT_VARIABLE = "INTARSIA_FONT"
"""The environment variable that names a font file to be tried first, for letters beyond ASCII."""

_SUFFIXES = (".ttf", ".ttc", ".otf", ".otc")
_FOLDERS = {
    "win32": (r"%WINDIR%\Fonts", r"%LOCALAPPDATA%\Microsoft\Windows\Fonts"),
    "darwin": ("/System/Library/Fonts", "/Library/Fonts", "~/Library/Fonts"),
}
_USUAL_FOLDERS = ("/usr/share/fonts", "/usr/local/share/fonts", "~/.local/share/fonts", "~/.fonts")
_WIDE = ("noto", "cjk", "pingfang", "hiragino", "msyh", "msgothic", "meiryo", "malgun", "arial unicode", "unifont")
"""What names of fonts with many letters contain: they are tried first."""

_MOST_FILES = 2000
"""Font files that are opened in search of a letter."""

_SHAPED = ("ARABIC", "HEBREW", "SYRIAC", "THAANA", "DEVANAGARI", "BENGALI", "GURMUKHI", "GUJARATI", "ORIYA", "TAMIL",
           "TELUGU", "KANNADA", "MALAYALAM", "SINHALA", "THAI", "LAO", "TIBETAN", "MYANMAR", "KHMER")  # fmt: skip
"""Scripts, by the names of their letters in Unicode, whose letters change with their neighbours or run leftwards."""

_NOBODYS = "\U0010ffff"
"""A code that is no letter and never will be: a font draws its sign for missing letters."""

_MOST_WARNINGS = 3
_MOST_MISSING = 100
"""Letters that are looked for in vain, until none is looked for any more."""

_SIZE = 32
"""Pixels at which letters are compared."""

_chosen: list[Path] = []
_found: list[Path] = []
_missing: set[str] = set()
_warned = 0


def use_font(path: PathLike) -> None:
    """Try a font file first, for text beyond ASCII. Raises ValueError if it is none."""
    file = Path(path).expanduser()
    if _opened(file, _SIZE) is None:
        raise ValueError(f"{file}: cannot be read as a font; expected a file such as NotoSansCJK-Regular.ttc")
    _chosen[:] = [file]
    _missing.clear()


@cache
def plain_font(size: int) -> Font:
    """Aileron, which is inside Pillow, as far as ASCII goes."""
    font = ImageFont.load_default(size=size)
    assert isinstance(font, ImageFont.FreeTypeFont), "Pillow's wheels have FreeType"
    return font.font_variant(layout_engine=ImageFont.Layout.BASIC)


def pieces(text: str, size: int) -> list[tuple[str, Font]]:
    """The text in pieces, each with a font that has its letters, of this size in pixels.

    Warns of letters that no font has, each once.
    """
    if text.isascii():
        return [(text, plain_font(size))]
    found: list[tuple[str, Path]] = []
    shaped, known = is_shaped(text), len(_missing)
    for letter in text:
        before = found[-1][1] if found else None
        file = before if before is not None and _has(before, letter) else _font_of(letter)
        if found and file == before:
            found[-1] = (found[-1][0] + letter, file)
        else:
            found.append((letter, file))
    if len(_missing) > known:
        _warn_of_missing(text)
    return [(part, _sized(file, size, shaped)) for part, file in found]


def files_for(texts: Iterable[str]) -> list[Path]:
    """The font files that texts need besides DejaVu Sans, for whoever draws them with matplotlib, which has that."""
    files = (file for text in texts if not text.isascii() for file in map(_font_of, text))
    return [file for file in dict.fromkeys(files) if file != _dejavu()]


def is_shaped(text: str) -> bool:
    """Whether the letters of a text are not simply set one beside the other."""
    return any(unicodedata.name(letter, "").startswith(_SHAPED) for letter in text)


def _font_of(letter: str) -> Path:
    """A font file that has a letter; the widest of those that are always there, if none has."""
    for file in (*_preferred(), _dejavu(), *_found):
        if _has(file, letter):
            return file
    if letter not in _missing and len(_missing) < _MOST_MISSING:
        for file in _system_fonts(letter):
            if _has(file, letter):
                _found.append(file)
                return file
    _missing.add(letter)
    return _dejavu()


def _preferred() -> Iterator[Path]:
    yield from _chosen
    if named := os.environ.get(FONT_VARIABLE):
        yield Path(named).expanduser()


@cache
def _dejavu() -> Path:
    """DejaVu Sans, found without importing matplotlib."""
    found = importlib.util.find_spec("matplotlib")
    assert found is not None, "matplotlib is a dependency"
    return Path(found.origin or "").parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


def _warn_of_missing(text: str) -> None:
    global _warned
    _warned += 1
    if _warned <= _MOST_WARNINGS:
        letters = "".join(dict.fromkeys(letter for letter in text if letter in _missing))
        more = "; other texts lack letters, too" if _warned == _MOST_WARNINGS else ""
        warnings.warn(
            f"no font of this machine has {letters}, so that pictures show boxes in {text!r}: install one, such as "
            f"Noto Sans, or name a font file with --font or in the environment variable {FONT_VARIABLE}{more}",
            Notice,
            stacklevel=2,
        )


# --- What a font has ----------------------------------------------------------------------------------------------


@cache
def _opened(file: Path, size: int, *, shaped: bool = False) -> Font | None:
    """A font file, None if it is none, or has letters of one size only."""
    layout = ImageFont.Layout.RAQM if shaped and _can_shape() else ImageFont.Layout.BASIC
    try:
        return ImageFont.truetype(str(file), size, layout_engine=layout)
    except (OSError, ValueError):
        return None


def _sized(file: Path, size: int, shaped: bool) -> Font:
    font = _opened(file, size, shaped=shaped)
    assert font is not None, "it has been opened before"
    return font


@cache
def _can_shape() -> bool:
    return bool(features.check("raqm") and features.check("fribidi"))


@cache
def _has(file: Path, letter: str) -> bool:
    """Whether a font draws something else than its sign for missing letters."""
    if unicodedata.category(letter) in ("Mn", "Me", "Cf", "Zs"):
        return _opened(file, _SIZE) is not None  # marks and blanks, which belong to what is before them
    if file == _dejavu() and letter.isascii():
        return True
    font = _opened(file, _SIZE)
    if font is None:
        return False
    try:
        drawn, nothing = font.getmask(letter), font.getmask(_NOBODYS)
    except OSError:
        return False
    return drawn.size != nothing.size or bytes(drawn) != bytes(nothing)


# --- Fonts of the system ------------------------------------------------------------------------------------------


def _system_fonts(letter: str) -> Iterable[Path]:
    """Font files that may have a letter, the likeliest first."""
    asked = _by_fontconfig(letter)
    return asked if asked else _all_fonts()


def _by_fontconfig(letter: str) -> list[Path]:
    program = shutil.which("fc-list")
    if program is None:
        return []
    try:
        done = subprocess.run(
            [program, f":charset={ord(letter):x}", "file"], capture_output=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    lines = os.fsdecode(done.stdout).splitlines()
    return _sorted(Path(line.rstrip(": ")) for line in lines if line.strip())


@cache
def _all_fonts() -> tuple[Path, ...]:
    """All font files in the system's usual places."""
    found: list[Path] = []
    for name in _FOLDERS.get(sys.platform, _USUAL_FOLDERS):
        folder = Path(os.path.expandvars(name)).expanduser()
        if folder.is_dir():
            try:
                found += [folder / path for path in walk_files(folder)]
            except ValueError:  # part of it is closed to us
                continue
    return tuple(_sorted(found))[:_MOST_FILES]


def _sorted(files: Iterable[Path]) -> list[Path]:
    """Font files, those with many letters first, and the upright regular ones of a family before the others."""
    fonts = [file for file in files if file.suffix.lower() in _SUFFIXES]

    def key(file: Path) -> tuple[bool, bool, int, str]:
        name = file.name.lower()
        special = any(word in name for word in ("bold", "italic", "black", "light", "thin", "oblique", "mono", "serif"))
        return not any(word in name for word in _WIDE), special, len(name), name

    return sorted(set(fonts), key=key)
