"""A folder for each sample: ``7/image.png`` with ``7/mask.png``, ``case7/case7-t1.nii`` with ``case7/case7-seg.nii``.

What the name of a file has besides that of its folder is the same in every folder.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from intarsia.data.description.pairing import MaskRule, Source
from intarsia.data.description.splits import FolderSplit, OwnSplit, PairSplit
from intarsia.data.doctor.candidates import variety
from intarsia.data.doctor.folders import SPLITS, role_of, split_of
from intarsia.data.doctor.rules import SplitRules
from intarsia.data.slices import is_volume, stem_of

_FEWEST = 3
_MOSTLY = 0.8
_OWN = "\0"
"""Stands for the name of the folder at the beginning of that of a file."""

_Files = Mapping[PurePosixPath, Mapping[str, str]]
"""Folder -> what its files are called, less its own name -> their paths."""


def by_sample_folders(root: Path, images: Sequence[str]) -> SplitRules:
    """The samples of such folders, by the splits that folders above them tell; none if most are not of this kind.

    Of volumes, several pictures in each folder are the images of one sample.
    """
    folders: dict[PurePosixPath, dict[str, str]] = defaultdict(dict)
    for path in images:
        folder = PurePosixPath(path).parent
        folders[folder][_bare(stem_of(path), folder.name)] = path
    found = SplitRules()
    counts = Counter(stem for stems in folders.values() for stem in stems)
    common = [
        stem for stem, count in counts.items() if count >= max(_FEWEST, _MOSTLY * max(counts.values(), default=0))
    ]
    labels = [stem for stem in common if role_of(stem)[0] == "label"]
    pictures = [stem for stem in common if role_of(stem)[0] in ("image", "none")]
    pictures = [stem for stem in pictures if role_of(stem)[0] == "image"] or pictures
    is_guess = not labels and len(pictures) == len(common) == 2
    if is_guess:
        labels = _looking_like_labels(root, folders, pictures)
        pictures = [stem for stem in pictures if stem not in labels]
    volumes = all(is_volume(path) for files in folders.values() for stem, path in files.items() if stem in pictures)
    if len(labels) != 1 or not pictures or (len(pictures) > 1 and not volumes):
        return found
    wanted = (*sorted(pictures), labels[0])
    by_split: dict[str, dict[PurePosixPath, dict[str, str]]] = defaultdict(dict)
    for folder, files in sorted(folders.items()):
        if all(stem in files for stem in wanted):
            split = next((split for part in reversed(folder.parts[:-1]) if (split := split_of(part))), "train")
            by_split[split][folder] = files
    for split in SPLITS if "train" in by_split else ():
        if by_split[split]:
            rule: OwnSplit | None = _of_volumes(by_split[split], wanted) if volumes else None
            pairs = tuple((files[wanted[0]], files[labels[0]]) for files in by_split[split].values())
            found.add(root, split, rule or PairSplit(pairs))
    if found.rules:
        names = [stem.lstrip(f"{_OWN}-_. ") for stem in wanted]
        which = f"image {names[0]}" if len(pictures) == 1 else f"images {', '.join(names[:-1])}"
        count = sum(map(len, by_split.values()))
        why = ", since it holds few values" if is_guess else ""
        found.notes.append(f"{count} folders have one sample each, with the label {names[-1]} of the {which}{why}")
    return found


def _looking_like_labels(root: Path, folders: _Files, stems: Sequence[str]) -> list[str]:
    """Of two files in each folder whose names say nothing (CT.nii, CT_roi.nii), the one that holds fewer values."""
    one = next(files for files in folders.values() if all(stem in files for stem in stems))
    seen = [(variety(root / one[stem]), stem) for stem in stems]
    (few, label), (many, _) = sorted(seen, key=lambda entry: (entry[0] or 0, entry[1]))
    return [label] if few and many and 2 * few <= many else []


def _bare(stem: str, folder: str) -> str:
    """What a file is called in lower case, less the name of its folder."""
    own = folder.lower()
    stem = stem.lower()
    return _OWN + stem.removeprefix(own) if own and stem.startswith(own) and stem != own else stem


def _of_volumes(files: _Files, wanted: Sequence[str]) -> FolderSplit | None:
    """The rule with "*" for the folder of the sample; None where the folders lie in several, or endings differ."""
    parents = {folder.parent for folder in files}
    endings = [{_ending(of[stem], folder.name) for folder, of in files.items()} for stem in wanted]
    if len(parents) > 1 or any(len(found) > 1 for found in endings):
        return None
    place = (parents.pop() / "*").as_posix()
    *own, label = [found.pop() for found in endings]
    names = [stem.lstrip(f"{_OWN}-_. ") for stem in wanted]
    partners = tuple(MaskRule(name, place, "", end) for name, end in zip(names[1:-1], own[1:], strict=True))
    source = Source(place, place, (own[0],), (label,), input_name=names[0] if partners else "", partners=partners)
    return FolderSplit(source)


def _ending(path: str, folder: str) -> str:
    """The name of a file, less that of its folder at the beginning."""
    name = PurePosixPath(path).name
    return name[len(folder) :] if name.lower().startswith(folder.lower()) else name
