"""Faults of label values: outside the table, absent, blurred, objects instead of classes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription, show_value
from intarsia.data.doctor.blurred import LOSSY
from intarsia.data.doctor.findings import Alternative, Finding, many, some
from intarsia.data.doctor.measure import BySplit, all_of, count_values
from intarsia.data.doctor.table import TableProposal

_RARE = 0.005
_MANY_VALUES = 100
_OBJECTS = 8
_PHOTO = _MOSTLY = 0.5


def value_faults(
    description: DataDescription,
    measured: BySplit,
    table: TableProposal | None,
    alternatives: Sequence[Alternative],
) -> tuple[list[Finding], list[Finding]]:
    """(problems, warnings)."""
    problems = [*_overlap(measured), *_outside(description, measured), *_one_class(description, measured)]
    problems += _photographs(measured, table)
    warnings = [
        *_no_valid_pixel(description, measured),
        *_mostly_ignored(description, measured),
        *_absent(description, measured),
        *_transparent(measured),
    ]
    warnings += [*_without_shapes(measured), *_without_area(measured)]
    warnings += [*_blurred(measured, table), *_imbalance(description, measured), *_lossy_labels(measured)]
    warnings += _instances(description, measured, alternatives)
    return problems, warnings


def _overlap(measured: BySplit) -> Iterable[Finding]:
    entries = [entry for entry in all_of(measured) if entry.label is not None and entry.pair.overlap == "error"]
    found = [entry for entry in entries if entry.label is not None and entry.label.overlap]
    if found:
        yield Finding(
            "overlapping masks",
            f"the masks of {many(len(found), 'image')} overlap, and a pixel has one class",
            "correct the masks; or write `overlap: last` in the splits of the description: then the later mask counts; "
            "or, if a pixel may have several classes, `multi_label: true`",
            tuple(f"{e.pair.label}: {e.label.overlap} pixels in several masks" for e in found if e.label is not None),
        )


def _transparent(measured: BySplit) -> Iterable[Finding]:
    found = [entry for entry in all_of(measured) if entry.label is not None and entry.label.transparent]
    if found:
        yield Finding(
            "transparent labels",
            f"{many(len(found), 'label file')} with transparent pixels that hold a value which others have, too: "
            "transparency is not looked at",
            "if transparent means another class or nothing, give these pixels a value of their own",
            tuple(entry.pair.label or "" for entry in found),
        )


def _without_shapes(measured: BySplit) -> Iterable[Finding]:
    files = tuple(e.pair.image for e in all_of(measured) if e.label is not None and e.label.shapes == 0)
    if files:
        yield Finding(
            "images without shapes",
            f"{many(len(files), 'image')} without any shape: every pixel is what `labels` says of 0",
            "label them, or list them under `exclude:` of their split in the description, if nobody has looked at them",
            files,
        )


def _without_area(measured: BySplit) -> Iterable[Finding]:
    """Points, lines and boxes say nothing of pixels."""
    found = tuple(
        f"{entry.pair.label}: {text}"
        for entry in all_of(measured)
        if entry.label is not None
        for text in entry.label.passed_over
    )
    if found:
        text = f"{many(len(found), 'annotation')} without an area: passed over"
        yield Finding("annotations without area", text, "draw polygons or masks, if they belong to a class", found)


def _outside(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    """Values that the table does not list, with the files that hold them."""
    if description.outside == "ignore":
        return
    files: dict[str, str] = {}
    counts = count_values(all_of(measured))
    unknown = [value for value in counts if description.name_of(value) is None]
    for entry in all_of(measured):
        here = [value for value in (entry.label.values if entry.label else ()) if value in set(unknown)]
        if here and entry.pair.label is not None:
            files[entry.pair.label] = ", ".join(show_value(value) for value in here[:5])
    if files:
        shown = ", ".join(f"{show_value(value)} ({counts[value]} pixels)" for value in sorted(unknown, key=str)[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        yield Finding(
            "values outside the table",
            f"{many(len(files), 'label file')} with values that `labels` does not list: {shown}{more}",
            "add the values to `labels` (a class or ignore), or write `outside: ignore`",
            tuple(f"{name}: {values}" for name, values in files.items()),
        )


def _one_class(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    train = [entry for entry in measured.get("train", ()) if entry.label is not None]
    names = {name for value in count_values(train) for name in description.names_of(value)} - {IGNORE}
    if train and len(names) < 2:
        held = f"nothing but {next(iter(names))!r}" if names else "no labelled pixel"
        yield Finding(
            "nothing to learn",
            f"the labels of the training images hold {held}",
            "check that these are the label files: an all-black mask often is a failed export",
        )


def _photographs(measured: BySplit, table: TableProposal | None) -> Iterable[Finding]:
    """Label files with so many values that they must be pictures."""
    entries = [entry for entry in all_of(measured) if entry.label is not None and entry.label.many]
    files = [entry.pair.label for entry in entries if entry.pair.label is not None]
    if table is not None and files:
        counts = count_values(all_of(measured))
        main = sum(counts[value] for value in table.main)
        pixels = sum(e.label.size[0] * e.label.size[1] for e in all_of(measured) if e.label is not None)
        if main < _PHOTO * pixels:
            yield Finding(
                "labels look like photographs",
                f"{many(len(files), 'label file')} with hundreds of colours, none of which covers much",
                "check which of the two folders holds the labels; save labels as PNG without smoothing",
                tuple(files),
            )


def _no_valid_pixel(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    files = [
        entry.pair.label
        for entry in all_of(measured)
        if entry.label is not None
        and entry.pair.label is not None
        and all(description.name_of(value) in (IGNORE, None) for value in entry.label.values)
    ]
    if files:
        yield Finding(
            "no valid pixel",
            f"{many(len(files), 'label file')} ignored everywhere; nothing is learned from them",
            "label them or list the images under `exclude:`",
            tuple(files),
        )


def _mostly_ignored(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    """Lists often call the background unlabeled; windows of scenes have margins that are ignored on purpose."""
    train = [entry for entry in measured.get("train", ()) if entry.pair.window is None]
    counts = count_values(train)
    ignored = {value: count for value, count in counts.items() if description.name_of(value) == IGNORE}
    share = sum(ignored.values()) / max(1, counts.total())
    if share > _MOSTLY:
        value = show_value(max(ignored, key=lambda value: ignored[value]))
        yield Finding(
            "mostly ignored",
            f"{share:.0%} of the training pixels are ignored, most of them {value}: nothing is learned there, and a "
            "network may say anything",
            f"if that is the background, write `{value}: background` in `labels` and add background to `classes`",
        )


def _absent(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    """Classes that a split lacks: not learned, or without a score."""
    wanted = list(description.classes)
    wanted = [BACKGROUND, *wanted] if len(wanted) == 1 else wanted
    present = {
        split: {name for value in count_values(entries) for name in description.names_of(value)}
        for split, entries in measured.items()
    }
    nowhere = [name for name in wanted if not any(name in names for names in present.values())]
    if nowhere:
        yield Finding(
            "class absent", f"no pixel anywhere of {some(nowhere)}", "remove the class, or check the label table"
        )
    meanings = {"train": "cannot be learned", "val": "will have no score", "test": "will have no score"}
    for split, names in present.items():
        lacking = [name for name in wanted if name not in names and name not in nowhere]
        if lacking and measured[split]:
            it, them = ("it", "it") if len(lacking) == 1 else ("they", "them")
            yield Finding(
                f"class absent from {split}",
                f"no pixel of {some(lacking)} in {split}: {it} {meanings[split]}",
                f"move images with {them} to this split",
            )


def _blurred(measured: BySplit, table: TableProposal | None) -> Iterable[Finding]:
    if table is None or not table.blurred:
        return
    main = set(table.main)
    files = [
        entry.pair.label
        for entry in all_of(measured)
        if entry.label is not None and entry.pair.label is not None and set(entry.label.values) - main
    ]
    if not files:
        return
    yield Finding(
        "anti-aliased labels",
        f"{many(len(files), 'label file')} with in-between values, from smoothing, interpolation or JPEG",
        "the proposed table decides each; better write the labels again as PNG with nearest neighbour",
        tuple(files),
    )


def _lossy_labels(measured: BySplit) -> Iterable[Finding]:
    labels = [entry.pair.label for entry in all_of(measured) if entry.pair.label is not None]
    files = [name for name in labels if PurePosixPath(name).suffix.lower() in LOSSY]
    if files:
        text = f"{many(len(files), 'label file')} in JPEG format, which changes values"
        yield Finding("JPEG labels", text, "save labels as PNG", tuple(files))


def _imbalance(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    counts = count_values(measured.get("train", ()))
    by_class: dict[str, int] = {}
    for value, count in counts.items():
        for name in set(description.names_of(value)) - {IGNORE}:
            by_class[name] = by_class.get(name, 0) + count
    total = sum(count for value, count in counts.items() if description.name_of(value) not in (IGNORE, None))
    rare = sorted((name for name in by_class if by_class[name] < _RARE * total), key=lambda name: by_class[name])
    if rare:
        shown = [f"{name} {by_class[name] / total:.3%}" for name in rare]
        yield Finding(
            "rare classes",
            f"{many(len(rare), 'class')} with less than {_RARE:.1%} of the training pixels: {some(shown)}",
            "expect low scores for them; class weights in the loss, or crops chosen around them, help",
        )


def _instances(description: DataDescription, measured: BySplit, others: Sequence[Alternative]) -> Iterable[Finding]:
    """Numbers that count up from 1 in every file tell objects apart, not classes."""
    entries = [] if description.multi_label else [entry for entry in all_of(measured) if entry.label is not None]
    sets = [sorted(value for value in entry.label.values if isinstance(value, int)) for entry in entries if entry.label]
    counting = [values for values in sets if len(values) > 2 and all(b - a == 1 for a, b in pairwise(values))]
    lengths = {len(values) for values in counting}
    are_many = len(description.classes) > _MANY_VALUES or (max(lengths, default=0) > _OBJECTS and len(lengths) > 3)
    if are_many and 2 * len(counting) > len(sets) and len(lengths) > len(counting) // 4:
        masks = [entry.labels for entry in others if entry.role == "label"]
        yield Finding(
            "instance numbers",
            "the values count up from 0 in each file: they look like numbers of objects, not classes",
            f"use {masks[0]} instead"
            if masks
            else 'write `class_of: "value > 0"`, and `0: background` and `1: object` in `labels`',
        )
