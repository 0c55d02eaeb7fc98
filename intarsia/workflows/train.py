"""Training: from a recipe and a folder, or from a config, to a run's folder; and going on with a run."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.config.diff import differences
from intarsia.distributed.launchers import is_first, launch_of, process_count
from intarsia.io.stores import refuse_output
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.locate import locate
from intarsia.workflows.training_config import (
    OwnData,
    TrainingRequest,
    base_config,
    prepare_data,
    run_config,
    say_first,
)

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.distributed.runtime import FabricRuntime
    from intarsia.engine.callbacks.base import Observer
    from intarsia.engine.optim.batch_finder import BatchTrial
    from intarsia.engine.optim.lr_finder import RateSweep
    from intarsia.engine.training.run import Run, TrainingResult
    from intarsia.workflows.run_options import RunOptions

PICTURES = 6
SHOWN = 20
"""How many edits of a config are listed."""


# --- A new run ----------------------------------------------------------------------------------------------------


def start_training(request: TrainingRequest) -> TrainingResult | None:
    """Data, config, objects, training. With several devices every process comes here; the first one writes.

    Gives None after a trial (`find`). Raises ValueError for what cannot be trained, with every problem found.
    """
    if request.find not in (None, "lr", "batch"):
        raise ValueError(f"--find is lr or batch, found {request.find!r}")
    if request.find is not None:
        (learning_rate_trial if request.find == "lr" else batch_trial)(request)
        return None
    config, options, runtime = _prepared(request)
    config = _with_length(config, request.training, options, runtime)
    return _run(config, options, runtime)


def learning_rate_trial(request: TrainingRequest) -> RateSweep:
    """What `--find lr` tries out. Raises ValueError as `start_training` does."""
    from intarsia.workflows.find import find_rate

    return find_rate(*_prepared(request))


def batch_trial(request: TrainingRequest) -> list[BatchTrial]:
    """What `--find batch` tries out. Raises ValueError as `start_training` does."""
    from intarsia.workflows.find import find_batch

    return find_batch(*_prepared(request))


def _prepared(request: TrainingRequest) -> tuple[Config, RunOptions, FabricRuntime]:
    """The config of a new run, but for its length, with its data in its folder, and processes that are up."""
    out, device = request.out, request.device
    devices = process_count(request.devices)
    if request.weights is not None and request.pretrained not in (None, "none"):
        raise ValueError("--weights has the whole model and --pretrained its backbone: give one of them")
    if request.fold is not None and request.data is None:
        raise ValueError("--fold divides the images of --data: add --data DIR|FILE")
    if request.by is not None and request.data is None:
        raise ValueError("--by says what stays together where the images of --data are divided: add --data DIR|FILE")
    base = base_config(request)
    if request.weights is not None:
        locate(request.weights)  # fetched, or refused, before anything is made
    file = (out / "data.yaml").resolve()
    if is_first():
        _make_room(out, overwrite=request.overwrite)
        if request.data is not None:
            prepare_data(request, file)
    if launch_of() is not None:
        _meet(devices, device)
    data = None if request.data is None else OwnData.read(file)
    config = run_config(request, base, data, devices)

    from intarsia.workflows.assemble import checked, make_runtime
    from intarsia.workflows.run_options import RunOptions

    options = RunOptions(
        out,
        devices,
        device,
        weights=request.weights,
        network=request.network,
        allow_partial=request.allow_partial,
        key=request.key,
        prefix=request.prefix,
        notify=request.notify,
        observers=request.observers,
    )
    runtime = make_runtime(checked(config), options)
    runtime.launch()
    return config, options, runtime


def _make_room(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with a run in it, or take the run away."""
    refuse_output(out, "--out")
    if not out.exists():
        return
    if not out.is_dir():
        raise ValueError(f"--out {out} is a file; give the name of a folder")
    taken = [out / name for name in ("weights.safetensors", "checkpoints", "run.json") if (out / name).exists()]
    if taken and not overwrite:
        raise ValueError(
            f"{out} already holds a run ({taken[0].name}); go on with it by: intarsia train --resume {out}; "
            "replace it with --overwrite; or choose another --out"
        )
    if overwrite:
        files = ("run.json", "metrics.jsonl", "data.yaml", "eval.json", "eval.csv", "curve.png")
        for name in ("weights.safetensors", *files):
            (out / name).unlink(missing_ok=True)
        for name in ("checkpoints", "pictures"):
            shutil.rmtree(out / name, ignore_errors=True)


