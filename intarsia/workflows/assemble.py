"""From a checked config to the built objects that the engine runs on: the one place where all rooms meet."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from intarsia import catalog
from intarsia.api import predictor_for
from intarsia.config.build import build, build_metric, build_pipeline, build_task
from intarsia.config.checking.check import check
from intarsia.config.dump import dump
from intarsia.config.errors import ConfigError
from intarsia.config.language.reader import Config
from intarsia.config.lowering.lower import lower
from intarsia.contracts import Dataset
from intarsia.data.datasets.wrappers import SubsetDataset
from intarsia.data.image_reader import ImageReader, spec_of
from intarsia.data.image_spec import ImageSpec
from intarsia.data.labels import holds_sets
from intarsia.data.pipeline import Pipeline
from intarsia.data.transforms.on_device import division
from intarsia.distributed.runtime import FabricRuntime
from intarsia.engine.callbacks.notify import Notify
from intarsia.engine.callbacks.sample_images import TrainingPictures
from intarsia.engine.optim.batch_plan import SharedBatch, remark, share
from intarsia.engine.optim.duration import to_steps
from intarsia.engine.training.checkpoint import Checkpoints
from intarsia.engine.training.ema import begun_by_step
from intarsia.engine.training.environment import fingerprint
from intarsia.engine.training.run import Run, RunFolder, Validation
from intarsia.guide.published import find_published
from intarsia.io.digest import file_hash
from intarsia.spec import CheckpointSpec, DataSpec, Duration, OptimSpec, RunSpec, RuntimeSpec
from intarsia.version import __version__
from intarsia.weights.file import AUXILIARY, WeightsMeta, apply_state
from intarsia.weights.origins import Origin, origins, warnings_of
from intarsia.workflows.cached_features import cached
from intarsia.workflows.data_cache import open_cache
from intarsia.workflows.less_labels import lesson
from intarsia.workflows.names import find_weights
from intarsia.workflows.pretrained import Begun, said_by, start_from
from intarsia.workflows.run_options import RunOptions
from intarsia.workflows.thresholds import counted_at_best, not_chosen

if TYPE_CHECKING:
    from intarsia.data.description.model import DataDescription

IN_MEMORY = "a model in memory"
"""What a training says that it started from, of a network that was given to it in Python."""


def checked(config: Config) -> RunSpec:
    """The run that a config describes. Raises ConfigError with every problem at once."""
    problems = check(config, shapes=True)
    if problems:
        raise ConfigError(problems)
    return lower(config)


def make_runtime(spec: RunSpec, options: RunOptions) -> FabricRuntime:
    """Processes, devices and precision for a run."""
    return FabricRuntime(
        devices=options.devices,
        accelerator=options.device,
        precision=spec.optim.precision if spec.optim is not None else "32-true",
        loss_scale=spec.optim.loss_scale if spec.optim is not None else None,
        synchronise_batch_norm=spec.runtime.synchronise_batch_norm,
        average_statistics=spec.runtime.average_statistics,
        backend=spec.runtime.backend,
        strategy=spec.runtime.strategy,
    )


def assemble(config: Config, spec: RunSpec, options: RunOptions, runtime: FabricRuntime) -> Run:
    """Build everything that a training needs.

    Raises ValueError if the config lacks a part of a training, data are missing, or data and model do not fit.
    """
    if spec.train is None or spec.optim is None or spec.duration is None:
        raise ValueError(
            f"{config.file} describes no training: it needs train_dataloader, optim_wrapper and train_cfg. "
            "With --data DIR a recipe supplies them"
        )
    _prepare_torch(spec.runtime, spec.seed)
    pipeline = build_pipeline(spec.train, processes=runtime.world_size)
    check_dataset(spec, pipeline.dataset)
    cache = open_cache(spec.cache, pipeline, options.out)
    if spec.augment_on == "device":
        pipeline = _on_device(spec, pipeline)
    task = build_task(spec)
    begun = _begun_again(task, spec, options) if options.resume else initial_weights(task, spec, options)
    data = about_data(pipeline) if runtime.rank == 0 else {}
    said = [*begun.notes, *data_changes(options, data)]
    batch = share_batch(spec.train, spec.optim, spec.safeguards.total_batch, options.devices)
    images, iterations = len(pipeline), spec.optim.iterations_per_step

    def steps(duration: Duration) -> int:
        found = to_steps(duration, images=images, batch=batch.total)
        return math.ceil(found / iterations) if duration.unit == "steps" else found

    total = steps(spec.duration)
    saving = spec.checkpoint or CheckpointSpec(every=Duration(max(total // 10, 1), "steps"))
    validation = None if spec.val is None else _validation(spec, spec.val, task, steps, runtime)
    learned = lesson(
        spec, task, options, labelled=pipeline.dataset, steps=total,
        validation=None if validation is None else validation.pipeline.dataset,
    )  # fmt: skip
    learning, features = cached(spec, task, pipeline, options, runtime)
    observers = [*(build(observer) for observer in spec.observers), *options.observers]
    drawn = spec.safeguards.draw_every
    if (spec.safeguards.pictures or drawn) and validation is not None:
        observers.append(TrainingPictures(validation, spec.safeguards.pictures, every=drawn))
    if options.notify is not None:
        observers.append(Notify(options.notify))
    return Run(
        task=learned.task if features is None else learning,
        features=features,
        cache=None if cache is None else cache.samples,
        memory=None if cache is None else cache.memory,
        pipeline=pipeline,
        unlabelled=learned.unlabelled,
        optim=replace(spec.optim, accumulate=batch.accumulation_steps),
        optimizer_class=catalog.resolve("optimizer", spec.optim.optimizer.type),
        steps=total,
        batch=batch.total,
        out=options.out,
        validation=validation,
        fit=None if validation is None else _fit(spec, pipeline, validation),
        ema=None if spec.ema is None else begun_by_step(spec.ema, steps(Duration(1, "epochs"))),
        average_every=steps(Duration(1, "epochs")) if spec.duration.unit == "epochs" else None,
        early_stop=spec.early_stop,
        safeguards=spec.safeguards,
        compile=spec.runtime.compile,
        observers=observers,
        save_every=min(steps(saving.every), total),
        log_every=min(steps(Duration(spec.log_every, "steps")), total),
        keep=saving.keep,
        keep_every=None if spec.safeguards.keep_every is None else steps(spec.safeguards.keep_every),
        best_metric=saving.best_metric,
        best_mode=saving.best_mode,
        workers=spec.train.workers,
        pin_memory=spec.train.pin_memory,
        shuffle=spec.train.shuffle,
        seed=spec.seed,
        order_seed=spec.train.order_seed,
        runtime=runtime,
        resume=options.resume,
        meta=describe(spec, pipeline, origins(_begun_with(options) if options.resume else begun.loaded)),
        config_text=dump(spec.source, header=f"Written by intarsia {__version__}: the whole config of this run."),
        data={**data, **learned.data} if data else data,
        pretrained=begun.loaded,
        notes=(
            remark(batch, spec.written_for),
            *spec.notes,
            *said,
            *learned.notes,
            *not_chosen(spec, validation),
            *(() if cache is None else (cache.note,)),
            *((division(pipeline.transforms),) if spec.augment_on == "device" else ()),
        ),
    )


def _on_device(spec: RunSpec, pipeline: Pipeline) -> Pipeline:
    """What the device can do is left to it. Raises ValueError where nothing is, or features are kept of images."""
    if spec.features is not None:
        raise ValueError("--augment-on device changes images after they are read, which --cache-features keeps none of")
    return pipeline.on_device()


def about_data(pipeline: Pipeline) -> dict[str, Any]:
    """What run.json says about the training data."""
    dataset = pipeline.dataset
    return {"train_images": len(dataset), "classes": list(dataset.classes), "fingerprint": fingerprint(dataset)}


def data_changes(options: RunOptions, data: Mapping[str, Any]) -> list[str]:
    """What the user of a resumed run should know: whether its training images are no longer those it was begun with."""
    if not options.resume or not data:
        return []
    before = RunFolder(options.out).read().get("data", {}).get("fingerprint", data["fingerprint"])
    if before == data["fingerprint"]:
        return []
    return [
        f"warning: the training data have changed since the run was begun (fingerprint {before}, now "
        f"{data['fingerprint']}); it goes on with what is there now, which is not what it would have seen"
    ]


def share_batch(data: DataSpec, optim: OptimSpec, total: int | None, processes: int) -> SharedBatch:
    """How the images of an optimizer step are shared out. total: None where the config says how many are accumulated.

    Raises ValueError for a total that cannot be shared out evenly.
    """
    if total is None:
        return SharedBatch(processes, data.batch_size, optim.accumulate)
    return share(total, processes=processes, micro_batch_size=data.batch_size)


def _validation(
    spec: RunSpec, data: DataSpec, task: Any, steps: Callable[[Duration], int], runtime: FabricRuntime
) -> Validation:
    assert spec.duration is not None
    pipeline = evaluation_pipeline(data, processes=runtime.world_size)
    check_dataset(spec, pipeline.dataset)
    predictor = predictor_for(
        spec, task, classes=pipeline.dataset.classes, palette=pipeline.dataset.palette, device=runtime.device,
        reader=_of_scaled(pipeline.dataset, len(spec.preprocess.mean)),
    )  # fmt: skip
    return Validation(
        pipeline,
        predictor,
        counted_at_best(spec, build_metric(spec, pipeline.dataset.classes)),
        every=steps(spec.evaluate_every or spec.duration),
        begin=1 if spec.evaluate_from is None else steps(spec.evaluate_from),
        changes=tuple((steps(done), steps(every)) for done, every in spec.evaluate_changes),
        batch=data.batch_size,
        workers=data.workers,
        persistent_workers=data.persistent_workers,
        pin_memory=data.pin_memory,
    )


def _of_scaled(dataset: Dataset, channels: int) -> ImageReader | None:
    """What takes samples as they are, of a data set that scales its images itself: they are no colours any more."""
    images = getattr(dataset, "image_spec", None)
    scaled = images is not None and images.scale is not None and images.scale.is_of_training
    return ImageReader(ImageSpec("raw", channels)) if scaled else None


def _fit(spec: RunSpec, training: Pipeline, validation: Validation) -> Validation | None:
    """Training images, evenly spread, seen as validation images are: without augmentation, at their own size."""
    if not spec.safeguards.fit_images:
        return None
    chosen = SubsetDataset(training.dataset, most=spec.safeguards.fit_images)
    like = validation.pipeline
    return replace(
        validation,
        pipeline=Pipeline(chosen, like.transforms, label_size=like.label_size),
        metric=counted_at_best(spec, build_metric(spec, training.dataset.classes)),
    )


def evaluation_pipeline(data: DataSpec, *, processes: int = 1) -> Pipeline:
    """The pipeline of an evaluation. Where nothing moves the image, the label is at its original size anyhow."""
    return build_pipeline(data if data.transforms else replace(data, label_size="original"), processes=processes)


def check_classes(spec: RunSpec, classes: Sequence[str]) -> None:
    """Raise ValueError if the data have other classes than the model has outputs."""
    found = spec.inference.num_classes
    one_logit = spec.inference.threshold is not None and {found, len(classes)} <= {1, 2}
    if found and found != len(classes) and not one_logit:
        raise ValueError(
            f"the data have {len(classes)} classes ({', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}), "
            f"the model has {found} outputs; fix: --set model.decode_head.num_classes={len(classes)}, the same for "
            "auxiliary heads, or --data, which fits the model to the data"
        )


def check_dataset(spec: RunSpec, dataset: Dataset) -> None:
    """Raise ValueError if the data have other classes than the model has outputs, or only one of both lets a pixel have
    several of them.
    """
    check_classes(spec, dataset.classes)
    several = spec.inference.answer == "classes"
    if several != holds_sets(dataset):
        data, model = ("one class", "several") if several else ("several classes", "one")
        raise ValueError(
            f"the data have {data} for each pixel, the model {model}; fix: --data, which fits the model to the data, "
            f"or --set intarsia.multi_label={not several}; or change `multi_label` of the data description"
        )


def _begun_again(task: Any, spec: RunSpec, options: RunOptions) -> Begun:
    """Nothing where a checkpoint has the weights; else the run is begun once more, from what it was begun with.

    Raises ValueError for weights that are not there any more, or no longer the same.
    """
    if Checkpoints(RunFolder(options.out).checkpoints).steps():
        return Begun()
    records = [record for record in _begun_with(options) if record.get("part") == "model"]
    again = f"the run {options.out} has no checkpoint yet: begin anew, with --out NEW"
    if any(record.get("asked_for") == IN_MEMORY for record in records):
        raise ValueError(f"its first weights were in the memory of a program alone, and {again}")
    if not records:
        return initial_weights(task, spec, options)
    (record,) = records
    begun = initial_weights(task, spec, replace(options, weights=record["file"]))
    if begun.loaded[0]["sha256"] != record["sha256"]:
        raise ValueError(f"{record['file']} is no longer the file that it was begun with, and {again}")
    return begun


def _begun_with(options: RunOptions) -> Sequence[Mapping[str, Any]]:
    """What run.json says of the weights that a run was begun with. Another machine of the run may not have the file."""
    folder = RunFolder(options.out)
    return folder.read().get("pretrained") or () if folder.run_json.is_file() else ()


def describe(spec: RunSpec, pipeline: Pipeline, pretrained: tuple[Origin, ...] = ()) -> WeightsMeta:
    """What the weights file of a run will say about itself."""
    images = spec_of(pipeline.dataset, len(spec.preprocess.mean))
    described = _description(spec.train)
    regions = None if described is None else described.regions
    return WeightsMeta(
        config=spec.source,
        classes=tuple(pipeline.dataset.classes),
        palette=tuple(pipeline.dataset.palette),
        ignore_index=pipeline.dataset.ignore_index,
        labels=_label_words(described),
        regions={} if regions is None else regions.to_json(),
        image={} if images is None else images.to_json(),
        version=__version__,
        pretrained=pretrained,
    )


def _description(data: DataSpec | None) -> DataDescription | None:
    """The data description of a stream, where it has one."""
    from intarsia.data.description.read import read_description

    is_described = data is not None and data.dataset.type == "DescribedDataset"
    return read_description(data.dataset.args["file"]) if data is not None and is_described else None


def _label_words(described: DataDescription | None) -> dict[str, str]:
    """File value -> class name, where a data description says it."""
    from intarsia.data.description.model import show_value

    labels = {} if described is None else described.labels or {}
    return {show_value(value): name for value, name in labels.items()}


def initial_weights(task: Any, spec: RunSpec, options: RunOptions) -> Begun:
    """Put the given weights into a new task, or else pretrained ones into its parts: `pretrained.start_from`.

    Raises ValueError for a file that is missing, damaged, or does not fit.
    """
    if options.network is not None:
        apply_state(task.model, options.network.state)
        begun = ({"part": "model", "asked_for": IN_MEMORY}, *options.network.loaded)
        return Begun(("starts from the weights of the given model",), begun)
    source = options.weights or spec.load_from
    if not source:
        return start_from(task, spec, options)
    found = find_weights(source, key=options.key, prefix=options.prefix)
    state, notes = found.state()
    unused = AUXILIARY if getattr(task.model, "auxiliary_head", None) is None else ()
    report = apply_state(task.model, state, allow_partial=options.allow_partial, optional=unused)
    loaded = {
        "part": "model", "file": str(source), "sha256": file_hash(found.path), "tensors": len(report.loaded),
        **said_by(found.meta),
    }  # fmt: skip
    published = find_published(found.recipe) if found.recipe else None
    if published is not None:
        loaded |= {"recipe": published.recipe, "address": published.address}
    said = [*notes, str(report), *warnings_of(found.meta.licence, found.meta.pretrained)]
    return Begun((f"weights of {source}: {'; '.join(said)}",), (loaded,))


def _prepare_torch(runtime: RuntimeSpec, seed: int) -> None:
    """Random weights are a function of the seed; the switches of cuDNN are as the config says."""
    torch.manual_seed(seed)
    torch.backends.cudnn.benchmark = runtime.cudnn_benchmark and not runtime.deterministic
    torch.use_deterministic_algorithms(runtime.deterministic)
    if runtime.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it, torch refuses products of matrices
