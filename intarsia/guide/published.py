"""The published checkpoints: of which recipe each is, what it scores, where it lies, and the names that stand for it.

``published.json.gz`` is written by ``scripts/published.py`` and read when it is asked for, in some milliseconds.
"""

from __future__ import annotations

import difflib
import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

LOWER_IS_BETTER = ("RMSE",)

_ENDINGS = (".pth", ".py")


@dataclass(frozen=True)
class Checkpoint:
    """A published checkpoint.

    recipe: that it was trained with, and its name. data: the data set, as its publishers write it. scores: in percent
    but for RMSE, which is in metres. sha256: the first eight digits of the file's hash, in which its name ends.
    """

    recipe: str
    data: str
    scores: Mapping[str, float]
    address: str
    sha256: str

    @property
    def score(self) -> tuple[str, float]:
        """Name and value of the first: of single images, as they are."""
        return next(iter(self.scores.items()))

    @property
    def file(self) -> str:
        """The file's own name."""
        return self.address.rpartition("/")[2]


@cache
def published() -> dict[str, Checkpoint]:
    """All of them, by recipe. Not to be changed."""
    found = _read()
    return {
        recipe: Checkpoint(recipe, one["data"], one["scores"], found["address"] + one["file"], _digits(one["file"]))
        for recipe, one in found["checkpoints"].items()
    }


def find_published(name: str) -> Checkpoint | None:
    """The checkpoint that a name stands for, or None.

    name: of its recipe, or as the publishers' list misspells it; its file's own name or address; each with .pth or
    without, and the recipe's with .py.
    """
    bare = name
    for ending in _ENDINGS:
        bare = bare.removesuffix(ending)
    recipe = _names().get(bare, "")
    return published().get(recipe)


def near_names(name: str, most: int = 3) -> list[str]:
    """The recipes with a checkpoint of which a name begins so, the best known data set first, or else the most similar.

    Files are named after the configs of MMSegmentation 0.x, so that these find their successors.
    """
    bare = name.rpartition("/")[2].lower()
    for ending in (*_ENDINGS, ".safetensors"):
        bare = bare.removesuffix(ending)
    begin = {recipe for one, recipe in _names().items() if bare and one.lower().startswith((f"{bare}_", f"{bare}-"))}
    if begin:
        return sorted(begin, key=lambda one: ("ade20k" not in one, "cityscapes" not in one, len(one), one))[:most]
    names = difflib.get_close_matches(bare, _names(), n=2 * most, cutoff=0.75)
    return list(dict.fromkeys(_names()[one] for one in names))[:most]


@cache
def _names() -> Mapping[str, str]:
    """Every name without its ending -> recipe."""
    found = {recipe: recipe for recipe in published()} | dict(_read()["also"])
    for one in published().values():
        found |= {one.file.removesuffix(".pth"): one.recipe, one.address.removesuffix(".pth"): one.recipe}
    return found


def _digits(file: str) -> str:
    return file.removesuffix(".pth")[-8:]


@cache
def _read() -> Mapping[str, Any]:
    text = gzip.decompress((Path(__file__).parent / "published.json.gz").read_bytes())
    values: Mapping[str, Any] = json.loads(text)
    return values
