"""Whether the classes of a description can be: their names, their colours, and what is no class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.splits import Split, scene_rules, sources
from intarsia.data.labels import Colour, label_values
from intarsia.label_sets import MOST, Regions, set_count

IGNORE = "ignore"
BACKGROUND = "background"


def check_classes(classes: Sequence[str], palette: Sequence[Colour] | None) -> None:
    """Raises DescriptionError for names that cannot be, and for colours of another number."""
    if not classes:
        raise DescriptionError(("classes",), "at least one class is needed")
    seen: set[str] = set()
    for index, name in enumerate(classes):
        if not name.strip() or name == IGNORE or (name == BACKGROUND and len(classes) == 1):
            hint = " (with one class, the background is what is left)" if name == BACKGROUND else ""
            raise DescriptionError(("classes", index), f"{name!r} cannot be the name of a class{hint}")
        if name in seen:
            raise DescriptionError(("classes", index), f"{name!r} is listed twice")
        seen.add(name)
    if palette is not None and len(palette) != len(classes):
        raise DescriptionError(
            ("palette",),
            f"{len(palette)} colours for {len(classes)} classes; give one for each, in the order of `classes`, or "
            "leave `palette` out",
        )


def check_ignored(num_classes: int, ignore_index: int) -> None:
    """Raises DescriptionError for an ignored index that is a class."""
    if 0 <= ignore_index < label_values(num_classes) or ignore_index < 0:
        raise DescriptionError(
            ("ignore_index",),
            f"{ignore_index} must be none of the class indices 0-{label_values(num_classes) - 1} and not negative; 255 "
            "is usual, 65535 with more than 254 classes",
        )


def check_multi_label(
    classes: Sequence[str], ignore_index: int, splits: Mapping[str, Split], *, has_labels: bool
) -> None:
    """Raises DescriptionError for what cannot be where a pixel may have several classes."""
    if not 2 <= len(classes) <= MOST:
        raise DescriptionError(
            ("multi_label",), f"2 to {MOST} classes can be at one pixel, found {len(classes)}; labels have 16 bits"
        )
    if BACKGROUND in classes:
        raise DescriptionError(
            ("classes", list(classes).index(BACKGROUND)),
            "with `multi_label: true`, background is what has no class; leave it out of `classes`",
        )
    if has_labels:
        raise DescriptionError(
            ("labels",),
            "with `multi_label: true` there is no table: masks and shapes name their classes, and label files hold "
            f"sets, a bit for each class ({classes[0]} 1, {classes[1]} 2 ...)",
        )
    if ignore_index not in (255, 65535) or ignore_index < set_count(len(classes)):
        wanted = "255 up to 7 classes, or 65535" if len(classes) < 8 else "65535, with more than 7 classes"
        raise DescriptionError(
            ("ignore_index",), f"with `multi_label: true`, ignored pixels are {wanted}; found {ignore_index}"
        )
    for name, rule in splits.items():
        if any(scenes.column for scenes in scene_rules(rule)):
            raise DescriptionError(
                ("splits", name, "column"),
                "shapes of vector files are burnt over each other, one class a pixel; leave out `multi_label`",
            )
        for source in sources(rule):
            if source.overlap == "last":
                raise DescriptionError(
                    ("splits", name, "overlap"),
                    "`overlap: last` gives a pixel one class, and `multi_label: true` several; leave one of them out",
                )


def check_regions(
    regions: Regions | None, classes: Sequence[str], splits: Mapping[str, Split], *, multi_label: bool
) -> None:
    """Raises DescriptionError for regions where labels are not files of values of several classes."""
    if regions is None:
        return
    if not multi_label:
        raise DescriptionError(
            ("regions",), "regions share pixels: write `multi_label: true`, or `labels` in their place"
        )
    if len(regions.values) != len(classes):
        raise DescriptionError(
            ("regions",), f"expected one for each of {len(classes)} classes, found {len(regions.values)}"
        )
    for name, rule in splits.items():
        if any(source.masks or source.annotations is not None for source in sources(rule)):
            raise DescriptionError(
                ("splits", name, "labels"),
                "masks and shapes name their classes: leave out `regions` and `region_order`",
            )
