"""Checkpoints: everything a run needs to go on as if it had never stopped.

A checkpoint is one file, ``step_00000200.pt``: a dict of plain numbers, strings and tensors, written whole or not at
all, readable with ``torch.load(weights_only=True)``. Damage is found by the checksums inside the archive.
"""

from __future__ import annotations

import math
import pickle
import re
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from intarsia.contracts import ClassScore, Report
from intarsia.io.whole_files import sweep, write_whole

FORMAT = 1
_NAME = re.compile(r"step_(\d+)\.pt")


class CheckpointError(ValueError):
    """A checkpoint cannot be used."""


@dataclass(frozen=True, slots=True)
class Restored:
    """The newest usable checkpoint. notes: what the user should know: newer ones that are damaged, by name."""

    state: dict[str, Any]
    path: Path
    notes: tuple[str, ...]


class Checkpoints:
    """The checkpoints of one run: the last `keep` of them stay, and those of every step that `every` divides."""

    def __init__(self, folder: Path, *, keep: int = 2, every: int | None = None) -> None:
        if keep < 1:
            raise ValueError(f"a run keeps at least one checkpoint, found keep={keep}")
        self.folder = folder
        self.keep = keep
        self.every = every

    def path(self, step: int) -> Path:
        """The file of a step."""
        return self.folder / f"step_{step:08d}.pt"

    def steps(self) -> list[int]:
        """Steps that have a file, ascending."""
        if not self.folder.is_dir():
            return []
        return sorted(int(found[1]) for entry in self.folder.iterdir() if (found := _NAME.fullmatch(entry.name)))

    def save(self, step: int, state: Mapping[str, Any]) -> Path:
        """Write the checkpoint of `step`, then remove those that are no longer kept.

        Raises DiskFullError if there is no room; the earlier checkpoints are then intact.
        """
        path = self.path(step)
        content = {"format": FORMAT, "step": step, **state}
        write_whole(path, lambda file: torch.save(content, file))
        earlier = [s for s in self.steps() if s <= step]  # later ones are damaged, or the run would have begun there
        for old in earlier[: -self.keep]:
            if self.every is None or old % self.every:
                self.path(old).unlink(missing_ok=True)
        sweep(self.folder)
        for leftover in self.folder.glob(".step_*.part"):  # of earlier versions
            leftover.unlink(missing_ok=True)
        return path

    def restore(self) -> Restored | None:
        """The newest checkpoint that is whole, or None if there is none at all.

        Raises CheckpointError, naming every file and what is wrong with it, if there are some but none is usable.
        """
        notes: list[str] = []
        for step in reversed(self.steps()):
            try:
                return Restored(load_checkpoint(self.path(step)), self.path(step), tuple(notes))
            except CheckpointError as error:
                notes.append(str(error))
        if notes:
            raise CheckpointError("no checkpoint is usable:\n" + "\n".join(f"  {note}" for note in notes))
        return None


def report_values(report: Report | None) -> dict[str, Any] | None:
    """A report as the plain values that a checkpoint may hold; `report_from` makes it again."""
    if report is None:
        return None
    return {
        "summary": _floats(report.summary),
        "classes": [{"name": c.name, "values": _floats(c.values), "pixels": int(c.pixels)} for c in report.classes],
        "absent": list(report.absent),
        "images": int(report.images),
        "losses": _floats(report.losses),
        "threshold": report.threshold,
        **({"thresholds": _floats(report.thresholds)} if report.thresholds else {}),
        **({"parts": {name: report_values(part) for name, part in report.parts.items()}} if report.parts else {}),
    }


def _floats(values: Mapping[str, float]) -> dict[str, float | None]:
    """None for nan, so that equal checkpoints compare equal."""
    return {name: None if math.isnan(value) else float(value) for name, value in values.items()}


def report_from(values: Mapping[str, Any] | None) -> Report | None:
    """The report that `report_values` took apart."""
    if values is None:
        return None

    def numbers(held: Mapping[str, float | None]) -> dict[str, float]:
        return {name: math.nan if value is None else value for name, value in held.items()}

    return Report(
        summary=numbers(values["summary"]),
        classes=tuple(ClassScore(c["name"], numbers(c["values"]), c["pixels"]) for c in values["classes"]),
        absent=tuple(values["absent"]),
        images=values["images"],
        losses=numbers(values["losses"]),
        threshold=values.get("threshold"),
        thresholds=numbers(values.get("thresholds", {})),
        parts={name: part for name, held in values.get("parts", {}).items() if (part := report_from(held)) is not None},
    )


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU. Raises CheckpointError if it is damaged, cut short or of a later format."""
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged: the checksum of {damaged!r} is wrong")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, EOFError, RuntimeError, pickle.UnpicklingError, zlib.error) as error:
        raise CheckpointError(f"{path} is damaged or cut short ({path.stat().st_size} bytes)") from error
    if state.get("format") != FORMAT:
        raise CheckpointError(f"{path} has format {state.get('format')!r}; this version reads format {FORMAT}")
    return dict(state)
