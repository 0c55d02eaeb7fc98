"""``intarsia eval``: scores of a model on labelled images."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import device_options, options

EXAMPLES = """
[bold]On 4 GPUs of this machine[/]:          intarsia eval runs/first --devices 4

[bold]The validation data of a run[/]:      intarsia eval runs/first

[bold]Other data with the same classes[/]:  intarsia eval runs/first --data DIR --split test --out scores

[bold]A report to look at, one HTML file[/]:  intarsia eval runs/first --report scores

[bold]Which classes are taken for which[/]:  intarsia eval runs/first --confusion confusion.png

[bold]A checkpoint of MMSegmentation[/]:    intarsia eval epoch_1.pth --config my_config.py --out scores

[bold]A published one, by name[/]:          intarsia eval fast_scnn_8xb4-160k_cityscapes-512x1024 --data DIR

[bold]Several models, their mean[/]:        intarsia eval runs/a+runs/b --data DIR --split test

[bold]Label maps in files, without a model[/]:  intarsia eval --predictions labels --data DIR

[bold]What is meant for a server[/]:          intarsia eval --predictions out --format cityscapes --data DIR

[bold]A predicted raster[/]:                intarsia eval --predictions labels.tif --labels truth.tif
"""


def evaluate(
    weights: Annotated[
        Optional[str],  # noqa: UP045
        typer.Argument(metavar="WEIGHTS|RUN|NAME", help=options.TRAINED_MODELS, show_default=False),
    ] = None,
    predictions: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--predictions",
            metavar="DIR|RASTER",
            help="Score the label maps (PNG or TIFF, class indices) of this folder instead, with --data or --config; "
            "or a raster, with --labels.",
        ),
    ] = None,
    labels: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--labels", metavar="RASTER", help="Labels for a raster of --predictions, on the same grid."),
    ] = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="What the files of --predictions hold: indices, or as a benchmark's server wants them: cityscapes, "
            "ade20k, loveda, isaid. Checks names, sizes and values, also where there are no labels.",
        ),
    ] = "indices",
    data: options.Data = None,
    split: Annotated[str, typer.Option("--split", help="train, val or test.")] = "val",
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--out",
            "-o",
            help="Folder for eval.json, eval.csv and pictures; by default beside the weights; for a NAME, NAME_eval.",
        ),
    ] = None,
    config: options.ConfigBeside = None,
    pictures: Annotated[int, typer.Option("--pictures", min=0, help="How many of the worst images to paint.")] = 6,
    page: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--report", metavar="DIR", help="Also write report.html there, one page with everything on it."),
    ] = None,
    confusion: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            "--confusion",
            metavar="FILE",
            help="The confusion matrix as a picture (.png), or as tables of pixels and shares (.csv). May be repeated.",
        ),
    ] = None,
    metrics: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--metrics",
            metavar="NAME,...",
            help="Scores instead of the config's: mIoU, mDice, mFscore, mFscore_mmseg, mBoundaryIoU, fwIoU, kappa, "
            "imageIoU, interval, ECE; or cityscapes, that benchmark's own evaluation.",
        ),
    ] = None,
    group: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option("--group", metavar="NAME=CLASS,...", help="Also score these classes as if they were one."),
    ] = None,
    empty_images: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--empty-images",
            metavar="one|skip",
            help="Of two classes, what images without the second count in the means over images: one, if nothing was "
            "predicted in them either, else 0 (the default); or skip.",
        ),
    ] = None,
    roi: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--roi", metavar="MASK|DIR", help="Count only pixels inside a mask, or a mask for each image."),
    ] = None,
    slide: options.Slide = None,
    blend: options.Blend = None,
    augment: options.Augment = None,
    bands: options.Bands = None,
    scale: options.Scale = None,
    threshold: options.Threshold = None,
    mean: options.MeanOf = None,
    choose_threshold: Annotated[
        bool,
        typer.Option(
            "--choose-threshold",
            help="Of two classes, find the threshold with the largest IoU of the second on these images, and keep it "
            "in the weights file.",
        ),
    ] = False,
    batch: Annotated[
        int, typer.Option("--batch", min=1, help="Images of one size that go through the network together.")
    ] = 1,
    workers: options.Workers = None,
    font: options.FontFile = None,
    device: options.Device = "auto",
    devices: device_options.Devices = None,
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
    precision: options.InferencePrecision = "32",
    compiled: options.Compile = False,
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
            labels=labels,
            data=data,
            config=config,
            split=split,
            out=out or _beside(predictions, file_format),
            pictures=pictures,
            metrics=metrics,
            groups=group,
            empty_images=empty_images,
            roi=roi,
            file_format=file_format,
            confusion=tuple(confusion or ()),
        )
        return
    if file_format != "indices":
        raise ValueError("--format says what the files of --predictions hold; `intarsia predict` writes such files")
    if labels is not None:
        raise ValueError("--labels is for a predicted raster: name that with --predictions RASTER")
    if weights is None:
        raise ValueError("what is to be scored? Expected WEIGHTS (a file, or a run's folder) or --predictions DIR")
    from intarsia.workflows.evaluate import EvaluationRequest, evaluate_model

    request = EvaluationRequest(
        weights=weights,
        config=config,
        key=key,
        prefix=prefix,
        data=data,
        split=split,
        out=out,
        pictures=pictures,
        report=page,
        confusion=tuple(confusion or ()),
        metrics=metrics,
        groups=tuple(group or ()),
        empty_images=empty_images,
        roi=roi,
        slide=slide,
        blend=blend,
        augment=augment,
        bands=bands,
        scale=scale,
        threshold=threshold,
        choose_threshold=choose_threshold,
        batch=batch,
        workers=workers,
        font=font,
        device=device,
        devices=devices,
        precision=precision,
        compile=compiled,
        mean=mean,
    )
    evaluate_model(request)


def _beside(predictions: Path, file_format: str) -> Path:
    """The folder for scores of files; beside one that goes to a server."""
    if not predictions.is_dir():
        return predictions.with_name(f"{predictions.stem}_eval")
    if file_format == "indices":
        return predictions
    folder = predictions.resolve()
    return folder.with_name(f"{folder.name}_eval")
