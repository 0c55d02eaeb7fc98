"""Images that belong together and are in more than one split: by what is certain, and by what names seem to say."""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from intarsia.data.description.divide import COPIES
from intarsia.data.description.model import DataDescription
from intarsia.data.description.pairing import Listing
from intarsia.data.description.splits import ShareSplit
from intarsia.data.description.together import belong_together
from intarsia.data.dicom import DICOM_SUFFIXES
from intarsia.data.doctor.findings import Finding
from intarsia.data.lists import read_tables
from intarsia.data.slices import file_of, suffix_of
from intarsia.io.folders import walk_files

_WORDS = (
    "patient", "subject", "sub", "participant", "case", "volume", "scan", "series", "study", "specimen", "animal",
    "mouse", "donor", "video", "clip", "sequence", "seq", "scene", "drive", "flight", "site", "plot", "field", "slide",
    "wsi",
)  # fmt: skip
"""What is seen in several images, where a number behind it says which."""
_TILE = r".+(?=[_-]\d+[_-]\d+\.\w+$)"
_COPIES = r".+(?=\.rf\.\w+\.\w+$)"
"""What Roboflow leaves of the name of a photo of which it has made several, "IMG_1.rf.5f3a....jpg"."""
_PORTIONS = ("part", "batch", "chunk", "fold", "split", "set", "class", "train", "val", "test", "images", "masks")
"""What numbered folders may be that says nothing of what the images show."""
_MOST_TABLES, _MOST_BYTES = 8, 2**24
_DENSE = 1.5
"""Rows times columns of tiles, over their number: where it is more, they are no grid, but days and times of photos."""


def torn_apart(description: DataDescription, listings: Mapping[str, Listing], place: Path) -> Iterator[Finding]:
    """Warnings where training images have neighbours in other splits, with the command that keeps them together.

    place: of the data, as somebody would write it: the folder, or the file of the description.
    """
    homes = {pair.image: split for split, listing in listings.items() for pair in listing.pairs if pair.window is None}
    images = sorted(homes)
    if len(set(homes.values())) < 2:
        return
    if description.groups is not None and description.groups != COPIES:
        yield from _chosen(description, homes, images, place)
        return
    together = belong_together(description.root, images)
    if together.what and not together.is_one:
        groups = dict(zip(images, together.groups, strict=True))
        if torn := _torn(groups, homes):
            text = f"{len(torn)} of {together.count} {together.what} are in more than one split ({_where(torn, homes)})"
            advice = "their images resemble each other, and scores are too good; to keep them whole divide anew"
            yield Finding("torn apart", text, f"{advice}: {_command(description, homes, place)}", _shown(torn, homes))
            return
    if not together.is_one and not together.names_patients:
        yield from _by_names(description, homes, images, place)


def _chosen(
    description: DataDescription, homes: Mapping[str, str], images: Sequence[str], place: Path
) -> Iterator[Finding]:
    """Groups that the description names, torn apart by its own splits."""
    assert description.groups is not None
    try:
        found = belong_together(description.root, images, description.groups)
    except ValueError:  # said where they are divided; a test split may have other names
        return
    if torn := _torn(dict(zip(images, found.groups, strict=True)), homes):
        text = f"{len(torn)} of {found.count} {found.what} are in more than one split"
        advice = "scores are too good; to keep them whole divide anew"
        command = _command(description, homes, place)
        yield Finding("torn apart", f"{text} ({_where(torn, homes)})", f"{advice}: {command}", _shown(torn, homes))


def _by_names(
    description: DataDescription, homes: Mapping[str, str], images: Sequence[str], place: Path
) -> Iterator[Finding]:
    """What names seem to say, which is a guess: no split rests on it."""
    for by, what in (*_columns(description.root, images), *_guesses(images)):
        try:
            names = belong_together(description.root, images, by).groups
        except ValueError:
            continue
        groups = dict(zip(images, names, strict=True))
        torn = _torn(groups, homes)
        if torn and len(set(names)) > 1:
            text = f"it seems that {len(torn)} of {len(set(names))} {what} are in more than one split"
            advice = "if images of one resemble each other, scores are too good; to keep them whole divide by it"
            command = _command(description, homes, place, by)
            yield Finding("torn apart?", f"{text} ({_where(torn, homes)})", f"{advice}: {command}", _shown(torn, homes))
            return


