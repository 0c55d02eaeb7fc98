"""What the bands of an image file mean, and which of them a model sees: one set of rules for images and rasters.

Decoders differ in what they do with a file: one inverts a TIFF whose 0 is white, one multiplies colours by a fourth
band, one knows the names that GDAL gives to bands. So a decoder is only asked for the samples, and what the file says
about them is kept beside them as `FileBands`. Everything that follows from it is decided here, whoever decoded.

Shape letters: H, W height and width; B bands of a file; C channels that a model takes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

Bands = Literal["rgb", "raw"]
"""How images are read: as 8-bit RGB whatever the file holds, or every band in its own type."""

OLD_WORDS = {"colour": "rgb", "stored": "raw"}
"""What `Bands` were called before; files that users have written may say so."""

RGB = ("red", "green", "blue")
GREY, ALPHA, PALETTE = "grey", "alpha", "palette"

_WORDS = {*RGB, GREY, ALPHA, "nir", "swir", "pan", "coastal", "rededge", "cyan", "magenta", "yellow", "black"}
"""Roles that contradict each other. A description is free text, and only says that bands are the same."""

_NO_COLOURS = ("CIELAB", "ICCLAB", "ITULAB", "LOGL", "LOGLUV", "CMYK")


def band_mode(text: str) -> Bands:
    """The mode of a word, today's or an old one. Raises ValueError for any other."""
    word = OLD_WORDS.get(text, text)
    if word == "rgb" or word == "raw":
        return word  # type: ignore[return-value]  # narrowed by the comparison, which mypy does for one literal only
    raise ValueError(f"bands: expected rgb or raw, found {text!r}")


@dataclass(frozen=True, slots=True)
class FileBands:
    """What a file says about its samples (H, W, B).

    roles: what each band is: "red", "green", "blue", "grey", "alpha", "palette", another word of GDAL's ("nir"), or ""
    where the file does not say it. descriptions: the bands' own names ("B08"), "" without one.
    bits: that count in an integer sample; 0 for all of its type. inverted: 0 is white. space: a colour space that is
    neither RGB nor grey, or "". orientation: of the EXIF standard, 1 for upright to 8.
    """

    roles: tuple[str, ...]
    descriptions: tuple[str, ...] = ()
    bits: int = 0
    inverted: bool = False
    space: str = ""
    orientation: int = 1

    def __post_init__(self) -> None:
        # A file that names no colours calls its first band grey, which of three and more says nothing.
        if len(self.roles) >= 3 and self.roles[0] == GREY and set(self.roles[1:]) <= {"", ALPHA}:
            object.__setattr__(self, "roles", ("", *self.roles[1:]))
        if not self.descriptions:
            object.__setattr__(self, "descriptions", ("",) * len(self.roles))

    @property
    def names(self) -> tuple[str, ...]:
        """Of each band its description or else its role; "" where two bands have the same."""
        names = [description or role for description, role in zip(self.descriptions, self.roles, strict=True)]
        count = Counter(names)
        return tuple(name if count[name] == 1 else "" for name in names)

    @property
    def words(self) -> str:
        """The bands for a message: "1 red, 2 green, 3 unnamed"."""
        names = zip(self.descriptions, self.roles, strict=True)
        return ", ".join(
            f"{number} {description or role or 'unnamed'}" for number, (description, role) in enumerate(names, 1)
        )

    def alpha_beside(self, chosen: Sequence[int]) -> int | None:
        """The alpha band, from 0, unless the chosen bands include it: what a model reads is no mask."""
        found = [band for band, role in enumerate(self.roles) if role == ALPHA]
        return found[0] if len(found) == 1 and found[0] not in chosen else None


# --- Which bands --------------------------------------------------------------------------------------------------


def rgb_bands(file: FileBands) -> tuple[int, ...]:
    """The three bands, from 0, that are seen as red, green and blue; of a grey image three times the same.

    Those that the file names so, wherever they lie; else the only band, or three without a name in their order; alpha
    is left aside. Raises ValueError, naming no file, if that says nothing.
    """
    if file.space in _NO_COLOURS:
        raise ValueError(f"its colours are {_SPACES.get(file.space, file.space)}; {_FIX}")
    roles = file.roles
    if all(roles.count(colour) == 1 for colour in RGB):
        return tuple(roles.index(colour) for colour in RGB)
    seen = [band for band, role in enumerate(roles) if role != ALPHA]
    if len(seen) == 1 or (len(seen) == 2 and roles[seen[0]] == GREY and not roles[seen[1]]):
        return (seen[0],) * 3
    if len(seen) == 3 and not any(roles[band] for band in seen):
        return tuple(seen)
    raise ValueError(
        f"expected a grey band, or red, green and blue, found {len(seen)} bands ({file.words}) of which it does not "
        f"say which are colours; {_FIX}"
    )


_SPACES = {"CIELAB": "CIE L*a*b*", "ICCLAB": "CIE L*a*b*", "ITULAB": "CIE L*a*b*"}
_FIX = "store it as RGB, choose bands with --bands 1,2,3, or use a model that was trained with `bands: raw`"


