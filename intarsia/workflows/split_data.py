"""`intarsia data split`: images divided into training, validation and test, or folds, as lists and descriptions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.data.description.assign import write_lists
from intarsia.data.description.splits import ShareSplit, Split
from intarsia.data.description.write import write_description
from intarsia.workflows.division import MOST_FOLDS, Pool, folds_of, read_pool, with_fold, without_test
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
    """What was written. files: the descriptions. parts: what each split has; of folds, what each fold has."""

    files: tuple[Path, ...]
    parts: tuple[PartSummary, ...]
    by: str | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return {
            "descriptions": [str(file) for file in self.files],
            "by": self.by,
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
        rows = [("images", *(f"{part.images:,}" for part in self.parts))]
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
    pool, fixed = without_test(description, read_pool(description, request.pool, by=request.by))
    if fixed and request.test:
        pool, fixed = read_pool(description, request.pool, by=request.by), []
    _check_own_splits(request, description, fixed)
    by = description.groups if request.by is None else request.by
    described_groups = replace(description, groups=by)
    files = _files(request)
    if request.folds is None:
        parts = pool.divided(_targets(request), seed=request.seed, stratify=request.stratify)
        if fixed:
            parts["test"] = fixed
        rules: dict[str, Split] = dict(write_lists(pool.description, parts, request.out))
        kept = {name: rule for name, rule in description.splits.items() if _stays(name, rule, request, rules)}
        write_description(_noted(replace(described_groups, splits={**rules, **kept}), request), files[0])
    else:
        folds = folds_of(pool, request.folds, seed=request.seed, stratify=request.stratify)
        for number, file in enumerate(files, 1):
            noted = _noted(described_groups, request)
            divided = with_fold(noted, pool, folds, number, request.out, f"fold_{number}_")
            write_description(divided, file)
        parts = {f"fold {number}": fold for number, fold in enumerate(folds, 1)}
        parts |= {"test": fixed} if fixed else {}
    whole = read_pool(description, request.pool, by=request.by) if fixed else pool
    return SplitResult(files, tuple(_summary(name, whole.of(images)) for name, images in parts.items()), by)


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


def _check_own_splits(request: SplitRequest, description: DataDescription, fixed: Sequence[str]) -> None:
    """Refuse to write over a split with images of its own, which would be lost."""
    wanted = [] if request.folds is not None else [name for name in ("val", "test") if getattr(request, name)]
    for name in wanted:
        rule = description.splits.get(name)
        if rule is not None and not isinstance(rule, ShareSplit) and name not in request.pool:
            both = ",".join([*request.pool, name])
            raise ValueError(
                f"{request.data} has a {name} split of its own ({rule}); --pool {both} takes its images together with "
                f"those of {', '.join(request.pool)} and divides them anew; --{name} 0 leaves it as it is"
            )


def _stays(name: str, rule: Split, request: SplitRequest, written: Mapping[str, Split]) -> bool:
    """Whether a split of the data remains: it is not divided, no part of what is, and not written anew."""
    return name not in written and name not in request.pool and not isinstance(rule, ShareSplit)


def _noted(description: DataDescription, request: SplitRequest) -> DataDescription:
    """With a comment that says how the lists came about."""
    how = [f"seed {request.seed}", "by class share" if request.stratify else "at random"]
    if description.groups is not None:
        how.insert(0, f"groups by {description.groups!r}")
    old = tuple(note for note in description.notes if not note.startswith("there is no validation split"))
    return replace(description, notes=(*old, f"Divided by `intarsia data split`: {', '.join(how)}."))


def _summary(name: str, pool: Pool) -> PartSummary:
    pixels = pool.pixels.sum(0)
    total = max(1, int(pixels.sum()))
    return PartSummary(
        name,
        images=len(pool.images),
        groups=len(set(pool.groups)),
        shares={label: int(count) / total for label, count in zip(pool.classes, pixels, strict=True)},
        images_with={label: int(count) for label, count in zip(pool.classes, (pool.pixels > 0).sum(0), strict=True)},
    )
