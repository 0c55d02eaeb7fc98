"""Judges what was measured: what would stop training, and what deserves a look. One small function for each fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import PurePosixPath

from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription, show_value
from intarsia.data.description.pairing import Listing
from intarsia.data.doctor.findings import Finding, ImageFindings, show_size
from intarsia.data.doctor.layouts import Alternative
from intarsia.data.doctor.measure import Measured, count_values, duplicates
from intarsia.data.doctor.proposal import TableProposal

_RARE = 0.005
_MANY_VALUES = 100
_PHOTO = 0.5

BySplit = Mapping[str, Sequence[Measured]]


def diagnose(
    description: DataDescription | None,
    measured: BySplit,
    listings: Mapping[str, Listing],
    images: ImageFindings | None,
    table: TableProposal | None = None,
    alternatives: Sequence[Alternative] = (),
) -> tuple[tuple[Finding, ...], tuple[Finding, ...]]:
    """(problems, warnings). Without a description, only what can be told of files. `table`: how it was concluded."""
    problems = [*_unreadable(measured), *_sizes_differ(measured)]
    warnings = [*_left_over(listings), *_leaks(measured), *_odd_images(description, measured, images)]
    if description is not None:
        problems += [*_empty(listings), *_outside(description, measured), *_one_class(description, measured)]
        problems += _photographs(measured, table)
        warnings += [*_no_valid_pixel(description, measured), *_absent(description, measured)]
        warnings += [*_blurred(measured, table), *_imbalance(description, measured), *_lossy_labels(measured)]
        warnings += [*_instances(description, measured, alternatives), *_no_validation(description)]
    return tuple(problems), tuple(warnings)


# --- Files --------------------------------------------------------------------------------------------------------


def _unreadable(measured: BySplit) -> Iterable[Finding]:
    errors = {name: text for entry in _all(measured) for name, text in entry.errors.items()}
    if errors:
        count = _many(len(errors), "file")
        reasons = "; ".join(list(errors.values())[:3])
        yield Finding(
            "unreadable",
            f"{count} cannot be read: {reasons}" + (" ..." if len(errors) > 3 else ""),
            "repair or remove them, or list the images under `exclude:` of their split in the description",
            tuple(errors),
        )


def _sizes_differ(measured: BySplit) -> Iterable[Finding]:
    wrong = [e for e in _all(measured) if e.image is not None and e.label is not None and e.image.size != e.label.size]
    if not wrong:
        return
    files = []
    turned = 0
    for entry in wrong:
        assert entry.image is not None
        assert entry.label is not None
        turned += entry.image.size == entry.label.size[::-1]
        files.append(f"{entry.pair.image}: {show_size(entry.image.size)}, its label {show_size(entry.label.size)}")
    hint = "; they are turned by 90 degrees: perhaps an EXIF orientation that the labels ignore" if turned else ""
    yield Finding(
        "size mismatch",
        f"{_many(len(wrong), 'label')} of another size than the image{hint}",
        "resize the labels with nearest neighbour, or pair the right files",
        tuple(files),
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
            yield Finding(kind, f"{_many(len(files), what)} {text}", f"{advice} them", files)


def _leaks(measured: BySplit) -> Iterable[Finding]:
    """The same picture in training and validation makes scores too good; twice in one split it only counts double."""
    home = {entry.pair.image: split for split, entries in measured.items() for entry in entries}
    groups = list(duplicates(_all(measured)))
    across = [group for group in groups if len({home[entry.pair.image] for entry in group}) > 1]
    within = [group for group in groups if group not in across]
    if across:
        yield Finding(
            "leak",
            f"{_many(len(across), 'picture')} in more than one split: scores would be too good",
            "remove them from one of the splits",
            tuple(" = ".join(entry.pair.image for entry in group) for group in across),
        )
    if within:
        yield Finding(
            "duplicates",
            f"{_many(len(within), 'picture')} more than once in a split",
            "harmless if meant; else remove the copies",
            tuple(" = ".join(entry.pair.image for entry in group) for group in within),
        )


def _odd_images(
    description: DataDescription | None, measured: BySplit, images: ImageFindings | None
) -> Iterable[Finding]:
    found = [entry for entry in _all(measured) if entry.image is not None]
    alpha = [entry.pair.image for entry in found if entry.image is not None and entry.image.alpha]
    if alpha:
        yield Finding(
            "alpha",
            f"{_many(len(alpha), 'image')} with an alpha channel that is not opaque everywhere; it is dropped",
            "if it means something, write `image: {bands: raw, channels: 4}` in the description",
            tuple(alpha),
        )
    orders = {entry.image.names for entry in found if entry.image is not None and entry.image.bands == "raw"}
    if len(orders) > 1 and not (description is not None and any(description.names)):
        yield Finding(
            "bands",
            "files that name their bands differently: "
            + "; ".join(", ".join(name or "unnamed" for name in order) for order in sorted(orders)[:4]),
            "bands are taken in the order of each file; where names can be trusted, write `image: {names: [...]}`",
        )
    kinds = {(entry.image.bands, entry.image.channels) for entry in found if entry.image is not None}
    if len(kinds) > 1 and images is not None:
        yield Finding(
            "mixed images",
            f"images of several kinds: {', '.join(f'{count} {mode}' for mode, count in images.modes.items())}; "
            "all are read as 8-bit RGB",
            "convert them to one kind if bands or bits beyond that matter",
        )


# --- Values -------------------------------------------------------------------------------------------------------


def _outside(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    """Values that the table does not list, with the files that hold them."""
    if description.outside == "ignore":
        return
    files: dict[str, str] = {}
    counts = count_values(_all(measured))
    unknown = [value for value in counts if description.name_of(value) is None]
    for entry in _all(measured):
        here = [value for value in (entry.label.values if entry.label else ()) if value in set(unknown)]
        if here and entry.pair.label is not None:
            files[entry.pair.label] = ", ".join(show_value(value) for value in here[:5])
    if files:
        shown = ", ".join(f"{show_value(value)} ({counts[value]} pixels)" for value in sorted(unknown, key=str)[:8])
        more = f" and {len(unknown) - 8} more" if len(unknown) > 8 else ""
        yield Finding(
            "values outside the table",
            f"{_many(len(files), 'label file')} with values that `labels` does not list: {shown}{more}",
            "add the values to `labels` (a class or ignore), or write `outside: ignore`",
            tuple(f"{name}: {values}" for name, values in files.items()),
        )


def _one_class(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    train = [entry for entry in measured.get("train", ()) if entry.label is not None]
    names = {description.name_of(value) for value in count_values(train)} - {IGNORE, None}
    if train and len(names) < 2:
        held = f"nothing but {next(iter(names))!r}" if names else "no labelled pixel"
        yield Finding(
            "nothing to learn",
            f"the labels of the training images hold {held}",
            "check that these are the label files: an all-black mask often is a failed export",
        )


def _photographs(measured: BySplit, table: TableProposal | None) -> Iterable[Finding]:
    """Label files with so many values that they must be pictures."""
    files = [e.pair.label for e in _all(measured) if e.label is not None and e.label.many and e.pair.label is not None]
    if table is not None and files:
        counts = count_values(_all(measured))
        main = sum(counts[value] for value in table.main)
        pixels = sum(e.label.size[0] * e.label.size[1] for e in _all(measured) if e.label is not None)
        if main < _PHOTO * pixels:
            yield Finding(
                "labels look like photographs",
                f"{_many(len(files), 'label file')} with hundreds of colours, none of which covers much",
                "check which of the two folders holds the labels; save labels as PNG without smoothing",
                tuple(files),
            )


def _no_valid_pixel(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    files = [
        entry.pair.label
        for entry in _all(measured)
        if entry.label is not None
        and entry.pair.label is not None
        and all(description.name_of(value) in (IGNORE, None) for value in entry.label.values)
    ]
    if files:
        yield Finding(
            "no valid pixel",
            f"{_many(len(files), 'label file')} ignored everywhere; nothing is learned from them",
            "label them or list the images under `exclude:`",
            tuple(files),
        )


def _absent(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    """Classes that a split lacks: not learned, or without a score."""
    wanted = list(description.classes)
    wanted = [BACKGROUND, *wanted] if len(wanted) == 1 else wanted
    present = {
        split: {description.name_of(value) for value in count_values(entries)} for split, entries in measured.items()
    }
    nowhere = [name for name in wanted if not any(name in names for names in present.values())]
    if nowhere:
        yield Finding(
            "class absent", f"no pixel anywhere of {_some(nowhere)}", "remove the class, or check the label table"
        )
    meanings = {"train": "it cannot be learned", "val": "it will have no score", "test": "it will have no score"}
    for split, names in present.items():
        lacking = [name for name in wanted if name not in names and name not in nowhere]
        if lacking and measured[split]:
            yield Finding(
                f"class absent from {split}",
                f"no pixel of {_some(lacking)} in {split}: {meanings.get(split, '')}",
                "move images with it to this split",
            )


def _blurred(measured: BySplit, table: TableProposal | None) -> Iterable[Finding]:
    if table is None or not table.blurred:
        return
    main = set(table.main)
    files = [
        entry.pair.label
        for entry in _all(measured)
        if entry.label is not None and entry.pair.label is not None and set(entry.label.values) - main
    ]
    yield Finding(
        "anti-aliased labels",
        f"{_many(len(files), 'label file')} with in-between values, from smoothing, interpolation or JPEG",
        "the proposed table decides each; better write the labels again as PNG with nearest neighbour",
        tuple(files),
    )


def _lossy_labels(measured: BySplit) -> Iterable[Finding]:
    lossy = (".jpg", ".jpeg")
    labels = [entry.pair.label for entry in _all(measured) if entry.pair.label is not None]
    files = [name for name in labels if PurePosixPath(name).suffix.lower() in lossy]
    if files:
        text = f"{_many(len(files), 'label file')} in JPEG format, which changes values"
        yield Finding("JPEG labels", text, "save labels as PNG", tuple(files))


def _imbalance(description: DataDescription, measured: BySplit) -> Iterable[Finding]:
    counts = count_values(measured.get("train", ()))
    by_class: dict[str, int] = {}
    for value, count in counts.items():
        name = description.name_of(value)
        if name is not None and name != IGNORE:
            by_class[name] = by_class.get(name, 0) + count
    total = sum(by_class.values())
    rare = sorted((name for name in by_class if by_class[name] < _RARE * total), key=lambda name: by_class[name])
    if rare:
        shown = [f"{name} {by_class[name] / total:.3%}" for name in rare]
        yield Finding(
            "rare classes",
            f"{_many(len(rare), 'class')} with less than {_RARE:.1%} of the training pixels: {_some(shown)}",
            "expect low scores for them; class weights in the loss, or crops chosen around them, help",
        )


def _instances(description: DataDescription, measured: BySplit, others: Sequence[Alternative]) -> Iterable[Finding]:
    """Numbers that count up from 1 in every file tell objects apart, not classes."""
    entries = [entry for entry in _all(measured) if entry.label is not None]
    sets = [sorted(value for value in entry.label.values if isinstance(value, int)) for entry in entries if entry.label]
    counting = [values for values in sets if len(values) > 2 and all(b - a == 1 for a, b in pairwise(values))]
    lengths = {len(values) for values in counting}
    if len(description.classes) > _MANY_VALUES and 2 * len(counting) > len(sets) and len(lengths) > len(counting) // 4:
        masks = [entry.labels for entry in others if entry.role == "label"]
        yield Finding(
            "instance numbers",
            "the values count up from 0 in each file: they look like numbers of objects, not classes",
            f"use {masks[0]} instead" if masks else 'write `0: background` and "1-65535: object" in `labels`',
        )


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


def _many(count: int, noun: str) -> str:
    """A number with its noun: "1 label file", "3 classes"."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{plural if count != 1 else ''}"


def _all(measured: BySplit) -> list[Measured]:
    return [entry for entries in measured.values() for entry in entries]


def _some(names: Sequence[str], limit: int = 8) -> str:
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")
