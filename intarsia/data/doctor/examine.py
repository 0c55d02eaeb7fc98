"""The data doctor: reads a whole data set, says what is in it and what is wrong with it, and proposes a description.

``inspect(DIR)`` finds the layout and the label table itself; ``inspect(FILE)`` checks a data description.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.bands import GREY, Bands
from intarsia.data.description.model import (
    IGNORE,
    DataDescription,
    FolderSplit,
    PairSplit,
    ShareSplit,
    Split,
    list_rule,
)
from intarsia.data.description.pairing import Listing, Pair, hash_share
from intarsia.data.doctor.diagnosis import diagnose
from intarsia.data.doctor.findings import Finding, Findings, ImageFindings, LabelFindings, SplitFindings, ValueRow
from intarsia.data.doctor.layouts import Layout, find_layout
from intarsia.data.doctor.legends import find_legend
from intarsia.data.doctor.measure import (
    ImageFacts,
    Measured,
    combine,
    count_images,
    count_values,
    mean_and_std,
    measure_all,
    unify,
)
from intarsia.data.doctor.proposal import TableProposal, choose_share, propose_table
from intarsia.data.image_reader import ImageReader, range_of
from intarsia.data.labels import Colour

Progress = Callable[[int, int], None]
"""Called with (done, total) after each pair."""


def inspect(
    path: str | Path,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    labels: str | None = None,
) -> Findings:
    """Look at all images and labels of a folder, or of what a description file describes.

    limit: at most so many pairs of each split, the same ones every time. workers: threads, one a processor by default.
    labels: of a folder, the label folder to take where there are several.

    Raises:
        ValueError: the path does not exist, nothing in the folder pairs, or the description is wrong.
    """
    path = Path(os.path.expanduser(path))
    workers = workers if workers is not None else min(8, os.cpu_count() or 1)
    if path.is_dir():
        layout = find_layout(path, labels=labels)
        return _of_folder(path, layout, _Reader(path, workers, limit, progress))
    if not path.exists():
        raise ValueError(f"there is no folder and no data description {path}")
    if labels is not None:
        raise ValueError(
            f"{path} is a data description; change its `labels:` folders instead of giving labels={labels!r}"
        )
    description = DataDescription.read(path)
    return _of_description(path, description, _Reader(description.root, workers, limit, progress))


@dataclass(slots=True)
class _Reader:
    """How to measure: where, with how many threads, how much of it."""

    root: Path
    workers: int
    limit: int | None
    progress: Progress | None

    def measure(self, listings: Mapping[str, Listing], reader: ImageReader | None) -> dict[str, list[Measured]]:
        chosen = {split: self._some(listing.pairs) for split, listing in listings.items()}
        everything = [pair for pairs in chosen.values() for pair in pairs]
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if self.progress is not None:
                self.progress(done, len(everything))

        measured = measure_all(self.root, everything, workers=self.workers, done=count, reader=reader)
        unify(measured)
        by_split, start = {}, 0
        for split, pairs in chosen.items():
            by_split[split] = measured[start : start + len(pairs)]
            start += len(pairs)
        return by_split

    def _some(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """All pairs, or `limit` of them, chosen by a hash of their names."""
        if self.limit is None or len(pairs) <= self.limit:
            return pairs
        chosen = set(sorted(pairs, key=lambda pair: hash_share(pair.name, "inspect"))[: self.limit])
        return [pair for pair in pairs if pair in chosen]


# --- A folder -----------------------------------------------------------------------------------------------------


def _of_folder(path: Path, layout: Layout, reader: _Reader) -> Findings:
    splits, listings = _rules(path, layout)
    measured = reader.measure(listings, None)
    everything = [entry for entries in measured.values() for entry in entries]
    facts = _image_findings(everything)
    words = f"{layout.pairs} pairs, {layout.splits['train'].source}"
    notes = list(layout.notes)
    try:
        table = _table(path, layout, everything, facts)
    except ValueError as error:
        problems = (Finding("no labels", str(error)), *diagnose(None, measured, listings, facts)[0])
        return _findings(path, words, None, measured, listings, layout, problems, (), notes)
    if "val" not in splits and len(measured["train"]) > 1:
        splits = {**splits, "val": _share(measured["train"], table)}
        notes.append("there is no validation split: about a fifth of the images is taken out by a hash of their names")
    if sum(map(len, measured.values())) < sum(len(listing.pairs) for listing in listings.values()):
        notes.append("not all files were looked at: the others may hold values that `labels` does not list")
    notes += table.notes
    bands, channels = _bands(everything)
    description = DataDescription(
        root=Path(os.path.abspath(path)),
        classes=table.classes,
        splits={split: splits[split] for split in ("train", "val", "test") if split in splits},
        labels=table.labels,
        palette=table.palette,
        ignore_index=_ignore_index(table),
        outside=table.outside,
        bands=bands,
        channels=channels,
        notes=tuple(notes),
    )
    listings = _divided(description, listings)
    measured = _by_listing(listings, measured)
    description = _with_statistics(description, measured)
    problems, warnings = diagnose(description, measured, listings, facts, table, layout.alternatives)
    return _findings(path, words, description, measured, listings, layout, problems, warnings, notes)


def _rules(path: Path, layout: Layout) -> tuple[dict[str, Split], dict[str, Listing]]:
    """The splits as they will be described, and their files."""
    splits: dict[str, Split] = {}
    listings: dict[str, Listing] = {}
    for split, files in layout.splits.items():
        rule = FolderSplit(files.source, files.names)
        listings[split] = list_rule(path, rule)
        incomplete = listings[split].unlabelled or listings[split].lost
        splits[split] = replace(rule, missing="skip") if incomplete else rule
    return splits, _without_others(listings)


def _table(path: Path, layout: Layout, measured: Sequence[Measured], facts: ImageFindings | None) -> TableProposal:
    """The proposed table, with names from a legend if there is one.

    Raises:
        ValueError: no label could be read.
    """
    palette = _common_palette(measured)
    size = facts.sizes[0][0] if facts is not None and len(facts.sizes) == 1 else None
    pairs = [entry.pair for entry in measured]
    legend = find_legend(path, set(count_values(measured)), pairs, size=size, palette=palette)
    return propose_table(measured, legend, layout.splits["train"].source, palette)


def _ignore_index(table: TableProposal) -> int:
    return IGNORE_INDEX if len(table.classes) < IGNORE_INDEX else 65535


def _without_others(listings: Mapping[str, Listing]) -> dict[str, Listing]:
    """Files that one split leaves over but another uses are nobody's concern."""
    used = {name for listing in listings.values() for pair in listing.pairs for name in (pair.image, pair.label)}
    return {
        split: replace(
            listing,
            unlabelled=tuple(name for name in listing.unlabelled if name not in used),
            unused=tuple(name for name in listing.unused if name not in used),
        )
        for split, listing in listings.items()
    }


