"""``intarsia eval``: scores of a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from intarsia.cli import options

if TYPE_CHECKING:
    from intarsia.contracts import Report
    from intarsia.data.pipeline import Pipeline
    from intarsia.evaluation.evaluate import OnPrediction
    from intarsia.inference.predictor import Predictor
    from intarsia.workflows.example_pictures import Worst
    from intarsia.workflows.trained_model import OpenModel

EXAMPLES = """
[bold]The validation data of a run[/]:      intarsia eval runs/first

[bold]Other data with the same classes[/]:  intarsia eval runs/first --data DIR --split test --out scores

[bold]A report to look at, one HTML file[/]:  intarsia eval runs/first --report scores

[bold]A checkpoint of MMSegmentation[/]:    intarsia eval epoch_1.pth --config my_config.py --out scores

[bold]Label maps in files, without a model[/]:  intarsia eval --predictions labels --data DIR
"""


def evaluate(
    weights: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Argument(metavar="WEIGHTS|RUN", help="A weights file, or the folder of a run.", show_default=False),
    ] = None,
    predictions: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--predictions",
            metavar="DIR",
            help="Score the label maps (PNG, class indices) of this folder instead, with --data or --config.",
        ),
    ] = None,
    data: options.Data = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="Folder for eval.json, eval.csv and pictures; by default beside the weights."),
    ] = None,
    config: options.ConfigBeside = None,
    pictures: Annotated[int, typer.Option("--pictures", min=0, help="How many of the worst images to paint.")] = 6,
    page: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--report", metavar="DIR", help="Also write report.html there, one page with everything on it."),
    ] = None,
    metrics: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--metrics",
            metavar="NAME,...",
            help="Scores instead of the config's: mIoU, mDice, mFscore, mBoundaryIoU, fwIoU, kappa, imageIoU, "
            "interval, ECE.",
        ),
    ] = None,
    group: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--group", metavar="NAME=CLASS,...", help="Also score these classes as if they were one."),
    ] = None,
    roi: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--roi", metavar="MASK|DIR", help="Count only pixels inside a mask, or a mask for each image."),
    ] = None,
    slide: options.Slide = None,
    blend: options.Blend = "average",
    augment: options.Augment = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images of one size that go through the network together.")
    ] = 1,
    workers: options.Workers = None,
    device: options.Device = "auto",
    precision: Annotated[
        str, typer.Option("--precision", help="32, or 64: slower, and the same on every machine.")
    ] = "32",
) -> None:
    """Evaluate a model, or label maps in files: a table by class, eval.json, eval.csv, pictures of the worst images."""
    if split not in ("train", "val", "test"):
        raise ValueError(f"--split is train, val or test, found {split!r}")
    if predictions is not None:
        if weights is not None or page is not None or slide is not None or augment is not None:
            raise ValueError("--predictions scores files, no model: leave out WEIGHTS, --report, --slide and --augment")
        from intarsia.workflows.score_label_maps import score

        score(
            predictions,
            data=data,
            config=config,
            split=split,
            out=out or predictions,
            pictures=pictures,
            metrics=metrics,
            groups=group,
            roi=roi,
        )
        return
    if weights is None:
        raise ValueError("what is to be scored? Expected WEIGHTS (a file, or a run's folder) or --predictions DIR")
    from intarsia.config.build import build_metric
    from intarsia.terminal import say
    from intarsia.workflows.evaluation_report import gallery_for, write_page
    from intarsia.workflows.example_pictures import Worst
    from intarsia.workflows.score_label_maps import show
    from intarsia.workflows.scores import with_scores, within
    from intarsia.workflows.trained_model import labelled_images, open_model
    from intarsia.workflows.views import with_views

    model = open_model(weights, config=config, device=device, precision=precision)
    for note in model.notes:
        say(f"note: {note}")
    pipeline = within(labelled_images(model, data, split), roi)
    _compare_classes(model, pipeline)
    folder = out or _default_folder(model, split, usual=not any((data, roi, metrics, slide, augment)))
    dataset = pipeline.dataset
    model = with_scores(with_views(model, slide=slide, blend=blend, augment=augment), metrics=metrics, groups=group)
    predictor = model.predictor(dataset.classes, dataset.palette, augment=augment is not None)
    gallery = None if page is None else gallery_for(model.spec, dataset.classes, pictures)
    metric = Worst(gallery or build_metric(model.spec, dataset.classes), dataset.ignore_index, pictures)
    workers = min(2, len(pipeline)) if workers is None else workers
    seen = None if gallery is None else gallery.named
    report = _score(model, predictor, pipeline, metric, batch=batch, workers=workers, on_prediction=seen)
    show(report, metric, pipeline, predictor.classes, predictor.palette, folder=folder, split=split)
    if page is not None and gallery is not None:
        facts = {"split": split, "from": "the config of the run" if data is None else str(data)}
        facts |= {} if roi is None else {"inside": str(roi)}
        say(f"report: {write_page(page, gallery, report, pipeline, model, predictor, facts)}")


def _score(
    model: OpenModel,
    predictor: Predictor,
    pipeline: Pipeline,
    metric: Worst,
    *,
    batch: int,
    workers: int,
    on_prediction: OnPrediction | None,
) -> Report:
    from intarsia.evaluation.evaluate import evaluate as run_evaluation
    from intarsia.terminal import progress

    done = 0
    with progress("evaluating") as bar:

        def count(images: int) -> None:
            nonlocal done
            done += images
            bar(done, len(pipeline))

        return run_evaluation(
            predictor,
            pipeline,
            metric,
            batch_size=batch,
            workers=workers,
            progress=count,
            on_prediction=on_prediction,
            task=model.task,
        )


def _default_folder(model: OpenModel, split: str, *, usual: bool) -> Path:
    """Beside the weights; scores of other data, or found in another way, do not overwrite those of the run."""
    beside = model.file.parent
    return beside if usual and split == "val" else beside / f"eval_{split}"


def _compare_classes(model: OpenModel, pipeline: Pipeline) -> None:
    """Refuse data with another number of classes; say so where only the names differ."""
    from intarsia.terminal import warn
    from intarsia.workflows.assemble import check_classes

    found, known = tuple(pipeline.dataset.classes), tuple(model.meta.classes)
    check_classes(model.spec, found)
    if known and len(known) == len(found) and known != found:
        pairs = ", ".join(f"{a} = {b}" for a, b in zip(known, found, strict=True) if a != b)
        warn(f"the weights and the data name their classes differently; they are taken in order: {pairs}")
