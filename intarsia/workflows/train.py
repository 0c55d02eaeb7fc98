"""Training: from a recipe and a folder, or from a config, to a run's folder; and going on with a run."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia.config.diff import differences
from intarsia.contracts import PathLike
from intarsia.distributed.launchers import is_first, launch_of, process_count
from intarsia.terminal import say
from intarsia.workflows.adjust import TrainingOptions
from intarsia.workflows.locate import locate

if TYPE_CHECKING:
    from intarsia.config.language.reader import Config
    from intarsia.data.description.model import DataDescription
    from intarsia.data.doctor.findings import Findings
    from intarsia.distributed.runtime import FabricRuntime
    from intarsia.engine.training.run import Run, TrainingResult
    from intarsia.workflows.run_options import RunOptions

SMALLEST_RUN, LARGEST_RUN, EPOCHS = 500, 20_000, 60
"""Steps of a training on one's own data when --for is not given: so many epochs, between these bounds."""
BATCH = 8
PICTURES = 6
SHOWN = 20
"""How many edits of a config are listed."""


@dataclass(frozen=True, kw_only=True)
class TrainingRequest:
    """What a training is asked for.

    name: a recipe or a config file. out: the run's folder. data: a folder of images and masks, or a description.
    training: what goes into the config. settings: overrides by dotted path. trust: run a .py config as Python.
    overwrite: replace a run that is in the folder. weights: to start from, of the whole model (file, name).
    pretrained: of the backbone: auto, imagenet, none, a file, a name; None is auto for `data`, else as in the config.
    first_convolution: how it is made for other bands than those of pretrained weights.
    key, prefix: where the network's tensors are in them, and what their names begin with there.
    devices: number of processes.
    find: "lr" or "batch" tries that out instead of training.
    notify: a command that is told how the run goes.
    fold: "2/5" validates on the second of five parts of the training images. by: what stays together in a part.
    augment: none, light, strong or a file (`workflows.augmentation`); None: as the recipe or config has it.
    """

    name: str
    out: Path
    data: Path | None = None
    training: TrainingOptions = field(default_factory=TrainingOptions)
    settings: tuple[str, ...] = ()
    trust: bool = False
    overwrite: bool = False
    weights: PathLike | None = None
    pretrained: str | None = None
    first_convolution: str | None = None
    allow_partial: bool = False
    key: str | None = None
    prefix: str | None = None
    devices: int | None = None
    device: str = "auto"
    find: str | None = None
    notify: str | None = None
    fold: str | None = None
    by: str | None = None
    augment: str | None = None


# --- A new run ----------------------------------------------------------------------------------------------------


def start_training(request: TrainingRequest) -> TrainingResult | None:
    """Data, config, objects, training. With several devices every process comes here; the first one writes.

    Gives None after a trial (`find`). Raises ValueError for what cannot be trained, with every problem found.
    """
    out, device, find = request.out, request.device, request.find
    devices = process_count(request.devices)
    if find not in (None, "lr", "batch"):
        raise ValueError(f"--find is lr or batch, found {find!r}")
    if request.weights is not None and request.pretrained not in (None, "none"):
        raise ValueError("--weights has the whole model and --pretrained its backbone: give one of them")
    if request.fold is not None and request.data is None:
        raise ValueError("--fold divides the images of --data: add --data DIR|FILE")
    if request.by is not None and request.fold is None:
        raise ValueError("--by says what stays together in a fold: add --fold 1/5")
    base = _base(request)
    if request.weights is not None:
        locate(request.weights)  # fetched, or refused, before anything is made
    file = (out / "data.yaml").resolve()
    if is_first():
        _make_room(out, overwrite=request.overwrite)
        if request.data is not None:
            _prepare_data(request, file)
    if launch_of() is not None:
        _meet(devices, device)
    data = None if request.data is None else _Data.read(file)
    config = _config(request, base, data, devices)

    from intarsia.workflows.assemble import checked, make_runtime
    from intarsia.workflows.run_options import RunOptions

    options = RunOptions(
        out,
        devices,
        device,
        weights=request.weights,
        allow_partial=request.allow_partial,
        key=request.key,
        prefix=request.prefix,
        notify=request.notify,
    )
    runtime = make_runtime(checked(config), options)
    runtime.launch()
    if find is not None:
        from intarsia.workflows.find import find_batch, find_rate

        (find_rate if find == "lr" else find_batch)(config, options, runtime)
        return None
    config = _with_length(config, request.training, options, runtime)
    return _run(config, options, runtime)


def training_config(request: TrainingRequest, file: Path) -> Config:
    """The config that a training would have, but for its length.

    file: where the description of the request's data is written. Raises ValueError for what cannot be trained on.
    """
    base = _base(request)
    if request.data is not None:
        _prepare_data(request, file)
    return _config(request, base, None if request.data is None else _Data.read(file), process_count(request.devices))


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
        from intarsia.data.description.read import read_description
        from intarsia.workflows.names import typical_size

        description = read_description(file)
        return cls(description, file, typical_size(description))


