"""What ``intarsia predict`` does, as one function: a model, and what it is to look at."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from intarsia.contracts import PathLike
from intarsia.data.bands import parse_bands
from intarsia.data.slices import is_volume, suffix_of
from intarsia.distributed.device_processes import named_devices
from intarsia.inference.inputs.finding import ImageFile, Pages
from intarsia.inference.outputs.areas import AreaTable
from intarsia.inference.outputs.depth_files import DEPTH_FORMATS
from intarsia.inference.outputs.label_values import FORMATS, region_values
from intarsia.inference.outputs.manifest import Manifest
from intarsia.inference.outputs.parts import Part
from intarsia.inference.outputs.writer import KINDS as IMAGE_KINDS
from intarsia.inference.outputs.writer import Look, Outputs
from intarsia.io.stores import public, scheme_of
from intarsia.io.whole_files import sweep
from intarsia.label_sets import Regions
from intarsia.terminal import say
from intarsia.visual.fonts import use_font
from intarsia.workflows.locate import members_of
from intarsia.workflows.predict_depth import USUAL, DepthRequest, asks_for_depths, predict_depth
from intarsia.workflows.predict_devices import Devices
from intarsia.workflows.predict_dicom_seg import DICOM_SEG, check_dicom, without_dicom_seg, write_segmentations
from intarsia.workflows.predict_images import file_values, manifest_of, predict_images, predict_one
from intarsia.workflows.predict_inputs import Given, kinds_of, sort_inputs
from intarsia.workflows.predict_raster import SceneDevices, predict_raster, predict_rasters
from intarsia.workflows.predict_video import predict_frames, predict_video
from intarsia.workflows.predict_volumes import VolumeJob, predict_volumes, volumes_of
from intarsia.workflows.raster_job import AT_ONCE, RasterJob, RasterOptions
from intarsia.workflows.several_inputs import by_subfolders, given_inputs, with_inputs
from intarsia.workflows.thresholds import changed_by, kept_note
from intarsia.workflows.trained_model import open_models
from intarsia.workflows.views import with_views

if TYPE_CHECKING:
    from intarsia.data.image_reader import ImageReader
    from intarsia.inference.predictor import Predictor
    from intarsia.workflows.trained_model import OpenModel

DEFAULT_RATE = 25.0
"""Frames per second of a video of images."""


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What a prediction is asked for. Of a model of depth `DepthRequest` is what is left of it.

    weights: a file of any origin, a run's folder, or a published name; or several models, see `locate.members_of`, and
    mean: what of theirs is averaged. config: of the model, where those do not say it.
    key, prefix: where the network's tensors are in a checkpoint, and what their names begin with there.
    inputs: files, folders, patterns, lists (@FILE), "-" for standard input, one video, one camera, or one raster.
    out: a folder, a file whose suffix says what it holds, or "-". save: kinds with commas; None for the usual.
    min_confidence: pixels of less confidence have no class. file_format: of `label_values.FORMATS`. areas: a CSV file.
    skip_existing: go on with an earlier run. overwrite: in a folder with results of another model. pages: of files that
    hold several images. geotiff: images that lie on Earth become GeoTIFFs that lie there, too. opacity, contours,
    legend: of overlays; legend None is the usual. every, start, stop: of the frames of a video. rate: frames per
    second of a video made of images. slide, blend, augment, threshold: windows, views and the threshold of two classes,
    as the options of the command line have them. bands, scale, max_pixels: how images are read that are not those of
    the training. beside: NAME=FOLDER of further images, of a model that takes several. font: for names of
    classes in pictures. precision: "32", "bf16", "16" or "64". compile: the network, by torch.compile.
    """

    weights: PathLike
    inputs: tuple[str, ...]
    out: str
    config: str | None = None
    key: str | None = None
    prefix: str | None = None
    save: str | None = None
    min_confidence: float | None = None
    file_format: str = "indices"
    areas: Path | None = None
    skip_existing: bool = False
    overwrite: bool = False
    pages: str = "first"
    geotiff: bool = True
    opacity: float = 0.5
    contours: bool = True
    legend: bool | None = None
    every: int = 1
    start: float = 0.0
    stop: float | None = None
    rate: float | None = None
    slide: str | None = None
    blend: str | None = None
    augment: str | None = None
    threshold: float | None = None
    bands: str | None = None
    scale: str | None = None
    max_pixels: int | None = None
    beside: tuple[str, ...] = ()
    raster: RasterOptions = field(default_factory=RasterOptions)
    font: Path | None = None
    device: str = "auto"
    devices: str | None = None
    part: str | None = None
    precision: str = "32"
    compile: bool = False
    mean: str | None = None


