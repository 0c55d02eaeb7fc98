"""``intarsia cv``: a training for each fold, and how far the scores lie apart."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import fine_tuning_options, options, own_data_options

EXAMPLES = """
[bold]Five trainings, a table with mean and spread[/]:
intarsia cv segformer_mit-b0 --data DIR --out cv --for "2000 steps"

[bold]Images of one patient never on both sides[/]:
intarsia cv segformer_mit-b0 --data DIR --out cv --folds 5 --by 'patient\\[0-9]+'

[bold]After Ctrl-C, or a crash[/]: the same command
"""


def cv(
    recipe: Annotated[str, typer.Argument(metavar="RECIPE|CONFIG", help="As for: intarsia train.")],
    data: Annotated[
        Path,
        typer.Option(
            "--data", help="Folder of images and masks, or a data description (YAML).", rich_help_panel="Data"
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="OUT", help="Folder of all runs.")],
    folds: Annotated[int, typer.Option("--folds", help="How many.", rich_help_panel="Data")] = 5,
    by: own_data_options.By = None,
    plain: own_data_options.Plain = None,
    rare_every: own_data_options.RareEvery = None,
    duration: options.For = None,
    eval_every: options.EvalEvery = None,
    save_every: options.SaveEvery = None,
    batch: options.Batch = None,
    crop: options.Crop = None,
    workers: options.Workers = None,
    augment: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--augment", metavar="none|light|strong|FILE", help="As of: intarsia train.", rich_help_panel="Data"
        ),
    ] = None,
    seed: options.Seed = None,
    weights: options.Weights = None,
    pretrained: options.PretrainedWeights = None,
    allow_partial: options.AllowPartial = False,
    ema: options.Ema = None,
    patience: options.Patience = None,
    freeze: options.Freeze = None,
    lora: fine_tuning_options.Lora = None,
    layer_decay: fine_tuning_options.LayerDecay = None,
    notify: own_data_options.Notify = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Begin anew; removes the runs in the folder.")] = False,
    device: options.Device = "auto",
    precision: options.Precision = None,
    accumulate: options.Accumulate = None,
    settings: options.Set = None,
    trust: options.Trust = None,
    trust_config: options.TrustConfig = False,
) -> None:
    """Cross-validate: train on all parts of the data but one, for each part, and report mean and spread.

    May be interrupted: the same command goes on, and does no finished fold again.
    """
    from intarsia.terminal import out as printed
    from intarsia.terminal import say, table
    from intarsia.workflows.adjust import Safeguards, TrainingOptions
    from intarsia.workflows.cross_validate import cross_validate
    from intarsia.workflows.training_config import TrainingRequest

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
        safeguards=Safeguards(ema, patience, tuple(freeze or ())),
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
        allow_partial=allow_partial,
        device=device,
        notify=notify,
        augment=augment,
        plain=own_data_options.plain_choices(plain),
        rare_every=rare_every,
        lora=lora,
        layer_decay=layer_decay,
    )
    result = cross_validate(request, folds, by=by)
    names = [f"fold {number}" for number in range(1, len(result.images) + 1)]
    title = f"{len(names)} folds, {sum(result.images)} images; IoU of each class, in percent"
    printed().print(table(title, ["", "mean", "spread", *names, "together"], result.rows()))
    say("spread: standard deviation between folds; together: every image by the model that has not seen it")
    say("each fold's weights are its best on the images they are scored on: where it evaluates often, that flatters")
    say(f"cv.json, eval.json and eval.csv (together), fold_1/ to fold_{len(names)}/: {out}")
