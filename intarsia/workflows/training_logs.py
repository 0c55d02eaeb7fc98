"""Logs of trainings, whoever wrote them: ours, and those of MMSegmentation 1.x and 0.x, under the same names.

metrics.jsonl                  ours
vis_data/scalars.json          MMEngine (1.x): a JSON object a line with "step"; scores in percent
NAME.log.json                  MMCV (0.x): a JSON object a line with "mode"; scores as fractions; "iter" of a validation
                               counts its own batches, so that it belongs to the training's last line before it
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeGuard

from intarsia.config.lowering.scores import LOWER_IS_BETTER
from intarsia.engine.training.log import MetricsFile
from intarsia.io.text import read_text

Record = dict[str, Any]

SECONDS = "step_seconds"
"""Seconds of a training step, a mean over the steps since the line before."""

OURS, MMENGINE, MMCV = "metrics.jsonl", "scalars.json", "*.log.json"
PERCENT = ("aAcc", "mAcc", "mIoU", "mDice", "mFscore", "mPrecision", "mRecall")
_NOT_VALUES = ("step", "iter", "epoch", "mode", "memory", "time", "data_time", "eta")
_LARGEST = 1e300
_NO_BEST = ("lr", "base_lr", "momentum")


@dataclass(frozen=True)
class TrainingLog:
    """The log of one training. records: "step" and names to numbers, validation scores (fractions) behind "val/"."""

    name: str
    records: Sequence[Record]

    @property
    def keys(self) -> tuple[str, ...]:
        """Everything that was logged as a number, in the order of its first time."""
        return tuple(dict.fromkeys(key for line in self.records for key in line if key != "step"))

    def series(self, key: str) -> list[tuple[int, float]]:
        """(step, value) of each line that has it."""
        return [(line["step"], line[key]) for line in self.records if line.get(key) is not None]


@dataclass(frozen=True)
class Summary:
    """One key of one log. best: (value, step), None where neither less nor more is better."""

    count: int
    first: float
    last: float
    best: tuple[float, int] | None
    median: float


def summary(log: TrainingLog, key: str) -> Summary | None:
    """None where the log does not have it."""
    found = log.series(key)
    if not found:
        return None
    values = [value for _, value in found]
    best = None
    if key not in _NO_BEST:
        sign = 1 if lower_is_better(key) else -1
        best = min(((value, step) for step, value in found), key=lambda pair: (sign * pair[0], pair[1]))
    return Summary(len(values), values[0], values[-1], best, statistics.median(values))


def lower_is_better(key: str) -> bool:
    """Of losses, errors and times."""
    name = key.removeprefix("val/").removeprefix("fit/")
    return "loss" in name or name in LOWER_IS_BETTER or name in (SECONDS, "data_wait", "gradient_norm", "grad_norm")


def found_key(log_keys: Sequence[str], asked: str) -> str | None:
    """What a person calls a key: its name, or that of a validation score without "val/"."""
    return next((key for key in (asked, f"val/{asked}") if key in log_keys), None)


# --- reading ------------------------------------------------------------------------------------------------------


def read_log(place: Path) -> TrainingLog:
    """The log of a run's folder, of a work_dir of MMSegmentation, or of a file of one of the three kinds.

    Of a work_dir with several logs, for a training that was resumed, the later ones replace what they did again.

    Raises ValueError where there is none.
    """
    if place.is_file():
        return TrainingLog(str(place), _of_file(place))
    if (place / OURS).is_file():
        return TrainingLog(str(place), _of_file(place / OURS))
    files = sorted(place.glob(f"**/vis_data/{MMENGINE}")) or sorted(place.glob(MMCV))
    records: list[Record] = []
    for file in files:
        later = _of_file(file)
        if later:
            records = [line for line in records if line["step"] < later[0]["step"]] + later
    if not records:
        raise ValueError(
            f"{place} holds no log of a training: expected a folder that --out made ({OURS}), a work_dir of "
            f"MMSegmentation (vis_data/{MMENGINE}, {MMCV}), or such a file"
        )
    return TrainingLog(str(place), records)


def _of_file(file: Path) -> list[Record]:
    if file.name == OURS:
        lines = [{"step": line["step"], **dict(_numbers(line))} for line in MetricsFile(file).read()]
        return _with_seconds(lines, file.parent / "run.json")
    lines = [entry for line in read_text(file).splitlines() if (entry := _parsed(line)) is not None]
    records = list(_of_mmcv(lines) if any("mode" in line for line in lines) else _of_mmengine(lines))
    if not records:
        raise ValueError(f"{file} is no log of a training: expected a JSON object a line, with steps in them")
    return records


def _parsed(line: str) -> Record | None:
    """None for what is no JSON object, such as a line that was cut short."""
    try:
        entry = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return entry if isinstance(entry, dict) else None


def _with_seconds(records: list[Record], about: Path) -> list[Record]:
    """With the seconds of a step, where run.json says how many images it has."""
    try:
        batch = json.loads(about.read_text(encoding="utf-8"))["batch"]
    except (OSError, ValueError, KeyError, TypeError):
        return records
    if not isinstance(batch, int):
        return records
    return [line | ({SECONDS: batch / rate} if (rate := line.get("images_per_second")) else {}) for line in records]


def _of_mmengine(lines: Sequence[Record]) -> Iterator[Record]:
    last = 0
    for line in lines:
        step = line.get("step")
        if not _is_step(step):
            continue
        last = step or last  # a test at the end says 0
        if "loss" in line or "lr" in line:
            yield _training(line, last)
        elif values := {
            name: value / 100 if name in PERCENT and value is not None else value for name, value in _numbers(line)
        }:
            yield {"step": last, **{f"val/{name}": value for name, value in values.items()}}


def _of_mmcv(lines: Sequence[Record]) -> Iterator[Record]:
    last = before = 0
    for line in lines:
        iteration = line.get("iter")
        if line.get("mode") == "train" and _is_step(iteration):
            if before + iteration <= last:  # counted anew in each epoch
                before = last
            last = before + iteration
            yield _training(line, last)
        elif line.get("mode") == "val":
            values = {f"val/{name}": value for name, value in _numbers(line) if name != "lr"}
            if values:
                yield {"step": last, **values}


def _training(line: Mapping[str, Any], step: int) -> Record:
    record: Record = {"step": step, **dict(_numbers(line))}
    seconds, waited = _number(line.get("time")), _number(line.get("data_time"))
    if seconds:
        record[SECONDS] = seconds
        if waited is not None:
            record["data_wait"] = min(1.0, waited / seconds)
    return record


def _is_step(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**53


def _numbers(line: Mapping[str, Any]) -> Iterator[tuple[str, float | None]]:
    """What was measured; None for what is no finite number, as in ours. Texts and lists are passed over."""
    for name, value in line.items():
        if name not in _NOT_VALUES and (value is None or isinstance(value, int | float)):
            yield name, _number(value)


def _number(value: object) -> float | None:
    """None for what is no finite number, and for one that is too large for one."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < _LARGEST:
        return None
    return value
