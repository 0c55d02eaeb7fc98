"""What the command line asks for, as changes to a config, so that the config in a run's folder says all of it.

Every function gives settings for `Config.override`. No torch: the length of the data and the time of a step come from
the caller, who is asked for them only where a unit needs them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intarsia import recipes
from intarsia.config.language.reader import Config
from intarsia.config.lowering.runtime import published_batch
from intarsia.data.cache_place import CachePlace
from intarsia.engine.optim.batch_plan import SharedBatch, share
from intarsia.engine.optim.duration import format_duration, parse_duration, to_steps
from intarsia.spec import Duration
from intarsia.workflows.augmentation import ignoring

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

PRECISIONS = ("32", "16", "bf16")
LOADERS = ("train_dataloader", "val_dataloader", "test_dataloader")
WRAPPERS = {"ddp": "MMDistributedDataParallel", "fsdp": "MMFullyShardedDataParallel"}
"""What configs call a strategy."""
_COUNTS = ("begin", "end", "T_max", "step_size", "total_iters", "milestones", "delay", "warm_up")
"""Arguments of schedules that count steps or epochs."""
_SHORTEST = {"LinearLR": 1, "ConstantLR": 1}
"""Schedules that need more than so many steps; a shorter one is left out when a training is shortened."""


@dataclass(frozen=True)
class TrainingOptions:
    """The options of ``intarsia train`` that change a config; None: as the config says."""

    batch: int | None = None
    crop: tuple[int, int] | None = None
    workers: int | None = None
    seed: int | None = None
    precision: str | None = None
    duration: str | None = None
    evaluate_every: str | None = None
    save_every: str | None = None
    accumulate: int | None = None
    compiled: bool = False
    safeguards: Safeguards = field(default_factory=lambda: Safeguards())
    batch_per_device: int | None = None
    strategy: str | None = None
    deterministic: bool = False
    cache: str | None = None
    augment_on: str | None = None


@dataclass(frozen=True)
class Safeguards:
    """The options for long runs; None: as the config says."""

    ema: float | None = None
    patience: int | None = None
    freeze: tuple[str, ...] = ()
    fit_images: int | None = None
    pictures: int | None = None
    keep_every: str | None = None
    hang_after: str | None = None
    tensorboard: bool = False
    wandb: bool = False


@dataclass(frozen=True)
class Pace:
    """How many images there are and how long a step takes; functions, since finding out costs time."""

    images: Callable[[], int]
    seconds_per_step: Callable[[], float]

    def steps(self, duration: Duration, batch: int) -> int:
        """The duration in optimizer steps."""
        if duration.unit == "steps":
            return to_steps(duration, images=1, batch=batch)
        if duration.unit == "epochs":
            return to_steps(duration, images=self.images(), batch=batch)
        return to_steps(duration, images=1, batch=batch, seconds_per_step=self.seconds_per_step())


def settings_for(config: Config, options: TrainingOptions, *, devices: int) -> list[str]:
    """All that does not concern the length of the training. Raises ValueError for what cannot be."""
    values = config.values
    settings: list[str] = []
    if options.seed is not None:
        settings.append(f"randomness.seed={options.seed}")
    settings += _batch(config, options, devices)
    if options.deterministic:
        settings.append("randomness.deterministic=True")
    if options.workers is not None:
        settings += worker_settings(values, options.workers)
    settings += data_settings(options.cache, options.augment_on)
    if options.crop is not None:
        settings += _crop(values, options.crop)
    if options.precision is not None:
        settings += _precision(values, options.precision)
    if options.compiled:
        settings.append("compile=True")
    if options.strategy is not None:
        if options.strategy not in WRAPPERS:
            raise ValueError(f"--strategy is {' or '.join(WRAPPERS)}, found {options.strategy!r}")
        settings.append(f"model_wrapper_cfg={ {'type': WRAPPERS[options.strategy]}!r}")
    return [*settings, *_safeguards(values, options.safeguards)]


def worker_settings(values: Mapping[str, Any], workers: int) -> Iterator[str]:
    """As many processes load the data of training and of every evaluation."""
    for key in LOADERS:
        if values.get(key):
            yield f"{key}.num_workers={workers}"
            if not workers and "persistent_workers" in values[key]:
                yield f"{key}.persistent_workers=False"


def data_settings(cache: str | None, augment_on: str | None = None) -> Iterator[str]:
    """Where decoded samples are kept, and where they are augmented."""
    if cache is not None:
        yield f"intarsia.cache={str(CachePlace.parse(cache))!r}"
    if augment_on is not None:
        if augment_on not in ("workers", "device"):
            raise ValueError(f"--augment-on is workers or device, found {augment_on!r}")
        yield f"intarsia.augment_on={augment_on!r}"


def images_per_step(values: Mapping[str, Any], devices: int) -> int:
    """Images of an optimizer step over all devices, as a config has it."""
    total: int | None = (values.get("intarsia") or {}).get("total_batch")
    return total or devices * _batch_size(values) * iterations_per_step(values)


def iterations_per_step(values: Mapping[str, Any]) -> int:
    """How many of the iterations that a config counts make up an optimizer step."""
    counts: int = (values.get("optim_wrapper") or {}).get("accumulative_counts", 1)
    return counts


def _batch_size(values: Mapping[str, Any]) -> int:
    size: int = (values.get("train_dataloader") or {}).get("batch_size", 1)
    return size


def _batch(config: Config, options: TrainingOptions, devices: int) -> Iterator[str]:
    """The total batch, and how it is shared out. Lengths and schedules are those of optimizer steps, as before."""
    values, total = config.values, options.batch
    if options.batch_per_device is not None and options.accumulate is not None:
        raise ValueError(
            "--batch-per-device and --accumulate both say how many micro-batches a step has: give one of them"
        )
    if options.batch_per_device is not None:
        written = (values.get("intarsia") or {}).get("total_batch")
        meant = (values.get("auto_scale_lr") or {}).get("base_batch_size") or published_batch(config.file)
        total = total or written or meant or images_per_step(values, devices)
        shared = share(total, processes=devices, micro_batch_size=options.batch_per_device)
    elif options.accumulate is not None and total is None:
        shared = SharedBatch(devices, _batch_size(values), options.accumulate)
    elif total is not None:
        steps = options.accumulate or iterations_per_step(values)
        if total % (devices * steps):
            raise ValueError(
                f"--batch {total} is the total of all {devices * steps} micro-batches of a step: give a multiple of "
                f"{devices * steps}"
            )
        shared = SharedBatch(devices, total // (devices * steps), steps)
    else:
        return
    yield f"train_dataloader.batch_size={shared.micro_batch_size}"
    if shared.accumulation_steps > 1 or images_per_step(values, devices) != devices * _batch_size(values):
        yield f"intarsia.total_batch={shared.total}"


def _safeguards(values: Mapping[str, Any], asked: Safeguards) -> Iterator[str]:
    hooks = [dict(hook) for hook in values.get("custom_hooks") or []]
    wanted: dict[str, dict[str, Any]] = {}
    if asked.ema is not None:
        wanted["EMAHook"] = {"momentum": asked.ema}
    if asked.patience is not None:
        wanted["EarlyStoppingHook"] = {"patience": asked.patience, "min_delta": 0.0}
    if wanted:
        kept = [hook for hook in hooks if str(hook.get("type")).rpartition(".")[2] not in wanted]
        yield f"custom_hooks={[*kept, *({'type': name, **options} for name, options in wanted.items())]!r}"
    own: dict[str, Any] = {
        "freeze": list(asked.freeze) or None,
        "fit_images": asked.fit_images,
        "pictures": asked.pictures,
    }
    if asked.hang_after is not None:
        own["hang_after"] = _seconds("--hang-after", asked.hang_after)
    yield from (f"intarsia.{key}={value!r}" for key, value in own.items() if value is not None)
    services = {"TensorboardVisBackend": asked.tensorboard, "WandbVisBackend": asked.wandb}
    if any(services.values()):
        visualizer = dict(values.get("visualizer") or {"type": "SegLocalVisualizer"})
        present = list(visualizer.get("vis_backends") or [])
        missing = set(services) - {str(backend.get("type")).rpartition(".")[2] for backend in present}
        added = [{"type": name} for name, asked in services.items() if asked and name in missing]
        yield f"visualizer={ ({**visualizer, 'vis_backends': [*present, *added]})!r}"


def _seconds(option: str, text: str) -> float:
    duration = parse_duration(text)
    if duration.unit != "seconds":
        raise ValueError(f"{option} is a time, like '30m' or '2h'; found {text!r}")
    return duration.value


def _crop(values: Mapping[str, Any], crop: tuple[int, int]) -> Iterator[str]:
    if min(crop) < 32:
        raise ValueError(f"--crop {crop[0]} {crop[1]} is smaller than 32 pixels, which the coarsest features need")
    own = (values.get("model") or {}).get("data_preprocessor")
    path = "data_preprocessor" if own is None else "model.data_preprocessor"
    preprocessor = (values.get("data_preprocessor") if own is None else own) or {}
    if preprocessor.get("size_divisor") is not None:  # another way to say the size
        yield f"{path}.size_divisor-"
    yield f"{path}.size={crop}"
    for path, step in steps_of(values.get("train_dataloader") or {}, "train_dataloader"):
        if step.get("type") == "RandomCrop":
            yield f"{path}.crop_size={crop}"
        elif step.get("type") == "Pad" and "size" in step:
            yield f"{path}.size={crop}"


def steps_of(value: Any, path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(path, step) of every pipeline step below a value."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if key == "pipeline":
                yield from ((f"{path}.pipeline.{index}", step) for index, step in enumerate(item))
            else:
                yield from steps_of(item, f"{path}.{key}")
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from steps_of(item, f"{path}.{index}")


def _precision(values: Mapping[str, Any], precision: str) -> Iterator[str]:
    if precision not in PRECISIONS:
        raise ValueError(f"unknown --precision {precision!r}; known: {', '.join(PRECISIONS)}")
    wrapper = values.get("optim_wrapper") or {}
    yield f"optim_wrapper.type={'OptimWrapper' if precision == '32' else 'AmpOptimWrapper'}"
    if precision == "bf16":
        yield "optim_wrapper.dtype=bfloat16"
    if "loss_scale" in wrapper and precision != "16":
        yield "optim_wrapper.loss_scale-"
    if "dtype" in wrapper and precision != "bf16":
        yield "optim_wrapper.dtype-"


# --- Length -------------------------------------------------------------------------------------------------------


def length_settings(config: Config, options: TrainingOptions, pace: Pace, *, batch: int) -> list[str]:
    """`--for` with all schedules and intervals rescaled, `--eval-every`, `--save-every`.

    batch: images per step in total. Raises ValueError for a duration that cannot be read, or a unit that does not suit.
    """
    values = config.values
    loop = values.get("train_cfg") or {}
    epochs = "max_epochs" in loop
    key = "max_epochs" if epochs else "max_iters"

    def count(option: str, text: str) -> int:
        duration = parse_duration(text)
        if not epochs:
            return pace.steps(duration, batch) * iterations_per_step(values)
        if duration.unit != "epochs" or duration.value != int(duration.value):
            raise ValueError(
                f"this config counts epochs, so {option} must be whole epochs too (found {format_duration(duration)}); "
                "or give it train_cfg.type=IterBasedTrainLoop"
            )
        return int(duration.value)

    settings: list[str] = []
    if options.duration is not None:
        settings += _rescaled(values, key, count("--for", options.duration))
    if options.evaluate_every is not None:
        settings.append(f"train_cfg.val_interval={count('--eval-every', options.evaluate_every)}")
        if "dynamic_intervals" in loop:
            settings.append("train_cfg.dynamic_intervals-")
    if options.save_every is not None:
        interval = count("--save-every", options.save_every)
        settings += [f"{_CHECKPOINT}.interval={interval}", f"{_CHECKPOINT}.by_epoch={epochs}"]
        if not _hook(values, "checkpoint"):
            settings.append(f"{_CHECKPOINT}.type=CheckpointHook")
    if options.safeguards.keep_every is not None:
        settings.append(f"intarsia.keep_every={count('--keep-every', options.safeguards.keep_every)}")
    return settings


_CHECKPOINT = "default_hooks.checkpoint"


def _hook(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found: Mapping[str, Any] = (values.get("default_hooks") or {}).get(name) or {}
    return found


def _rescaled(values: Mapping[str, Any], key: str, new: int) -> Iterator[str]:
    """A training of `new` steps or epochs, with schedules, evaluations and checkpoints at the same fractions of it."""
    loop = values["train_cfg"]
    factor = new / loop[key]
    yield f"train_cfg.{key}={new}"
    for name in ("val_interval", "val_begin"):
        if loop.get(name):
            yield f"train_cfg.{name}={_scaled(loop[name], factor)}"
    if loop.get("dynamic_intervals"):
        changes = {_scaled(at, factor): _scaled(every, factor) for at, every in loop["dynamic_intervals"]}
        yield f"train_cfg.dynamic_intervals={list(changes.items())!r}"
    interval = _hook(values, "checkpoint").get("interval", -1)
    if interval > 0:
        yield f"{_CHECKPOINT}.interval={_scaled(interval, factor)}"
    log_every = _hook(values, "logger").get("interval")
    if log_every is not None and key == "max_iters":
        yield f"default_hooks.logger.interval={min(log_every, max(1, new // 40))}"
    schedules = values.get("param_scheduler")
    if schedules:
        several = isinstance(schedules, list | tuple)
        scaled = [_scaled_schedule(schedule, factor) for schedule in (schedules if several else [schedules])]
        yield f"param_scheduler={[schedule for schedule in scaled if _is_long_enough(schedule)]!r}"


def _is_long_enough(schedule: Mapping[str, Any]) -> bool:
    end = schedule.get("end")
    return end is None or end - schedule.get("begin", 0) > _SHORTEST.get(schedule["type"], 0)


def _scaled(count: int, factor: float) -> int:
    return max(1, round(count * factor))


def _scaled_schedule(schedule: Mapping[str, Any], factor: float) -> dict[str, Any]:
    scaled = dict(schedule)
    for name in _COUNTS:
        value = schedule.get(name)
        if isinstance(value, list | tuple):
            scaled[name] = [_scaled(number, factor) for number in value]
        elif isinstance(value, int) and value > 0:
            scaled[name] = _scaled(value, factor)
    return scaled


# --- The user's own data in a given config ------------------------------------------------------------------------


def with_data(config: Config, description: DataDescription, file: Path) -> Config:
    """The same training on other data: data sets replaced, heads fitted to the classes, everything else as it was.

    Raises ValueError if the description has no training images.
    """
    splits = tuple(description.splits)
    if "train" not in splits:
        raise ValueError(f"{file} has no train split; it has {', '.join(splits)}")
    values = copy.deepcopy(config.values)
    values["model"] = recipes.fit_heads(
        values["model"],
        description.num_classes,
        description.ignore_index,
        description.classes,
        multi_label=description.multi_label,
    )
    if description.multi_label or "multi_label" in (values.get("intarsia") or {}):
        values["intarsia"] = {**(values.get("intarsia") or {}), "multi_label": description.multi_label}
    if isinstance(values.get("data_preprocessor"), dict):
        values["data_preprocessor"]["seg_pad_val"] = description.ignore_index
    chosen = {"train": "train", "val": "val", "test": "test" if "test" in splits else "val"}
    for role, split in chosen.items():
        loader = values.get(f"{role}_dataloader")
        if not loader:
            continue
        if split in splits:
            loader["dataset"] = dataset_values(
                file, split, pipeline=_cleaned(_pipeline_of(loader["dataset"]), description)
            )
        else:
            for name in (f"{role}_dataloader", f"{role}_evaluator", f"{role}_cfg"):
                values.pop(name, None)
    if "val_dataloader" not in values and "train_cfg" in values:
        values["train_cfg"].pop("val_interval", None)
    settings = [f"{name}-" for name in config.values if name not in values]
    settings += [f"{name}={value!r}" for name, value in values.items() if value != config.values.get(name)]
    return config.override(settings)


def dataset_values(file: Path, split: str, *, pipeline: list[Any] | None = None) -> dict[str, Any]:
    """A split of a data description, as a config writes it."""
    values: dict[str, Any] = {"type": "DescribedDataset", "file": str(file), "split": split}
    return values if pipeline is None else {**values, "pipeline": pipeline}


def _pipeline_of(dataset: Mapping[str, Any]) -> list[Any]:
    """The pipeline of a data set, or of the first one inside a wrapper."""
    if "dataset" in dataset:
        return _pipeline_of(dataset["dataset"])
    if dataset.get("datasets"):
        return _pipeline_of(dataset["datasets"][0])
    return list(dataset.get("pipeline", ()))


def _cleaned(pipeline: list[Any], description: DataDescription) -> list[Any]:
    """Without what the description now says: how labels are read, which index is ignored."""
    load: dict[str, Any] = {"type": "LoadImageFromFile"}
    if description.bands == "raw":
        load["color_type"] = "unchanged"
    cleaned: list[Any] = []
    for step in pipeline:
        name = str(step.get("type")).rpartition(".")[2]
        if name == "LoadImageFromFile":
            cleaned.append(load)
        elif name == "LoadAnnotations":
            cleaned.append({"type": "LoadAnnotations"})
        elif name in ("RandomCrop", "GenerateEdge"):
            cleaned.append({**step, "ignore_index": description.ignore_index})
        elif name == "Pad":
            given = step.get("pad_val", 0)
            image = given.get("img", 0) if isinstance(given, Mapping) else given
            cleaned.append({**step, "pad_val": {"img": image, "seg": description.ignore_index}})
        else:
            cleaned.append(ignoring(step, description.ignore_index))
    return cleaned
