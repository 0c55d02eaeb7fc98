"""What the data doctor found, as plain data: tables and sentences that a command line prints or a program reads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from intarsia.contracts import Size
from intarsia.data.description.model import IGNORE, DataDescription, LabelValue, show_value
from intarsia.data.doctor.folders import Role

_MOST_ROWS, _SOME_ROWS = 60, 20
"""Up to so many values are all shown; of more, the most frequent."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something to know. kind: a short fixed name for programs; files: all that it concerns, relative to the root."""

    kind: str
    text: str
    advice: str = ""
    files: tuple[str, ...] = ()

    def lines(self, limit: int = 5) -> list[str]:
        """For people: what, which files (at most `limit`), what to do."""
        result = [self.text]
        if self.files:
            result += [f"  {name}" for name in self.files[:limit]]
            if len(self.files) > limit:
                result.append(f"  ... and {len(self.files) - limit} more")
        return [*result, f"  -> {self.advice}"] if self.advice else result


@dataclass(frozen=True, slots=True)
class Alternative:
    """Another folder of labels that would pair too, for the user to choose instead."""

    images: str
    labels: str
    pairs: int
    role: Role


@dataclass(frozen=True, slots=True)
class SplitFindings:
    """One split. inspected: how many of its pairs were looked at. valid: share of pixels that are not ignored."""

    name: str
    pairs: int
    inspected: int
    unlabelled: int
    unused: int
    valid: float
    rule: str


@dataclass(frozen=True, slots=True)
class ImageFindings:
    """All images. sizes: (height, width) with counts, the most frequent first; modes, channels, dtypes with counts."""

    smallest: Size
    median: Size
    largest: Size
    sizes: tuple[tuple[Size, int], ...]
    modes: Mapping[str, int]
    channels: Mapping[int, int]
    dtypes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LabelFindings:
    """All label files. kind: "numbers", "colours" or "numbers with a palette"."""

    kind: str
    modes: Mapping[str, int]
    dtypes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ValueRow:
    """One file value. name: its class, "ignore", or None outside the table; pixels and images by split."""

    value: LabelValue
    name: str | None
    pixels: Mapping[str, int]
    shares: Mapping[str, float]
    images: Mapping[str, int]