def predict(request: PredictRequest) -> bool:
    """Predict, write, and say what was written; whether everything could be used.

    Raises ValueError where the request makes no sense, or nothing can be predicted.
    """
    _check(request)
    save, segmentations = without_dicom_seg(request.save)
    request = dataclasses.replace(request, save=save)
    names = named_devices(request.devices, request.device)
    part = None if request.part is None else Part.parse(request.part)
    if request.font is not None:
        use_font(request.font)
    inputs, others = by_subfolders(request.inputs, given_inputs(request.beside), members_of(request.weights)[0])
    as_rasters = request.geotiff and request.file_format == "indices" and request.areas is None and not others
    with sort_inputs(inputs, request.out, pages=_pages(request), as_rasters=as_rasters) as given:
        of_depths = asks_for_depths(request.save, request.file_format)
        kinds = frozenset() if of_depths else kinds_of(request.save, given, request.file_format)
        _check_for(request, given, kinds)
        if segmentations:
            _check_segmentations(request, given)
        _check_addresses(request, given, segmentations=segmentations)
        model = _opened(request, "cpu" if names else request.device, inside=given.kind not in ("raster", "rasters"))
        for note in model.notes:
            say(f"note: {note}")
        model = with_inputs(model, given.found, others, inputs)
        if request.threshold is None and (note := kept_note(model.spec, model.meta)):
            say(f"note: {note} ({changed_by(model.task)})")
        predictor = model.predictor(augment=request.augment is not None, computes=not names)
        devices = Devices(names, partial(_predictor_on, request, model.reader)) if names else None
        if model.spec.inference.answer == "depth":
            return predict_depth(_depth_request(request), given, model, predictor, devices=devices, part=part)
        if of_depths:
            wanted = f"--save {request.save}" if request.file_format == USUAL else f"--format {request.file_format}"
            raise ValueError(f"{wanted} is for models of depth, and this one answers with classes")
        if given.kind == "raster":
            job, out = _raster_job(request, model, predictor, kinds), Path(request.out)
            scenes = SceneDevices(names, partial(_raster_job_on, request, model.reader, kinds, 0)) if names else None
            return predict_raster(job, given.source, out, devices=scenes)
        rasters_whole = _predict_rasters(request, given, model, predictor, kinds, part) if given.rasters else True
        if given.kind == "rasters":
            return rasters_whole
        if given.found is not None and (volumes := volumes_of(given.found)):
            return _predict_volumes(request, given, model, predictor, kinds, volumes, part) and rasters_whole
        with_legend = given.kind not in ("video", "frames") if request.legend is None else request.legend
        look = Look(opacity=request.opacity, contours=request.contours, legend=with_legend)
        if given.kind in ("video", "frames"):
            return _predict_moving(request, given, model, predictor, kinds, look)
        whole = _predict_images(request, given, model, predictor, kinds, look, devices, part) and rasters_whole
        if segmentations:
            assert given.found is not None
            outputs = Outputs(Path(request.out), kinds, look, None, None)
            whole = write_segmentations(given.found.files, outputs, predictor) and whole
        return whole


def _opened(request: PredictRequest, device: str, *, inside: bool) -> OpenModel:
    """The model with its windows and views. inside: --blend is of the windows inside an image, and not of a raster."""
    model = open_models(
        request.weights, mean=request.mean, windows_given=request.slide is not None,
        config=request.config, device=device, scale=request.scale,
        bands=parse_bands(request.bands) if request.bands else None, max_pixels=request.max_pixels,
        key=request.key, prefix=request.prefix, precision=request.precision, compile=request.compile,
    )  # fmt: skip
    blend = request.blend if inside else None
    return with_views(model, slide=request.slide, blend=blend, augment=request.augment, threshold=request.threshold)


def _predictor_on(request: PredictRequest, reader: ImageReader, device: str) -> Predictor:
    """The predictor of another process. reader: with the files that it has found there for each image."""
    if request.font is not None:
        use_font(request.font)
    model = dataclasses.replace(_opened(request, device, inside=True), reader=reader)
    return model.predictor(augment=request.augment is not None)


def _raster_job_on(
    request: PredictRequest, reader: ImageReader, kinds: frozenset[str], at_once: int, device: str
) -> RasterJob:
    """The same for scenes."""
    model = dataclasses.replace(_opened(request, device, inside=False), reader=reader)
    predictor = model.predictor(augment=request.augment is not None)
    return dataclasses.replace(_raster_job(request, model, predictor, kinds), at_once=at_once)


