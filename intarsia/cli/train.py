"""``intarsia train``: from a recipe and a folder, or from a config, to a run's folder."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import options
from intarsia.engine.processes import is_first, launch_of, process_count

if TYPE_CHECKING:
    from intarsia.cli.adjust import Wishes
    from intarsia.cli.assemble import Place
    from intarsia.config.reader import Config
    from intarsia.data.description import DataDescription
    from intarsia.data.findings import Findings
    from intarsia.engine.run import Run, TrainingResult
    from intarsia.engine.runtime import FabricRuntime

EXAMPLES = """
[bold]Your own images and masks, no config[/]:
intarsia train segformer_mit-b0 --data DIR --out runs/first --for "2000 steps"

[bold]A config of MMSegmentation, as it is[/]:
intarsia train my_config.py --out runs/second --set train_dataloader.batch_size=4

[bold]A published recipe on your own data[/]:
intarsia train segformer_mit-b2_8xb2-160k_ade20k-512x512 --data DIR --out runs/third --for "20k steps" --batch 8

[bold]On 4 GPUs of this machine; on those of several, see docs/several-machines.md[/]:
intarsia train segformer_mit-b0 --data DIR --out runs/fourth --devices 4

[bold]After Ctrl-C, or a crash[/]:
intarsia train --resume runs/first

All recipes: [bold]intarsia config list[/]
"""
SMALLEST_RUN, LARGEST_RUN, EPOCHS = 500, 20_000, 60
"""Steps of a training on one's own data when --for is not given: so many epochs, between these bounds."""
BATCH = 8
PICTURES = 6


@dataclass(frozen=True)
class Request:
    """What a training is asked for, beside what goes into its config."""

    name: str
    data: Path | None
    wishes: Wishes
    settings: tuple[str, ...]
    trust: bool
    overwrite: bool
    weights: Path | None
    allow_partial: bool


def train(
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="RECIPE|CONFIG", help="A recipe (see: intarsia config list) or a config file."),
    ] = None,
    data: options.Data = None,
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", metavar="RUN", help="Folder of the run."),
    ] = None,
    duration: options.For = None,
    eval_every: options.EvalEvery = None,
    save_every: options.SaveEvery = None,
    batch: options.Batch = None,
    crop: options.Crop = None,
    workers: options.Workers = None,
    seed: options.Seed = None,
    weights: options.Weights = None,
    allow_partial: options.AllowPartial = False,
    ema: options.Ema = None,
    patience: options.Patience = None,
    freeze: options.Freeze = None,
    fit_images: options.FitImages = None,
    pictures: options.Pictures = None,
    keep_every: options.KeepEvery = None,
    hang_after: options.HangAfter = None,
    tensorboard: options.TensorBoard = False,
    wandb: options.WandB = False,
    find: options.Find = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--resume", metavar="RUN", help="Go on with an interrupted run; takes no recipe and no --out."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a run that is in the folder.")] = False,
    devices: options.Devices = None,
    strategy: options.Strategy = None,
    device: options.Device = "auto",
    precision: options.Precision = None,
    accumulate: options.Accumulate = None,
    batch_per_device: options.BatchPerDevice = None,
    compiled: options.Compile = False,
    deterministic: options.Deterministic = False,
    settings: options.Set = None,
    trust: options.Trust = False,
) -> None:
    """Train a model: a recipe on your own data, or a config file."""
    from intarsia.cli.adjust import Care, Wishes

    care = Care(ema, patience, tuple(freeze or ()), fit_images, pictures, keep_every, hang_after, tensorboard, wandb)
    wishes = Wishes(
        batch=batch,
        crop=crop,
        workers=workers,
        seed=seed,
        precision=precision,
        duration=duration,
        evaluate_every=eval_every,
        save_every=save_every,
        accumulate=accumulate,
        compiled=compiled,
        care=care,
        batch_per_device=batch_per_device,
        strategy=strategy,
        deterministic=deterministic,
    )
    if resume is not None:
        others = wishes != Wishes(batch_per_device=batch_per_device, workers=workers)
        if recipe is not None or data is not None or out is not None or settings or others:
            raise ValueError(
                "--resume RUN goes on with the run as it was begun; of other options it takes only --device, "
                "--devices, --batch-per-device and --workers"
            )
        _resume(resume, device, devices, batch_per_device, workers)
        return
    if recipe is None or out is None:
        missing = "a recipe or a config file" if recipe is None else "--out RUN, the folder for the run"
        raise ValueError(
            f"{missing} is missing; for example: intarsia train segformer_mit-b0 --data DIR --out runs/first"
        )
    request = Request(recipe, data, wishes, tuple(settings or ()), trust, overwrite, weights, allow_partial)
    _begin(request, out, process_count(devices), device, find)


