"""Whether the splits of a description, and what was measured of them, make sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intarsia.data.description.divide import check_grouping
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.splits import ShareSplit, Split, sources
from intarsia.data.scenes.rule import SceneSplit
from intarsia.label_sets import MOST, set_count


def check_shares(shares: Mapping[str, float], names: Sequence[str]) -> None:
    """Raises DescriptionError for what is no share of the pixels, or of what is none of these classes."""
    for name, share in shares.items():
        if name not in names:
            raise DescriptionError(("shares", name), f"is no class; there are {', '.join(names[:20])}")
        if not 0 <= share <= 1:
            raise DescriptionError(("shares", name), f"expected a share of the pixels, 0 to 1, found {share:g}")


def check_splits(splits: Mapping[str, Split], groups: str | None) -> None:
    """Raises DescriptionError for a way to group that is none, and for shares of what has no files of its own."""
    if groups is not None:
        try:
            check_grouping(groups)
        except ValueError as error:
            raise DescriptionError(("groups",), str(error)) from None
    if "train" not in splits and "val" not in splits and "test" not in splits:
        raise DescriptionError(("splits",), "expected at least one of train, val, test")
    for name, rule in splits.items():
        if not isinstance(rule, ShareSplit):
            continue
        if not 0 < rule.fraction < 1:
            raise DescriptionError(("splits", name, "share"), f"{rule.fraction} is not between 0 and 1")
        target = splits.get(rule.of)
        if target is None or isinstance(target, ShareSplit):
            raise DescriptionError(("splits", name, "of"), f"{rule.of!r} is no split with files of its own")


def check_multi_label(
    classes: Sequence[str], ignore_index: int, splits: Mapping[str, Split], *, has_labels: bool
) -> None:
    """Raises DescriptionError for what cannot be where a pixel may have several classes."""
    if not 2 <= len(classes) <= MOST:
        raise DescriptionError(
            ("multi_label",), f"2 to {MOST} classes can be at one pixel, found {len(classes)}; labels have 16 bits"
        )
    if "background" in classes:
        raise DescriptionError(
            ("classes", list(classes).index("background")),
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
        if isinstance(rule, SceneSplit) and rule.column:
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
