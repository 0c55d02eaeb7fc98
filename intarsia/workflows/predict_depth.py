"""The part of ``intarsia predict`` that does depths: images into a folder, or one into a file or a pipe."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from intarsia.inference.inputs.finding import find_images
from intarsia.inference.outputs.depth_files import (
    DEPTH_FORMATS,
    DEPTH_KINDS,
    TABLE,
    DepthFiles,
    DepthTable,
    check_depth_kinds,
)
from intarsia.inference.outputs.parts import Part
from intarsia.io.stores import public
from intarsia.visual.depth_files import SUFFIXES
from intarsia.visual.files import PICTURE_SUFFIXES
from intarsia.workflows.predict_devices import Devices
from intarsia.workflows.predict_images import manifest_with, predict_images, predict_one
from intarsia.workflows.predict_inputs import STANDARD, Given

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor
    from intarsia.workflows.trained_model import OpenModel

USUAL = "indices"
"""What --format is if nobody has said anything: that of label maps."""

_ONLY_IMAGES = "depths are predicted of images: files, folders, patterns and lists, into a folder or one into a file"


@dataclass(frozen=True, kw_only=True)
class DepthRequest:
    """What depths are asked for.

    out, save, file_format, skip_existing, overwrite: as in `PredictRequest`. scale: whether pictures say which colour
    is which depth. of_labels: options that only label maps have -> whether they were given.
    """

    out: str
    save: str | None
    file_format: str
    skip_existing: bool
    overwrite: bool
    scale: bool
    of_labels: dict[str, bool]


def asks_for_depths(save: str | None, file_format: str) -> bool:
    """Whether options say what only depths have, whatever the model is."""
    return file_format in DEPTH_FORMATS or (save is not None and "depth" in _words(save))


def predict_depth(
    request: DepthRequest,
    given: Given,
    model: OpenModel,
    predictor: Predictor,
    *,
    devices: Devices | None = None,
    part: Part | None = None,
) -> bool:
    """Predict depths, write them, and say how it went; whether all images could be used.

    devices, part: as of `predict_images`.

    Raises ValueError for inputs and options that depths do not have, and as `predict_images` does.
    """
    given = _images_of(given)
    for option, was_given in request.of_labels.items():
        if was_given:
            raise ValueError(f"{option} is of label maps, and this model answers with depths: leave it out")
    if request.file_format not in (USUAL, *DEPTH_FORMATS):
        raise ValueError(
            f"--format {request.file_format} is of label maps, and this model answers with depths: "
            f"{' or '.join(DEPTH_FORMATS)}"
        )
    one = given.kind == "one"
    file_format = "tiff" if request.file_format == USUAL else request.file_format
    kinds = _kind_of_file(request) if one else _kinds(request.save)
    outputs = DepthFiles(given.folder, kinds, file_format, request.scale, remote=given.remote)
    assert given.found is not None
    if one:
        predict_one(predictor, given.found.files[0], outputs, None if request.out == STANDARD else Path(request.out))
        return True
    file = outputs.folder / TABLE
    table = DepthTable(file if part is None else part.of(file), resume=request.skip_existing)
    options = {"format": file_format} | ({"scale": str(request.scale)} if "color" in kinds else {})
    manifest = manifest_with(model, predictor, options)
    whole = predict_images(
        predictor, given.found, outputs,
        manifest=manifest, table=table, skip_existing=request.skip_existing, overwrite=request.overwrite,
        devices=devices, part=part,
    )  # fmt: skip
    if part is None:  # a part does not know those of the others
        outputs.claim(replace(manifest, options={**options, "depths": table.summary()}))
    return whole


def _images_of(given: Given) -> Given:
    """What was given, where it is images; a TIFF made of one file is a depth and no raster.

    Raises ValueError for videos, rasters and videos made of images.
    """
    if given.kind in ("video", "frames"):
        what = f"{given.source} is a video" if given.kind == "video" else f"--out {given.out} is a video"
        raise ValueError(
            f"{what}: {_ONLY_IMAGES}. Frames as images: ffmpeg -i VIDEO frames/%05d.jpg, and predict that folder"
        )
    if given.kind == "raster":
        return Given("one", given.out, find_images([given.source]))
    if given.rasters:
        raise ValueError(
            f"{public(given.rasters[0].location)} lies somewhere on Earth: {_ONLY_IMAGES}, in pixels and without a "
            "place. With --no-geotiff rasters are taken for images"
        )
    return given


def _kinds(save: str | None) -> frozenset[str]:
    return frozenset(DEPTH_KINDS) if save is None else check_depth_kinds(_words(save))


def _kind_of_file(request: DepthRequest) -> frozenset[str]:
    """What a single file holds: by its suffix, or as --save says.

    Raises ValueError for a suffix or a format that does not suit.
    """
    suffix = Path(request.out).suffix.lower()
    standard = request.out == STANDARD
    if not standard and suffix not in (*SUFFIXES, *PICTURE_SUFFIXES):
        raise ValueError(
            f"--out {request.out}: one depth is written as {', '.join(SUFFIXES)}, its picture as .jpg, .jpeg or .webp"
        )
    usual = "depth" if standard or suffix in SUFFIXES else "color"
    kinds = frozenset({usual}) if request.save is None else _kinds(request.save)
    if len(kinds) > 1:
        raise ValueError(f"--out {request.out} is one file, and --save names {len(kinds)} things; give a folder")
    (kind,) = kinds
    allowed = SUFFIXES if kind == "depth" else PICTURE_SUFFIXES
    if not standard and suffix not in allowed:
        raise ValueError(f"--out {request.out}: {kind} is written as {', '.join(allowed)}")
    wanted = DEPTH_FORMATS.get(request.file_format)
    if kind == "depth" and not standard and wanted is not None and wanted != suffix.replace(".tiff", ".tif"):
        raise ValueError(f"--out {request.out}: --format {request.file_format} is written as {wanted}")
    return kinds


def _words(save: str) -> list[str]:
    return [word.strip() for word in save.split(",") if word.strip()]