@dataclass(frozen=True)
class Findings:
    """Everything that was found in a folder or for a description.

    problems: training would fail or learn nothing. warnings: worth a look. notes: decisions taken in the proposal.
    layout: in words; None for a description file. alternatives: other label folders that would pair.
    skipped: files that are no images, by extension.
    """

    path: Path
    root: Path
    layout: str | None
    splits: tuple[SplitFindings, ...]
    images: ImageFindings | None
    labels: LabelFindings | None
    values: tuple[ValueRow, ...]
    problems: tuple[Finding, ...]
    warnings: tuple[Finding, ...]
    notes: tuple[str, ...]
    alternatives: tuple[Alternative, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    description: DataDescription | None = None

    @property
    def ok(self) -> bool:
        """Whether training would start."""
        return not self.problems

    def proposal(self) -> DataDescription:
        """A complete description: of a folder, what was concluded; of a description file, itself with mean and std.

        Raises:
            ValueError: no label could be read, so there is nothing to conclude from.
        """
        if self.description is None:
            reasons = "; ".join(finding.text for finding in self.problems)
            raise ValueError(f"no description can be proposed for {self.path}: {reasons}")
        return self.description

    def shares(self, split: str = "train") -> dict[str, float]:
        """The share of each class of the labelled pixels of a split, "background" included; empty if there are none.

        Where a pixel may have several classes, they do not add up to 1.
        """
        pixels: dict[str, int] = {}
        total = 0
        for row in self.values:
            if row.name not in (None, IGNORE):
                count = row.pixels.get(split, 0)
                total += count
                for name in (row.name,) if self.description is None else self.description.names_of(row.value):
                    pixels[name] = pixels.get(name, 0) + count
        return {name: float(f"{count / total:.4g}") for name, count in pixels.items()} if total else {}

    def lines(self, *, files: int = 5) -> list[str]:
        """The whole report as text, one line each; `files`: how many names a finding lists."""
        result = [f"{self.path}" + (f": {self.layout}" if self.layout else "")]
        for split in self.splits:
            looked = "" if split.inspected == split.pairs else f", {split.inspected} looked at"
            found = f"  {split.name}: {many(split.pairs, 'pair')}{looked}"
            result.append(f"{found}, {split.valid:.1%} of the pixels labelled ({split.rule})")
        if self.images is not None:
            result += _image_lines(self.images)
        if self.labels is not None:
            modes = self.labels.modes  # "shapes" and "masks" count the images that have some
            counted = f" for {many(sum(modes.values()), 'image')}" if {*modes} <= {"shapes", "masks"} else ""
            result.append(f"labels: {self.labels.kind}{counted or f'; {_counts(modes)}'}")
        if self.mean is not None and self.std is not None:
            result.append(f"mean {_numbers(self.mean)}, std {_numbers(self.std)} (training images, labelled pixels)")
        result += self._value_lines()
        for title, findings in (("problem", self.problems), ("warning", self.warnings)):
            for finding in findings:
                first, *rest = finding.lines(files)
                result += [f"{title}: {first}", *rest]
        result += [f"note: {note}" for note in self.notes]
        others = {entry.labels: entry for entry in reversed(self.alternatives)}
        result += [
            f"other labels: {entry.labels} would pair {entry.pairs} images"
            + (f" ({entry.role}s)" if entry.role in ("instance", "prediction") else "")
            for entry in list(others.values())[:-6:-1]
        ]
        if self.skipped:
            result.append(f"no images, passed over: {_counts(self.skipped)}")
        return result

    def to_dict(self) -> dict[str, Any]:
        """The same as JSON-ready values."""
        result: dict[str, Any] = {
            "path": str(self.path),
            "root": str(self.root),
            "ok": self.ok,
            "layout": self.layout,
            "splits": [asdict(split) for split in self.splits],
            "images": None if self.images is None else asdict(self.images),
            "labels": None if self.labels is None else asdict(self.labels),
            "values": [{**asdict(row), "value": show_value(row.value)} for row in self.values],
            "problems": [asdict(finding) for finding in self.problems],
            "warnings": [asdict(finding) for finding in self.warnings],
            "notes": list(self.notes),
            "alternatives": [asdict(entry) for entry in self.alternatives],
            "skipped": dict(self.skipped),
            "mean": self.mean,
            "std": self.std,
        }
        return result

    def _value_lines(self) -> list[str]:
        """The table of values, a column for each split."""
        if not self.values:
            return []
        names = [split.name for split in self.splits]
        rows = [["value", "class", *(f"{name} pixels" for name in names), *(f"{name} images" for name in names)]]
        by_share = sorted(self.values, key=lambda row: -sum(row.shares.values()))
        kept = {row.value for row in by_share[: _MOST_ROWS if len(by_share) <= _MOST_ROWS else _SOME_ROWS]}
        for row in (row for row in self.values if row.value in kept):
            name = row.name if row.name is not None else "(not in the table)"
            shares = [f"{row.shares.get(split, 0.0):.3%}" for split in names]
            rows.append([show_value(row.value), name, *shares, *(str(row.images.get(split, 0)) for split in names)])
        widths = [max(len(cells[column]) for cells in rows) for column in range(len(rows[0]))]
        padded = ([cell.ljust(width) for cell, width in zip(cells, widths, strict=True)] for cells in rows)
        hidden = len(self.values) - len(kept)
        more = [f"  ... and {hidden} rarer values"] if hidden else []
        return ["  " + "  ".join(cells).rstrip() for cells in padded] + more


def _image_lines(images: ImageFindings) -> list[str]:
    size, count = images.sizes[0]
    total = sum(images.modes.values())
    if len(images.sizes) == 1:
        sizes = f"all {show_size(size)}"
    else:
        sizes = (
            f"{show_size(images.smallest)} to {show_size(images.largest)}, median {show_size(images.median)}, "
            f"most often {show_size(size)} ({count} of {total})"
        )
    return [f"images (width x height): {sizes}; {_counts(images.modes)}"]


def many(count: int, noun: str) -> str:
    """A number with its noun: "1 label file", "3 classes"."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{count} {noun}{plural if count != 1 else ''}"


def some(names: Sequence[str], limit: int = 8) -> str:
    """The first names of many."""
    return ", ".join(names[:limit]) + (f" and {len(names) - limit} more" if len(names) > limit else "")


def show_size(size: Size) -> str:
    """Width x height, as people and image viewers say it."""
    return f"{size[1]} x {size[0]}"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _numbers(values: Sequence[float]) -> str:
    return "[" + ", ".join(f"{value:g}" for value in values) + "]"
