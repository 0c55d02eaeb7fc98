"""Names and colours of the label values that a model gives."""

from __future__ import annotations

from collections.abc import Sequence

from intarsia.inference.prediction import MOST_CLASSES


def label_values(
    classes: Sequence[str], palette: Sequence[Sequence[int]], threshold: float | None
) -> tuple[tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """One name and one colour for each value; of a model with one logit two, of which "background" need not be named.

    Raises ValueError if their numbers differ, or if there are more than a label map holds.
    """
    if len(classes) > MOST_CLASSES:
        raise ValueError(f"label maps have 16 bits: expected at most {MOST_CLASSES:,} classes, found {len(classes):,}")
    names = tuple(classes)
    colours = tuple((int(red), int(green), int(blue)) for red, green, blue in palette)
    if threshold is not None and len(names) == 1:
        names, colours = ("background", *names), ((0, 0, 0), *colours)
    if not names or len(names) != len(colours):
        raise ValueError(
            f"expected a name and a colour for every class, found {len(classes)} names, {len(palette)} colours"
        )
    if threshold is not None and len(names) != 2:
        raise ValueError(
            f"a model with one logit tells two classes apart, found {len(names)} names: {', '.join(names)}"
        )
    return names, colours