def _share(measured: Sequence[Measured], table: TableProposal) -> ShareSplit:
    indices = {name: index for index, name in enumerate(table.classes)}
    ignore_index = _ignore_index(table)
    classes_of = {value: indices.get(name, ignore_index) for value, name in table.labels.items()}
    return choose_share(measured, classes_of, ignore_index)


def _divided(description: DataDescription, listings: Mapping[str, Listing]) -> dict[str, Listing]:
    """The listings with shares taken out, in the description's order."""
    fresh = {split: description.listing(split) for split in description.splits}
    return {
        split: replace(
            listing,
            unlabelled=listings[split].unlabelled if split in listings else (),
            unused=listings[split].unused if split in listings else (),
        )
        for split, listing in fresh.items()
    }


def _by_listing(listings: Mapping[str, Listing], measured: Mapping[str, list[Measured]]) -> dict[str, list[Measured]]:
    known = {entry.pair: entry for entries in measured.values() for entry in entries}
    return {split: [known[pair] for pair in listing.pairs if pair in known] for split, listing in listings.items()}


def _bands(measured: Sequence[Measured]) -> tuple[Bands, int]:
    """As colours, unless no image is an ordinary 8-bit picture and all have the same number of channels."""
    kinds = {(entry.image.bands, entry.image.channels) for entry in measured if entry.image is not None}
    if len(kinds) == 1:
        bands, channels = next(iter(kinds))
        return bands, channels
    return "rgb", 3


def _common_palette(measured: Sequence[Measured]) -> tuple[Colour, ...] | None:
    """The palette of the label files if they share one."""
    found = {entry.label.palette for entry in measured if entry.label is not None}
    return next(iter(found)) if len(found) == 1 else None


# --- A description ------------------------------------------------------------------------------------------------


def _of_description(path: Path, description: DataDescription, reader: _Reader) -> Findings:
    listings = {split: description.listing(split) for split in description.splits}
    measured = reader.measure(listings, description.reader())
    everything = [entry for entries in measured.values() for entry in entries]
    completed = _with_statistics(description, measured)
    if description.values is not None:
        completed = replace(completed, values=description.values)
    if description.mean is not None and description.std is not None:
        completed = replace(completed, mean=description.mean, std=description.std)
    problems, warnings = diagnose(completed, measured, listings, _image_findings(everything))
    return _findings(path, None, completed, measured, listings, None, problems, warnings, [])