def _prepare_data(request: TrainingRequest, file: Path) -> None:
    """Let the doctor look at the data, and keep what it concludes in the run's folder."""
    from intarsia.data.description.write import write_description
    from intarsia.workflows.names import usable_data

    assert request.data is not None
    description, findings = usable_data(request.data)
    _tell(description, findings)
    if request.fold is not None:
        from intarsia.workflows.division import fold_of_run

        description, note = fold_of_run(description, request.fold, request.by, file.parent)
        _say(note)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_description(description, file)


def _meet(processes: int, device: str) -> None:
    """Processes that were started together wait until the first one has prepared what the others read.

    Where the first one starts the others itself, it does so after that.
    """
    from intarsia.distributed.runtime import FabricRuntime

    meeting = FabricRuntime(devices=processes, accelerator=device)
    meeting.launch()
    meeting.barrier()


_OF_TRAINING = ("train_dataloader", "optim_wrapper", "train_cfg")
"""What a config must have to be trained, also on other data than its own: `--data` replaces the data sets in it."""


def _base(request: TrainingRequest) -> Config | None:
    """The config that is named; None for a recipe that becomes one through the data."""
    from intarsia import recipes
    from intarsia.workflows.names import find_config

    if request.name not in recipes.short_names():
        config = find_config(request.name, trust=request.trust)
        given = {setting.partition("=")[0].partition(".")[0] for setting in request.settings}
        missing = [key for key in _OF_TRAINING if not config.values.get(key) and key not in given]
        if missing:
            raise ValueError(
                f"{config.file} describes no training: it has no {' and no '.join(missing)}. Write what is missing, "
                "inherit it with _base_, or train a recipe on your data: intarsia train RECIPE --data DIR --out RUN "
                "(intarsia config list)"
            )
        return config
    if request.data is None:
        raise ValueError(f"the recipe {request.name} is for your own data: add --data DIR (images and masks)")
    return None


def _config(request: TrainingRequest, base: Config | None, data: _Data | None, devices: int) -> Config:
    """The config of the run, but for its length."""
    from intarsia.workflows.adjust import settings_for, with_data

    if data is None:
        assert base is not None
        config = base
    else:
        config = _own_config(request.name, data) if base is None else with_data(base, data.description, data.file)
    config = config.override(settings_for(config, request.training, devices=devices))
    if request.augment is not None:
        from intarsia.workflows.augmentation import augmented

        found = augmented(config, request.augment)
        _say(found.line)
        config = config.override(found.settings)
    config = config.override(_start_settings(config, request))
    return config.override(request.settings)


def _start_settings(config: Config, request: TrainingRequest) -> Iterator[str]:
    """What the backbone starts from, so that the config in the run's folder says it."""
    asked = request.pretrained
    if asked is None and request.data is not None and request.weights is None:
        asked = None if (config.values.get("intarsia") or {}).get("pretrained") else "auto"
    if asked is not None:
        is_path = asked not in ("auto", "imagenet", "none") and Path(asked).exists()
        yield f"intarsia.pretrained={(str(Path(asked).resolve()) if is_path else asked)!r}"
    if request.first_convolution is not None:
        yield f"intarsia.first_convolution={request.first_convolution!r}"


def _own_config(name: str, data: _Data) -> Config:
    from intarsia import recipes
    from intarsia.config.language.reader import Config
    from intarsia.workflows.adjust import dataset_values

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
        raw_bands=description.bands == "raw",
        crop=recipes.default_crop(data.image_size),
        batch=batch,
        steps=min(max(EPOCHS * images // batch, SMALLEST_RUN), LARGEST_RUN),
        workers=min(4, os.cpu_count() or 1),
        data={
            split: dataset_values(data.file, split) for split in ("train", "val", "test") if split in description.splits
        },
    )
    return Config.from_values(values, file=f"recipe {name}")


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
        _say("measuring the time of a step ...")
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
    return result


def resume_training(
    out: Path,
    *,
    device: str = "auto",
    devices: int | None = None,
    batch_per_device: int | None = None,
    workers: int | None = None,
    notify: str | None = None,
) -> TrainingResult | None:
    """Go on with the run in a folder, from its own config; perhaps in another number of processes."""
    from intarsia.engine.optim.batch_plan import SharedBatch, reshare
    from intarsia.engine.training.run import RunFolder
    from intarsia.workflows.adjust import images_per_step, worker_settings
    from intarsia.workflows.assemble import checked, make_runtime
    from intarsia.workflows.names import find_config
    from intarsia.workflows.run_options import RunOptions

    if not out.is_dir():
        raise ValueError(f"--resume {out}: there is no such folder")
    state = RunFolder(out).read()
    if state.get("status") == "finished":
        _say(f"{out} is finished: {state.get('step')} steps. Weights: {out / 'weights.safetensors'}")
        _say(f"To train longer: {LONGER.format(run=out)}")
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
    options = RunOptions(out, devices=now.processes, device=device, resume=True, notify=notify)
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
    from intarsia.workflows.example_pictures import paint_examples

    if run.validation is not None and result.weights is not None:
        count = paint_examples(run.validation, result.weights, run.out / "pictures", PICTURES)
        _say(f"pictures of {count} validation images: {run.out / 'pictures'}")
    _say(f"next: intarsia predict {run.out} IMAGES -o OUT    intarsia eval {run.out}")


def _say(text: str) -> None:
    if is_first():
        say(text)
