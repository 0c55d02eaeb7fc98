"""``intarsia predict``: label maps, pictures and numbers for images, videos and rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import options

EXAMPLES = """
[bold]A folder of photos[/]:          intarsia predict runs/first photos -o labels

[bold]Some files, and a pattern[/]:   intarsia predict weights.safetensors a.jpg "more/*.png" -o labels

[bold]A list, in a file[/]:           intarsia predict runs/first @list.txt -o labels --skip-existing

[bold]How sure it is[/]:              intarsia predict runs/first photos -o out --save label,confidence --unsure 0.6

[bold]For a benchmark's server[/]:    intarsia predict weights.safetensors leftImg8bit/test -o out --format cityscapes

[bold]A scene of any size[/]:         intarsia predict runs/first scene.tif -o labels.tif --save label,polygons,areas

[bold]In a pipe[/]:                   cat photo.jpg | intarsia predict runs/first - -o - > label.png

Label maps are NAME.png, with class indices as values. The other kinds are NAME_color.png, NAME_overlay.jpg,
NAME_probs.npy (float16, K x H x W), NAME_logits.npy (float32), NAME_confidence.png and NAME_entropy.png (16 bits: 65535
stands for a probability of 1, and for an entropy of log K), NAME.geojson and NAME_rle.json.
"""

_OUTPUTS, _OVERLAYS, _VIDEOS = "What is written", "Overlays", "Videos"


def predict(
    weights: Annotated[Path, typer.Argument(metavar="WEIGHTS|RUN", help="A weights file, or the folder of a run.")],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders (with subfolders), patterns, @LIST (a text file of them), or - (standard input).",
        ),
    ],
    out: Annotated[str, typer.Option("--out", "-o", help="Folder for the results; or a file, or -, for one image.")],
    save: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--save",
            metavar="KINDS",
            help="label, color, overlay, probs, confidence, entropy, logits, polygons, rle, with commas. By default "
            "label,overlay.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    unsure: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--unsure",
            metavar="P",
            help="Pixels of less confidence are 255 in label files and hatched in overlays.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    file_format: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="NAME",
            help="Values in label files: indices, source (as in the training's files), cityscapes, ade20k, loveda.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = "indices",
    areas: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option(
            "--areas", metavar="FILE.csv", help="Pixels and share of each class, by image.", rich_help_panel=_OUTPUTS
        ),
    ] = None,
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip-existing",
            help="Leave out images whose files are there: go on after an interruption.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = False,
    opacity: Annotated[
        float, typer.Option("--opacity", help="Share of the colours, 0 to 1.", rich_help_panel=_OVERLAYS)
    ] = 0.5,
    contours: Annotated[
        bool, typer.Option("--contours/--no-contours", help="Lines between classes.", rich_help_panel=_OVERLAYS)
    ] = True,
    legend: Annotated[
        Optional[bool],  # noqa: UP045
        typer.Option(
            "--legend/--no-legend",
            help="Classes and their share; by default at the right of images and not of videos.",
            rich_help_panel=_OVERLAYS,
        ),
    ] = None,
    every: Annotated[
        int, typer.Option("--every", metavar="N", min=1, help="Only every N-th frame.", rich_help_panel=_VIDEOS)
    ] = 1,
    start: Annotated[
        float, typer.Option("--start", metavar="SECONDS", min=0, help="Where to begin.", rich_help_panel=_VIDEOS)
    ] = 0.0,
    stop: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--stop", metavar="SECONDS", min=0, help="Where to end.", rich_help_panel=_VIDEOS),
    ] = None,
    slide: options.Slide = None,
    blend: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--blend",
            help="How overlapping windows are weighed: average, or gaussian or linear, which hide seams; of rasters, "
            "crop, the default, takes each pixel from the window in whose middle it lies.",
            rich_help_panel="Views of an image",
        ),
    ] = None,
    augment: options.Augment = None,
    window: options.Window = None,
    overlap: options.Overlap = None,
    bands: options.Bands = None,
    scale: options.Scale = None,
    nodata: options.NoData = None,
    min_area: options.MinArea = 0,
    simplify: options.Simplify = 0.0,
    restart: options.Restart = False,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Predict label maps for images. An image that cannot be used is named, and the others are done all the same."""
    from intarsia.inference.outputs.label_values import FORMATS
    from intarsia.inference.outputs.writer import Look
    from intarsia.workflows.predict_inputs import kinds_of, sort_inputs

    if file_format not in FORMATS:
        raise ValueError(f"--format is {', '.join(FORMATS)}, found {file_format!r}")
    if unsure is not None and not 0 <= unsure <= 1:
        raise ValueError(f"--unsure is a confidence from 0 to 1, found {unsure:g}")
    with sort_inputs(inputs, out) as task:
        with_legend = task.kind != "video" if legend is None else legend
        look = Look(opacity=opacity, contours=contours, legend=with_legend)
        kinds = kinds_of(save, task, file_format)
        if "logits" in kinds and augment is not None:
            raise ValueError("--save logits and --augment: views are averaged as probabilities, so that there are none")
        task.check_options(
            {"--format": file_format != "indices", "--areas": areas is not None, "--skip-existing": skip_existing}
        )
        task.check_raster_options(
            {
                "--window": window is not None, "--overlap": overlap is not None, "--bands": bands is not None,
                "--scale": scale is not None, "--nodata": nodata is not None, "--min-area": min_area > 0,
                "--simplify": simplify > 0, "--restart": restart, "--blend crop": blend == "crop",
            }
        )  # fmt: skip

        from intarsia.terminal import say
        from intarsia.workflows.trained_model import open_model
        from intarsia.workflows.views import with_views

        model = open_model(weights, config=config, device=device, key=key, prefix=prefix)
        for note in model.notes:
            say(f"note: {note}")
        inside = "average" if blend is None or task.kind == "raster" else blend
        model = with_views(model, slide=slide, blend=inside, augment=augment)
        predictor = model.predictor(augment=augment is not None)
        if task.kind == "video":
            from intarsia.workflows.predict_video import predict_video

            chosen = None if save is None else kinds
            whole = predict_video(
                model, predictor, task.source, Path(out),
                kinds=chosen, look=look, unsure=unsure, every=every, start=start, stop=stop,
            )  # fmt: skip
            if not whole:
                raise typer.Exit(1)
            return
        if task.kind == "raster":
            from intarsia.workflows.predict_raster import predict_raster

            predict_raster(
                model, predictor, Path(task.source), Path(out),
                kinds=kinds, unsure=unsure, window=window, overlap=overlap, blend=blend or "crop", bands=bands,
                scale=scale, nodata=nodata, min_area=min_area, simplify=simplify, restart=restart,
            )  # fmt: skip
            return

        from intarsia.inference.outputs.writer import Outputs
        from intarsia.workflows.predict_images import file_values, predict_images, predict_one

        values = file_values(model, file_format, predictor.classes, with_unsure=unsure is not None)
        outputs = Outputs(Path(out), kinds, look, unsure, values)
        assert task.found is not None
        if task.kind == "one":
            predict_one(predictor, task.found.files[0], outputs, None if out == "-" else Path(out))
        elif not predict_images(predictor, task.found, outputs, areas=areas, skip_existing=skip_existing):
            raise typer.Exit(1)
