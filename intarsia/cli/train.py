"""``intarsia train``: from a recipe and a folder, or from a config, to a run's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import fine_tuning_options, options, own_data_options

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

[bold]A job that may be started again at any time[/]:
intarsia train segformer_mit-b0 --data DIR --out runs/first --resume auto

All recipes: [bold]intarsia config list[/]; on any network of timm or transformers: HEAD_timm:NAME, HEAD_hf:OWNER/NAME
(docs/trunks.md)
"""


def train(
    recipe: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="RECIPE|CONFIG", help="A recipe (see: intarsia config list) or a config file."),
    ] = None,
    data: options.Data = None,
    fold: own_data_options.Fold = None,
    by: own_data_options.By = None,
    plain: own_data_options.Plain = None,
    rare_every: own_data_options.RareEvery = None,
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
    cache: options.Cache = None,
    augment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--augment",
            metavar="none|light|strong|FILE",
            help="Random changes of the training images, beside or (none, FILE) instead of the recipe's.",
            rich_help_panel="Data",
        ),
    ] = None,
    augment_on: options.AugmentOn = None,
    unlabelled: own_data_options.Unlabelled = None,
    confidence: own_data_options.Confidence = None,
    teacher: own_data_options.Teacher = None,
    seed: options.Seed = None,
    weights: options.Weights = None,
    pretrained: options.PretrainedWeights = None,
    first_convolution: options.FirstConvolution = None,
    image_classes: own_data_options.ImageClasses = None,
    allow_partial: options.AllowPartial = False,
    key: options.Key = None,
    prefix: options.Prefix = None,
    ema: options.Ema = None,
    patience: options.Patience = None,
    freeze: options.Freeze = None,
    lora: fine_tuning_options.Lora = None,
    layer_decay: fine_tuning_options.LayerDecay = None,
    cache_features: fine_tuning_options.CacheFeatures = None,
    views: fine_tuning_options.Views = None,
    fit_images: options.FitImages = None,
    pictures: options.Pictures = None,
    keep_every: options.KeepEvery = None,
    hang_after: options.HangAfter = None,
    tensorboard: options.TensorBoard = False,
    wandb: options.WandB = False,
    notify: own_data_options.Notify = None,
    find: options.Find = None,
    resume: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--resume",
            metavar="RUN|auto",
            help="Go on with an interrupted run; takes no recipe and no --out. auto, beside these: go on with the run "
            "in --out if it has a checkpoint, and begin it otherwise: one command for a job that is started again and "
            "again.",
        ),
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
    trust: options.Trust = None,
    trust_config: options.TrustConfig = False,
) -> None:
    """Train a model: a recipe on your own data, or a config file."""
    from intarsia.workflows.adjust import Safeguards, TrainingOptions
    from intarsia.workflows.train import resume_training, start_or_resume, start_training
    from intarsia.workflows.training_config import TrainingRequest

    safeguards = Safeguards(
        ema, patience, tuple(freeze or ()), fit_images, pictures, keep_every, hang_after, tensorboard, wandb
    )
    training = TrainingOptions(
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
        safeguards=safeguards,
        batch_per_device=batch_per_device,
        strategy=strategy,
        deterministic=deterministic,
        cache=cache,
        augment_on=augment_on,
    )
    automatic = resume == Path("auto") and (recipe is not None or out is not None)
    if resume is not None and not automatic:
        others = training != TrainingOptions(batch_per_device=batch_per_device, workers=workers, cache=cache)
        others = others or pretrained is not None or first_convolution is not None or weights is not None
        others = others or fold is not None or by is not None
        others = others or augment is not None or plain is not None or rare_every is not None
        others = others or lora is not None or layer_decay is not None
        others = others or cache_features is not None or views is not None
        others = others or image_classes is not None
        others = others or unlabelled is not None or confidence is not None or teacher is not None
        if recipe is not None or data is not None or out is not None or settings or others:
            raise ValueError(
                "--resume RUN goes on with the run as it was begun; of other options it takes only --device, "
                "--devices, --batch-per-device, --workers, --cache and --notify. For another length, rate or config "
                f"begin a new run from its weights: intarsia train {resume}/config.py --weights "
                f"{resume}/weights.safetensors --out NEW"
            )
        resume_training(
            resume, device=device, devices=devices, batch_per_device=batch_per_device, workers=workers, cache=cache,
            notify=notify,
        )  # fmt: skip
        return
    if automatic and overwrite:
        raise ValueError("--resume auto keeps the run that is there and --overwrite replaces it: leave out one of them")
    if recipe is None or out is None:
        missing = "a recipe or a config file" if recipe is None else "--out RUN, the folder for the run"
        raise ValueError(
            f"{missing} is missing; for example: intarsia train segformer_mit-b0 --data DIR --out runs/first"
        )
    request = TrainingRequest(
        name=recipe,
        out=out,
        data=data,
        training=training,
        settings=tuple(settings or ()),
        trust=trust_config,
        overwrite=overwrite,
        weights=weights,
        pretrained=pretrained,
        first_convolution=first_convolution,
        allow_partial=allow_partial,
        key=key,
        prefix=prefix,
        devices=devices,
        device=device,
        find=find,
        notify=notify,
        fold=fold,
        by=by,
        augment=augment,
        plain=own_data_options.plain_choices(plain),
        rare_every=rare_every,
        unlabelled=unlabelled,
        confidence=confidence,
        teacher=teacher,
        lora=lora,
        layer_decay=layer_decay,
        cache_features=cache_features,
        views=views,
        image_classes=image_classes,
    )
    if automatic:
        start_or_resume(request, batch_per_device=batch_per_device, workers=workers)
    else:
        start_training(request)
