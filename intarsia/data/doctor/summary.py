"""Sums up what was measured: images, labels, values and splits, as the findings show them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from intarsia.data.description.model import IGNORE, DataDescription
from intarsia.data.description.pairing import Listing
from intarsia.data.doctor.findings import ImageFindings, LabelFindings, SplitFindings, ValueRow
from intarsia.data.doctor.measure import Measured, count_images, count_values


def image_findings(measured: Sequence[Measured]) -> ImageFindings | None:
    """What the image files have in common; None if none could be read."""
    images = [entry.image for entry in measured if entry.image is not None]
    if not images:
        return None
    sizes = Counter(image.size for image in images)
    by_area = sorted((image.size for image in images), key=lambda size: (size[0] * size[1], size))
    return ImageFindings(
        smallest=by_area[0],
        median=by_area[len(by_area) // 2],
        largest=by_area[-1],
        sizes=tuple(sorted(sizes.items(), key=lambda item: (-item[1], item[0]))),
        modes=dict(Counter(image.mode for image in images)),
        channels=dict(Counter(image.channels for image in images)),
        dtypes=dict(Counter(image.dtype for image in images)),
    )


def label_findings(measured: Sequence[Measured]) -> LabelFindings | None:
    """What the label files have in common; None if none could be read."""
    labels = [entry.label for entry in measured if entry.label is not None]
    if not labels:
        return None
    coloured = any(isinstance(value, tuple) for label in labels for value in label.values)
    with_palette = any(label.palette is not None for label in labels)
    kind = "colours" if coloured else "numbers with a palette" if with_palette else "numbers"
    kind = "shapes of annotations" if all(label.mode == "shapes" for label in labels) else kind
    kind = "a mask for each class" if all(label.mode == "masks" for label in labels) else kind
    modes, dtypes = Counter(label.mode for label in labels), Counter(label.dtype for label in labels)
    return LabelFindings(kind, dict(modes), dict(dtypes))


def value_rows(description: DataDescription | None, measured: Mapping[str, Sequence[Measured]]) -> tuple[ValueRow, ...]:
    """Every value with its pixels and images in each split."""
    pixels = {split: count_values(entries) for split, entries in measured.items()}
    images = {split: count_images(entries) for split, entries in measured.items()}
    totals = {split: max(1, sum(counts.values())) for split, counts in pixels.items()}
    found = {value for counts in pixels.values() for value in counts}
    ordered = sorted(found, key=lambda value: (1, *value) if isinstance(value, tuple) else (0, value))
    return tuple(
        ValueRow(
            value=value,
            name=description.name_of(value) if description is not None else None,
            pixels={split: counts[value] for split, counts in pixels.items()},
            shares={split: counts[value] / totals[split] for split, counts in pixels.items()},
            images={split: counts[value] for split, counts in images.items()},
        )
        for value in ordered
    )


def split_findings(
    split: str,
    description: DataDescription | None,
    measured: Sequence[Measured],
    listing: Listing,
    values: Sequence[ValueRow],
) -> SplitFindings:
    """One split in figures."""
    valid = sum(row.shares.get(split, 0.0) for row in values if row.name not in (IGNORE, None))
    text = str(description.splits[split]) if description is not None else "not described"
    return SplitFindings(
        split, len(listing.pairs), len(measured), len(listing.unlabelled), len(listing.unused), valid, text
    )
