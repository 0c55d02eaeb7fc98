"""`intarsia.train`, `evaluate` and the finders: what the commands do, asked for from Python."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from intarsia.contracts import PathLike, Report
from intarsia.workflows.training_keywords import TrainingKeywords, given, request_of

if TYPE_CHECKING:
    from typing import Unpack  # of Python 3.11

    import torch
    from torch import nn

    from intarsia.engine.optim.batch_finder import BatchTrial
    from intarsia.engine.optim.lr_finder import RateSweep
    from intarsia.engine.training.run import Best, TrainingResult
    from intarsia.inference.predictor import Predictor
    from intarsia.workflows.training_config import TrainingRequest


@dataclass(frozen=True)
class TrainedRun:
    """What a training has left.

    folder: of the run. weights: the file of the best weights, or without validation of the last. step: optimizer steps
    that were taken. best: which evaluation was the best. report: the scores of these weights; None without validation.
    """

    folder: Path
    weights: Path
    step: int
    best: Best | None
    report: Report | None

    @property
    def scores(self) -> Mapping[str, float]:
        """The means over classes, "mIoU" and the rest; empty without validation."""
        return {} if self.report is None else self.report.summary

    def load(self, *, device: str | None = None) -> Predictor:
        """The trained model, ready to predict; for more see `intarsia.load`."""
        from intarsia.api import load

        return load(self.weights, device=device)


def train(
    model: PathLike | nn.Module | None = None,
    *,
    out: PathLike | None = None,
    data: PathLike | None = None,
    steps: int | None = None,
    resume: PathLike | None = None,
    **options: Unpack[TrainingKeywords],
) -> TrainedRun:
    """Train, as `intarsia train` does, with the same loop, the same defaults and the same folder at the end.

    model: a recipe ("segformer_mit-b0", "unet_timm:resnet34"), a config file, or a model of `create_model`: that starts
    from the weights that it has, leaves frozen what is frozen, and has the best weights in the end.
    out: folder of the run. data: a folder of images and masks, or a description (YAML); a config may bring its own.
    steps: optimizer steps; by default what suits the data, or what the config says. options: see `TrainingKeywords`.
    resume: the folder of an interrupted run, which goes on as it was begun: without model, out, data and steps, and of
    the options with those of the machine alone (`RESUMED_WITH`). "auto", beside all of them: go on with the run in
    `out` if it has a checkpoint, and begin it otherwise. A run that is finished is not trained further; what it left is
    given.

    With several `devices` the script is started again in each further process, as the command is: all that stands
    before the call runs in each, and so does what follows.

    Raises TypeError for an option that there is not, with the nearest; ValueError for what cannot be trained;
    KeyboardInterrupt when it was interrupted: `train(resume=OUT)`, or `intarsia train --resume OUT`, goes on.
    """
    options = given(options)
    if resume is not None and str(resume) != "auto":
        return _resumed(Path(resume), options, begun_with=(model, out, data, steps))
    from intarsia.workflows.train import start_or_resume, start_training

    request = _asked_for("train", model, out, data, steps, options)
    if resume is None:
        result = start_training(request)
    else:
        result = start_or_resume(
            request, batch_per_device=options.get("batch_per_device"), workers=options.get("workers")
        )
    done = _left_in(request.out) if result is None else _as_run(result)
    if request.network is not None:
        _take_over(cast("nn.Module", model), done.weights)
    return done


def find_learning_rate(
    model: PathLike | nn.Module,
    *,
    out: PathLike,
    data: PathLike | None = None,
    **options: Unpack[TrainingKeywords],
) -> RateSweep:
    """The learning rate for a training, as `intarsia train --find lr` tries it out: `.suggestion` is for `lr=`.

    A copy is trained for up to 100 steps under a rising rate (Smith, arXiv:1506.01186, section 3.3), and
    learning_rate.png in `out` has the losses, as `.rates` and `.losses` have. The model stays as it is. Arguments and
    errors are those of `train`.
    """
    from intarsia.workflows.train import learning_rate_trial

    options = given(options)
    return learning_rate_trial(_asked_for("find_learning_rate", model, out, data, None, options))


def find_batch(
    model: PathLike | nn.Module,
    *,
    out: PathLike,
    data: PathLike | None = None,
    **options: Unpack[TrainingKeywords],
) -> list[BatchTrial]:
    """Larger and larger batches, as `intarsia train --find batch` tries them: images, seconds and bytes of a step.

    memory is None where a batch does not fit. The model stays as it is. Arguments and errors are those of `train`.
    """
    from intarsia.workflows.train import batch_trial

    options = given(options)
    return batch_trial(_asked_for("find_batch", model, out, data, None, options))


def evaluate(
    weights: PathLike | TrainedRun,
    *,
    data: PathLike | None = None,
    split: str = "val",
    out: PathLike | None = None,
    metrics: str | Sequence[str] | None = None,
    slide: int | tuple[int, int] | str | None = None,
    augment: bool | Sequence[float] | str | None = None,
    batch: int = 1,
    workers: int | None = None,
    device: torch.device | str = "auto",
) -> Report:
    """The scores of a trained model on labelled images, as `intarsia eval` gives them, with the files that it writes.

    weights: a file, a run, a published name, or what `train` gave. data: a folder or a description; by default the data
    of its training. split: train, val or test. out: folder for eval.json and its like, by default beside the weights.
    metrics: ["mIoU", "mDice"]. slide: windows of this size, 512 or (512, 1024), or "auto". augment: True, or the scales
    of images whose mean decides, [0.75, 1, 1.25]. The others are the options of the command, and its words will do.

    Raises ValueError where data and model do not fit, or nothing is labelled.
    """
    from intarsia.workflows.evaluate import EvaluationRequest, evaluate_model

    if split not in ("train", "val", "test"):
        raise ValueError(f"split is train, val or test, found {split!r}")
    _check_data("evaluate", data)
    request = EvaluationRequest(
        weights=weights.folder if isinstance(weights, TrainedRun) else weights,
        data=None if data is None else Path(data),
        split=split,
        out=None if out is None else Path(out),
        metrics=_words(metrics),
        slide=_window(slide),
        augment="auto" if augment is True else None if augment is False else _words(augment),
        batch=batch,
        workers=workers,
        device=str(device),
    )
    report = evaluate_model(request)
    if report is None:
        raise ValueError(f"the {split} images of {request.weights} have no labels: they were written for a server")
    return report


def _words(values: str | Sequence[object] | None) -> str | None:
    """As an option of the command has them."""
    return values if values is None or isinstance(values, str) else ",".join(map(str, values))


def _window(size: int | tuple[int, int] | str | None) -> str | None:
    if size is None or isinstance(size, str):
        return size
    return str(size) if isinstance(size, int) else "x".join(map(str, size))


def _check_data(function: str, data: object) -> None:
    if not isinstance(data, str | os.PathLike | None):
        raise ValueError(
            f"{function}: data is a folder of images and masks, or a description (YAML), found a "
            f"{type(data).__name__}; a Dataset of your own is for a loop of your own"
        )


# --- A run, begun and left ----------------------------------------------------------------------------------------

RESUMED_WITH = ("device", "devices", "batch_per_device", "workers", "cache", "notify", "observers")
"""Options that a run takes when it goes on: which machine it is on, and who is told. All else is as it was begun."""


def _asked_for(
    function: str,
    model: PathLike | nn.Module | None,
    out: PathLike | None,
    data: PathLike | None,
    steps: int | None,
    options: TrainingKeywords,
) -> TrainingRequest:
    if model is None or out is None:
        missing = "a model, a recipe or a config file" if model is None else "out=RUN, the folder for the run,"
        raise ValueError(
            f"{function}: {missing} is missing; for example: train('segformer_mit-b0', data=DIR, out=RUN)"
            + (", or train(resume=RUN)" if function == "train" else "")
        )
    _check_data(function, data)
    request = request_of(model, Path(out), None if data is None else Path(data), steps, options)
    if (request.devices or 1) > 1 and not hasattr(sys.modules["__main__"], "__file__"):
        raise ValueError("several devices start the script again in each process; a notebook is none: take one device")
    return request


def _resumed(run: Path, options: TrainingKeywords, *, begun_with: Sequence[object]) -> TrainedRun:
    from intarsia.workflows.train import resume_training

    other = sorted(options.keys() - set(RESUMED_WITH))
    other += [name for name, given in zip(("model", "out", "data", "steps"), begun_with, strict=True) if given]
    if other:
        raise ValueError(
            f"resume={str(run)!r} goes on with the run as it was begun: leave out {', '.join(other)}; it takes "
            f"{', '.join(RESUMED_WITH)} alone. For another length, rate or config begin a new run from its weights: "
            f"train({str(run / 'config.py')!r}, weights={str(run / 'weights.safetensors')!r}, out=NEW)"
        )
    cache = str(options["cache"]) if "cache" in options else None
    result = resume_training(
        run,
        device=options.get("device", "auto"),
        devices=options.get("devices"),
        batch_per_device=options.get("batch_per_device"),
        workers=options.get("workers"),
        cache=cache,
        notify=options.get("notify"),
        observers=tuple(options.get("observers", ())),
    )
    return _left_in(run) if result is None else _as_run(result)


def _as_run(result: TrainingResult) -> TrainedRun:
    assert result.weights is not None
    return TrainedRun(result.folder, result.weights, result.step, result.best, result.report)


def _left_in(folder: Path) -> TrainedRun:
    """What a run that is finished has left. The scores of all classes are in its last checkpoint, if that is there."""
    from intarsia.engine.training.checkpoint import Checkpoints, report_from
    from intarsia.engine.training.run import Best, RunFolder

    files = RunFolder(folder)
    state, newest = files.read(), Checkpoints(files.checkpoints).restore()
    return TrainedRun(
        folder,
        files.weights,
        int(state["step"]),
        Best(**state["best"]) if state.get("best") else None,
        None if newest is None else report_from(newest.state.get("report")),
    )


def _take_over(model: nn.Module, weights: Path) -> None:
    """Put what was trained into the model that was given."""
    from intarsia.config.language.reader import Config
    from intarsia.config.lowering.lower import lower
    from intarsia.weights.file import apply_state, load_state, read_meta
    from intarsia.workflows.save_model import unwrapped

    inner = unwrapped(model)
    apply_state(inner, load_state(weights))
    if inner.mean is None:
        spec = lower(Config.from_values(read_meta(weights).config, file=str(weights))).preprocess
        step = -1 if spec.channel_order == "bgr" else 1
        inner.set_normalisation(spec.mean[::step], spec.std[::step])