# --- Both ---------------------------------------------------------------------------------------------------------


def _with_statistics(description: DataDescription, measured: Mapping[str, Sequence[Measured]]) -> DataDescription:
    """Mean and standard deviation over the pixels of the training images that are not ignored."""
    wanted = (description.bands, description.channels)
    entries = [
        entry
        for entry in measured.get("train") or next(iter(measured.values()), [])
        if entry.image is not None and (entry.image.bands, entry.image.channels) == wanted
    ]
    description = _with_values(description, [entry.image for entry in entries if entry.image is not None])
    moments = [
        sums
        for entry in entries
        for value, sums in entry.moments.items()
        if value is None or description.name_of(value) != IGNORE
    ]
    found = mean_and_std(combine(moments))
    if found is None:
        return description
    mean, std = ([float(f"{number:.6g}") for number in numbers] for numbers in found)
    return replace(description, mean=tuple(mean), std=tuple(number or 1.0 for number in std))


def _with_values(description: DataDescription, images: Sequence[ImageFacts]) -> DataDescription:
    """Type and range of what the training images store, and of raw ones the names of their bands, where all agree."""
    types, names = {image.dtype for image in images}, Counter(image.names for image in images)
    if description.bands == "raw" and len({frozenset(found) for found in names}) == 1 and not description.names:
        usual = names.most_common(1)[0][0]
        alike = len(names) == 1 or all(usual)  # in another order they are found by name, if each has one
        if alike and any(usual) and usual != (GREY,) and len(usual) == description.channels:
            description = replace(description, names=usual)
    if len(types) != 1:
        return description
    return replace(description, values=range_of(next(iter(types)), [(image.low, image.high) for image in images]))


def _image_findings(measured: Sequence[Measured]) -> ImageFindings | None:
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


def _label_findings(measured: Sequence[Measured]) -> LabelFindings | None:
    labels = [entry.label for entry in measured if entry.label is not None]
    if not labels:
        return None
    coloured = any(isinstance(value, tuple) for label in labels for value in label.values)
    with_palette = any(label.palette is not None for label in labels)
    kind = "colours" if coloured else "numbers with a palette" if with_palette else "numbers"
    modes, dtypes = Counter(label.mode for label in labels), Counter(label.dtype for label in labels)
    return LabelFindings(kind, dict(modes), dict(dtypes))


def _value_rows(
    description: DataDescription | None, measured: Mapping[str, Sequence[Measured]]
) -> tuple[ValueRow, ...]:
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


def _findings(
    path: Path,
    words: str | None,
    description: DataDescription | None,
    measured: Mapping[str, Sequence[Measured]],
    listings: Mapping[str, Listing],
    layout: Layout | None,
    problems: Sequence[Finding],
    warnings: Sequence[Finding],
    notes: Sequence[str],
) -> Findings:
    everything = [entry for entries in measured.values() for entry in entries]
    values = _value_rows(description, measured)
    return Findings(
        path=path,
        root=description.root if description is not None else path,
        layout=words,
        splits=tuple(
            _split_findings(split, description, measured[split], listings[split], values) for split in measured
        ),
        images=_image_findings(everything),
        labels=_label_findings(everything),
        values=values,
        problems=tuple(problems),
        warnings=tuple(warnings),
        notes=tuple(notes),
        alternatives=layout.alternatives if layout is not None else (),
        skipped=layout.skipped if layout is not None else {},
        mean=description.mean if description is not None else None,
        std=description.std if description is not None else None,
        description=description,
    )


def _split_findings(
    split: str,
    description: DataDescription | None,
    measured: Sequence[Measured],
    listing: Listing,
    values: Sequence[ValueRow],
) -> SplitFindings:
    valid = sum(row.shares.get(split, 0.0) for row in values if row.name not in (IGNORE, None))
    rule = description.splits[split] if description is not None else None
    if isinstance(rule, ShareSplit):
        text = f"a share of {rule.fraction:.0%} of {rule.of}, by a hash of the names"
    elif isinstance(rule, FolderSplit):
        text = f"{rule.source}, listed in {rule.names}" if rule.names else str(rule.source)
    else:
        text = "named one by one" if isinstance(rule, PairSplit) else "not described"
    return SplitFindings(
        split, len(listing.pairs), len(measured), len(listing.unlabelled), len(listing.unused), valid, text
    )