def _check(request: PredictRequest) -> None:
    """What makes no sense whatever the inputs are."""
    if request.file_format not in (*FORMATS, *DEPTH_FORMATS):
        known = f"{', '.join(FORMATS)}, or of depths {', '.join(DEPTH_FORMATS)}"
        raise ValueError(f"--format is {known}, found {request.file_format!r}")
    least = request.min_confidence
    if least is not None and not 0 <= least <= 1:
        raise ValueError(f"--min-confidence is a confidence from 0 to 1, found {least:g}")
    if request.skip_existing and request.overwrite:
        raise ValueError("--skip-existing keeps what is there and --overwrite replaces it: leave out one of them")


def _depth_request(request: PredictRequest) -> DepthRequest:
    of_labels = {
        "--min-confidence": request.min_confidence is not None, "--areas": request.areas is not None,
        "--threshold": request.threshold is not None, "--no-contours": not request.contours,
    }  # fmt: skip
    return DepthRequest(
        out=request.out, save=request.save, file_format=request.file_format, skip_existing=request.skip_existing,
        overwrite=request.overwrite, scale=request.legend is not False, of_labels=of_labels,
    )  # fmt: skip


def _pages(request: PredictRequest) -> Pages:
    if request.pages not in get_args(Pages):
        raise ValueError(f"--pages is {' or '.join(get_args(Pages))}, found {request.pages!r}")
    return cast("Pages", request.pages)


def _check_for(request: PredictRequest, given: Given, kinds: frozenset[str]) -> None:
    """What makes no sense for these inputs."""
    if "logits" in kinds and request.augment is not None:
        raise ValueError("--save logits and --augment: views are averaged as probabilities, so that there are none")
    given.check_options(
        {
            "--format": request.file_format not in (USUAL, *DEPTH_FORMATS), "--areas": request.areas is not None,
            "--skip-existing": request.skip_existing, "--part": request.part is not None,
            "--devices": request.devices is not None,
        }
    )  # fmt: skip
    given.check_raster_options({**request.raster.given, "--blend crop": request.blend == "crop"})
    if request.rate is not None and given.kind != "frames":
        raise ValueError("--fps is for a video of images: give --out its name, as in  -o overlay.mp4")
    if request.pages == "all" and given.kind in ("video", "raster", "rasters"):
        what = given.source or given.rasters[0].location
        raise ValueError(f"--pages is for images, and {what} is predicted as a {given.kind.removesuffix('s')}")


def _check_segmentations(request: PredictRequest, given: Given) -> None:
    """What makes no sense with `--save dicom_seg`."""
    if given.kind in ("one", "video", "frames") or given.found is None or given.rasters:
        raise ValueError(f"--save {DICOM_SEG} is for DICOM images into a folder: give --out DIR")
    check_dicom(given.found.files)
    if request.file_format != USUAL:
        raise ValueError(f"--save {DICOM_SEG} is made of class indices: leave out --format {request.file_format}")
    if request.part is not None:
        raise ValueError(f"--save {DICOM_SEG} needs all images of a series: leave out --part")


def _check_addresses(request: PredictRequest, given: Given, *, segmentations: bool) -> None:
    """What is done with files of this machine alone."""
    if request.areas is not None and scheme_of(str(request.areas).replace(":/", "://", 1)):  # a path has one slash
        raise ValueError(f"--areas {request.areas}: the table is written to this machine; give the name of a file")
    files = () if given.found is None else given.found.files
    there = next((file for file in files if file.address), None)
    if segmentations and (there is not None or given.remote is not None):
        raise ValueError(f"--save {DICOM_SEG} reads and writes files of this machine: copy the series here first")
    if there is not None and (request.beside or is_volume(there.path)):
        what = "several images of each place" if request.beside else "volumes"
        raise ValueError(f"{public(there.address)}: {what} are read from this machine: copy them here first")


def _raster_job(request: PredictRequest, model: OpenModel, predictor: Predictor, kinds: frozenset[str]) -> RasterJob:
    return RasterJob(
        model=model, predictor=predictor, kinds=kinds, min_confidence=request.min_confidence,
        blend=request.blend or "crop", options=request.raster,
    )  # fmt: skip


