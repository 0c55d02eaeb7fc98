"""What a run says: metrics.jsonl always, a progress bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn
from rich.text import Text
from torch import Tensor

from intarsia.contracts import LossTerm, Report
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.training.data_wait import DataWait
from intarsia.evaluation.score_table import part_lines, report_table, score_lines
from intarsia.io.whole_files import write_text

NORM = "gradient_norm"
TIMING = ("images_per_second", "data_wait")
"""Names in metrics.jsonl that depend on the machine; everything else is the same when a run is repeated."""
_A_LONG_TIME = 3600.0 * 24 * 365 * 100


class NonFiniteLossError(ValueError):
    """The loss stays nan or infinite. step: the first such one, counted from 1 as in the log. terms: their names."""

    def __init__(self, step: int, terms: Mapping[str, float], count: int, safe: str) -> None:
        self.step, self.terms, self._count, self._safe = step, tuple(terms), count, safe
        self._found = ", ".join(f"{name} = {value}" for name, value in terms.items())
        super().__init__(self._text(""))

    def explain(self, cause: str) -> None:
        """Say more: what computing the step again has shown."""
        self.args = (self._text(f" {cause[0].upper()}{cause[1:]}."),)

    def _text(self, cause: str) -> str:
        return (
            f"the loss is not finite at step {self.step}: {self._found}. {self._count} steps in a row were left out, "
            f"then training stopped; {self._safe}.{cause} What helps: a lower learning rate, a longer warm-up, clipped "
            "gradients, bf16-mixed in place of 16-mixed"
        )


class MetricsFile:
    """metrics.jsonl: one JSON object a line, "step" and names to numbers. Numbers that are not finite become null."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, step: int, values: Mapping[str, float]) -> None:
        """Add a line and bring it to the file."""
        line = {"step": step, **{name: _rounded(value) for name, value in values.items()}}
        with open(self.path, "a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False, allow_nan=False) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; one that was cut short by a crash is passed over."""
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        return [entry for line in lines if (entry := _parsed(line)) is not None]

    def rewind(self, step: int, evaluated_at: int) -> None:
        """Drop every line after `step`, and every evaluation after `evaluated_at`, as if the run had just got there."""
        lines = [e for e in self.read() if e["step"] <= (evaluated_at if _is_evaluation(e) else step)]
        kept = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        write_text(self.path, kept)


@dataclass
class _Streak:
    """Steps in a row whose loss is not finite, and the terms of the first."""

    first: int = 0
    terms: dict[str, float] = field(default_factory=dict)
    count: int = 0


class TrainingLog:
    """The log of one run. Collects loss terms without waiting for the device, and looks at them every `every` steps.

    images_per_step: over all processes. patience: steps in a row whose loss is not finite, until that is an error;
    they count for no mean. on_line: gets every line that is written. data_wait: has a word to say about them.
    Only rank 0 writes; all ranks must call the same methods.
    """

    def __init__(
        self,
        path: Path,
        *,
        runtime: FabricRuntime,
        steps: int,
        start: int,
        images_per_step: int,
        every: int,
        patience: int = 1,
        on_line: Callable[[int, Mapping[str, float]], None] | None = None,
        data_wait: DataWait | None = None,
    ) -> None:
        self.file = MetricsFile(path)
        self.console = Console(quiet=runtime.rank != 0, highlight=False, soft_wrap=True)
        self._runtime = runtime
        self._steps, self._images, self._every = steps, images_per_step, every
        self._start = start
        self._names: tuple[str, ...] = ()
        self._weights: tuple[float, ...] = ()
        self._unread: list[Tensor] = []  # rows of steps, on the device
        self._rows: list[Tensor] = []  # the ones before, on the CPU, as means over all processes
        self._bad: list[bool] = []  # whether those are not finite
        self._streak = _Streak()
        self._patience, self._on_line = patience, on_line
        self._data_wait = data_wait
        self._clock = _Clock()
        self._progress = _progress(self.console)
        self._bar = self._progress.add_task("", total=steps, completed=start, first=start, rate="", said="")
        self.safe = "no checkpoint was written yet"
        self.best = ""  # the best evaluation so far, in words

    def __enter__(self) -> TrainingLog:
        if self.console.is_terminal:
            self._progress.start()
        self._clock.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close_bar()

    def close_bar(self) -> None:
        """No more progress: what is said from now on comes after the bar."""
        if self._progress.live.is_started:
            self._progress.stop()

    # --- during a step ----------------------------------------------------------------------------------------------

    def step(
        self, done: int, terms: Sequence[LossTerm], lr: float, gradient_norm: Tensor, *, waited: float = 0.0
    ) -> None:
        """Note the loss terms of the step that makes it `done` steps; every so often, write and show their means.

        waited: seconds that it waited for data.
        """
        names = (*(term.name for term in terms), NORM)
        if not self._names:
            self._names, self._weights = names, (*(term.weight for term in terms), 0.0)
        elif self._names != names:
            raise ValueError(f"the task's loss terms changed at step {done}: from {self._names} to {names}")
        values = [*(term.value for term in terms), gradient_norm]
        self._unread.append(torch.stack([value.detach().reshape(()).float() for value in values]))
        self._clock.steps += 1
        self._clock.waited += waited
        self._progress.update(self._bar, completed=done)
        if done % self._every == 0 or done == self._steps:
            self._write(done, lr)

    def _write(self, done: int, lr: float) -> None:
        rows = self.reduced(done).double()
        skipped = sum(self._bad)
        finite = [row for row, is_bad in zip(rows, self._bad, strict=True) if not is_bad]
        means = torch.stack(finite).mean(dim=0).tolist() if finite else [math.nan] * len(self._names)
        weighted = list(zip(self._names, means, self._weights, strict=True))
        shown = {name: mean * (weight or 1.0) for name, mean, weight in weighted}
        loss = sum(mean * weight for _, mean, weight in weighted if weight)
        rate, wait = self._clock.lap(self._images)
        values = {"loss": loss, **shown, "lr": lr, "images_per_second": rate, "data_wait": wait}
        if skipped:
            values["skipped_steps"] = skipped
        self._rows, self._bad = [], []
        self._append(done, values)
        said = "  ".join(f"{name} {value:.4g}" for name, value in {"loss": loss, **shown}.items())
        speed = f"{rate:.1f} img/s  data wait {wait:.0%}"
        said = f"{said}  lr {lr:.3g}" + (f"  best {self.best}" if self.best else "")
        self._progress.update(self._bar, rate=speed, said=said)
        if not self.console.is_terminal:
            remaining = remaining_text(self._seconds_left(done, rate)) if rate else "?"
            self.console.print(f"step {done}/{self._steps}  {speed}  remaining {remaining}  {said}", markup=False)
        for line in () if self._data_wait is None else self._data_wait.lines(wait):
            self.say(line)
        if skipped:
            steps = "step" if skipped == 1 else "steps"
            self.say(f"warning: {skipped} {steps} up to step {done} left out: loss or gradient not finite")

    def _seconds_left(self, done: int, rate: float) -> float:
        """At the present rate, and with as much time for evaluations and checkpoints a step as so far."""
        pauses = self._clock.paused_seconds / max(1, done - self._start)
        return (self._steps - done) * (self._images / rate + pauses)

    def _append(self, done: int, values: Mapping[str, float]) -> None:
        if self._runtime.rank == 0:
            self.file.append(done, values)
            if self._on_line is not None:
                self._on_line(done, values)

    def reduced(self, done: int) -> Tensor:
        """Rows not yet written, (steps, terms) on the CPU, as means over all processes. Raises NonFiniteLossError.

        The one place where the losses are waited for: called when they are written, and before anything is saved.
        """
        if self._unread:
            rows = self._runtime.all_reduce_sum(torch.stack(self._unread)).div(self._runtime.world_size).cpu()
            self._unread.clear()
            self._rows.extend(rows)
            for step, values in enumerate(rows.tolist(), start=done - len(rows) + 1):
                self._check(step, values)
        return torch.stack(self._rows) if self._rows else torch.zeros(0, len(self._names))

    def _check(self, step: int, values: Sequence[float]) -> None:
        """Note whether the terms of a step are finite. Raises NonFiniteLossError after too many that are not."""
        named = zip(self._names, values, self._weights, strict=True)
        terms = {name: x for name, x, weight in named if (weight or name == NORM) and not math.isfinite(x)}
        self._bad.append(bool(terms))
        if not terms:
            self._streak = _Streak()
            return
        if not self._streak.count:
            if len(terms) > 1:
                terms.pop(NORM, None)  # follows from the loss
            self._streak = _Streak(step, terms)
        self._streak.count += 1
        if self._streak.count >= self._patience:
            raise NonFiniteLossError(self._streak.first, self._streak.terms, self._streak.count, self.safe)

    def state(self, done: int) -> dict[str, Any]:
        """What a checkpoint keeps: the rows that are not written yet."""
        return {
            "names": list(self._names),
            "weights": list(self._weights),
            "rows": self.reduced(done),
            "bad": list(self._bad),
            "streak": asdict(self._streak),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self._names, self._weights = tuple(state["names"]), tuple(state["weights"])
        self._rows, self._bad = list(state["rows"].cpu()), list(state["bad"])
        self._streak = _Streak(**state["streak"])

    # --- between steps ----------------------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """One line for the user."""
        self.console.print(text, markup=False)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Time spent inside (evaluating, saving) counts neither for the rate nor as waiting."""
        with self._clock.paused():
            yield

    def evaluation(self, done: int, report: Report, *, prefix: str = "val") -> None:
        """Write and show what an evaluation found; a table only for that of the validation images."""
        values = {**report.summary, **report.losses}
        if report.threshold is not None:
            values["threshold"] = report.threshold
        logged = {**values, **{f"threshold({name})": value for name, value in report.thresholds.items()}}
        of_parts = {f"{part}/{name}": value for part, of in report.parts.items() for name, value in of.summary.items()}
        self._append(done, {f"{prefix}/{name}": value for name, value in {**logged, **of_parts}.items()})
        if prefix == "val":
            self.console.print(report_table(report, f"step {done}, {report.images} images"))
        for line in [*score_lines(values, f"{prefix}/"), *part_lines(report)]:
            self.console.print(line, markup=False)

    @contextmanager
    def evaluating(self, images: int) -> Iterator[Callable[[int], None]]:
        """A second bar while an evaluation runs; gives the function that moves it by a number of images."""
        bar = self._progress.add_task("evaluating", total=images, first=0, rate="", said="")
        try:
            yield lambda count: self._progress.advance(bar, count)
        finally:
            self._progress.remove_task(bar)


class _Clock:
    """Time since the last line of the log, and the part of it spent waiting for data."""

    def __init__(self) -> None:
        self.waited = 0.0
        self.steps = 0
        self.paused_seconds = 0.0
        self._began = 0.0

    def start(self) -> None:
        self._began = time.perf_counter()

    def lap(self, images_per_step: int) -> tuple[float, float]:
        """Images per second and share of waiting since the last lap."""
        now = time.perf_counter()
        seconds = max(now - self._began, 1e-9)
        rate, wait = self.steps * images_per_step / seconds, min(1.0, self.waited / seconds)
        self._began, self.waited, self.steps = now, 0.0, 0
        return rate, wait

    @contextmanager
    def paused(self) -> Iterator[None]:
        began = time.perf_counter()
        yield
        paused = time.perf_counter() - began
        self._began += paused
        self.paused_seconds += paused


class _Remaining(ProgressColumn):
    """Remaining time from the steps done in this process, not from those a resumed run had behind it."""

    def render(self, task: Task) -> Text:
        done = task.completed - task.fields["first"]
        if not done or task.elapsed is None or task.total is None:
            return Text("-:--:--")
        return Text(remaining_text(task.elapsed / done * (task.total - task.completed)))


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        _Remaining(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[said]}"),
        console=console,
        transient=False,
    )


def remaining_text(seconds: float, now: datetime | None = None) -> str:
    """A time that is left, and when it will be over by the clock on the wall: "0:12:03 (until 14:32)"."""
    now = now or datetime.now()
    end = now + timedelta(seconds=min(seconds, _A_LONG_TIME))
    days = (end.date() - now.date()).days
    form = "%H:%M" if days == 0 else "%a %H:%M" if days < 7 else "%Y-%m-%d"
    return f"{_clock_face(seconds)} (until {end.strftime(form)})"


def _clock_face(seconds: float) -> str:
    minutes, second = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{second:02}"


def _rounded(value: float) -> float | None:
    """Nine digits tell every float32 apart."""
    return float(f"{value:.9g}") if math.isfinite(value) else None


def _is_evaluation(line: Mapping[str, Any]) -> bool:
    return any(name.startswith(("val/", "fit/")) for name in line)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    return entry if isinstance(entry, dict) and isinstance(entry.get("step"), int) else None
