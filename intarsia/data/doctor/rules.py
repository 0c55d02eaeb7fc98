"""From folders and names that belong together to the rules of a description, one per split."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path

from intarsia.data.description.pairing import Listing, Source
from intarsia.data.description.splits import FolderSplit, JoinedSplit, OwnSplit, list_split
from intarsia.data.doctor.affixes import Affixes
from intarsia.data.doctor.candidates import LABEL_TIERS, Candidate
from intarsia.data.doctor.class_masks import ClassMasks
from intarsia.data.doctor.findings import Finding, some
from intarsia.data.doctor.folders import SLOT, SPLITS, Group
from intarsia.data.doctor.split_lists import find_split_lists
from intarsia.data.slices import file_of
from intarsia.io.text import same_name


@dataclass(slots=True)
class SplitRules:
    """The rules of the splits with the files that they find, and what to tell about it.

    told: files that no rule uses, but of which notes or warnings speak.
    """

    rules: dict[str, OwnSplit] = field(default_factory=dict)
    listings: dict[str, Listing] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    warnings: list[Finding] = field(default_factory=list)
    told: set[str] = field(default_factory=set)

    def add(self, root: Path, split: str, rule: OwnSplit) -> bool:
        """Take a rule if it finds pairs."""
        try:
            listing = list_split(root, rule)
        except ValueError:
            return False
        if listing.pairs:
            self.rules[split], self.listings[split] = rule, listing
        return bool(listing.pairs)

    @property
    def used(self) -> set[str]:
        """All files of the splits."""
        pairs = [pair for found in self.listings.values() for pair in found.pairs]
        return {file_of(name) for pair in pairs for name in (pair.image, *pair.label_files)}


def by_masks(root: Path, images: Group, chosen: Candidate | None, masks: ClassMasks) -> SplitRules:
    """The splits of images with masks for each class."""
    found = SplitRules()
    affixes = chosen.affixes[0] if chosen is not None and chosen.images is images else Affixes()
    for split in [split for split in (*SPLITS, None) if split in masks.rules]:
        source = Source(
            images=images.folder(split),
            labels=None,
            image_suffix=_suffixes(images, affixes, None, masks.images),
            image_prefix=affixes.prefix,
            masks=masks.rules[split],
        )
        found.add(root, split or "train", FolderSplit(source))
    found.notes.append(f"every image has a mask for each class ({some(masks.classes)}); they are merged into one label")
    return _with_train(found)


# --- Folders ------------------------------------------------------------------------------------------------------


def by_folders(root: Path, chosen: Candidate, groups: Sequence[Group]) -> SplitRules:
    """The rule of every split that folders tell, or of all together."""
    found = SplitRules()
    for side in (chosen.images, chosen.labels):
        if "*" in side.template and chosen.members:
            places = sorted({"/".join(member.images.neutral) for member in chosen.members})
            found.notes.append(f"'*' in {side.shown()} stands for {len(places)} folders: {some(places)}")
            break
    splits = [split for split in SPLITS if split in {**chosen.images.words, **chosen.labels.words}]
    for split in splits:
        lacking = next((side for side in (chosen.images, chosen.labels) if _lacks(side, split)), None)
        if lacking is chosen.images and chosen.images is not chosen.labels:
            found.notes.append(f"{split}: the labels in {chosen.labels.folder(split)} have no images; left out")
        elif lacking is not None or not found.add(root, split, FolderSplit(_source(chosen, split, groups))):
            found.notes.append(f"{split}: the images in {chosen.images.folder(split)} have no labels; left out")
            found.told |= chosen.image_paths(split)
    if not splits:
        found.add(root, "train", FolderSplit(_source(chosen, None, groups)))
    return _with_train(found)


def _lacks(side: Group, split: str) -> bool:
    """Whether folders tell the splits of this side, but this one is not among them."""
    return any(SLOT in part for part in side.template) and split not in side.words


def _with_train(found: SplitRules) -> SplitRules:
    """What there is becomes the training split if none is called so."""
    if found.rules and "train" not in found.rules:
        only = next(iter(found.rules))
        found.notes.append(f"there is no train folder; {found.rules[only]} ({only}) is taken for training")
        found.rules["train"] = found.rules.pop(only)
        found.listings["train"] = found.listings.pop(only)
    return found


def _source(chosen: Candidate, split: str | None, groups: Sequence[Group]) -> Source:
    own, other = chosen.affixes
    shared = _cores(chosen.images, own) & _cores(chosen.labels, other)
    inside = [
        group
        for group in groups
        for side in (chosen.images, chosen.labels)
        if group.template != side.template and group.template[: len(side.template)] == side.template
    ]
    flat = not any(
        below for side in (chosen.images, chosen.labels) for files in side.files.values() for below, _, _ in files
    )
    return Source(
        images=chosen.images.folder(split),
        labels=chosen.labels.folder(split),
        image_suffix=_suffixes(chosen.images, own, chosen.extensions and chosen.extensions[0], shared),
        label_suffix=_suffixes(chosen.labels, other, chosen.extensions and chosen.extensions[1], shared),
        image_prefix=own.prefix,
        label_prefix=other.prefix,
        recursive=not (inside and flat),
    )


def _cores(group: Group, affixes: Affixes) -> set[str]:
    """What is left of the names of a group's files without the affixes."""
    found = {affixes.core(same_name(stem)) for files in group.files.values() for _, stem, _ in files}
    return {core for core in found if core is not None}


