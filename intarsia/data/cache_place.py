"""Where decoded samples are kept, as `--cache` says it: ``memory``, ``memory:20G``, ``DIR``, ``DIR:500G``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

MEMORY = "memory"
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_SIZED = re.compile(r"(?P<place>.+):(?P<number>\d+(?:\.\d+)?)\s*(?P<unit>[KMGT]?)B?", re.IGNORECASE)


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
        if not place or size == 0 or place.endswith(":") or place.startswith(f"{MEMORY}:"):
            raise ValueError(
                f"--cache is memory or a folder, with a size behind it or without: memory:20G, /disk/cache:500G; found "
                f"{text!r}"
            )
        return cls(None if place == MEMORY else Path(place).expanduser(), size)

    def __str__(self) -> str:
        place = MEMORY if self.folder is None else str(self.folder.resolve())
        return place if self.size is None else f"{place}:{self.size}"


def in_words(size: float) -> str:
    """A number of bytes: "12.3 GB"."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