def _meet(processes: int, device: str) -> FabricRuntime:
    """Processes that were started together wait until the first one has prepared what the others read.

    Where the first one starts the others itself, it does so after that.
    """
    from intarsia.distributed.runtime import FabricRuntime

    meeting = FabricRuntime(devices=processes, accelerator=device)
    meeting.launch()
    meeting.barrier()
    return meeting


def _with_length(config: Config, training: TrainingOptions, options: RunOptions, runtime: FabricRuntime) -> Config:
    """The config with --for, --eval-every and --save-every in it; times are measured on the real thing."""
    from intarsia.engine.training.step_time import measure_step_time
    from intarsia.workflows.adjust import Pace, images_per_step, length_settings
    from intarsia.workflows.assemble import assemble, checked

    @cache
    def trial() -> Run:
        return assemble(config, checked(config), options, runtime)

    @cache
    def seconds_per_step() -> float:
        say_first("measuring the time of a step ...")
        return measure_step_time(trial())

    batch = images_per_step(config.values, options.devices)
    pace = Pace(lambda: len(trial().pipeline), seconds_per_step)
    return config.override(length_settings(config, training, pace, batch=batch))


def _run(config: Config, options: RunOptions, runtime: FabricRuntime) -> TrainingResult:
    from intarsia.engine.training.loop import train as run_training
    from intarsia.workflows.assemble import assemble, checked

    run = assemble(config, checked(config), options, runtime)
    _announce(run)
    result = run_training(run)
    if runtime.rank != 0:
        return result
    if not result.finished:
        raise KeyboardInterrupt(f"interrupted at step {result.step}; go on with: intarsia train --resume {options.out}")
    _say_where_things_are(run, result)
    _say_what_would_help(run, result, config)
    return result


def start_or_resume(
    request: TrainingRequest, *, batch_per_device: int | None, workers: int | None
) -> TrainingResult | None:
    """Go on with the run in the folder of a new one, if it has a checkpoint or is finished; begin it otherwise.

    What was begun and has no checkpoint yet is begun again. Raises ValueError as `start_training` and
    `resume_training` do.
    """
    from intarsia.engine.training.checkpoint import Checkpoints
    from intarsia.engine.training.run import RunFolder

    folder = RunFolder(request.out)
    begun = folder.read() if folder.run_json.is_file() else {}
    found = begun.get("status") == "finished" or bool(begun and Checkpoints(folder.checkpoints).steps())
    if launch_of() is not None:  # another machine may see a file later
        found = _meet(process_count(request.devices), request.device).broadcast(found)
    if not found:
        return start_training(replace(request, overwrite=bool(begun)))
    words = begun.get("command", [])[1:]
    if words and words != sys.argv[1:]:
        say_first(f"note: {request.out} goes on as it was begun, which was with other words: {' '.join(words)}")
    return resume_training(
        request.out,
        device=request.device,
        devices=request.devices,
        batch_per_device=batch_per_device,
        workers=workers,
        notify=request.notify,
        observers=request.observers,
    )