def _suffixes(group: Group, affixes: Affixes, extension: str | None, cores: Set[str]) -> tuple[str, ...]:
    """What follows the names of files that were joined, with every extension that occurs, the most frequent first."""
    if extension is not None:
        return (affixes.suffix + extension,)
    seen = Counter(
        found.lower()
        for files in group.files.values()
        for _, stem, found in files
        if affixes.core(same_name(stem)) in cores
    )
    return tuple(affixes.suffix + found for found, _ in sorted(seen.items(), key=lambda item: (-item[1], item[0])))


# --- Further sources ----------------------------------------------------------------------------------------------


def join_others(
    root: Path, found: SplitRules, chosen: Candidate, candidates: Sequence[Candidate], groups: Sequence[Group]
) -> None:
    """Add sources of other folders: their images and labels are others, and so are the names of the images."""
    names = set(chosen.cores)
    used = found.used
    for entry in sorted(candidates, key=lambda entry: entry.order):
        if entry is chosen or LABEL_TIERS[entry.role] > LABEL_TIERS[chosen.role] or entry.images.role == "colour":
            continue
        extra = by_folders(root, entry, groups)
        if not extra.rules or extra.used & used:
            continue
        pairs = sum(len(listing.pairs) for listing in extra.listings.values())
        what = f"{pairs} images in {entry.images.shown()} with labels in {entry.labels.shown()}"
        again = len(names & set(entry.cores))
        if again or set(extra.rules) - set(found.rules):
            why = f"{again} have names that the others have, too" if again else "they have other splits"
            text = f"{what} are left out: {why}"
            found.warnings.append(Finding("source left out", text, "describe both in a file, if they are no copies"))
            found.told |= extra.used
        else:
            for split, rule in extra.rules.items():
                parts = [part for one in (found.rules[split], rule) for part in _parts(one)]
                found.add(root, split, JoinedSplit(tuple(parts)))
            names |= set(entry.cores)
            text = f"two sources are taken together: {what} join the others"
            advice = "if they are something else, name the folders to take in a description (`--write data.yaml`)"
            found.warnings.append(Finding("several sources", text, advice))
        used |= extra.used


def _parts(rule: OwnSplit) -> tuple[FolderSplit, ...]:
    if isinstance(rule, JoinedSplit):
        return rule.folders
    assert isinstance(rule, FolderSplit)
    return (rule,)


# --- Lists --------------------------------------------------------------------------------------------------------


def apply_lists(root: Path, found: SplitRules, others: Sequence[str], images: Sequence[str]) -> None:
    """Replace one split of everything by what lists say of it."""
    rule = found.rules.get("train")
    pairs = found.listings["train"].pairs if rule is not None else ()
    lists = find_split_lists(root, others, images, rule, pairs)
    found.warnings += [Finding("list not used", text) for text in lists.warnings]
    if lists.splits and "train" not in lists.splits:
        which = ", ".join(sorted(lists.splits))
        found.notes.append(f"lists of names exist for {which} but not for train; not used")
        return
    if not lists.splits:
        return
    found.rules.clear()
    found.listings.clear()
    for split, own in lists.splits.items():
        found.add(root, split, own)
    found.notes += lists.notes
    unlisted = sorted({pair.image for pair in pairs} - found.used)
    found.told |= {file for pair in pairs if pair.image in unlisted for file in (pair.image, *pair.label_files)}
    if unlisted:
        text = f"{len(unlisted)} images with labels are in none of the lists; left out"
        found.warnings.append(Finding("not listed", text, "add them to a list, or remove the lists", tuple(unlisted)))