# --- A new run ----------------------------------------------------------------------------------------------------


def _begin(request: Request, out: Path, devices: int, device: str, find: str | None) -> None:
    """Data, config, objects, training. With several devices every process comes here; the first one writes."""
    if find not in (None, "lr", "batch"):
        raise ValueError(f"--find is lr or batch, found {find!r}")
    if request.weights is not None and not request.weights.exists():
        raise ValueError(f"--weights {request.weights} does not exist")
    base = _base(request)
    file = (out / "data.yaml").resolve()
    if is_first():
        _make_room(out, overwrite=request.overwrite)
        if request.data is not None:
            _prepare_data(request.data, file)
    if launch_of() is not None:
        _meet(devices, device)
    data = None if request.data is None else _Data.read(file)
    config = _config(request, base, data, devices)

    from intarsia.cli.assemble import Place, checked, make_runtime

    place = Place(out, devices, device, weights=request.weights, allow_partial=request.allow_partial)
    runtime = make_runtime(checked(config), place)
    runtime.launch()
    if find is not None:
        from intarsia.cli.find import find_batch, find_rate

        (find_rate if find == "lr" else find_batch)(config, place, runtime)
        return
    config = _with_length(config, request.wishes, place, runtime)
    _run(config, place, runtime)


def _make_room(out: Path, *, overwrite: bool) -> None:
    """Refuse a folder with a run in it, or take the run away."""
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


@dataclass(frozen=True)
class _Data:
    """The user's data: description, its file in the run's folder, and the size (height, width) of a typical image."""

    description: DataDescription
    file: Path
    image_size: tuple[int, int]

    @classmethod
    def read(cls, file: Path) -> _Data:
        """What the first process has prepared."""
        from intarsia.cli.source import typical_size
        from intarsia.data.description import DataDescription

        description = DataDescription.read(file)
        return cls(description, file, typical_size(description))


def _prepare_data(given: Path, file: Path) -> None:
    """Let the doctor look at the data, and keep what it concludes in the run's folder."""
    from intarsia.cli.source import usable_data

    description, findings = usable_data(given)
    _tell(description, findings)
    file.parent.mkdir(parents=True, exist_ok=True)
    description.write(file)


def _meet(processes: int, device: str) -> None:
    """Processes that were started together wait until the first one has prepared what the others read.

    Where the first one starts the others itself, it does so after that.
    """
    from intarsia.engine.runtime import FabricRuntime

    meeting = FabricRuntime(devices=processes, accelerator=device)
    meeting.launch()
    meeting.barrier()


def _base(request: Request) -> Config | None:
    """The config that is named; None for a recipe that becomes one through the data."""
    from intarsia import recipes
    from intarsia.cli.source import find_config

    if request.name not in recipes.short_names():
        return find_config(request.name, trust=request.trust)
    if request.data is None:
        raise ValueError(f"the recipe {request.name} is for your own data: add --data DIR (images and masks)")
    return None


def _config(request: Request, base: Config | None, data: _Data | None, devices: int) -> Config:
    """The config of the run, but for its length."""
    from intarsia.cli.adjust import settings_for, with_data

    if data is None:
        assert base is not None
        config = base
    else:
        config = _own_config(request.name, data) if base is None else with_data(base, data.description, data.file)
    config = config.override(settings_for(config, request.wishes, devices=devices))
    return config.override(request.settings)


