"""Which images belong together, so that no split takes them apart; and shares that are taken of them.

Neighbouring slices of a body, pages of a stack or blocks of a scene resemble each other: with one in training and the
next in validation, a score says how well a model remembers. What the user says (`groups:`, `--by`) decides; else what
is certain from the files: the file that slices and pages are taken of, and what DICOM headers say. Nothing is guessed
from names; for that, the doctor has a warning (`doctor/torn.py`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from intarsia.data.description.divide import COPIES, group_names, table_column
from intarsia.data.description.pairing import Pair, hash_share
from intarsia.data.dicom import DICOM_SUFFIXES
from intarsia.data.dicom_identity import Identity, identity_of
from intarsia.data.lists import FileIndex, read_tables
from intarsia.data.slices import file_of, is_volume, part_of

_LEVELS = (
    ("patient", "patients (by PatientID of the DICOM headers)"),
    ("study", "studies (by StudyInstanceUID of the DICOM headers)"),
    ("series", "series (by SeriesInstanceUID of the DICOM headers)"),
)
"""What a header says, the widest first, and how it is called."""
_VOLUMES, _FILES = "volumes", "files of several slices, pages or frames"
_SINGLE = {_LEVELS[2][1]: "DICOM series", _VOLUMES: "volume", _FILES: "file"}


@dataclass(frozen=True)
class Together:
    """What each of some images belongs to.

    images: paths below the root. groups: of each. what: what the groups are, as "volumes"; "" where each image stands
    for itself. is_chosen: whether the user has said so. is_block: of scenes, which are never taken apart.
    """

    root: Path
    images: tuple[str, ...]
    groups: tuple[str, ...]
    what: str = ""
    is_chosen: bool = False
    is_block: bool = False

    @property
    def is_one(self) -> bool:
        """Whether there is nothing to divide whole: several images, all of one volume, stack or series."""
        is_divisible = not (self.is_chosen or self.is_block) and len(self.images) > 1
        return is_divisible and len(set(self.groups)) == 1

    @property
    def names_patients(self) -> bool:
        """Whether headers say whom each image shows."""
        return self.what == _LEVELS[0][1]

    @property
    def count(self) -> int:
        """How many groups there are."""
        return len(set(self.groups))

    def __str__(self) -> str:
        """What a division keeps whole, in words; "" for nothing."""
        if self.is_one:
            return f"all {len(self.images)} images are of one {_SINGLE.get(self.what, 'whole')}"
        return f"{self.count} {self.what} stay whole" if self.what else ""

    def in_order(self, indices: Iterable[int]) -> list[int]:
        """Images of one group as neighbours: by their place along the body, else by number, else by name."""
        chosen = list(indices)
        files = {self.images[index]: file_of(self.images[index]) for index in chosen}
        known = {file: _identity(self.root, file) for file in set(files.values())}
        has_place = all(one.place is not None for one in known.values())
        has_number = all(one.number is not None for one in known.values())

        def key(index: int) -> tuple[Any, ...]:
            image = self.images[index]
            one, part = known[files[image]], part_of(image)[1]
            place = one.place if has_place else 0.0
            number = one.number if has_number else 0
            return place, number, _by_number(files[image]), 0 if part is None else part.index

        return sorted(chosen, key=key)


def belong_together(root: Path, images: Sequence[str], by: str | None = None) -> Together:
    """What each image belongs to.

    by: what the user says, see `divide.group_names`, or a column of a table below the root, "folds.csv:patient". None,
        and "copies", which only who reads images can find: what is certain. Then a slice belongs to its volume, and a
        DICOM file to its patient where the headers name more than one; else to its study, if there are several; else
        to its series.

    Raises ValueError where an image has no part in `by`, and for a table that has no such column.
    """
    if by is not None and by != COPIES:
        names = group_names(images, by) if table_column(by) is None else _of_table(root, images, by)
        return Together(root, tuple(images), tuple(names), f"groups by '{by}'", is_chosen=True)
    files = [file_of(image) for image in images]
    known = {file: identity_of(root / file) for file in dict.fromkeys(files) if _is_dicom(file)}
    level, what = _level([*known.values()])
    groups = [_group(file, known[file], level) if file in known else file for file in files]
    if not what and len(set(files)) < len(files):
        what = _VOLUMES if all(map(is_volume, files)) else _FILES
    return Together(root, tuple(images), tuple(groups), what)


def pairs_together(root: Path, pairs: Sequence[Pair], by: str | None = None) -> Together:
    """The same of the samples of a split; windows of scenes belong to their block, or to what is said of the scene.

    Raises ValueError as `belong_together`.
    """
    windows = [pair.window for pair in pairs]
    images = tuple(pair.image if pair.window is None else pair.window.scene for pair in pairs)
    found = belong_together(root, images, by)
    if found.is_chosen:
        return found
    is_block = any(window is not None for window in windows)
    # The names that a share has always been a hash of, where headers say nothing
    groups = tuple(
        pair.unit if group == file_of(image) else group
        for pair, image, group in zip(pairs, images, found.groups, strict=True)
    )
    return Together(root, images, groups, "" if is_block else found.what, is_block=is_block)


def _identity(root: Path, file: str) -> Identity:
    return identity_of(root / file) if _is_dicom(file) else Identity()


def _is_dicom(file: str) -> bool:
    return file.lower().endswith(DICOM_SUFFIXES)


def _level(known: Sequence[Identity]) -> tuple[int, str]:
    """The widest of patient, study and series of which there are several, else the series; and how it is called.

    One that takes a series apart, as when each file was given another patient, is none.
    """
    for level, (name, what) in enumerate(_LEVELS):
        values = {getattr(one, name) for one in known} - {""}
        series = {one.series for one in known if one.series}
        torn = len({(getattr(one, name), one.series) for one in known if one.series}) > len(series)
        if len(values) > 1 and not torn:
            return level, what
    last = len(_LEVELS) - 1
    return last, _LEVELS[last][1] if any(one.series for one in known) else ""


def _group(file: str, one: Identity, level: int) -> str:
    """What a file belongs to: by the level, or a narrower one if its header lacks that; else to nothing but itself."""
    return next(
        (f"{name} {value}" for name, _ in _LEVELS[level:] if (value := str(getattr(one, name)))),
        file,
    )


def _of_table(root: Path, images: Sequence[str], by: str) -> list[str]:
    """What a column of a table says of each image. Its rows name the images, in whichever column."""
    file, title = table_column(by) or ("", "")
    index = FileIndex(dict.fromkeys(map(file_of, images)))
    groups: dict[str, str] = {}
    for table in read_tables(root / file):
        titles = [cell.lower() for cell in table.rows[0]] if table.rows else []
        names, hits = table.best_column(index.find)
        if title.lower() not in titles or not hits:
            continue
        column = table.column(titles.index(title.lower()))
        for cell, group in list(zip(table.column(names), column, strict=True))[1:]:
            if (image := index.find(cell)) is not None and group and groups.setdefault(image, group) != group:
                raise ValueError(f"groups by '{by}': {image} is in two of them, {groups[image]} and {group}")
        break
    else:
        raise ValueError(
            f"groups by '{by}': expected a table {root / file} whose first line names a column {title!r}, and in which "
            "a column names the images"
        )
    if lost := sorted({image for image in images if file_of(image) not in groups}):
        raise ValueError(
            f"groups by '{by}': {len(lost)} of {len(images)} images are in no row of the table that names them and "
            f"their {title}: {', '.join(lost[:3])}"
        )
    return [groups[file_of(image)] for image in images]


def _by_number(name: str) -> tuple[tuple[int, str], ...]:
    """A name as something to sort by, in which 10 comes after 9."""
    return tuple((int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name))


# --- Shares -------------------------------------------------------------------------------------------------------


def take_share(together: Together, indices: Sequence[int], fraction: float, salt: str) -> tuple[list[int], list[int]]:
    """Of some images, by their numbers: (what is taken, what remains). Both have one at least, if there are two.

    Each group is taken or left by a hash of its name, so that new images move no old ones. Of a single volume, stack
    or series a block of neighbours is taken, whose place the salt says: then only what lies at its ends is next to
    what remains.

    Raises ValueError if the user's groups leave nothing to take.
    """
    units = [together.groups[index] for index in indices]
    if len(set(units)) == 1 and len(indices) > 1 and not together.is_block:
        if together.is_chosen:
            raise ValueError(
                f"{together.what}: all {len(indices)} images are in one, so that none can be set aside; say another "
                "way to group them, or none"
            )
        count = min(max(round(fraction * len(indices)), 1), len(indices) - 1)
        start = int(hash_share("block", salt) * (len(indices) - count + 1))
        chosen = set(together.in_order(indices)[start : start + count])
        return [index for index in indices if index in chosen], [index for index in indices if index not in chosen]
    shares = [hash_share(unit, salt) for unit in units]
    bound = fraction
    ordered = sorted(set(shares))
    if len(ordered) > 1:
        bound = min(max(bound, ordered[1]), ordered[-1])
    taken = [index for index, share in zip(indices, shares, strict=True) if share < bound]
    return taken, [index for index, share in zip(indices, shares, strict=True) if share >= bound]