def raw_bands(file: FileBands, channels: int = 0, names: Sequence[str] = ()) -> tuple[int, ...]:
    """The bands, from 0, that a model of so many channels takes; all of them for 0.

    names: of the model's channels, as its training images had them. Where the file has them too they decide; else a
    file of as many bands is taken as it is, or without its alpha band. Raises ValueError, naming no file, if neither
    gives the number, or if the file has other names.
    """
    everything = tuple(range(len(file.roles)))
    if not channels:
        return everything
    found = _by_name(file.names, names) if len(names) == channels else None
    if found is not None:
        return found
    data = tuple(band for band in everything if file.roles[band] != ALPHA)
    fitting = next((bands for bands in (everything, data) if len(bands) == channels), None)
    if fitting is None:
        raise ValueError(
            f"the model takes {channels} bands{_list(names)}, the file has {len(everything)} ({file.words}): choose "
            f"them, in the order of the model's channels, with --bands {','.join(map(str, range(1, channels + 1)))} "
            "for example"
        )
    if len(names) == channels and any(
        {file.roles[band], name} <= _WORDS and file.roles[band] != name
        for band, name in zip(fitting, names, strict=True)
    ):
        raise ValueError(
            f"the model was trained on the bands {', '.join(name or 'unnamed' for name in names)}, the file has "
            f"{file.words}: choose them, in the order of the model's channels, with --bands"
        )
    return fitting


def _by_name(found: Sequence[str], wanted: Sequence[str]) -> tuple[int, ...] | None:
    """Where the wanted bands lie: those with a name by it, those without in the order of the file's other ones."""
    if not any(wanted) or any(name and name not in found for name in wanted):
        return None
    rest = iter([band for band, name in enumerate(found) if not name])
    bands = [found.index(name) if name else next(rest, None) for name in wanted]
    return None if None in bands else tuple(band for band in bands if band is not None)


def _list(names: Sequence[str]) -> str:
    return f" ({', '.join(name or 'unnamed' for name in names)})" if any(names) else ""


def chosen_bands(numbers: Sequence[int], file: FileBands, channels: int) -> tuple[int, ...]:
    """Bands that the user chose, counted from 1 -> from 0. Raises ValueError if they do not exist or do not suffice."""
    count = len(file.roles)
    if len(numbers) != channels or any(not 1 <= number <= count for number in numbers):
        raise ValueError(
            f"--bands: expected {channels} bands among 1..{count} for this model and file ({file.words}), "
            f"found {','.join(map(str, numbers))}"
        )
    return tuple(number - 1 for number in numbers)


def parse_bands(text: str) -> tuple[int, ...]:
    """From "3,2,1"; ValueError for anything else."""
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise ValueError(f"--bands takes numbers of bands, counted from 1, such as 3,2,1; found {text!r}")
    return tuple(map(int, text.split(",")))


# --- Which numbers ------------------------------------------------------------------------------------------------


def brightness(samples: npt.NDArray[Any], file: FileBands) -> npt.NDArray[Any]:
    """Samples in which more is brighter: those of a file whose 0 is white are inverted, fewer than 8 bits stretched."""
    if samples.dtype.kind != "u" or not (file.inverted or 0 < file.bits < 8):
        return samples
    top = 2 ** (file.bits or 8 * samples.dtype.itemsize) - 1
    if file.inverted:
        samples = samples.dtype.type(top) - samples
    if top >= 255:
        return samples
    levels: npt.NDArray[np.uint8] = np.rint(np.arange(256) * (255 / top)).clip(0, 255).astype(np.uint8)
    stretched: npt.NDArray[np.uint8] = levels[samples]
    return stretched


def eight_bits(samples: npt.NDArray[Any], bits: int = 0) -> npt.NDArray[np.uint8]:
    """The upper 8 of the bits that count in unsigned samples, by default all of their type."""
    if samples.dtype == np.uint8:
        return samples
    return (samples >> ((bits or 8 * samples.dtype.itemsize) - 8)).astype(np.uint8)


def looked_up(
    samples: npt.NDArray[Any], file: FileBands, table: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[Any], FileBands]:
    """Indices (H, W, B) in the first band -> colours from a table (n, 1), (n, 3) or (n, 4), and what the bands now
    are.
    """
    colours = table[samples[:, :, 0].astype(np.intp).clip(0, len(table) - 1)]
    rest = samples[:, :, 1:]
    roles = ((GREY,) if table.shape[1] == 1 else (*RGB, ALPHA)[: table.shape[1]]) + file.roles[1:]
    found = np.concatenate([colours, rest.astype(np.uint8)], axis=2) if rest.shape[2] else colours
    return found, replace(file, roles=roles, descriptions=(), bits=8, inverted=False)


def upright(array: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """An array (H, W, ...) as it is to be seen, from how it is stored: the orientations of EXIF and TIFF."""
    if orientation in (5, 6, 7, 8):
        array = array.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        array = array[::-1]
    return array[:, ::-1] if orientation in (2, 3, 6, 7) else array
