"""What file names of one kind have in common: finds ``_image`` / ``_annotation`` without being told.

Two sets of stems are compared by their longest common beginnings (and ends). Every near pair votes for what is left
over on both sides; the leftovers with the most votes are then tried on all names.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass

_SAMPLE = 200
_NEIGHBOURS = 6
_TRIED = 6
_SEPARATORS = "_-. "


@dataclass(frozen=True, slots=True)
class Affixes:
    """What stems of one side carry around the name that both sides share."""

    prefix: str = ""
    suffix: str = ""

    def core(self, stem: str) -> str | None:
        """The name inside, or None if the stem does not carry these affixes."""
        if len(stem) <= len(self.prefix) + len(self.suffix):
            return None
        if not (stem.startswith(self.prefix) and stem.endswith(self.suffix)):
            return None
        return stem[len(self.prefix) : len(stem) - len(self.suffix)]

    def __str__(self) -> str:
        return f"{self.prefix}*{self.suffix}"


AffixPair = tuple[Affixes, Affixes]

File = tuple[str, str]
"""Place (split and subfolder) and stem of a file."""


def propose(left: Sequence[str], right: Sequence[str]) -> list[AffixPair]:
    """Affix pairs worth trying to join stems of `left` with stems of `right`, the plainest first.

    With the same set on both sides, names are not joined with themselves.
    """
    same = left is right
    plain: list[AffixPair] = [] if same else [(Affixes(), Affixes())]
    ends = _votes(left, right, same, reverse=False)
    beginnings = _votes(left, right, same, reverse=True)
    found = [(Affixes(suffix=a), Affixes(suffix=b)) for (a, b), _ in ends.most_common(_TRIED)]
    found += [(Affixes(prefix=a), Affixes(prefix=b)) for (a, b), _ in beginnings.most_common(_TRIED)]
    return plain + [pair for pair in found if pair != (Affixes(), Affixes())]


def joined(left: Iterable[File], right: Set[File], pair: AffixPair) -> list[str]:
    """The names inside that occur on both sides, in the same place."""
    own, other = pair
    cores = ((place, own.core(stem)) for place, stem in left)
    return [
        core for place, core in cores if core is not None and (place, f"{other.prefix}{core}{other.suffix}") in right
    ]


def at_separators(pair: AffixPair, cores: Sequence[str]) -> AffixPair:
    """Affixes that begin at a separator where all names allow it: ``001_`` + ``image`` becomes ``001`` + ``_image``."""
    own, other = pair
    if own.suffix or other.suffix:
        shared = _common_end(cores)
        cut = max((shared.rfind(separator) for separator in _SEPARATORS), default=-1)
        if cut >= 0 and all(len(core) > len(shared) - cut for core in cores):
            moved = shared[cut:]
            return Affixes(own.prefix, moved + own.suffix), Affixes(other.prefix, moved + other.suffix)
    elif own.prefix or other.prefix:
        shared = _common_start(list(cores))
        ends = [shared.find(separator) for separator in _SEPARATORS if separator in shared]
        if ends and all(len(core) > min(ends) + 1 for core in cores):
            moved = shared[: min(ends) + 1]
            return Affixes(own.prefix + moved, own.suffix), Affixes(other.prefix + moved, other.suffix)
    return pair


def words(text: str) -> list[str]:
    """Lower-case words of a file or folder name, without numbers at their ends: "semseg-label37" -> semseg, label."""
    parts = (part.rstrip("0123456789") for part in re.split(r"[^a-z0-9]+", text.lower()))
    return [part for part in parts if part]


def _votes(left: Sequence[str], right: Sequence[str], same: bool, *, reverse: bool) -> Counter[tuple[str, str]]:
    """How often each pair of leftovers occurs between names that begin (or, reversed, end) alike."""
    turn: Callable[[str], str] = (lambda text: text[::-1]) if reverse else (lambda text: text)
    ordered = sorted({turn(stem) for stem in right})
    step = max(1, len(left) // _SAMPLE)
    votes: Counter[tuple[str, str]] = Counter()
    for stem in left[::step]:
        name = turn(stem)
        position = bisect_left(ordered, name)
        near = ordered[max(0, position - _NEIGHBOURS) : position + _NEIGHBOURS]
        near = [neighbour for neighbour in near if not (same and neighbour == name)]
        lengths = [len(_common_start([name, neighbour])) for neighbour in near]
        longest = max(lengths, default=0)
        if longest == 0:
            continue
        for neighbour, length in zip(near, lengths, strict=True):
            if length == longest:
                votes[turn(name[length:]), turn(neighbour[length:])] += 1
    return votes


def _common_start(names: Sequence[str]) -> str:
    """The longest beginning of all; the least and the greatest of the names decide it."""
    first, last = min(names), max(names)
    length = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    return first[:length]


def _common_end(names: Sequence[str]) -> str:
    return _common_start([name[::-1] for name in names])[::-1]
