"""A folder for each sample, with image and label by names that never change: ``7/image.png`` and ``7/mask.png``."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from intarsia.data.description.splits import PairSplit
from intarsia.data.doctor.folders import SPLITS, role_of, split_of
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.slices import stem_of

_FEWEST = 3
_MOSTLY = 0.8


def by_sample_folders(root: Path, images: Sequence[str]) -> SplitRules:
    """The pairs of such folders, by the splits that folders above them tell; none if most are not of this kind."""
    folders: dict[PurePosixPath, dict[str, str]] = defaultdict(dict)
    for path in images:
        folders[PurePosixPath(path).parent][stem_of(path).lower()] = path
    found = SplitRules()
    counts = Counter(stem for stems in folders.values() for stem in stems)
    common = [stem for stem, count in counts.items() if count >= max(_FEWEST, _MOSTLY * len(folders))]
    labels = [stem for stem in common if role_of(stem)[0] == "label"]
    pictures = [stem for stem in common if role_of(stem)[0] in ("image", "none")]
    pictures = [stem for stem in pictures if role_of(stem)[0] == "image"] or pictures
    if len(labels) != 1 or len(pictures) != 1:
        return found
    by_split: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for folder, files in sorted(folders.items()):
        if labels[0] in files and pictures[0] in files:
            split = next((split for part in reversed(folder.parts[:-1]) if (split := split_of(part))), "train")
            by_split[split].append((files[pictures[0]], files[labels[0]]))
    for split in SPLITS if "train" in by_split else ():
        if by_split[split]:
            found.add(root, split, PairSplit(tuple(by_split[split])))
    if found.rules:
        count = sum(len(listing.pairs) for listing in found.listings.values())
        found.notes.append(
            f"{count} folders have one sample each, with the label {labels[0]} of the image {pictures[0]}"
        )
    return found
