"""The data doctor: reads a whole data set, says what is in it and what is wrong with it, and proposes a description.

``examine(DIR)`` finds the layout and the label table itself; ``examine(FILE)`` checks a data description.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from intarsia.contracts import IGNORE_INDEX
from intarsia.data.annotations.drawn import ClassValues
from intarsia.data.bands import GREY
from intarsia.data.description.contained import PackedSplit
from intarsia.data.description.inputs import stacking
from intarsia.data.description.mixed import MixedDescription, grouped
from intarsia.data.description.model import IGNORE, DataDescription
from intarsia.data.description.pairing import Listing, Pair, hash_share
from intarsia.data.description.read import read_description
from intarsia.data.description.splits import Split, skipping
from intarsia.data.doctor.annotated import format_of
from intarsia.data.doctor.benchmarks import known_numbering
from intarsia.data.doctor.channels import with_channels, without_channels
from intarsia.data.doctor.common import common_bands, common_palette
from intarsia.data.doctor.diagnosis import diagnose
from intarsia.data.doctor.encodings import look_up_palettes, read_encoding
from intarsia.data.doctor.findings import Finding, Findings
from intarsia.data.doctor.foreign import recognise
from intarsia.data.doctor.input_values import with_values
from intarsia.data.doctor.intensities import scaled
from intarsia.data.doctor.layouts import Layout
from intarsia.data.doctor.legends import find_legend
from intarsia.data.doctor.measure import ImageFacts, Measured, combine, count_values, mean_and_std, measure_all
from intarsia.data.doctor.mixed import examine_mixed
from intarsia.data.doctor.objects import find_rule, numbers_of_objects, without_objects
from intarsia.data.doctor.proposal import propose_table, table_of_masks, table_of_shapes
from intarsia.data.doctor.regions import with_regions
from intarsia.data.doctor.scene_layout import find_layout_or_scenes, ground_overlaps
from intarsia.data.doctor.several_labels import with_label_sets, without_overlaps
from intarsia.data.doctor.summary import image_findings, label_findings, split_findings, value_rows
from intarsia.data.doctor.table import TableProposal
from intarsia.data.doctor.torn import torn_apart
from intarsia.data.doctor.validation import choose_share, note_of, notes_of_shares
from intarsia.data.image_reader import ImageReader, range_of
from intarsia.data.instance_ids import ClassOf
from intarsia.io.cores import available_cores
from intarsia.io.stores import refuse_data

MOST_WINDOWS = MOST_PACKED = 2000
"""Windows of scenes that are looked at in each split, and images of packed data that were measured before."""

Progress = Callable[[int, int], None]
"""Called with (done, total) after each pair."""


def examine(
    path: str | Path,
    *,
    limit: int | None = None,
    progress: Progress | None = None,
    workers: int | None = None,
    labels: str | None = None,
    multi_label: bool | None = None,
    groups: str | None = None,
) -> Findings:
    """Look at all images and labels of a folder, or of what a description file describes.

    limit: at most so many pairs of each split, the same ones every time. workers: threads, one a processor by default.
    labels: of a folder, the label folder to take where there are several. multi_label: of a folder, whether a pixel may
    have several classes; None lets the data decide. groups: what stays together where images are divided, instead of
    what a description says, see `divide.group_names`.

    Raises:
        ValueError: the path does not exist, nothing in the folder pairs, or the description is wrong.
    """
    path = Path(os.path.expanduser(path))
    workers = workers if workers is not None else min(8, available_cores())
    if path.is_dir():
        layout = find_layout_or_scenes(path, labels=labels)
        return _of_folder(path, layout, _Reader(path, workers, limit, progress, multi_label, groups))
    if not path.exists():
        refuse_data(path)
        raise ValueError(f"there is no folder and no data description {path}")
    if labels is not None:
        raise ValueError(
            f"{path} is a data description; change its `labels:` folders instead of giving labels={labels!r}"
        )
    if multi_label is not None:
        raise ValueError(f"{path} is a data description; whether a pixel may have several classes is its `multi_label`")
    known = format_of(path)
    if known is not None:
        raise ValueError(
            f"{path} is no data description: it holds {known.title}, which are read together with their images: give "
            "the folder of both"
        )
    foreign = recognise(path) if path.suffix.lower() in (".json", ".yaml", ".yml", ".txt", ".xml", ".csv") else None
    if foreign is not None:
        advice = f"{foreign[1]}; then give the folder" if foreign[1] else "Give the folder of it and the images instead"
        raise ValueError(f"{path} is no data description: it holds {foreign[0]}. {advice}")
    description = read_description(path)
    if groups is not None:
        description = grouped(description, groups)

    def look(one: DataDescription) -> Findings:
        return _of_description(path, one, _Reader(one.root, workers, limit, progress))

    return examine_mixed(path, description, look) if isinstance(description, MixedDescription) else look(description)


@dataclass(slots=True)
class _Reader:
    """How to measure: where, with how many threads, how much of it; and what of a folder is said already."""

    root: Path
    workers: int
    limit: int | None
    progress: Progress | None
    multi_label: bool | None = None
    groups: str | None = None

    def measure(
        self,
        listings: Mapping[str, Listing],
        reader: ImageReader | None,
        class_values: ClassValues,
        class_of: ClassOf | None = None,
    ) -> dict[str, list[Measured]]:
        chosen = {split: self._some(listing.pairs) for split, listing in listings.items()}
        everything = [pair for pairs in chosen.values() for pair in pairs]
        done = 0

        def count() -> None:
            nonlocal done
            done += 1
            if self.progress is not None:
                self.progress(done, len(everything))

        measured = measure_all(
            self.root,
            everything,
            workers=self.workers,
            done=count,
            reader=reader,
            class_values=class_values,
            class_of=class_of,
        )
        by_split, start = {}, 0
        for split, pairs in chosen.items():
            by_split[split] = measured[start : start + len(pairs)]
            start += len(pairs)
        return by_split

    def _some(self, pairs: Sequence[Pair]) -> Sequence[Pair]:
        """All pairs, or `limit` of them, chosen by a hash of their names; of windows of scenes never more than some."""
        limit = self.limit
        if pairs and pairs[0].window is not None:
            limit = MOST_WINDOWS if limit is None else limit
        if limit is None or len(pairs) <= limit:
            return pairs
        chosen = set(sorted(pairs, key=lambda pair: hash_share(pair.name, "inspect"))[:limit])
        return [pair for pair in pairs if pair in chosen]


@dataclass(slots=True)
class _Faults:
    """What was found so far."""

    problems: list[Finding]
    warnings: list[Finding]

    def add(self, found: tuple[Sequence[Finding], Sequence[Finding]]) -> None:
        """Add (problems, warnings)."""
        self.problems += found[0]
        self.warnings += found[1]


# --- A folder -----------------------------------------------------------------------------------------------------


def _of_folder(path: Path, layout: Layout, reader: _Reader) -> Findings:
    splits, listings = _rules(layout)
    measured = reader.measure(listings, None, _class_values(layout))
    everything = [entry for entries in measured.values() for entry in entries]
    words = f"{layout.pairs} pairs, {layout.splits['train']}"
    notes = list(layout.notes)
    faults = _Faults(list(layout.problems), list(layout.warnings))
    class_of = find_rule(everything) if layout.masks is None and layout.annotated is None else None
    if class_of is not None:
        without_objects(everything, class_of)
        notes.append(f"the label files say objects besides classes: the class is {class_of}; drop `class_of` if not")
    try:
        table, class_of = _table(path, layout, everything, class_of)
    except ValueError as error:
        faults.problems.append(Finding("no labels", str(error)))
        faults.add(diagnose(None, measured, listings, path))
        return _findings(path, words, None, measured, listings, layout, faults, notes)
    faults.add((table.problems, table.warnings))
    if "val" not in splits and len(measured["train"]) > 1:
        splits = {**splits, "val": choose_share(path, measured["train"], table, _ignore_index(table), reader.groups)}
    left = []
    if sum(map(len, measured.values())) < sum(len(listing.pairs) for listing in listings.values()):
        left.append("not all files were looked at: the others may hold values that `labels` does not list")
    splits = without_overlaps(splits, layout, wish=reader.multi_label)
    bands, channels = common_bands(everything)
    description = DataDescription(
        root=Path(os.path.abspath(path)),
        classes=table.classes,
        splits={split: splits[split] for split in ("train", "val", "test") if split in splits},
        labels=table.labels,
        palette=table.palette,
        ignore_index=_ignore_index(table),
        outside=table.outside,
        tolerance=table.tolerance,
        class_of=class_of,
        bands=bands,
        channels=channels,
        groups=reader.groups,
    )
    shared = note_of(description)
    description = replace(description, notes=(*notes, *([shared] if shared else []), *left, *table.notes))
    sets = with_regions(path, description, layout, wish=reader.multi_label)
    sets = sets or with_label_sets(description, layout, everything, wish=reader.multi_label)
    if sets is not None:
        description = replace(sets.description, notes=sets.notes)
    stacked = with_channels(description)
    if stacked is not None:
        description = stacked
    listings = _divided(description, listings)
    if sets is not None or stacked is not None or reader.multi_label is False:
        measured = reader.measure(listings, _reader_of(description, listings), description.class_values, class_of)
    measured = _by_listing(listings, measured)
    description = scaled(_with_statistics(description, measured), measured)
    if stacked is not None:
        description = with_values(description, listings["train"])
        faults.warnings = without_channels(faults.warnings, listings)
    faults.add(diagnose(description, measured, listings, path, table if sets is None else None, layout.alternatives))
    faults.add(((), tuple(ground_overlaps(path, listings))))
    faults.warnings += torn_apart(description, listings, path)
    notes = list(description.notes)
    return _findings(path, words, description, measured, listings, layout, faults, notes)


def _reader_of(description: DataDescription, listings: Mapping[str, Listing]) -> ImageReader | None:
    """What reads the several images of a sample; None where it is one, of which nothing is said yet."""
    if not description.inputs:
        return None
    pairs = [pair for listing in listings.values() for pair in listing.pairs]
    return stacking(description.reader(), description.root, pairs, any_values=True)


def _rules(layout: Layout) -> tuple[dict[str, Split], dict[str, Listing]]:
    """The splits as they will be described, and their files."""
    splits: dict[str, Split] = {}
    for split, rule in layout.splits.items():
        listing = layout.listings[split]
        splits[split] = skipping(rule) if listing.unlabelled or listing.lost else rule
    return splits, _without_others(layout.listings)


def _class_values(layout: Layout) -> ClassValues:
    """What a mask or a shape of each class has, before anything is known of a table."""
    if layout.annotated is not None:
        return layout.annotated.class_values
    return ClassValues(layout.masks.values if layout.masks is not None else {}, IGNORE_INDEX)


def _table(
    path: Path, layout: Layout, measured: Sequence[Measured], class_of: ClassOf | None
) -> tuple[TableProposal, ClassOf | None]:
    """The proposed table, with names from a class list if there is one; and the rule for numbers of objects.

    Raises:
        ValueError: no label could be read.
    """
    if layout.masks is not None:
        return table_of_masks(layout.masks), None
    if layout.annotated is not None:
        return table_of_shapes(layout.annotated, measured), None
    encoding = read_encoding(measured)
    palette = common_palette(measured)
    pairs = [entry.pair for entry in measured]
    stems = frozenset(PurePosixPath(pair.image).stem for pair in pairs)
    legend, unfit = find_legend(path, layout.others, encoding.counts, stems=stems, palette=palette)
    if legend is None:
        legend = known_numbering(path, set(encoding.counts), pairs, palette)
    encoding.warnings += unfit
    if legend is None and class_of is None:
        class_of, said = numbers_of_objects(path, measured, layout.alternatives)
        encoding.warnings += said
        if class_of is not None:
            without_objects(measured, class_of)
            encoding.counts, palette = count_values(measured), None
    return propose_table(measured, encoding, legend, layout.splits["train"], palette), class_of


def _ignore_index(table: TableProposal) -> int:
    return IGNORE_INDEX if len(table.classes) < IGNORE_INDEX else 65535


def _without_others(listings: Mapping[str, Listing]) -> dict[str, Listing]:
    """Files that one split leaves over but another uses are nobody's concern."""
    pairs = [pair for listing in listings.values() for pair in listing.pairs]
    used = {name for pair in pairs for name in (pair.image, *pair.label_files)}
    return {
        split: replace(
            listing,
            unlabelled=tuple(name for name in listing.unlabelled if name not in used),
            unused=tuple(name for name in listing.unused if name not in used),
        )
        for split, listing in listings.items()
    }


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


