"""Channels of a picture in files of their own, by a number at the end of the name, as nnU-Net stores them.

``case_0000.nii.gz`` and ``case_0001.nii.gz`` are one sample of two images: a network that saw the first alone would be
trained on a part of the data.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from intarsia.data.description.input_kinds import image_inputs
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Listing, MaskRule, Source
from intarsia.data.description.splits import FolderSplit, ShareSplit, Split
from intarsia.data.doctor.findings import Finding
from intarsia.data.slices import file_of
from intarsia.data.stack import channel_names
from intarsia.io.folders import walk_files
from intarsia.io.text import decoded

_FIRST = re.compile(r"_(0+)(\.[A-Za-z0-9.]+)")
_MOST = 16


def with_channels(description: DataDescription) -> DataDescription | None:
    """The description with all channels of each sample; None where there is one, or a sample lacks one of them."""
    own = {name: rule for name, rule in description.splits.items() if not isinstance(rule, ShareSplit)}
    if own and all(isinstance(rule, FolderSplit) and rule.source.partners for rule in own.values()):
        return _with_inputs(description, description.splits, "")  # told by their names (`sample_folders.py`)
    if not all(isinstance(rule, FolderSplit) and _suffix(rule.source) for rule in own.values()):
        return None
    present = frozenset(walk_files(description.root))
    found = [_count(rule, description, split, present) for split, rule in own.items()]
    if not found or len(set(found)) > 1 or found[0] < 2:
        return None
    names = _names(description.root, found[0])
    splits: dict[str, Split] = {name: _stacked(rule, names) for name, rule in own.items()}
    splits = {name: splits.get(name, rule) for name, rule in description.splits.items()}
    return _with_inputs(description, splits, ", which a number at the end of their names tells apart")


def _with_inputs(description: DataDescription, splits: Mapping[str, Split], told: str) -> DataDescription:
    inputs = image_inputs(None, description.root, splits)
    note = (
        f"each sample has {len(inputs)} images, {', '.join(one.name for one in inputs)}{told}: they are the bands of "
        "one, with the numbers that they have; `image: {scale: [zscore]}` takes each image less its mean and divided "
        "by its deviation"
    )
    return replace(
        description, splits=splits, inputs=inputs, bands="raw", channels=sum(one.channels for one in inputs),
        names=channel_names(inputs), notes=(*description.notes, note),
    )  # fmt: skip


def _count(rule: Split, description: DataDescription, split: str, present: frozenset[str]) -> int:
    """How many channels every sample of a split has; 0 if its names have no number of a channel."""
    if not isinstance(rule, FolderSplit) or rule.source.partners or rule.source.annotations is not None:
        return 0
    suffix = _suffix(rule.source)
    if suffix is None:
        return 0
    files = {file_of(pair.image) for pair in description.listing(split).pairs}
    if split == "train":  # a share may have been taken out of it
        files |= {path for path in present if _is_below(path, rule.source.images) and path.endswith(suffix[0])}
    for number in range(1, _MOST + 1):
        if not all(f"{file[: -len(suffix[0])]}{_ending(suffix, number)}" in present for file in files):
            return number
    return _MOST


def _is_below(path: str, folder: str) -> bool:
    return "*" not in folder and PurePosixPath(path).is_relative_to(folder)


def _suffix(source: Source) -> tuple[str, int, str] | None:
    """What the first channel's names end in: all of it, digits, extension."""
    if len(source.image_suffix) != 1:
        return None
    match = _FIRST.fullmatch(source.image_suffix[0])
    return None if match is None else (source.image_suffix[0], len(match[1]), match[2])


def _ending(suffix: tuple[str, int, str], number: int) -> str:
    return f"_{number:0{suffix[1]}}{suffix[2]}"


def _stacked(rule: Split, names: Sequence[str]) -> FolderSplit:
    assert isinstance(rule, FolderSplit)
    source, suffix = rule.source, _suffix(rule.source)
    assert suffix is not None
    partners = tuple(
        MaskRule(name, source.images, source.image_prefix, _ending(suffix, number))
        for number, name in enumerate(names[1:], 1)
    )
    return replace(rule, source=replace(source, input_name=names[0], partners=partners))


def _names(root: Path, count: int) -> tuple[str, ...]:
    """What `dataset.json` calls the channels, in letters that a description has; or their numbers."""
    try:
        said = json.loads(decoded((root / "dataset.json").read_bytes()))
        listed = said.get("channel_names") or said.get("modality")
        names = [re.sub(r"[^A-Za-z0-9_-]+", "_", str(listed[str(number)])).strip("_") for number in range(count)]
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError):
        names = []
    numbers = tuple(f"channel_{number}" for number in range(count))
    return tuple(names) if len(set(names)) == count and all(names) else numbers


def without_channels(warnings: Sequence[Finding], listings: Mapping[str, Listing]) -> list[Finding]:
    """The warnings, without that of files that no split uses where the channels of samples are all there are."""
    used = {file for listing in listings.values() for pair in listing.pairs for file in map(file_of, pair.partners)}
    return [one for one in warnings if one.kind != "images not used" or not used.issuperset(one.files)]
