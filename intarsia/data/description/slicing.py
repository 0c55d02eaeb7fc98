"""Volumes and stacks whose slices are the images: from a pair of files to a pair for each slice."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import cast

from intarsia.data.description.pairing import Listing, Pair, Source
from intarsia.data.image_io import read_label
from intarsia.data.orientation import Axis
from intarsia.data.slices import STACK_SUFFIXES, VOLUME_SUFFIXES, count_slices, slice_paths, suffix_of

_SLICED = (*VOLUME_SUFFIXES, *STACK_SUFFIXES)

_filled: dict[tuple[str, int, int, str], tuple[bool, ...]] = {}
"""(label file, when it changed, its size, axis) -> of each slice, whether a value other than 0 is in it."""


def in_slices(root: Path, listing: Listing, source: Source) -> Listing:
    """The listing with each slice of a file in place of the file; images and labels have the same slices.

    A label that lacks slices, or has others, is found when they are read. Slices whose label is 0 everywhere are left
    out where the source says so. Without `Source.slices`, the listing as it is.
    """
    if not source.slices:
        return listing
    return replace(listing, pairs=tuple(part for pair in listing.pairs for part in _slices(root, pair, source)))


def _slices(root: Path, pair: Pair, source: Source) -> Iterator[Pair]:
    if suffix_of(pair.image) not in _SLICED:
        yield pair
        return
    axis = cast("Axis", source.slices)
    try:
        count = count_slices(root / pair.image, axis)
    except ValueError:  # the first slice says what is wrong, to whoever reads it
        count = 1
    names = zip(*(slice_paths(path, axis, count) for path in (pair.image, pair.name)), strict=True)
    labels = None if pair.label is None else slice_paths(pair.label, axis, count)
    partners = [slice_paths(path, axis, count) for path in pair.partners]
    kept = _kept(root, pair, axis, count) if source.empty_slices == "skip" else [True] * count
    for number, (image, name) in enumerate(names):
        if kept[number]:
            label = None if labels is None else labels[number]
            others = tuple(files[number] for files in partners)
            yield replace(pair, name=name, image=image, label=label, partners=others)


def _kept(root: Path, pair: Pair, axis: Axis, count: int) -> tuple[bool, ...] | list[bool]:
    """Of each slice, whether it has a label other than 0. Every label is read once in a process."""
    if pair.label is None:
        return [True] * count
    path = root / pair.label
    try:
        state = os.stat(path)
        key = (os.path.abspath(path), state.st_mtime_ns, state.st_size, axis)
        if key not in _filled or len(_filled[key]) != count:
            _filled[key] = tuple(bool(read_label(name).any()) for name in slice_paths(str(path), axis, count))
    except (OSError, ValueError):
        return [True] * count
    return _filled[key]