# --- A description ------------------------------------------------------------------------------------------------


def _of_description(path: Path, description: DataDescription, reader: _Reader) -> Findings:
    listings = {split: description.listing(split) for split in description.splits}
    is_known = description.mean is not None and description.shares is not None
    if is_known and reader.limit is None and all(isinstance(rule, PackedSplit) for rule in description.splits.values()):
        reader = replace(reader, limit=MOST_PACKED)  # labels were held against the table when they were packed
    images = _reader_of(description, listings) or description.reader()
    measured = reader.measure(listings, images, description.class_values, description.class_of)
    everything = [entry for entries in measured.values() for entry in entries]
    if description.labels is not None and all(isinstance(value, tuple) for value in description.labels):
        look_up_palettes(everything)
    completed = _with_statistics(description, measured)
    if description.values is not None:
        completed = replace(completed, values=description.values)
    if description.mean is not None and description.std is not None:
        completed = replace(completed, mean=description.mean, std=description.std)
    if description.inputs:
        completed = with_values(completed, listings.get("train") or next(iter(listings.values())))
    faults = _Faults([], [])
    faults.add(diagnose(completed, measured, listings, path))
    faults.add(((), tuple(ground_overlaps(description.root, listings))))
    faults.warnings += torn_apart(description, listings, path)
    return _findings(path, None, completed, measured, listings, None, faults, [*notes_of_shares(description)])


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


def _findings(
    path: Path,
    words: str | None,
    description: DataDescription | None,
    measured: Mapping[str, Sequence[Measured]],
    listings: Mapping[str, Listing],
    layout: Layout | None,
    faults: _Faults,
    notes: Sequence[str],
) -> Findings:
    everything = [entry for entries in measured.values() for entry in entries]
    values = value_rows(description, measured)
    return Findings(
        path=path,
        root=description.root if description is not None else path,
        layout=words,
        splits=tuple(
            split_findings(split, description, measured[split], listings[split], values) for split in measured
        ),
        images=image_findings(everything),
        labels=label_findings(everything),
        values=values,
        problems=tuple(faults.problems),
        warnings=tuple(faults.warnings),
        notes=tuple(notes),
        alternatives=layout.alternatives if layout is not None else (),
        skipped=layout.skipped if layout is not None else {},
        mean=description.mean if description is not None else None,
        std=description.std if description is not None else None,
        description=description,
    )
