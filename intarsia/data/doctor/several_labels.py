"""Tells data whose pixels have several classes at once: masks, or bands, that cover each other on purpose.

Where they share more than a hundredth of what they cover, that is no careless border: a tumour lies in its organ, a
car's window is a part of the car. Who labels shapes in a tool draws one over the other and means one class, so that
shapes are read as sets only if that is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription, default_colours
from intarsia.data.description.splits import FolderSplit, JoinedSplit, Split
from intarsia.data.doctor.layouts import Layout
from intarsia.data.doctor.measure import Measured
from intarsia.data.masks import Overlap
from intarsia.label_sets import MOST, ignored_value

LEAST = 0.01
"""Of the pixels with a class, the share with several from which these are taken to be meant."""


@dataclass(frozen=True, slots=True)
class LabelSets:
    """A description of the same data with sets of classes as labels, and what to say of it."""

    description: DataDescription
    notes: tuple[str, ...]


def with_label_sets(
    description: DataDescription, layout: Layout, measured: Sequence[Measured], *, wish: bool | None
) -> LabelSets | None:
    """The data with several classes a pixel, or None where they are read as one class each.

    wish: what the user wants; None lets the data decide.

    Raises ValueError for a wish that cannot be had.
    """
    if wish is False:
        return None
    classes = tuple(name for name in description.classes if name not in (BACKGROUND, IGNORE))
    share = _shared(measured) if layout.masks is not None else 0.0
    obstacle = _obstacle(layout, classes)
    if wish is None and (share < LEAST or obstacle):
        return None
    if obstacle:
        raise ValueError(f"--multi-label: {obstacle}")
    known = dict(zip(description.classes, description.colours, strict=True))
    coloured = description.palette is not None and not {(0, 0, 0)} & {known[name] for name in classes}
    found = replace(
        description,
        classes=classes,
        labels=None,
        palette=tuple(known[name] for name in classes) if coloured else default_colours(classes),
        splits={split: overlapping_as(rule, "error") for split, rule in description.splits.items()},
        ignore_index=ignored_value(len(classes)),
        multi_label=True,
        notes=(),
    )
    notes = [note.replace("merged into one label", "read as several labels per pixel") for note in description.notes]
    notes = [note for note in notes if "overlap: last" not in note and "`labels`" not in note]
    if share:
        notes.append(
            f"{share:.1%} of the pixels with a class have more than one: read as several labels per pixel "
            "(`multi_label: true`); for one class each, the later mask counting: intarsia data check --one-label"
        )
    else:
        notes.append("read as several labels per pixel, as asked for (`multi_label: true`)")
    return LabelSets(found, tuple(notes))


def overlapping_as(rule: Split, overlap: Overlap) -> Split:
    """A rule whose masks may overlap so."""
    if isinstance(rule, JoinedSplit):
        return rule.with_folders(lambda part: replace(part, source=replace(part.source, overlap=overlap)))
    if isinstance(rule, FolderSplit):
        return replace(rule, source=replace(rule.source, overlap=overlap))
    return rule


def without_overlaps(splits: Mapping[str, Split], layout: Layout, *, wish: bool | None) -> dict[str, Split]:
    """The splits of data whose masks the user wants to be of one class each: the later counts."""
    if wish is not False or layout.masks is None:
        return dict(splits)
    return {split: overlapping_as(rule, "last") for split, rule in splits.items()}


def _shared(measured: Sequence[Measured]) -> float:
    """Of the pixels with a class, the share with several."""
    labels = [entry.label for entry in measured if entry.label is not None]
    covered = sum(count for label in labels for value, count in label.values.items() if value != 0)
    return sum(label.overlap for label in labels) / max(covered, 1)


def _obstacle(layout: Layout, classes: Sequence[str]) -> str:
    if layout.masks is None and layout.annotated is None:
        return "these labels have one class for each pixel; it takes a mask for each class, a band for each, or shapes"
    if layout.masks is not None and BACKGROUND in layout.masks.classes:
        return "there are masks of the background, which is what has no other class"
    if not 2 <= len(classes) <= MOST:
        return f"2 to {MOST} classes can be at one pixel, found {len(classes)}"
    return ""