def _predict_rasters(
    request: PredictRequest,
    given: Given,
    model: OpenModel,
    predictor: Predictor,
    kinds: frozenset[str],
    part: Part | None,
) -> bool:
    folder = given.folder
    job = dataclasses.replace(_raster_job(request, model, predictor, kinds), at_once=AT_ONCE)
    written = kinds & set(IMAGE_KINDS) | {"label"}
    outputs = Outputs(folder, written, Look(), request.min_confidence, None, remote=given.remote)
    manifest = _manifest(request, model, predictor, outputs)
    outputs.claim(manifest, overwrite=request.overwrite, resume=request.skip_existing)
    names = named_devices(request.devices, request.device)
    opened = partial(_raster_job_on, request, model.reader, kinds, AT_ONCE)
    return predict_rasters(
        job, given.rasters, folder, skip_existing=request.skip_existing, part=part,
        devices=SceneDevices(names, opened) if names else None, remote=given.remote,
    )  # fmt: skip


def _predict_moving(
    request: PredictRequest, given: Given, model: OpenModel, predictor: Predictor, kinds: frozenset[str], look: Look
) -> bool:
    chosen = None if request.save is None else kinds
    if given.found is not None:
        return predict_frames(
            predictor, given.found, Path(request.out), kinds=chosen, look=look,
            min_confidence=request.min_confidence, rate=request.rate or DEFAULT_RATE,
        )  # fmt: skip

    def claim(outputs: Outputs) -> None:
        _manifest(request, model, predictor, outputs).claim(outputs.folder, overwrite=request.overwrite)

    return predict_video(
        predictor, given.source, Path(request.out), kinds=chosen, look=look,
        min_confidence=request.min_confidence, every=request.every, start=request.start, stop=request.stop,
        claim=claim,
    )  # fmt: skip


def _predict_images(
    request: PredictRequest,
    given: Given,
    model: OpenModel,
    predictor: Predictor,
    kinds: frozenset[str],
    look: Look,
    devices: Devices | None,
    part: Part | None,
) -> bool:
    found = given.found
    assert found is not None
    least = request.min_confidence
    values = file_values(model, request.file_format, predictor.classes, with_uncertain=least is not None)
    classes = () if given.kind == "one" else predictor.classes
    outputs = Outputs(given.folder, kinds, look, least, values, classes, remote=given.remote)
    if given.kind == "one":
        predict_one(predictor, found.files[0], outputs, None if request.out == "-" else Path(request.out))
        return True
    table = None
    if request.areas is not None:
        file = request.areas if part is None else part.of(request.areas)
        table = AreaTable(file, predictor.classes, min_confidence=least, resume=request.skip_existing)
    return predict_images(
        predictor, found, outputs, manifest=_manifest(request, model, predictor, outputs), table=table,
        skip_existing=request.skip_existing, overwrite=request.overwrite, devices=devices, part=part,
    )  # fmt: skip


def _predict_volumes(
    request: PredictRequest,
    given: Given,
    model: OpenModel,
    predictor: Predictor,
    kinds: frozenset[str],
    volumes: Sequence[ImageFile],
    part: Part | None,
) -> bool:
    assert given.found is not None
    if len(volumes) < len(given.found.files):
        raise ValueError(f"{len(volumes)} of {len(given.found.files)} inputs are volumes: predict images by themselves")
    regions = Regions.from_json(model.meta.regions) if model.meta.regions else None
    usual = request.file_format in ("indices", *(("source",) if regions else ()))
    if (request.save is not None and kinds != {"label"}) or not usual or request.areas:
        raise ValueError("of volumes, labels are written, as class indices: leave out --save, --format and --areas")
    if request.devices is not None:
        raise ValueError("volumes are predicted on one device: leave --devices out; --part 1/2 does half of them")
    values = None if regions is None else region_values(regions)
    job = VolumeJob(predictor, model.reader.spec.slices, request.min_confidence, values)
    out = Path(request.out)
    if given.kind == "volume":
        return predict_volumes(job, [(volumes[0], out)], found=given.found)
    outputs = Outputs(out, frozenset({"label"}), Look(), request.min_confidence, None)
    _manifest(request, model, predictor, outputs).claim(out, overwrite=request.overwrite, resume=request.skip_existing)
    sweep(out)
    ours, found = list(volumes), given.found
    if part is not None:
        ours = [file for file in volumes if part.has(file.name)]
        say(f"{part}: {len(ours)} of {len(volumes)} volumes")
        failures = tuple(failure for failure in found.failures if part.has(failure[0]))
        found = dataclasses.replace(found, failures=failures)
    targets = [(file, out / f"{file.name}{suffix_of(file.path)}") for file in ours]
    return predict_volumes(job, targets, found=found, skip_existing=request.skip_existing)


def _manifest(request: PredictRequest, model: OpenModel, predictor: Predictor, outputs: Outputs) -> Manifest:
    return manifest_of(model, predictor, outputs, request.file_format)
