"""A proposal of which values of medical images become black and white, with its reason.

Networks that start from weights of colours, and transforms that change colours, take 8 bits. Of the thousands of values
of CT and MR those that matter are few, so that they are chosen rather than squeezed: of CT a window in Hounsfield units
that holds what the labels mark; of others, whose numbers mean nothing by themselves, percentiles of each volume.

The windows are those that radiology uses: soft tissue, lung and bone by centre and width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from intarsia.data.description.model import BACKGROUND, IGNORE, DataDescription
from intarsia.data.dicom import DICOM_SUFFIXES, dicom_header, header_window
from intarsia.data.doctor.measure import ImageFacts, Measured, Moments, combine, measure
from intarsia.data.slices import VOLUME_SUFFIXES, file_of, suffix_of

WINDOWS: Mapping[str, tuple[int, int]] = {"soft tissue": (40, 400), "lung": (-600, 1500), "bone": (400, 1800)}
"""Centre and width in Hounsfield units, the narrowest first."""

_WHOLE = (-1024.0, 3071.0)
_AIR = (-5000.0, -500.0)
"""The least value of CT lies between these: air is -1000, and what lies outside of the circle is often less."""
_LOOKED_AT = 200
_FILES = 12
_SPREAD = 2.0
PERCENTILES: tuple[str, str] = ("p1", "p99")


@dataclass(frozen=True, slots=True)
class Proposal:
    """scale: for `Scale.of`. note: what and why, in words."""

    scale: tuple[float | str, ...]
    note: str


_AS_THEY_ARE = "are taken as they are (`bands: raw`)"


def scaled(description: DataDescription, measured: Mapping[str, Sequence[Measured]]) -> DataDescription:
    """The description with a scale, where all images are grey medical images of more than 8 bits, else as it is.

    Mean and standard deviation are then of what the scale makes of at most 200 training images.
    """
    entries = [entry for found in measured.values() for entry in found]
    if not _are_medical(entries) or description.bands != "raw" or description.channels != 1:
        return _with_hint(description, entries)
    train = measured.get("train") or entries
    found = _proposal(description, train)
    result = replace(
        description,
        bands="rgb",
        channels=3,
        names=(),
        scale=found.scale,
        mean=None,
        std=None,
        notes=(*description.notes, found.note),
    )
    return _with_statistics(result, train)


def is_about_values(note: str) -> bool:
    """Whether a note says what becomes of the numbers of images, which a recipe may decide otherwise."""
    return note.startswith(("CT: ", "no CT: ", "values ")) or _AS_THEY_ARE in note


def _with_hint(description: DataDescription, entries: Sequence[Measured]) -> DataDescription:
    """The description, with a note of what could be done with grey images or colours of more than 8 bits."""
    values = description.values
    if description.bands != "raw" or description.channels not in (1, 3) or values is None or values.is_eight_bits:
        return description
    note = (
        f"the images hold {values.words} and {_AS_THEY_ARE}. To start from weights of colours, "
        "let a range of them become 0 and 255: `image: {bands: rgb, scale: [p1, p99]}` (percentiles of each image), "
        "or two values"
    )
    return replace(description, notes=(*description.notes, note))


def _are_medical(entries: Sequence[Measured]) -> bool:
    suffixes = {suffix_of(entry.pair.image) for entry in entries}
    images = [entry.image for entry in entries if entry.image is not None]
    return bool(images) and suffixes <= {*VOLUME_SUFFIXES, *DICOM_SUFFIXES} and all(_is_wide(one) for one in images)


def _is_wide(image: ImageFacts) -> bool:
    return image.channels == 1 and image.dtype != "uint8"


def _proposal(description: DataDescription, train: Sequence[Measured]) -> Proposal:
    others = "; usual windows: " + ", ".join(f"{name} [c{c}, w{w}]" for name, (c, w) in WINDOWS.items())
    if _is_ct(description, train):
        marked = _marked(description, train)
        for name, (centre, width) in WINDOWS.items():
            ends = (centre - width / 2, centre + width / 2)
            if marked is not None and ends[0] <= marked[0] and marked[1] <= ends[1]:
                why = f"it holds what the labels mark (mean and {_SPREAD:g} standard deviations: {_range(marked)})"
                return Proposal(ends, f"CT: the window {name}, centre {centre}, width {width}, since {why}{others}")
        why = "nothing is marked" if marked is None else f"the labels mark values from {_range(marked)}"
        return Proposal(
            _WHOLE, f"CT: the whole range {_range(_WHOLE)}, since {why}, which no usual window holds{others}"
        )
    window = _common_window(description.root, train)
    if window is not None:
        return Proposal(window, f"values {_range(window)} become 0 and 255: the window that the files' headers say")
    return Proposal(
        PERCENTILES,
        "no CT: percentiles 1 and 99 of each volume become 0 and 255, since such numbers differ from scan to scan",
    )


def _range(ends: Sequence[float]) -> str:
    return f"{ends[0]:.4g} to {ends[1]:.4g}"


def _is_ct(description: DataDescription, train: Sequence[Measured]) -> bool:
    """By the headers of DICOM; of volumes, whether most of them reach down to air."""
    files = dict.fromkeys(file_of(entry.pair.image) for entry in train)
    if all(suffix_of(file) in DICOM_SUFFIXES for file in files):
        return {modality for file in _some(list(files)) if (modality := _modality(description.root / file))} == {"CT"}
    lowest: dict[str, float] = {}
    for entry in train:
        if entry.image is not None:
            file = file_of(entry.pair.image)
            lowest[file] = min(lowest.get(file, entry.image.low), entry.image.low)
    return 2 * sum(_AIR[0] <= low <= _AIR[1] for low in lowest.values()) > len(lowest)


def _modality(path: Path) -> str:
    try:
        return str(dicom_header(path).get("Modality", ""))
    except ValueError:
        return ""


def _common_window(root: Path, train: Sequence[Measured]) -> tuple[float, float] | None:
    """The window that most headers say, if it is most by far."""
    files = [entry.pair.image for entry in train if suffix_of(entry.pair.image) in DICOM_SUFFIXES]
    found: Counter[tuple[float, float] | None] = Counter()
    for file in _some([file_of(file) for file in files]):
        try:
            found[header_window(root / file)] += 1
        except ValueError:
            continue
    window, count = found.most_common(1)[0] if found else (None, 0)
    return window if 2 * count > found.total() else None


def _marked(description: DataDescription, train: Sequence[Measured]) -> tuple[float, float] | None:
    """From the least to the greatest of the classes but the background: mean -+ 2 standard deviations of each."""
    by_class: dict[str, list[Moments]] = {}
    names = set(description.classes[1:] if len(description.classes) > 1 else description.classes)
    for entry in train:
        for value, moments in entry.moments.items():
            name = None if value is None else description.name_of(value)
            if name in names and name not in (BACKGROUND, IGNORE):
                by_class.setdefault(str(name), []).append(moments)
    ends = []
    for found in by_class.values():
        total = combine(found)
        if total is not None and total.count:
            mean = float(total.sums[0]) / total.count
            spread = _SPREAD * float(np.sqrt(max(float(total.squares[0]) / total.count - mean**2, 0.0)))
            ends.append((mean - spread, mean + spread))
    return (min(low for low, _ in ends), max(high for _, high in ends)) if ends else None


def _with_statistics(description: DataDescription, train: Sequence[Measured]) -> DataDescription:
    reader, root = description.reader(), description.root
    moments = []
    for entry in train[:: max(1, len(train) // _LOOKED_AT)][:_LOOKED_AT]:
        again = measure(root, replace(entry.pair, label=None, masks=(), annotations=None), reader)
        moments += list(again.moments.values())
    total = combine(moments)
    if total is None or not total.count:
        return description
    mean = total.sums / total.count
    std = np.sqrt(np.maximum(total.squares / total.count - mean**2, 0.0))
    return replace(
        description,
        mean=tuple(float(f"{number:.6g}") for number in mean),
        std=tuple(float(f"{number:.6g}") or 1.0 for number in std),
    )


def _some(files: Sequence[str]) -> Iterable[str]:
    return files[:: max(1, len(files) // _FILES)][:_FILES]
