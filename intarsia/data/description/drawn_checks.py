"""Whether what tools and vector files call their classes is known to a description."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.splits import Split, scene_rules, sources

_SHOWN = 5


def check_drawn(split: str, rule: Split, classes: Sequence[str], values: ClassValues) -> None:
    """Raises DescriptionError if a class cannot be drawn, or a tool's name stands for what is no class.

    values: of the classes in labels that are drawn.
    """
    for scenes in scene_rules(rule):
        _check_names(("splits", split, "classes"), scenes.classes, classes, values)
    for source in sources(rule):
        if source.annotations is None:
            continue
        path = ("splits", split, "annotations", "classes")
        lacking = [name for name in classes if name not in values.values]
        if lacking:
            raise DescriptionError(
                path,
                f"the class {lacking[0]!r} has no value from 1 on in `labels`, which shapes of it would have; what no "
                "shape covers is 0: list `labels: {0: background, 1: ...}`, or `0: ignore`",
            )
        _check_names(path, source.annotations.classes, classes, values)


def _check_names(
    path: tuple[str, ...], renamed: Iterable[tuple[str, str]], classes: Sequence[str], values: ClassValues
) -> None:
    for name, meant in renamed:
        if meant not in values.values:
            more = f" and {len(classes) - _SHOWN} more" if len(classes) > _SHOWN else ""
            known = ", ".join(classes[:_SHOWN]) + more
            raise DescriptionError((*path, name), f"{meant!r} is no class of {known}, nor ignore")
