"""A share of the training images for validation, where the data bring no split for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from intarsia.data.description.model import DataDescription
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.together import pairs_together, take_share
from intarsia.data.doctor.measure import Measured
from intarsia.data.doctor.table import TableProposal

SHARE = 0.2
NOTE = "there is no validation split: "
"""How the note about a share begins."""

_SEEDS = 20


def choose_share(
    root: Path,
    measured: Sequence[Measured],
    table: TableProposal,
    ignore_index: int,
    groups: str | None = None,
) -> ShareSplit:
    """A share for validation whose seed leaves the fewest classes out on either side and is nearest to a fifth.

    Small sets need the choice: a hash alone may take one image of thirty or miss a rare class.
    groups: what the user wants to stay together, see `divide.group_names`.

    Raises ValueError as `take_share`, and where an image is in none of the groups.
    """
    indices = {name: index for index, name in enumerate(table.classes)}
    classes_of = {value: indices.get(name, ignore_index) for value, name in table.labels.items()}
    present = [
        {classes_of.get(value, ignore_index) for value in (entry.label.values if entry.label else ())}
        for entry in measured
    ]
    everything = set().union(*present) - {ignore_index}
    together = pairs_together(root, [entry.pair for entry in measured], groups)
    target = max(1, round(SHARE * len(measured)))
    costs = []
    for seed in range(_SEEDS):
        taken, remaining = take_share(together, range(len(measured)), SHARE, f"{seed}:val")
        absent = sum(len(everything - set().union(*(present[index] for index in side))) for side in (taken, remaining))
        costs.append((absent, abs(len(taken) - target), seed))
    return ShareSplit(SHARE, "train", min(costs)[2])


def note_of(description: DataDescription) -> str | None:
    """How the doctor takes a share for validation out of the training images, in one line; None if it takes none."""
    together = description.together("train")
    if together is None:
        return None
    if together.is_one:
        return (
            f"{NOTE}{together}, so about a fifth is taken out as one block of neighbours, which resembles the "
            "rest where they meet; a second one to validate on would say more"
        )
    if str(together):
        return f"{NOTE}about a fifth of the images is taken out by a hash; {together}"
    return f"{NOTE}about a fifth of the images is taken out by a hash of their names"


def notes_of_shares(description: DataDescription) -> Iterator[str]:
    """What the shares of a description that somebody has written keep whole."""
    for split in description.splits:
        if (together := description.together(split)) is not None and str(together):
            how = "as a block of neighbours" if together.is_one else "by a hash"
            yield f"shares are taken out of {split} {how}; {together}"
