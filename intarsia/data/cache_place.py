"""Where decoded samples are kept, as `--cache` says it: ``memory``, ``memory:20G``, ``DIR``, ``DIR:500G``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from intarsia.io.stores import refuse_output

MEMORY = "memory"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "KI": 2**10, "MI": 2**20, "GI": 2**30, "TI": 2**40}
_SIZED = re.compile(r"(?P<place>.+):(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>(?:[KMGT]I?)?)B?", re.IGNORECASE)
_NO_SIZE = re.compile(r".+:\s*[\d.,+-][^/\\]*")
"""What would be a folder's name, and was meant for a size: ``DIR:500X``."""


@dataclass(frozen=True, slots=True)
class CachePlace:
    """folder: None is memory. size: in bytes; None is as much as there is room for."""

    folder: Path | None
    size: int | None

    @classmethod
    def parse(cls, text: str) -> CachePlace:
        """From what `--cache` says. Raises ValueError for no place, or a size that is none."""
        match = _SIZED.fullmatch(text.strip())
        place = match["place"] if match is not None else text.strip()
        size = None if match is None else int(float(match["number"]) * _UNITS[match["unit"].upper()])
        refuse_output(place, "--cache")
        no_size = size is None and _NO_SIZE.fullmatch(place) and not Path(place).expanduser().is_dir()
        if not place or size == 0 or no_size or place.endswith(":") or place.startswith(f"{MEMORY}:"):
            raise ValueError(
                f"--cache is memory or a folder, with a size behind it or without: memory:20G, /disk/cache:500G; found "
                f"{text!r}"
            )
        return cls(None if place == MEMORY else Path(place).expanduser(), size)

    def __str__(self) -> str:
        place = MEMORY if self.folder is None else str(self.folder.resolve())
        return place if self.size is None else f"{place}:{self.size}"

    @property
    def words(self) -> str:
        """It in a message, the size as somebody would write it."""
        place = MEMORY if self.folder is None else str(self.folder)
        if self.size is None:
            return place
        unit = next(unit for unit in ("T", "G", "M", "K", "") if self.size >= _UNITS[unit])
        return f"{place}:{self.size / _UNITS[unit]:.6g}{unit}"


def in_words(size: float) -> str:
    """A number of bytes: "12.3 GB"."""
    if size >= 1e8:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size / 1e3:.1f} kB"


def samples_in_words(count: int) -> str:
    """A number of samples: "1 sample", "1,200 samples"."""
    return f"{count:,} sample{'s' * (count != 1)}"
