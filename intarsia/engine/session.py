"""What surrounds the steps of a training: setting up, restoring, evaluating, saving, ending well."""

from __future__ import annotations

import dataclasses
import math
from contextlib import ExitStack, suppress
from dataclasses import asdict
from types import TracebackType
from typing import Any

from intarsia.contracts import Report
from intarsia.engine.checkpoint import Checkpoints
from intarsia.engine.evaluate import evaluate
from intarsia.engine.interrupt import StopRequest
from intarsia.engine.log import TrainingLog
from intarsia.engine.optim import optimizer_for
from intarsia.engine.run import Best, Run, TrainingResult, now
from intarsia.metrics.report import write_report
from intarsia.visual.curves import save_curves
from intarsia.weights.file import save_weights


class Session:
    """One training in progress. `step` counts the optimizer steps that are done.

    Every process has one and calls the same methods; rank 0 writes the files.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.step = 0
        self.best: Best | None = None
        self.report: Report | None = None
        self._evaluated_at = 0
        self._saved_at = -1
        self._stack = ExitStack()
        self.stopping = False
        self.task = run.runtime.place(run.module)
        self.task.train()
        self._plain_optimizer = optimizer_for(
            run.network, run.optim, optimizer_class=run.optimizer_class, fused=run.runtime.fuses_optimizers
        )
        self.model, (self.optimizer,) = run.runtime.setup(self.task, self._plain_optimizer)
        self.checkpoints = Checkpoints(run.folder.checkpoints, keep=run.keep)
        self.stop = StopRequest(run.runtime)
        self.log: TrainingLog

    @property
    def _writes(self) -> bool:
        return self.run.runtime.rank == 0

    def __enter__(self) -> Session:
        if not self.run.resume:
            self.run.folder.check_free()
        self.run.runtime.barrier()  # every process has looked before one writes
        if self._writes:
            self.run.folder.begin(self.run)
        self.run.runtime.barrier()
        self._stack.enter_context(self.stop)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is not None and self._writes and self.run.folder.run_json.exists():
            status = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            with suppress(ValueError, OSError):  # a full disk, say, must not hide what happened
                self.run.folder.update(status=status, ended=now(), error=str(error))

    def restore(self) -> None:
        """Go on from the newest checkpoint that is whole, if the run is a resumed one; begin the log."""
        found = self.checkpoints.restore() if self.run.resume else None
        if found is not None:
            self._take(found.state)
        run = self.run
        log = TrainingLog(
            run.folder.metrics,
            runtime=run.runtime,
            steps=run.steps,
            start=self.step,
            images_per_step=run.batch,
            every=run.log_every,
        )
        self.log = self._stack.enter_context(log)
        for note in self.run.notes:
            self.log.say(note)
        if found is not None:
            for note in found.notes:
                self.log.say(f"warning: {note}; the one before it is used")
            self.log.load_state(found.state["log"])
            self.log.safe = f"the last checkpoint, {found.path}, is intact"
            self.log.say(f"resumed at step {self.step} of {self.run.steps} from {found.path}")
        elif self.run.resume:
            self.log.say(f"no checkpoint in {self.checkpoints.folder} yet: beginning at step 0")
        if self._writes:
            self.log.file.rewind(self.step, self._evaluated_at)

    def _take(self, state: dict[str, Any]) -> None:
        for name in ("seed", "batch"):
            if state[name] != getattr(self.run, name):
                raise ValueError(
                    f"the checkpoint was written with {name} {state[name]}, this run has {getattr(self.run, name)}; "
                    "a resumed run keeps both, or it would see other data"
                )
        self.task.load_state_dict(state["task"])
        self._plain_optimizer.load_state_dict(state["optimizer"])
        self.run.runtime.load_precision_state(state["precision"])
        self.best = Best(**state["best"]) if state["best"] else None
        self.step, self._evaluated_at = state["step"], state["evaluated_at"]
        self._saved_at = self.step

    def evaluate_if_due(self) -> None:
        """Evaluate if the step says so and it was not done yet; the weights file is written if they are the best."""
        validation = self.run.validation
        last = self.step == self.run.steps
        if validation is None or self._evaluated_at == self.step or (self.step % validation.every and not last):
            return
        self.log.reduced(self.step)
        with (
            self.log.paused(),
            self.log.evaluating(-(-len(validation.pipeline) // self.run.runtime.world_size)) as advance,
        ):

            def progress(images: int) -> None:
                if self.stop.asked and self.run.runtime.world_size == 1:
                    raise _StoppedError
                advance(images)

            try:
                self.report = evaluate(
                    validation.predictor,
                    validation.pipeline,
                    validation.metric,
                    batch_size=validation.batch,
                    workers=validation.workers,
                    runtime=self.run.runtime,
                    progress=progress,
                    task=self.run.task,
                )
            except _StoppedError:
                self.task.train()
                return
            self.task.train()
            self.log.evaluation(self.step, self.report)
            self._evaluated_at = self.step
            self._keep_if_best(self.report)

    def _keep_if_best(self, report: Report) -> None:
        scores = {**report.summary, **report.losses}
        name, mode = self.run.best_metric, self.run.best_mode
        if name is not None and name not in scores:
            self.log.say(
                f"warning: no metric is called {name!r} (there are: {', '.join(scores)}); keeping the latest weights"
            )
            name = None
        if name is not None:
            value, before = scores[name], math.nan if self.best is None else self.best.value
            better = value > before if mode == "max" else value < before
            if not better and not math.isnan(before):
                return
            self.best = Best(name, value, self.step)
        self._write_weights(scores)
        if self._writes:
            write_report(report, self.run.folder.path)

    def _write_weights(self, scores: dict[str, float]) -> None:
        if self._writes:
            meta = dataclasses.replace(self.run.meta, scores=scores, step=self.step)
            save_weights(self.run.folder.weights, self.run.network.state_dict(), meta)

    def save_if_due(self) -> None:
        """Save a checkpoint if the step says so, or the user wants to stop: then `stopping` is set."""
        self.stopping = self.stop.agreed(self.step) and self.step < self.run.steps
        due = self.step % self.run.save_every == 0 or self.step == self.run.steps or self.stopping
        if due and self._saved_at != self.step:
            with self.log.paused():
                self.save()

    def save(self) -> None:
        """Write a checkpoint of this moment. The losses so far must be finite, so that every checkpoint is sound."""
        state = {
            "task": self.task.state_dict(),
            "optimizer": self._plain_optimizer.state_dict(),
            "precision": self.run.runtime.precision_state(),
            "log": self.log.state(self.step),
            "best": asdict(self.best) if self.best else None,
            "evaluated_at": self._evaluated_at,
            "seed": self.run.seed,
            "batch": self.run.batch,
        }
        path = self.checkpoints.path(self.step)
        if self._writes:
            self.checkpoints.save(self.step, state)
            self.run.folder.update(step=self.step, best=state["best"])
        self.run.runtime.barrier()
        self._saved_at = self.step
        self.log.safe = f"the last checkpoint, {path}, is intact"

    def finish(self) -> TrainingResult:
        """Leave the folder complete, and say where things are."""
        run, folder = self.run, self.run.folder
        self.log.close_bar()
        finished = self.step == run.steps and (run.validation is None or self._evaluated_at == self.step)
        if finished and run.validation is None:
            self._write_weights({})
        weights = folder.weights if folder.weights.exists() else None
        if self._writes:
            which = "final" if self.best is None else f"best {self.best.metric}, step {self.best.step}"
            best = asdict(self.best) if self.best else None
            status = "finished" if finished else "interrupted"
            folder.update(status=status, ended=now(), step=self.step, best=best, weights=which if weights else None)
            if folder.metrics.exists():
                save_curves(folder.curve, self.log.file.read())
        if finished:
            score = f" ({self.best.metric} {self.best.value:.4f} at step {self.best.step})" if self.best else ""
            self.log.say(f"done: {folder.weights}{score}; curve.png, metrics.jsonl and the rest are in {folder.path}")
        else:
            self.log.say(
                f"stopped at step {self.step} of {run.steps}; go on with: intarsia train --resume {folder.path}"
            )
        return TrainingResult(folder.path, weights, self.step, finished, self.best, self.report)


class _StoppedError(Exception):
    """Leaves an evaluation that the user does not want to wait for."""