def resume_training(
    out: Path,
    *,
    device: str = "auto",
    devices: int | None = None,
    batch_per_device: int | None = None,
    workers: int | None = None,
    cache: str | None = None,
    notify: str | None = None,
    observers: tuple[Observer, ...] = (),
) -> TrainingResult | None:
    """Go on with the run in a folder, from its own config; perhaps in another number of processes."""
    from intarsia.engine.optim.batch_plan import SharedBatch, reshare
    from intarsia.engine.training.run import RunFolder
    from intarsia.workflows.adjust import data_settings, images_per_step, worker_settings
    from intarsia.workflows.assemble import checked, make_runtime
    from intarsia.workflows.names import find_config
    from intarsia.workflows.run_options import RunOptions

    refuse_output(out, "--resume")
    if not out.is_dir():
        raise ValueError(f"--resume {out}: there is no such folder")
    state = RunFolder(out).read()
    if state.get("status") == "finished":
        say_first(f"{out} is finished: {state.get('step')} steps. Weights: {out / 'weights.safetensors'}")
        say_first(f"To train longer: {LONGER.format(run=out)}")
        return None
    config = find_config(str(out))
    _check_unedited(out, state, config)
    before = SharedBatch(*(int(state[name]) for name in ("processes", "batch_per_process", "accumulate")))
    if devices is None and launch_of() is None:
        devices = before.processes
    synchronised = checked(config).runtime.synchronise_batch_norm
    now = reshare(before, process_count(devices), micro_batch_size=batch_per_device, synchronised=synchronised)
    as_written = (config.values["train_dataloader"]["batch_size"], images_per_step(config.values, now.processes))
    if as_written != (now.micro_batch_size, now.total):
        config = config.override(
            [f"train_dataloader.batch_size={now.micro_batch_size}", f"intarsia.total_batch={now.total}"]
        )
    if workers is not None:
        config = config.override(worker_settings(config.values, workers))
    config = config.override(data_settings(cache))
    options = RunOptions(out, devices=now.processes, device=device, resume=True, notify=notify, observers=observers)
    runtime = make_runtime(checked(config), options)
    runtime.launch()
    return _run(config, options, runtime)


LONGER = (
    "the schedule has brought the learning rate down to its end, so that more of the same would change little; begin a "
    "new run from these weights: intarsia train {run}/config.py --weights {run}/weights.safetensors --for '4000 steps' "
    "--out NEW"
)
"""How to go on with a run that is finished, and why it is not resumed."""


def _check_unedited(out: Path, state: Mapping[str, Any], config: Config) -> None:
    """Refuse a config.py that is no longer what the run began with: a part of it could only be used by halves."""
    begun, now = (json.loads(json.dumps(values, default=str)) for values in (state.get("config"), config.values))
    if begun is None or begun == now:
        return
    found = [f"  {difference}" for difference in differences(begun, now)]
    more = [f"  and {len(found) - SHOWN} more"] if len(found) > SHOWN else []
    lines = "\n".join([*found[:SHOWN], *more])
    raise ValueError(
        f"{out / 'config.py'} was edited since the run was begun (run.json holds what it began with):\n{lines}\n"
        "A run goes on as it was begun. Undo the edit; or begin a new run with it, from these weights: intarsia train "
        f"{out}/config.py --weights {out}/weights.safetensors --out NEW"
    )


# --- What is said -------------------------------------------------------------------------------------------------


def _announce(run: Run) -> None:
    length = f"{run.steps} steps of {run.batch} images, {run.steps * run.batch / len(run.pipeline):.1f} epochs"
    where = f"{run.runtime.device}, {run.runtime.precision}"
    say_first(f"training on {len(run.pipeline)} images: {length}, on {where}; out: {run.out}")


def _say_where_things_are(run: Run, result: TrainingResult) -> None:
    from intarsia.evaluation.score_table import score_lines
    from intarsia.workflows.example_pictures import paint_examples

    if run.validation is not None and result.weights is not None:
        count = paint_examples(run.validation, result.weights, run.out / "pictures", PICTURES)
        say_first(f"pictures of {count} validation images: {run.out / 'pictures'}")
    if result.report is not None:
        report = result.report
        for line in score_lines(report.summary)[1:]:
            say_first(line)
        if run.chooses_threshold and report.threshold is not None:
            say_first(f"threshold {report.threshold:.4f}, chosen on the validation images; the weights keep it")
    others = "".join(f" --input {one['name']}=FOLDER" for one in run.meta.image.get("inputs", ())[1:])
    say_first(f"next: intarsia predict {run.out} IMAGES{others} -o OUT    intarsia eval {run.out}")


def _say_what_would_help(run: Run, result: TrainingResult, config: Config) -> None:
    from intarsia.workflows.evidence import help_after

    for sentence in help_after(run, result, config):
        say_first(f"to do better: {sentence}")
