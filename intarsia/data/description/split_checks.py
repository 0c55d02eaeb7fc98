"""Whether the splits of a description, and what was measured of them, make sense."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from intarsia.data.description.divide import check_grouping
from intarsia.data.description.errors import DescriptionError
from intarsia.data.description.splits import ShareSplit, Split


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