def _columns(root: Path, images: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Columns of tables beside the data that say of each image whom or what it shows."""
    tables = sorted(name for name in walk_files(root, recursive=False) if name.lower().endswith((".csv", ".tsv")))
    for file in tables[:_MOST_TABLES]:
        try:
            if (root / file).stat().st_size > _MOST_BYTES:  # run lengths of Kaggle
                continue
            titles = {title.lower(): title for table in read_tables(root / file) for title in table.rows[0]}
        except (OSError, ValueError, IndexError):
            continue
        for title in (titles[word] for word in titles if re.sub(r"[ _-]?(id|name|no|number)$", "", word) in _WORDS):
            yield f"{file}:{title}", f"groups by the column {title} of {file}"


def _guesses(images: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(expression or folder, what it seems to be): DICOM files by folder, numbered words, tiles with row and column."""
    if all(suffix_of(image) in DICOM_SUFFIXES for image in images):
        yield "folder", "folders of DICOM files whose series is not known"
    if all(re.search(_COPIES, image) for image in images):
        yield _COPIES, "photos that Roboflow has made copies of"
    for word in _WORDS:
        by = rf"(?i)(?<![a-z]){word}[-_ ]?\d+"
        if re.search(by, images[0]):
            yield by, f"images called {word} with a number"
    if all(_is_named_after_its_folder(image) for image in images):
        yield "folder", "folders that their images are named after"
    yield from _numbered_folders(images)
    if _are_tiles(images):
        yield _TILE, "scenes whose tiles are called NAME_ROW_COLUMN"


def _is_named_after_its_folder(image: str) -> bool:
    """As TCGA_CS_4941/TCGA_CS_4941_7.tif is; a folder without a number may be that of a class."""
    return re.search(r"(?:^|/)(?=[^/]*\d)([^/]+)/\1[_-][^/]*$", image) is not None


def _numbered_folders(images: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Folders that are called alike but for a number, such as P001, P002 ..."""
    places = [image.split("/")[:-1] for image in images]
    for level in range(min(map(len, places))):
        found = [re.fullmatch(r"(.*?)\d+", place[level]) for place in places]
        starts = {match[1] for match in found if match is not None}
        if None in found or len(starts) > 1 or re.sub(r"[^a-z]", "", min(starts).lower()) in _PORTIONS:
            continue
        names = sorted({place[level] for place in places})
        if len(names) > 2:
            yield f"folder:{level + 1}", f"numbered folders ({names[0]} to {names[-1]})"


def _are_tiles(images: Sequence[str]) -> bool:
    """Whether names end in two numbers that are the rows and columns of grids."""
    grids: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for image in images:
        found = re.search(r"^(.+)[_-](\d+)[_-](\d+)\.\w+$", PurePosixPath(file_of(image)).as_posix())
        if found is None:
            return False
        grids[found[1]].append((found[2], found[3]))
    filled = (
        min(sides) > 1 and sides[0] * sides[1] <= _DENSE * len(cells)
        for cells in grids.values()
        if (sides := (len({row for row, _ in cells}), len({column for _, column in cells})))
    )
    return all(filled)


# --- What is said -------------------------------------------------------------------------------------------------


def _torn(groups: Mapping[str, str], homes: Mapping[str, str]) -> list[list[str]]:
    """The images of each group that is in several splits."""
    members: dict[str, list[str]] = defaultdict(list)
    for image, group in groups.items():
        members[group].append(image)
    return [found for found in members.values() if len({homes[image] for image in found}) > 1]


def _where(torn: Sequence[Sequence[str]], homes: Mapping[str, str]) -> str:
    """How many of their images each split has: "12 of train, 3 of val"."""
    found = [homes[image] for images in torn for image in images]
    return ", ".join(f"{found.count(split)} of {split}" for split in dict.fromkeys(homes.values()) if split in found)


def _shown(torn: Sequence[Sequence[str]], homes: Mapping[str, str]) -> tuple[str, ...]:
    """An image of each split for each group."""
    firsts = ({homes[image]: image for image in reversed(images)} for images in torn)
    return tuple(" ~ ".join(f"{split}: {image}" for split, image in sorted(first.items())) for first in firsts)


def _command(description: DataDescription, homes: Mapping[str, str], place: Path, by: str | None = None) -> str:
    rules = description.splits
    pool = list(dict.fromkeys(r.of if isinstance(r := rules[s], ShareSplit) else s for s in homes.values()))
    return division_command(place, pool, None if by is None else shlex.quote(by))


def division_command(place: Path, pool: Sequence[str], by: str | None = None) -> str:
    """The command that divides the images of these splits anew. by: as a shell takes it."""
    ordered = [split for split in ("train", "val", "test") if split in pool]
    option = f" --pool {','.join(ordered)}" if ordered != ["train"] else ""
    option += " --test 0.1" if "test" in ordered else ""
    grouped = f" --by {by}" if by is not None else ""
    return f"intarsia data split {shlex.quote(str(place))}{option}{grouped} -o OUT"
