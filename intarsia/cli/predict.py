"""``intarsia predict``: label maps, pictures and numbers for images, videos and rasters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from intarsia.cli import device_options, options, stack_options

EXAMPLES = """
[bold]A published model, by name[/]:  intarsia predict pspnet_r50-d8_4xb2-80k_cityscapes-512x1024 photo.jpg -o out

[bold]A folder of photos[/]:          intarsia predict runs/first photos -o labels

[bold]Some files, and a pattern[/]:   intarsia predict weights.safetensors a.jpg "more/*.png" -o labels

[bold]A list, in a file[/]:           intarsia predict runs/first @list.txt -o labels --skip-existing

[bold]How sure it is[/]:              intarsia predict runs/first photos -o out --save label --min-confidence 0.6

[bold]For a benchmark's server[/]:    intarsia predict weights.safetensors leftImg8bit/test -o out --format cityscapes

[bold]A scene of any size[/]:         intarsia predict runs/first scene.tif -o labels.tif --save label,polygons,areas

[bold]On 4 GPUs of this machine[/]:   intarsia predict runs/first photos -o labels --devices 4

[bold]In an object store[/]:          intarsia predict runs/first s3://bucket/photos/ -o s3://bucket/labels/

[bold]Several models, their mean[/]:  intarsia predict runs/a+runs/b photos -o labels

[bold]In a pipe[/]:                   cat photo.jpg | intarsia predict runs/first - -o - > label.png

Label maps are NAME.png, with class indices as values. The other kinds are NAME_color.png, NAME_overlay.jpg,
NAME_probs.npy (float16, K x H x W), NAME_logits.npy (float32), NAME_confidence.png and NAME_entropy.png (16 bits: 65535
stands for a probability of 1, and for an entropy of log K), NAME.geojson and NAME_rle.json.

A model of depth (VPD) writes NAME.tif, depths as float32 in the unit of its training, and NAME_color.png.
"""

_OUTPUTS, _OVERLAYS, _VIDEOS = "What is written", "Overlays", "Videos"


def predict(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS|RUN|NAME", help=options.TRAINED_MODELS)],
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, folders (with subfolders), patterns, addresses of such (s3://, https://), @LIST (a text file "
            "of them), or - (standard input).",
        ),
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            "-o",
            help="Folder for the results, also of an object store (s3://); or a file, or -, for one image.",
        ),
    ],
    save: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            "--save",
            metavar="KINDS",
            help="label, color, overlay, probs, confidence, entropy, logits, masks (a file for each class), polygons, "
            "rle, dicom_seg (one for each DICOM series), with commas. By default label,overlay. With a model of depth: "
            "depth, color.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = None,
    min_confidence: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            "--min-confidence",
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
            help="Values in label files: indices, source (as in the training's files), cityscapes, ade20k, loveda, "
            "isaid (the colours of its masks: no server is known to take label maps). Of depths: tiff, png16.",
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
    overwrite: Annotated[
        bool,
        typer.Option(
            "--overwrite", help="Write into a folder with results of another model.", rich_help_panel=_OUTPUTS
        ),
    ] = False,
    pages: Annotated[
        str,
        typer.Option(
            "--pages",
            help="Of a TIFF with several pages, or an animated GIF, WebP or PNG: the first, or all, each as an image.",
        ),
    ] = "first",
    geotiff: Annotated[
        bool,
        typer.Option(
            "--geotiff/--no-geotiff",
            help="Whether images of a folder that lie on Earth become GeoTIFFs that lie there, too, or PNGs.",
            rich_help_panel=_OUTPUTS,
        ),
    ] = True,
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
    font: options.FontFile = None,
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
    rate: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option("--fps", metavar="N", help="Of a video made of images; by default 25.", rich_help_panel=_VIDEOS),
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
    threshold: options.Threshold = None,
    mean: options.MeanOf = None,
    window: options.Window = None,
    overlap: options.Overlap = None,
    bands: options.Bands = None,
    scale: options.Scale = None,
    max_pixels: options.MaxPixels = None,
    beside: stack_options.Inputs = None,
    nodata: options.NoData = None,
    alpha: options.Alpha = "auto",
    min_area: options.MinArea = 0,
    simplify: options.Simplify = 0.0,
    restart: options.Restart = False,
    config: options.ConfigBeside = None,
    device: options.Device = "auto",
    devices: device_options.Devices = None,
    part: device_options.Part = None,
    precision: options.InferencePrecision = "32",
    compiled: options.Compile = False,
    key: options.Key = None,
    prefix: options.Prefix = None,
    trust: options.Trust = None,
) -> None:
    """Predict label maps for images. An image that cannot be used is named, and the others are done all the same."""
    from intarsia.workflows.predict import PredictRequest
    from intarsia.workflows.predict import predict as predict_inputs
    from intarsia.workflows.raster_job import RasterOptions

    raster = RasterOptions(
        window=window, overlap=overlap, nodata=nodata, alpha=alpha, min_area=min_area, simplify=simplify,
        restart=restart,
    )  # fmt: skip
    request = PredictRequest(
        weights=weights, inputs=tuple(inputs), out=out, config=config, key=key, prefix=prefix,
        save=save, min_confidence=min_confidence,
        file_format=file_format, areas=areas, skip_existing=skip_existing, overwrite=overwrite, pages=pages,
        geotiff=geotiff, opacity=opacity, contours=contours, legend=legend, every=every, start=start, stop=stop,
        rate=rate, slide=slide, blend=blend, augment=augment, threshold=threshold, bands=bands, scale=scale,
        max_pixels=max_pixels, beside=tuple(beside or ()), raster=raster, font=font, device=device,
        devices=devices, part=part, precision=precision, compile=compiled, mean=mean,
    )  # fmt: skip
    if not predict_inputs(request):
        raise typer.Exit(1)
