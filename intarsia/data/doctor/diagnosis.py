"""Judges what was measured: what would stop training, and what deserves a look. Here: files and splits."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Listing
from intarsia.data.doctor.findings import Alternative, Finding, many
from intarsia.data.doctor.image_faults import image_faults
from intarsia.data.doctor.leaks import leaks
from intarsia.data.doctor.measure import BySplit, all_of
from intarsia.data.doctor.table import TableProposal
from intarsia.data.doctor.value_faults import value_faults


def diagnose(
    description: DataDescription | None,
    measured: BySplit,
    listings: Mapping[str, Listing],
    place: Path,
    table: TableProposal | None = None,
    alternatives: Sequence[Alternative] = (),
) -> tuple[list[Finding], list[Finding]]:
    """(problems, warnings). Without a description, only what can be told of files. `table`: how it was concluded.
    place: of the data, as somebody would write it.
    """
    problems, warnings = list(_unreadable(measured)), [*_left_over(listings), *leaks(measured, description, place)]
    found = [image_faults(measured, description)]
    if description is not None:
        problems += _empty(listings)
        found.append(value_faults(description, measured, table, alternatives))
        found.append(([], list(_no_validation(description))))
    return problems + [p for one, _ in found for p in one], warnings + [w for _, one in found for w in one]


# --- Files --------------------------------------------------------------------------------------------------------


def _unreadable(measured: BySplit) -> Iterable[Finding]:
    errors = {name: text for entry in all_of(measured) for name, text in entry.errors.items()}
    if errors:
        count = many(len(errors), "file")
        reasons = "; ".join(list(errors.values())[:3])
        yield Finding(
            "unreadable",
            f"{count} cannot be read: {reasons}" + (" ..." if len(errors) > 3 else ""),
            "repair or remove them, or list the images under `exclude:` of their split in the description",
            tuple(errors),
        )


def _left_over(listings: Mapping[str, Listing]) -> Iterable[Finding]:
    kinds = (
        ("image without label", "unlabelled", "image", "without a label file, left out", "label or remove"),
        ("label without image", "unused", "label file", "without an image", "check the names of, or remove"),
        ("same name twice", "twins", "image", "with the name of another one, left out", "rename or remove"),
        ("listed but missing", "lost", "listed name", "without an image and a label", "correct the list of"),
    )
    for kind, attribute, what, text, advice in kinds:
        files = tuple(dict.fromkeys(name for listing in listings.values() for name in getattr(listing, attribute)))
        if files:
            yield Finding(kind, f"{many(len(files), what)} {text}", f"{advice} them", files)


# --- Splits -------------------------------------------------------------------------------------------------------


def _empty(listings: Mapping[str, Listing]) -> Iterable[Finding]:
    for split, listing in listings.items():
        if not listing.pairs:
            yield Finding("empty split", f"the {split} split has no image with a label", "correct its folders or list")


def _no_validation(description: DataDescription) -> Iterable[Finding]:
    if "val" not in description.splits:
        yield Finding(
            "no validation split",
            "there is nothing to validate on: no scores, and no best model, while training",
            "add `val: {share: 0.2, of: train}` to the splits, if there are two images at least",
        )