def _own_config(name: str, data: _Data) -> Config:
    from intarsia import recipes
    from intarsia.cli.adjust import dataset_values
    from intarsia.config.reader import Config

    description = data.description
    if "train" not in description.splits:
        raise ValueError(f"{data.file} has no train split; it has {', '.join(description.splits)}")
    images = len(description.pairs("train"))
    batch = min(BATCH, max(2, images))
    values = recipes.for_data(
        name,
        num_classes=description.num_classes,
        ignore_index=description.ignore_index,
        mean=description.mean or (128.0,) * description.channels,
        std=description.std or (64.0,) * description.channels,
        stored_bands=description.bands == "stored",
        crop=recipes.default_crop(data.image_size),
        batch=batch,
        steps=min(max(EPOCHS * images // batch, SMALLEST_RUN), LARGEST_RUN),
        workers=min(4, os.cpu_count() or 1),
        data={
            split: dataset_values(data.file, split) for split in ("train", "val", "test") if split in description.splits
        },
    )
    return Config.from_values(values, file=f"recipe {name}")


def _with_length(config: Config, wishes: Wishes, place: Place, runtime: FabricRuntime) -> Config:
    """The config with --for, --eval-every and --save-every in it; times are measured on the real thing."""
    from intarsia.cli.adjust import Pace, images_per_step, length_settings
    from intarsia.cli.assemble import assemble, checked
    from intarsia.engine.train import measure_step_time

    @cache
    def trial() -> Run:
        return assemble(config, checked(config), place, runtime)

    @cache
    def seconds_per_step() -> float:
        _say("measuring the time of a step ...")
        return measure_step_time(trial())

    batch = images_per_step(config.values, place.devices)
    pace = Pace(lambda: len(trial().pipeline), seconds_per_step)
    return config.override(length_settings(config, wishes, pace, batch=batch))


def _run(config: Config, place: Place, runtime: FabricRuntime) -> None:
    from intarsia.cli.assemble import assemble, checked
    from intarsia.engine.train import train as run_training

    run = assemble(config, checked(config), place, runtime)
    _announce(run)
    result = run_training(run)
    if runtime.rank != 0:
        return
    if not result.finished:
        raise KeyboardInterrupt(f"interrupted at step {result.step}; go on with: intarsia train --resume {place.out}")
    _say_where_things_are(run, result)


def _resume(out: Path, device: str, devices: int | None, batch_per_device: int | None, workers: int | None) -> None:
    """Go on with the run in a folder, from its own config; perhaps in another number of processes."""
    from intarsia.cli.adjust import images_per_step, worker_settings
    from intarsia.cli.assemble import Place, checked, make_runtime
    from intarsia.cli.source import find_config
    from intarsia.engine.batch import SharedBatch, reshare
    from intarsia.engine.run import RunFolder

    if not out.is_dir():
        raise ValueError(f"--resume {out}: there is no such folder")
    state = RunFolder(out).read()
    if state.get("status") == "finished":
        _say(f"{out} is finished: {state.get('step')} steps. Weights: {out / 'weights.safetensors'}")
        return
    config = find_config(str(out))
    before = SharedBatch(*(int(state[name]) for name in ("processes", "batch_per_process", "accumulate")))
    if devices is None and launch_of() is None:
        devices = before.processes
    synchronised = checked(config).runtime.synchronise_batch_norm
    now = reshare(before, process_count(devices), images=batch_per_device, synchronised=synchronised)
    as_written = (config.values["train_dataloader"]["batch_size"], images_per_step(config.values, now.processes))
    if as_written != (now.images, now.total):
        config = config.override([f"train_dataloader.batch_size={now.images}", f"intarsia.total_batch={now.total}"])
    if workers is not None:
        config = config.override(worker_settings(config.values, workers))
    place = Place(out, devices=now.processes, device=device, resume=True)
    runtime = make_runtime(checked(config), place)
    runtime.launch()
    _run(config, place, runtime)


# --- What is said -------------------------------------------------------------------------------------------------


def _tell(description: DataDescription, findings: Findings) -> None:
    """The data in a few lines, before a training; the whole is what `intarsia data check` prints."""
    splits = ", ".join(f"{split.name} {split.pairs}" for split in findings.splits)
    classes = ", ".join(description.classes[:12]) + (", ..." if description.num_classes > 12 else "")
    _say(f"data: {splits} images; {description.num_classes} classes: {classes}")
    for finding in findings.warnings:
        _say(f"warning: {finding.text}" + (f" ({finding.advice})" if finding.advice else ""))
    for note in findings.notes:
        _say(f"note: {note}")


def _announce(run: Run) -> None:
    length = f"{run.steps} steps of {run.batch} images, {run.steps * run.batch / len(run.pipeline):.1f} epochs"
    where = f"{run.runtime.device}, {run.runtime.precision}"
    _say(f"training on {len(run.pipeline)} images: {length}, on {where}; out: {run.out}")


def _say_where_things_are(run: Run, result: TrainingResult) -> None:
    from intarsia.cli.pictures import paint_examples

    if run.validation is not None and result.weights is not None:
        count = paint_examples(run.validation, result.weights, run.out / "pictures", PICTURES)
        _say(f"pictures of {count} validation images: {run.out / 'pictures'}")
    _say(f"next: intarsia predict {run.out} IMAGES -o OUT    intarsia eval {run.out}")


def _say(text: str) -> None:
    from intarsia.cli.terminal import say

    if is_first():
        say(text)
