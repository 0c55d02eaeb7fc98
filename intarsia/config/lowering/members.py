"""Data sets that are concatenated, each with a pipeline of its own: one list of transforms that tells them apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from intarsia.config.lowering.parts import without_places
from intarsia.spec import BY_DATASET, Component


@dataclass(frozen=True)
class Stream:
    """A data set with what is done to its samples."""

    dataset: Component
    transforms: tuple[Component, ...]
    label_size: Literal["input", "original"]


def together(streams: Sequence[Stream], path: str) -> tuple[tuple[Component, ...], list[tuple[Component, int | None]]]:
    """The transforms of all, and each data set with the number by which its own are known.

    Where all have the same, these are the first's. Otherwise those in which they end alike stand once, behind a
    `ByDataset` with the others; a data set whose parts differ among themselves has numbered them, and has None.
    """
    found: dict[str, int] = {}  # the number of a list, by what it holds
    lists: list[tuple[Component, ...]] = []
    members: list[tuple[Component, int | None]] = []
    for stream in streams:
        own = _lists(stream.transforms)
        numbers = []
        for transforms in own:
            number = found.setdefault(repr(without_places(transforms)), len(lists))
            if number == len(lists):
                lists.append(transforms)
            numbers.append(number)
        if len(own) == 1:
            members.append((stream.dataset, numbers[0]))
        else:
            members.append((_renumbered(stream.dataset, numbers), None))
    if len(lists) == 1:
        return lists[0], members
    shared = 0
    while shared < min(map(len, lists)) and len({repr(without_places(one[-1 - shared])) for one in lists}) == 1:
        shared += 1
    pipelines = tuple(one[: len(one) - shared] for one in lists)
    own_steps = Component("transform", BY_DATASET, {"pipelines": pipelines}, f"{path}.datasets")
    return (own_steps, *lists[0][len(lists[0]) - shared :]), members


def _lists(transforms: tuple[Component, ...]) -> list[tuple[Component, ...]]:
    if not transforms or transforms[0].type != BY_DATASET:
        return [transforms]
    return [(*own, *transforms[1:]) for own in transforms[0].args["pipelines"]]


def _renumbered(dataset: Component, numbers: Sequence[int]) -> Component:
    """The data set with other numbers in the place of its own."""
    args: dict[str, Any] = dict(dataset.args)
    if "members" in args:
        args["members"] = tuple(None if number is None else numbers[number] for number in args["members"])
    if isinstance(args.get("dataset"), Component):
        args["dataset"] = _renumbered(args["dataset"], numbers)
    if isinstance(args.get("datasets"), tuple):
        args["datasets"] = tuple(_renumbered(part, numbers) for part in args["datasets"])
    return replace(dataset, args=args)
