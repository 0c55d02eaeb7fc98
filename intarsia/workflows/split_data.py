"""`intarsia data split`: images divided into training, validation and test, or folds, as lists and descriptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from intarsia.data.description.assign import write_lists
from intarsia.data.description.mixed import MixedDescription
from intarsia.data.description.splits import ShareSplit, Split
from intarsia.data.description.write import write_description
from intarsia.data.doctor.findings import Finding
from intarsia.data.doctor.torn import torn_apart
from intarsia.data.doctor.validation import NOTE
from intarsia.workflows.division import (
    Pool,
    data_of,
    divide_pools,
    kept_in,
    read_pools,
    things_in,
    with_splits,
    without_test,
)
from intarsia.workflows.folds import MOST_FOLDS, folds_of
from intarsia.workflows.names import described

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription


@dataclass(frozen=True, kw_only=True)
class SplitRequest:
    """How data are divided.

    data: a folder of images and masks, or a description. out: folder for the lists and descriptions.
    val, test: shares of the images. folds: so many parts instead, each the validation split once.
    by: what stays together, see `divide.group_names`; None: what the description says, else nothing.
    stratify: whether each part gets its share of every class. pool: the splits whose images are divided.
    overwrite: replace descriptions that are in `out`.
    """

    data: Path
    out: Path
    val: float = 0.2
    test: float = 0.0
    folds: int | None = None
    by: str | None = None
    seed: int = 0
    stratify: bool = True
    pool: tuple[str, ...] = ("train",)
    overwrite: bool = False


@dataclass(frozen=True)
class PartSummary:
    """One part. shares: of its labelled pixels, by class. images_with: of each class, how many images show it."""

    name: str
    images: int
    groups: int
    shares: Mapping[str, float]
    images_with: Mapping[str, int]


@dataclass(frozen=True)
class SplitResult:
    """What was written. files: the descriptions. parts: what each split has; of folds, what each fold has. things: what
    was divided: "images", "blocks" of scenes, or "images and blocks". kept: what stays whole, in words. torn:
    what the doctor says of images that may belong together and do not.
    """

    files: tuple[Path, ...]
    parts: tuple[PartSummary, ...]
    by: str | None
    things: str = "images"
    kept: tuple[str, ...] = ()
    torn: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "descriptions": [str(file) for file in self.files],
            "by": self.by,
            "kept_together": list(self.kept),
            "warnings": [f"{finding.text} ({finding.advice})" for finding in self.torn],
            "things": self.things,
            "parts": [
                {
                    "name": part.name,
                    "images": part.images,
                    "groups": part.groups,
                    "shares": dict(part.shares),
                    "images_with": dict(part.images_with),
                }
                for part in self.parts
            ],
        }

    def rows(self) -> list[tuple[str, ...]]:
        """A table with a column for each part: images, groups, then share of the pixels (images) by class."""
        rows = [(self.things, *(f"{part.images:,}" for part in self.parts))]
        if any(part.groups != part.images for part in self.parts):
            rows.append(("groups", *(f"{part.groups:,}" for part in self.parts)))
        for name in self.parts[0].shares:
            cells = (f"{part.shares[name]:.2%} ({part.images_with[name]:,})" for part in self.parts)
            rows.append((name, *cells))
        return rows

    def missing(self) -> list[str]:
        """What a part lacks although another has it: "test: sign, fence"."""
        found = []
        for part in self.parts:
            lost = [
                name
                for name, count in part.images_with.items()
                if not count and any(other.images_with[name] for other in self.parts)
            ]
            if lost:
                found.append(f"{part.name}: {', '.join(lost)}")
        return found


def split_data(request: SplitRequest) -> SplitResult:
    """Divide, and write lists beside the descriptions that use them.

    Raises ValueError for shares that leave no training images, data without labels, a folder that holds descriptions,
    or fewer groups than parts.
    """
    _check(request)
    description = described(request.data)
    if request.folds is not None:
        folds = folds_of(
            description, request.folds, pool=request.pool, by=request.by, seed=request.seed, stratify=request.stratify
        )
        _check_own_splits(request, description, folds.pools)
        for number, file in enumerate(_files(request), 1):
            written = folds.description_of(number, request.out, f"fold_{number}_")
            write_description(_noted(written, request, folds.pools), file)
        named = {f"fold {number}": fold for number, fold in enumerate(folds.images, 1)}
        parts = {pool.member: {name: fold[pool.member] for name, fold in named.items()} for pool in folds.pools}
        for pool in folds.pools:
            if fixed := without_test(pool, description)[1]:
                parts[pool.member]["test"] = fixed
        return _result(request, description, folds.pools, parts)
    pools = read_pools(description, request.pool, by=request.by)
    _check_own_splits(request, description, pools)
    divided = _divided(request, description, pools)
    splits: dict[str, Mapping[str, Split]] = {}
    if isinstance(description, MixedDescription):
        splits = {one.name: one.description.splits for one in description.members}
    for pool in pools:
        prefix = f"{pool.member}_" if pool.member else ""
        rules = write_lists(pool.description, divided[pool.member], request.out, prefix=prefix)
        own = data_of(pool, description).splits
        kept = {name: rule for name, rule in own.items() if _stays(name, rule, request, rules)}
        splits[pool.member] = {**rules, **kept}
    whole = with_splits(description, splits, groups=request.by)
    write_description(_noted(whole, request, pools), _files(request)[0])
    torn = tuple(_torn(whole, _files(request)[0]))
    return replace(_result(request, description, pools, divided), torn=torn)


def _torn(description: DataDescription, file: Path) -> Iterator[Finding]:
    """What the doctor says of the splits that were written."""
    data_sets = [description]
    if isinstance(description, MixedDescription):
        data_sets = [member.description for member in description.members]
    for one in data_sets:
        yield from torn_apart(one, {split: one.listing(split) for split in one.splits}, file)


def _divided(
    request: SplitRequest, description: DataDescription, pools: Sequence[Pool]
) -> dict[str, dict[str, list[str]]]:
    """The images of each part of each data set."""
    free, fixed = [], {}
    for pool in pools:
        rest, kept = without_test(pool, description)
        free.append(pool if kept and request.test else rest)
        if kept and not request.test:
            fixed[pool.member] = {"test": kept}
    parts = divide_pools(free, _targets(request), seed=request.seed, stratify=request.stratify)
    return {member: {**own, **fixed.get(member, {})} for member, own in parts.items()}


def _result(
    request: SplitRequest,
    description: DataDescription,
    pools: Sequence[Pool],
    parts: Mapping[str, Mapping[str, Sequence[str]]],
) -> SplitResult:
    """parts: of each data set, the images of each part."""
    names = dict.fromkeys(name for own in parts.values() for name in own)
    found = [
        _summary(name, [pool.of(parts[pool.member][name]) for pool in pools if name in parts[pool.member]])
        for name in names
    ]
    by = description.groups if request.by is None else request.by
    return SplitResult(_files(request), tuple(found), by, things_in(pools), tuple(kept_in(pools)))


def _check(request: SplitRequest) -> None:
    for name in ("val", "test"):
        share = getattr(request, name)
        if not 0 <= share < 1:
            raise ValueError(f"--{name} is a share of the images from 0 to 1, such as 0.2, found {share:g}")
    if request.folds is not None and not 2 <= request.folds <= MOST_FOLDS:
        raise ValueError(f"--folds is 2 to {MOST_FOLDS}, found {request.folds}")
    if request.folds is None and request.val + request.test >= 1:
        raise ValueError(f"--val {request.val:g} and --test {request.test:g} leave nothing to train on")
    if request.folds is None and not request.val and not request.test:
        raise ValueError("nothing to divide: give --val 0.2, --test 0.1, or --folds 5")
    if request.folds is not None and request.test:
        raise ValueError(
            "--folds divides all images; set a test split aside first (data split --val 0 --test 0.1), then divide the "
            "description that this writes into folds"
        )
    for file in _files(request):
        if file.exists() and not request.overwrite:
            raise ValueError(f"{file} is there already; replace it with --overwrite, or choose another --out")


def _files(request: SplitRequest) -> tuple[Path, ...]:
    if request.folds is None:
        return (request.out / "data.yaml",)
    return tuple(request.out / f"fold_{number}.yaml" for number in range(1, request.folds + 1))


def _targets(request: SplitRequest) -> dict[str, float]:
    """The largest part first, so that what no class decides falls to it."""
    targets = {"train": 1 - request.val - request.test, "val": request.val, "test": request.test}
    return {name: share for name, share in targets.items() if share > 0}


def _check_own_splits(request: SplitRequest, description: DataDescription, pools: Sequence[Pool]) -> None:
    """Refuse to write over a split with images of its own, which would be lost."""
    wanted = [] if request.folds is not None else [name for name in ("val", "test") if getattr(request, name)]
    for name, own in ((name, data_of(pool, description).splits) for name in wanted for pool in pools):
        rule = own.get(name)
        if rule is not None and not isinstance(rule, ShareSplit) and name not in request.pool:
            both = ",".join([*request.pool, name])
            raise ValueError(
                f"{request.data} has a {name} split of its own ({rule}); --pool {both} takes its images together with "
                f"those of {', '.join(request.pool)} and divides them anew; --{name} 0 leaves it as it is"
            )


def _stays(name: str, rule: Split, request: SplitRequest, written: Mapping[str, Split]) -> bool:
    """Whether a split of the data remains: it is not divided, no part of what is, and not written anew."""
    return name not in written and name not in request.pool and not isinstance(rule, ShareSplit)


def _noted(description: DataDescription, request: SplitRequest, pools: Sequence[Pool]) -> DataDescription:
    """With a comment that says how the lists came about."""
    how = [f"seed {request.seed}", "by class share" if request.stratify else "at random"]
    how[:0] = kept_in(pools)
    old = tuple(note for note in description.notes if not note.startswith(NOTE))
    return replace(description, notes=(*old, f"Divided by `intarsia data split`: {', '.join(how)}."))


def _summary(name: str, pools: Sequence[Pool]) -> PartSummary:
    pixels = np.concatenate([pool.pixels for pool in pools])
    classes, sums = pools[0].classes, pixels.sum(0)
    total = max(1, int(sums.sum()))
    return PartSummary(
        name,
        images=sum(len(pool.images) for pool in pools),
        groups=sum(len(set(pool.groups)) for pool in pools),
        shares={label: int(count) / total for label, count in zip(classes, sums, strict=True)},
        images_with={label: int(count) for label, count in zip(classes, (pixels > 0).sum(0), strict=True)},
    )
