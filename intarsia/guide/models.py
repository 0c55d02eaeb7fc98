"""The models to choose from: every network with what it costs, what it scores, and by which names it is known."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from intarsia import recipes
from intarsia.guide.facts import Cost, cost, times
from intarsia.guide.networks import Network, data_of, networks
from intarsia.guide.published import LOWER_IS_BETTER, Checkpoint, find_published, published
from intarsia.guide.stated import Stated, stated

ORDERS = ("kind", "name", "year", "parameters", "cost", "score")


class UnknownModelError(ValueError):
    """A name that no model has, or words that none is described by."""


@dataclass(frozen=True)
class Model:
    """One network in the guide."""

    network: Network

    @property
    def checkpoints(self) -> tuple[Checkpoint, ...]:
        """Of its published recipes."""
        there = published()
        return tuple(there[name] for name in self.network.published if name in there)

    @property
    def name(self) -> str:
        """Short where there is a recipe for own data, else of method and size."""
        return self.network.name

    @property
    def method_name(self) -> str:
        """As the method's authors write it, or "" for a network of which nothing was published."""
        return self.network.method.name if self.network.method else ""

    @property
    def year(self) -> int | None:
        """Of the method's paper."""
        return self.network.method.year if self.network.method else None

    @property
    def data(self) -> tuple[str, ...]:
        """Data sets that it has recipes for."""
        return tuple(dict.fromkeys(map(data_of, self.network.published)))

    def recipe_for(self, data: str | None) -> str:
        """The recipe whose costs stand for it: one on that data set if there is one."""
        return next((name for name in self.network.published if data_of(name) == data), self.network.first)

    def cost(self, data: str | None = None) -> Cost | None:
        """Of one image and two, see `Cost`; with the classes of a data set, if it has a recipe for that."""
        return cost(self.recipe_for(data))

    def times(self, of: str) -> float | None:
        """How many times segformer_mit-b0's a field of its cost is."""
        return times(self.network.first, of)

    def best(self, data: str) -> Checkpoint | None:
        """The published checkpoint with the best score on a data set, single images as they are."""
        found = [one for one in self.checkpoints if data_of(one.recipe) == data]
        return max(found, key=lambda one: goodness(one), default=None)

    @property
    def stated(self) -> tuple[Stated, ...]:
        """Scores that its authors state of files that no name fetches."""
        return stated(self.network.names)

    def best_stated(self, data: str) -> Stated | None:
        """The best of them on a data set, if it is better than that of any published checkpoint."""
        found = max((one for one in self.stated if one.data == data), key=lambda one: one.score, default=None)
        best = self.best(data)
        return None if found is None or (best is not None and goodness(best) >= found.score) else found

    def rank(self, data: str) -> float | None:
        """The best score on a data set, whoever has its file, so that more is better; None without one."""
        if (one := self.best_stated(data)) is not None:
            return one.score
        return None if (checkpoint := self.best(data)) is None else goodness(checkpoint)


def goodness(one: Checkpoint) -> float:
    """Its score, so that more is better."""
    name, value = one.score
    return -value if name in LOWER_IS_BETTER else value


@cache
def models() -> tuple[Model, ...]:
    """All, by kind, year, method, and within a method by multiply-adds."""
    found = [Model(one) for one in networks()]
    places = {one.network.method: place for place, one in reversed(list(enumerate(found)))}
    return tuple(sorted(found, key=lambda one: (places[one.network.method], _multiply_adds(one), one.name)))


def find(name: str) -> Model:
    """The model of that name, recipe or published checkpoint. Raises UnknownModelError, which names similar ones."""
    checkpoint = find_published(name)
    name = name if checkpoint is None else checkpoint.recipe
    for one in models():
        if name in (one.name, *one.network.names):
            return one
    sizes = [one.name for one in models() if one.method_name.lower() == name.lower()]
    if sizes:
        raise UnknownModelError(f"{name} has several sizes; name one: {', '.join(sizes)}")
    if recipes.decoder(name):
        whose = "timm, of which the list shows some" if recipes.trunk(name) is not None else "transformers"
        raise UnknownModelError(
            f"{name} is a recipe on a network of {whose}. `intarsia models profile {name}` counts it."
        )
    raise UnknownModelError(f"unknown model {name!r}.{_near(name)} `intarsia models list` shows all of them.")


def select(words: Sequence[str] = (), *, data: str | None = None) -> list[Model]:
    """The models whose names, method, kind or recipes have all the words in them, and that have a recipe for `data`.

    Raises UnknownModelError where there is none.
    """
    if data is not None and data not in data_names():
        near = difflib.get_close_matches(data, data_names(), n=3, cutoff=0.4)
        hint = f" Did you mean {' or '.join(near)}?" if near else ""
        raise UnknownModelError(f"no recipe is for data named {data!r}.{hint} There are: {', '.join(data_names())}")
    found = [one for one in models() if all(_is_said(word, one) for word in words)]
    if not found:
        missed = next((word for word in words if not any(_is_said(word, one) for one in models())), None)
        said = (
            f"no model is described by {missed!r}.{_near(missed)}"
            if missed
            else f"none has all of: {', '.join(words)}."
        )
        raise UnknownModelError(f"{said} `intarsia models list` shows all.")
    fitting = [one for one in found if data is None or data in one.data]
    if not fitting:
        raise UnknownModelError(f"none of these has a recipe for {data}: {', '.join(one.name for one in found)}")
    return fitting


def ordered(given: Iterable[Model], by: str, *, data: str | None = None) -> list[Model]:
    """Sorted: "cost" and "parameters" ascending, "score" on `data` descending; what has no such figure comes last.

    Raises ValueError for an unknown order.
    """
    keys: dict[str, Callable[[Model], float | str]] = {
        "kind": lambda _: 0,
        "name": lambda one: one.name.lower(),
        "year": lambda one: one.year or float("inf"),
        "parameters": lambda one: found.parameters if (found := one.cost(data)) else float("inf"),
        "cost": lambda one: found.multiply_adds if (found := one.cost(data)) else float("inf"),
        "score": lambda one: float("inf") if (rank := one.rank(data or "ade20k")) is None else -rank,
    }
    if by not in keys:
        raise ValueError(f"--sort {by}: expected one of {', '.join(ORDERS)}")
    return sorted(given, key=keys[by])


def expected_size(checkpoint: Checkpoint) -> int | None:
    """Bytes of the parameters of its recipe in float32, about those of its file; None if they were not counted."""
    found = find(checkpoint.recipe).cost(data_of(checkpoint.recipe))
    return None if found is None else 4 * found.parameters


@cache
def data_names() -> tuple[str, ...]:
    """All data sets that published recipes are for, the commonest first."""
    counts: dict[str, int] = {}
    for name in recipes.names():
        counts[data_of(name)] = counts.get(data_of(name), 0) + 1
    return tuple(sorted(counts, key=lambda data: -counts[data]))


def _multiply_adds(one: Model) -> float:
    found = one.cost()
    return found.multiply_adds if found else float("inf")


def _is_said(word: str, one: Model) -> bool:
    kind = one.network.method.kind if one.network.method else ""
    said = " ".join((one.name, one.method_name, kind, *one.network.names))
    return word.lower() in said.lower()


def _near(name: str) -> str:
    known = {one.name.lower(): one.name for one in models()}
    known |= {one.method_name.lower(): one.method_name for one in models() if one.method_name}
    known |= {recipe.lower(): recipe for one in models() for recipe in one.network.names}
    near = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(known[one] for one in near)}?" if near else ""
