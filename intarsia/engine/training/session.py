"""What comes between the steps of a training: restoring, logging, evaluating, saving, ending well."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict
from functools import partial
from types import TracebackType
from typing import Any, Literal

from intarsia.contracts import Report
from intarsia.data.loader import BatchLoader
from intarsia.data.sample_cache import can_use_cache
from intarsia.data.transforms.on_device import augmented
from intarsia.distributed.launchers import is_secondary_error
from intarsia.distributed.state_dicts import gathered, load_module, load_optimizer, module_state
from intarsia.engine.callbacks.base import Observer
from intarsia.engine.optim.lora import merge, ordinary_state, told
from intarsia.engine.optim.plateau import Plateaus
from intarsia.engine.training.checkpoint import Checkpoints, report_from, report_values
from intarsia.engine.training.data_wait import DataWait
from intarsia.engine.training.early_stopping import EarlyStopping
from intarsia.engine.training.ema import Ema
from intarsia.engine.training.log import NonFiniteLossError, TrainingLog
from intarsia.engine.training.nonfinite import find_culprit
from intarsia.engine.training.run import Best, Run, TrainingResult, Validation, now
from intarsia.engine.training.signals import StopRequest
from intarsia.engine.training.trainer import StepResult, Trainer
from intarsia.engine.training.unused_parameters import FirstGradients, listed
from intarsia.engine.training.watchdog import Watchdog
from intarsia.evaluation.evaluate import evaluate, evaluation_batches
from intarsia.evaluation.files import write_report
from intarsia.visual.curves import save_curves
from intarsia.weights.file import save_weights


class Session:
    """One training in progress: its trainer, and what happens between the steps that it takes.

    Every process has one and calls the same methods; rank 0 writes the files.
    """

    def __init__(self, run: Run) -> None:
        self.run = run
        self.trainer = Trainer(run)
        self.best: Best | None = None
        self.report: Report | None = None  # of the weights in the weights file
        self._evaluated_at = 0
        self._saved_at = -1
        self._stack = ExitStack()
        self.stopping = False
        self._ended_early = False
        self.ema = None if run.ema is None else Ema(run.network, run.ema)
        if self.ema is not None and run.averaged_teacher is not None:
            run.averaged_teacher.follow(self.ema.show)
        if run.compile:
            run.task.compile_training()
        # Several processes know already, from their rehearsal.
        self._gradients = FirstGradients(run.network) if run.runtime.world_size == 1 else None
        self.checkpoints = Checkpoints(run.folder.checkpoints, keep=run.keep, every=run.keep_every)
        self._data_wait = DataWait(
            run.workers, run.runtime.processes_here, len(run.pipeline), run.cache, run.movable_stages,
            partial(can_use_cache, run.pipeline.dataset),
        )  # fmt: skip
        self.watchdog = Watchdog(run.safeguards.hang_after, rank=run.runtime.rank)
        self.stop_request = StopRequest(run.runtime)
        self.early_stopping = (
            None
            if run.early_stop is None
            else EarlyStopping(run.early_stop, metric=run.best_metric, mode=run.best_mode)
        )
        per_step = run.optim.iterations_per_step
        self.plateaus = Plateaus(run.optim.schedules, run.epoch_length, iterations_per_step=per_step)
        self._loaders: dict[int, BatchLoader] = {}
        self.log: TrainingLog

    @property
    def step(self) -> int:
        """Optimizer steps that are done."""
        return self.trainer.steps_done

    def _to_training(self) -> None:
        self.trainer.task.train()
        self.trainer.frozen.hold()

    def _notes_on_parameters(self) -> list[str]:
        """What the user should know before the first step."""
        patterns, lora, notes = self.run.safeguards.freeze, self.run.safeguards.lora, []
        if lora is not None:
            notes.append(told(self.trainer.adapters, lora, self.trainer.frozen.parameters))
        elif patterns:
            notes.append(f"frozen: {self.trainer.frozen.parameters:,} parameters ({', '.join(patterns)})")
        if self.trainer.without_gradient:
            notes.append(f"warning: no gradient reaches {listed(self.trainer.without_gradient)}; they are not trained")
        return notes

    @property
    def _observers(self) -> Sequence[Observer]:
        return self.run.observers if self._writes else ()

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
        self._stack.enter_context(self.stop_request)
        self._stack.enter_context(self.watchdog)
        self._stack.callback(self._end_workers)
        return self

    def _end_workers(self) -> None:
        self.trainer.close()
        for loader in self._loaders.values():
            loader.close()
        if self.run.memory is not None:
            self.run.memory.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)
        if error is not None and self.run.folder.run_json.exists():
            status: Literal["interrupted", "failed"] = (
                "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
            )
            if not is_secondary_error(error):  # the process in which it happened writes it, whichever that is
                with suppress(ValueError, OSError):  # a full disk, say, must not hide what happened
                    self.run.folder.update(status=status, ended=now(), error=str(error))
            for observer in self._observers:
                observer.end(self.step, status)

    # --- going on with a run ----------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Go on from the newest checkpoint that is whole, if the run is a resumed one; begin the log."""
        found = self.checkpoints.restore() if self.run.resume else None
        if found is not None:
            self._load(found.state)
        run = self.run
        log = TrainingLog(
            run.folder.metrics,
            runtime=run.runtime,
            steps=run.steps,
            start=self.step,
            images_per_step=run.batch,
            every=run.log_every,
            patience=run.safeguards.nonfinite_steps,
            on_line=self._tell_observers,
            data_wait=self._data_wait,
        )
        self.log = self._stack.enter_context(log)
        self.log.best = str(self.best or "")
        for note in (*self.run.notes, *self._notes_on_parameters()):
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
        for observer in self._observers:
            observer.begin(run, self.step)

    def _load(self, state: dict[str, Any]) -> None:
        for name in ("seed", "batch"):
            if state[name] != getattr(self.run, name):
                raise ValueError(
                    f"the checkpoint was written with {name} {state[name]}, this run has {getattr(self.run, name)}; "
                    "a resumed run keeps both, or it would see other data"
                )
        load_module(self.trainer.task, state["task"])
        self.run.runtime.load_statistics(self.run.network, state.get("statistics", ()))
        if self.ema is not None:
            if not state["ema"]:
                raise ValueError("the checkpoint has no averaged weights; the run was begun without an EMAHook")
            self.ema.load_state(state["ema"])
        if self.run.taught is not None:
            self.run.taught.confidence.load_state(state.get("confidence", {}))
        load_optimizer(self.trainer.optimizer, state["optimizer"])
        self.run.runtime.load_precision_state(state["precision"])
        self.best = Best(**state["best"]) if state["best"] else None
        self.report = report_from(state.get("report"))
        self.trainer.steps_done, self._evaluated_at = state["step"], state["evaluated_at"]
        self._saved_at = self.step
        if self.early_stopping is not None:
            before = {"reference": self.best and self.best.value, "evaluations": state.get("stale", 0)}  # to 0.9
            self.early_stopping.load_state(state.get("early_stopping") or before)
        self.plateaus.load_state(state.get("plateaus", ()))
        self.trainer.schedule = self.run.schedule_after(self.plateaus.cuts)

    def save_if_due(self) -> None:
        """Save a checkpoint if the step says so, or the user wants to stop: then `stopping` is set."""
        asked = self.stop_request.agreed(self.step) and self.step < self.run.steps
        self.stopping = self._ended_early or asked
        due = self.step % self.run.save_every == 0 or self.step == self.run.steps or self.stopping
        if due and self._saved_at != self.step:
            with self.log.paused(), self._explained():
                self.save()

    def save(self) -> None:
        """Write a checkpoint of this moment. Raises NonFiniteLossError where that is due: it comes before the file."""
        state = {
            "task": module_state(self.trainer.task),
            "statistics": self.run.runtime.statistics(self.run.network),
            "optimizer": self.trainer.optimizer.state_dict(),
            "precision": self.run.runtime.precision_state(),
            "log": self.log.state(self.step),
            "best": asdict(self.best) if self.best else None,
            "report": report_values(self.report),
            "evaluated_at": self._evaluated_at,
            "ema": {} if self.ema is None else self.ema.state(),
            "confidence": {} if self.run.taught is None else self.run.taught.confidence.state(),
            "early_stopping": None if self.early_stopping is None else self.early_stopping.state(),
            "plateaus": self.plateaus.state(),
            "seed": self.run.seed,
            "batch": self.run.batch,
        }
        path = self.checkpoints.path(self.step)
        state = gathered(state, keep=self._writes)
        if self._writes:
            self.checkpoints.save(self.step, state)
            self.run.folder.update(step=self.step, best=state["best"])
        for observer in self._observers:
            observer.saved(self.step, path)
        self.run.runtime.barrier()
        self._saved_at = self.step
        self.log.safe = f"the last checkpoint, {path}, is intact"

    # --- after a step -----------------------------------------------------------------------------------------------

    def _tell_observers(self, step: int, values: Mapping[str, float]) -> None:
        for observer in self._observers:
            observer.values(step, values)

    def after_step(self, result: StepResult) -> None:
        """A step was done: averages, log, and after the first one which parameters it left out."""
        self.watchdog.alive(f"training, after step {self.step}")
        if self.run.taught is not None:
            self.run.taught.end_step(self.run.runtime.all_reduce_sum)
        if self._averages_statistics:
            self.run.runtime.average_statistics(self.run.network)  # before the average of weights takes them over
        if self.ema is not None:
            self.ema.update(self.step)
            if self.run.averaged_teacher is not None:  # all processes are taught the same
                self.run.runtime.agree_on_statistics(self.run.averaged_teacher.teacher.get_submodule("model"))
        if self._gradients is not None:
            missing = self._gradients.missing()
            if missing:
                self.log.say(f"warning: no gradient reached {listed(missing)}; they are not trained")
            self._gradients = None
        self._data_wait.add(result.loading)
        with self._explained():
            self.log.step(self.step, result.terms, result.lr, result.gradient_norm, waited=result.waited)

    @property
    def _averages_statistics(self) -> bool:
        """Whether this step's statistics are used: at the end of an epoch, before an evaluation, and at the end."""
        run = self.run
        epoch_ends = run.average_every is not None and self.step % run.average_every == 0
        evaluated = run.validation is not None and run.validation.is_due(self.step)
        return self.step == run.steps or epoch_ends or evaluated

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Adds to the error of a loss that stays infinite or nan what computing that step again shows."""
        try:
            yield
        except NonFiniteLossError as error:
            run = self.run
            batches = run.batches(error.step - 1, workers=0)
            again = [augmented(next(batches).to(run.runtime.device)) for _ in range(run.accumulation_steps)]
            culprits = run.runtime.all_gather(find_culprit(self.trainer.task, self.trainer.model, again))
            error.explain(str(min(culprits, key=lambda culprit: culprit.before)))
            raise

    # --- evaluating -------------------------------------------------------------------------------------------------

    def evaluate_if_due(self) -> None:
        """Evaluate if the step says so and it was not done yet; the weights file is written if they are the best."""
        validation = self.run.validation
        last = self.step == self.run.steps
        if validation is None or self._evaluated_at == self.step or not (validation.is_due(self.step) or last):
            return
        with self._explained():
            self.log.reduced(self.step)
        with self._as_evaluated():
            self.run.runtime.agree_on_statistics(self.run.network)
            try:
                report = self._evaluate(validation)
                fit = None if self.run.fit is None else self._evaluate(self.run.fit)
            except _StoppedError:
                self._to_training()
                return
            self._to_training()
            self.log.evaluation(self.step, report)
            if fit is not None:
                self.log.evaluation(self.step, fit, prefix="fit")
            self._evaluated_at = self.step
            self._keep_if_best(report)
            self._stop_if_stale(report)
            self._cut_if_stale(report)
            for observer in self._observers:
                observer.evaluated(self.run, self.step, report)
            self._to_training()

    @contextmanager
    def _as_evaluated(self) -> Iterator[None]:
        """Inside, the network is the one that is evaluated and kept: averaged if it is, and whole in every process."""
        with nullcontext() if self.ema is None else self.ema.applied(), self.trainer.model.whole():
            yield

    def _evaluate(self, validation: Validation) -> Report:
        """One evaluation. Raises _StoppedError if the user wants to stop."""
        loader = self._loaders.get(id(validation))
        if loader is None:
            loader = self._loaders[id(validation)] = evaluation_batches(
                validation.predictor,
                validation.pipeline,
                metric=validation.metric,
                batch_size=validation.batch,
                workers=validation.workers,
                runtime=self.run.runtime,
                persistent_workers=validation.persistent_workers,
                pin_memory=validation.pin_memory,
            )
        with self.log.paused(), self.log.evaluating(-(-len(validation.pipeline) // self.run.runtime.world_size)) as bar:

            def progress(images: int) -> None:
                self.watchdog.alive(f"evaluating after step {self.step}")
                if self.stop_request.asked and self.run.runtime.world_size == 1:
                    raise _StoppedError
                bar(images)

            return evaluate(
                validation.predictor,
                validation.pipeline,
                validation.metric,
                batches=loader,
                runtime=self.run.runtime,
                progress=progress,
                task=self.run.task,
            )

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
            gain = value - before if mode == "max" else before - value
            if not gain > 0 and not math.isnan(before):
                return
            self.best = Best(name, value, self.step)
        self.report = report
        self._write_weights(scores)
        if self._writes:
            write_report(report, self.run.folder.path)
        if name is not None and self.best is not None:
            self.log.best = str(self.best)
            for observer in self._observers:
                observer.improved(self.run, self.step, name, self.best.value)

    def _stop_if_stale(self, report: Report) -> None:
        """End the training early if its rule says so."""
        scores = {**report.summary, **report.losses}
        rule = self.early_stopping
        if rule is None:
            return
        if rule.metric not in scores:
            self.log.say(
                f"warning: early stopping watches {rule.metric!r}, which the evaluation does not give (there are: "
                f"{', '.join(scores)}); the training does not stop early"
            )
        elif rule.update(scores) and self.step < self.run.steps:
            self._ended_early = True
            self.log.say(f"stopping early: {rule}")

    def _cut_if_stale(self, report: Report) -> None:
        """Lower the learning rate, or the momentum, from the next step on, if a rule says so."""
        for said in self.plateaus.update({**report.summary, **report.losses}, self.step):
            self.log.say(said)
            self.trainer.schedule = self.run.schedule_after(self.plateaus.cuts)

    def _write_weights(self, scores: dict[str, float]) -> None:
        if self._writes:
            report = self.report if self.run.chooses_threshold else None
            meta = dataclasses.replace(
                self.run.meta,
                scores=scores,
                step=self.step,
                threshold=None if report is None else report.threshold,
                thresholds=() if report is None else tuple(report.thresholds.values()),
            )
            save_weights(self.run.folder.weights, ordinary_state(self.run.network), meta)

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> TrainingResult:
        """Leave the folder complete, and say where things are."""
        run, folder = self.run, self.run.folder
        self.log.close_bar()
        finished = (self.step == run.steps or self._ended_early) and (
            run.validation is None or self._evaluated_at == self.step
        )
        if finished and run.validation is None:
            with self._as_evaluated():
                self._write_weights({})
        self.trainer.model.release()
        merge(run.network)
        weights = folder.weights if folder.weights.exists() else None
        if self._writes:
            which = "final" if self.best is None else f"best {self.best.metric}, step {self.best.step}"
            best = asdict(self.best) if self.best else None
            status: Literal["finished", "interrupted"] = "finished" if finished else "interrupted"
            folder.update(status=status, ended=now(), step=self.step, best=best, weights=which if weights else None)
            if folder.metrics.exists():
                save_curves(folder.curve, self.log.file.read())
            for observer in self._observers:
                observer.end(self.step, status)
        if finished:
            score = f" ({self.best})" if self.best else ""
            self.log.say(f"done: {folder.weights}{score}; curve.png, metrics.jsonl and the rest are in {folder.path}")
        else:
            self.log.say(
                f"stopped at step {self.step} of {run.steps}; go on with: intarsia train --resume {folder.path}"
            )
        return TrainingResult(folder.path, weights, self.step, finished, self.best, self.report)


class _StoppedError(Exception):
    """Leaves an evaluation that the user does not want to wait for."""
