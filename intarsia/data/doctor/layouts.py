"""Finds the images and their labels in a folder that nobody described.

No fixed list of layouts: of all folders and names that could belong together (`candidates.py`), the combination that
pairs most files wins. ``images/ masks/``, ``train/images train/masks``, ``train trainannot``,
``leftImg8bit/train/CITY/*_leftImg8bit.png``, ``a.jpg a_mask.png`` in one folder and their kin are all the same search.
Masks for each class (`class_masks.py`), lists (`split_lists.py`) and further sources are looked for besides. What was
found is written down as rules, one per split; files that no rule uses are told.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from intarsia.data.description.contained import SPLIT_WORDS, splits_of_tars
from intarsia.data.description.pairing import Listing
from intarsia.data.description.splits import OwnSplit, list_split
from intarsia.data.doctor.affixes import Affixes
from intarsia.data.doctor.annotated import Annotated, annotation_files, find_annotated
from intarsia.data.doctor.candidates import LABEL_TIERS, Candidate, find_candidates
from intarsia.data.doctor.class_masks import ClassMasks, find_class_masks
from intarsia.data.doctor.findings import Alternative, Finding, some
from intarsia.data.doctor.folders import Group, group_files, is_meant_for_training
from intarsia.data.doctor.foreign import numbered_objects
from intarsia.data.doctor.layout_help import explain_nothing
from intarsia.data.doctor.leftovers import by_extension, left_over
from intarsia.data.doctor.one_hot import with_bands
from intarsia.data.doctor.rules import SplitRules, apply_lists, by_folders, by_masks, join_others
from intarsia.data.doctor.sample_folders import by_sample_folders
from intarsia.data.doctor.stacks import with_slices
from intarsia.data.image_io import is_image_name
from intarsia.data.tars import INDEX_SUFFIX, is_tar_name
from intarsia.io.folders import walk_files
from intarsia.terminal import Notice


class LayoutError(ValueError):
    """Nothing pairs; the message says what was looked for and what is there."""


@dataclass(frozen=True, slots=True)
class Layout:
    """What was found below `root`.

    splits: "train" always, "val" and "test" where the folders or lists tell them. pairs: how many files were joined.
    skipped: extension -> number of files that are no images; others: their paths. notes: what a user should know about
        the choice made.
    masks: the classes, where each has masks of its own. annotated: those of annotations, where labels are drawn from
        them. listings: the files of the splits.
    """

    root: Path
    splits: Mapping[str, OwnSplit]
    pairs: int
    alternatives: tuple[Alternative, ...]
    skipped: Mapping[str, int]
    others: tuple[str, ...]
    notes: tuple[str, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    masks: ClassMasks | None
    annotated: Annotated | None
    listings: Mapping[str, Listing]


def find_layout(root: Path, *, labels: str | None = None) -> Layout:
    """Pair the images below `root` with their labels.

    labels: consider only label folders whose path begins with this one, where several would do.

    Raises:
        LayoutError: nothing pairs.
        ValueError: `root` is no folder or cannot be listed.
    """
    if not root.is_dir():
        raise ValueError(f"there is no folder {root}" if not root.exists() else f"{root} is a file, not a folder")
    images, others = _by_kind(walk_files(root))
    tars = [path for path in others if is_tar_name(path)]
    if tars and not images:
        return _of_tars(root, tars, others)
    groups = group_files(images)
    candidates = find_candidates(root, groups)
    eligible = candidates
    if labels is not None:
        wanted = PurePosixPath(labels).as_posix()
        eligible = [entry for entry in candidates if f"{entry.labels.shown()}/".startswith(f"{wanted}/")]
    chosen = _best(eligible)
    masks, mask_images = _class_masks(root, chosen, groups) if labels is None else (None, None)
    problems, warnings = ([], []) if masks is None else _obstacle(masks)
    masks = None if problems or warnings else masks
    if masks is not None and mask_images is not None:
        found = by_masks(root, mask_images, chosen, masks)
    else:
        found = by_folders(root, chosen, groups) if chosen is not None else SplitRules()
        if chosen is not None and labels is None:
            join_others(root, found, chosen, candidates, groups)
    if not found.rules and labels is None:
        found = by_sample_folders(root, images)
    _with_lists(root, found, others, images)
    without_labels = labels is None and masks is None and (not found.rules or _is_by_product(chosen))
    annotated, hints = find_annotated(root, images, others) if without_labels else (None, [])
    if not found.rules and annotated is None and labels is None:
        chosen, found = _by_whole_folders(root, images, others)
    if annotated is not None:
        found, chosen = annotated.found, None
        own = annotation_files(root, found)
        _with_lists(root, found, [path for path in others if path not in own], images)
    if not found.rules:
        raise LayoutError(explain_nothing(root, images, others, labels, hints))
    used = found.used
    found.warnings = [*warnings, *found.warnings]
    others_of = [entry for entry in candidates if not entry.label_paths() & (used | found.told) or labels is not None]
    alternatives = _alternatives(chosen, others_of) if chosen is not None and masks is None else {}
    if labels is None:
        if chosen is not None and masks is None and not problems and not warnings:
            found.warnings += _rivals(chosen, others_of)
        shown = [entry for entry in alternatives.values() if entry.role != "none" or warnings]
        told = {path for entry in shown for path in entry.label_paths()}
        told |= {path for listing in found.listings.values() for path in listing.unlabelled}  # they have a line already
        found.warnings += left_over(images, used | found.told | told)
    if masks is None and annotated is None:
        problems += _numbered(root, found, others)
        masks = with_bands(root, found, others)
    with_slices(root, found)
    return Layout(
        root=root,
        splits=found.rules,
        pairs=sum(len(listing.pairs) for listing in found.listings.values()),
        alternatives=tuple(alternatives),
        skipped=by_extension(others),
        others=tuple(others),
        notes=tuple(found.notes),
        problems=tuple(problems),
        warnings=tuple(found.warnings),
        masks=masks,
        annotated=annotated,
        listings=found.listings,
    )


def _with_lists(root: Path, found: SplitRules, others: Sequence[str], images: Sequence[str]) -> None:
    """What lists say of the splits, where folders do not."""
    if "val" not in found.rules and "test" not in found.rules:
        apply_lists(root, found, others, images)


def _by_whole_folders(root: Path, images: Sequence[str], others: Sequence[str]) -> tuple[Candidate | None, SplitRules]:
    """A second look, where nothing pairs: also folders that say nothing, and those of predictions, may hold images."""
    groups = group_files(images, whole=True)
    found = [one for one in find_candidates(root, groups) if LABEL_TIERS[one.role] <= LABEL_TIERS["none"]]
    chosen = _best(found)
    if chosen is None:
        return None, SplitRules()
    rules = by_folders(root, chosen, groups)
    join_others(root, rules, chosen, found, groups)
    _with_lists(root, rules, others, images)
    return chosen, rules


def _of_tars(root: Path, tars: Sequence[str], others: Sequence[str]) -> Layout:
    """Tars of the WebDataset form."""
    rules = splits_of_tars(tars)
    listings = {split: list_split(root, rule) for split, rule in rules.items()}
    count = sum(len(listing.pairs) for listing in listings.values())
    if not count:
        raise LayoutError(
            f"{root}: no sample in {some(list(tars))} has an image and a label: expected members such as 0001.jpg and "
            "0001.png, or 0001.seg.png"
        )
    if "val" not in rules:
        _tell_folders_inside(root, listings["train"])
    rest = [path for path in others if path not in set(tars) and not path.endswith(INDEX_SUFFIX)]
    return Layout(
        root, dict(rules), count, (), by_extension(rest), tuple(rest), (), (), (), masks=None, annotated=None,
        listings=listings,
    )  # fmt: skip


def _tell_folders_inside(root: Path, listing: Listing) -> None:
    """Say that folders within tars are no splits, where they are called like some."""
    folders = {part for pair in listing.pairs for part in PurePosixPath(pair.image).parts[:-1]}
    named = sorted(folder for folder in folders if folder.lower() in SPLIT_WORDS)
    if named:
        warnings.warn(
            f"{root}: folders in the tars are called {', '.join(named)}, and the samples of all are taken to train: "
            "only names of tars, and of folders that these lie in, tell the splits. Make a tar of each, or list the "
            "samples of each split (`list:`) in a description",
            Notice,
            stacklevel=4,
        )


def _best(eligible: Sequence[Candidate]) -> Candidate | None:
    """The plainest of those that pair half as many files as the largest does."""
    most = max((entry.count for entry in eligible), default=0)
    return min((entry for entry in eligible if 2 * entry.count >= most), key=lambda entry: entry.order, default=None)


def _by_kind(paths: Iterable[str]) -> tuple[list[str], list[str]]:
    """(image files, other files)."""
    kinds: tuple[list[str], list[str]] = ([], [])
    for path in paths:
        kinds[not is_image_name(path)].append(path)
    return kinds


def _is_by_product(chosen: Candidate | None) -> bool:
    """Whether files that look like labels are called after something that is made of labels: instances, overlays."""
    return chosen is not None and LABEL_TIERS[chosen.role] > LABEL_TIERS["none"]


# --- Masks for each class -----------------------------------------------------------------------------------------


def _class_masks(
    root: Path, chosen: Candidate | None, groups: Sequence[Group]
) -> tuple[ClassMasks | None, Group | None]:
    """Masks for each class of the chosen images, or of those of any folder where nothing was chosen."""
    if chosen is not None:
        pairs = [(chosen.images, chosen.affixes[0])] if LABEL_TIERS[chosen.role] <= 1 else []
    else:
        pairs = [(group, Affixes()) for group in groups if group.role in ("image", "none")]
    for images, affixes in pairs:
        labels = [group for group in groups if group.role == "label" and group.neutral == images.neutral]
        labels = labels or [group for group in groups if group.role == "label"]
        if chosen is not None and chosen.labels is images:
            labels = [images]
        for own in dict.fromkeys((affixes, Affixes())):
            found = find_class_masks(root, images, labels, own) if labels else None
            if found is not None:
                return found, images
    return None, None


def _obstacle(masks: ClassMasks) -> tuple[list[Finding], list[Finding]]:
    """(problems, warnings) of masks that are not merged."""
    if not masks.obstacle:
        return [], []
    if masks.alike:
        advice = "say in a description which to take (`--write data.yaml`)"
        text = f"{len(masks.images)} images have several masks each; one is taken: {masks.obstacle}"
        return [], [Finding("several label files", text, advice)]
    problem = [
        Finding(
            "several label files",
            f"{len(masks.images)} images have several masks each, which cannot be merged: {masks.obstacle}",
            "say in a description which to take: `labels: FOLDER` with a `label_suffix`, or `labels: {CLASS: "
            "FOLDER/*_SUFFIX.png, ...}`, in which a second * stands for a number",
        )
    ]
    return problem, []


def _numbered(root: Path, found: SplitRules, others: Sequence[str]) -> list[Finding]:
    """A problem where a file of Segments.ai says that the label images hold numbers of objects, in each other ones."""
    labels = [pair.label or "" for listing in found.listings.values() for pair in listing.pairs]
    file = None if all("semantic" in label.lower() for label in labels) else numbered_objects(root, others)
    if file is None:
        return []
    text = f"{file} says that the label images hold numbers of objects, of which it lists the classes (Segments.ai)"
    advice = "export label images of classes (export_dataset(..., export_format='semantic') of segments-ai)"
    return [Finding("labels are numbers of objects", text, advice)]


# --- What else there is -------------------------------------------------------------------------------------------


def _alternatives(chosen: Candidate, candidates: Sequence[Candidate]) -> dict[Alternative, Candidate]:
    """The other folders that pair, the best first."""
    related = [entry for entry in candidates if entry.images is chosen.images or entry.images.role == "image"]
    shown = {chosen.side_names}
    result = {}
    for entry in sorted(related, key=lambda entry: (-entry.count, entry.order)):
        if entry.side_names not in shown:
            shown.add(entry.side_names)
            result[Alternative(*entry.side_names, entry.count, entry.role)] = entry
    return result


def _rivals(chosen: Candidate, candidates: Sequence[Candidate]) -> list[Finding]:
    """Where the same images have other labels of the same standing, it is a guess which to take."""
    taken = chosen.side_names[1]
    rivals = dict.fromkeys(
        entry.side_names[1]
        for entry in candidates
        if entry.images is chosen.images
        and LABEL_TIERS[entry.role] == LABEL_TIERS[chosen.role]
        and 2 * entry.count >= chosen.count
        and entry.side_names[1] != taken
    )
    if not rivals or is_meant_for_training(chosen.rank):
        return []
    text = f"the images have other label files, too: {some(list(rivals))}; taken are those of {taken}"
    advice = "name the folder to take in a description, if it is another one (`--write data.yaml`)"
    return [Finding("several label files", text, advice)]
