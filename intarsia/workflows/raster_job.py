"""What is done with one scene: its label map is predicted into a GeoTIFF, and what is made of that lies beside it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from intarsia.contracts import Size
from intarsia.data.gdal import raster_library, without_place
from intarsia.data.scenes.georeference import is_local
from intarsia.data.scenes.scene import Alpha, Scene
from intarsia.inference.outputs.coco import CocoImage, write_coco
from intarsia.inference.outputs.geojson import coordinates_in_words, write_geojson
from intarsia.inference.outputs.ground import Ground
from intarsia.inference.outputs.polygons import Labels, areas, polygons, polygons_of_sets, write_areas
from intarsia.inference.raster.files import LAYERS
from intarsia.inference.raster.predict import RasterResult, RasterSettings, Together, predict_scene
from intarsia.terminal import say, warn

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec
    from intarsia.workflows.trained_model import OpenModel

DERIVED: Mapping[str, str] = {"polygons": ".geojson", "rle": "_rle.json", "areas": "_areas.csv"}
"""What is made of the finished label map -> what its file's name ends in."""

KINDS = (*LAYERS, *DERIVED)
"""What `--save` knows for rasters. The label map is always written."""

DEFAULT_WINDOW = 512

AT_ONCE = 2048 * 2048
"""Pixels of a tile among many that is looked at in one piece, as an image of its size would be."""


@dataclass(frozen=True, kw_only=True)
class RasterOptions:
    """What only rasters have.

    window: "512" or "512x1024", by default what the model was trained or is evaluated with. overlap: pixels that
    neighbours share. nodata: a value that marks missing pixels. alpha: whether a band that the file calls alpha is a
    "mask" or a "band"; "auto" looks at it. min_area: pixels of the smallest polygon. simplify: pixels by which outlines
    may be off. restart: begin anew in place of going on with an interrupted run.
    """

    window: str | None = None
    overlap: int | None = None
    nodata: float | None = None
    alpha: str = "auto"
    min_area: int = 0
    simplify: float = 0.0
    restart: bool = False

    @property
    def given(self) -> Mapping[str, bool]:
        """Option -> whether it was given."""
        return {
            f"--{field.name.replace('_', '-')}": getattr(self, field.name) != field.default
            for field in dataclasses.fields(self)
        }


@dataclass(frozen=True, kw_only=True)
class RasterJob:
    """How rasters are predicted: by which model, what is kept of them.

    kinds: of `KINDS`; colours are part of the label file, so that "color" and "overlay" add nothing. min_confidence:
    pixels of less confidence have no class. blend: "crop", "average", "gaussian" or "linear".
    at_once: pixels of a scene that is looked at in one piece where no window is given, as images are.
    """

    model: OpenModel
    predictor: Predictor
    kinds: frozenset[str]
    min_confidence: float | None
    blend: str
    options: RasterOptions
    at_once: int = 0

    def __post_init__(self) -> None:
        unknown = self.kinds - set(KINDS) - {"color", "overlay"}
        if unknown:
            raise ValueError(f"--save {','.join(sorted(unknown))}: of a raster, {', '.join(KINDS)} can be saved")
        least = self.min_confidence
        if least is not None and not 0 <= least <= 1:
            raise ValueError(f"--min-confidence is a confidence from 0 to 1, found {least:g}")
        if self.options.alpha not in get_args(Alpha):
            raise ValueError(f"--alpha is {', '.join(get_args(Alpha))}, found {self.options.alpha!r}")
        raster_library()

    def files(self, out: Path) -> list[Path]:
        """Everything that is written for a raster."""
        layers = [kind for kind in LAYERS if kind in {"label", *self.kinds}]
        names = [out.stem + LAYERS[kind].removesuffix(".tif") + out.suffix for kind in layers]
        names += [out.stem + ending for kind, ending in DERIVED.items() if kind in self.kinds]
        return [out.with_name(name) for name in names]

    def is_done(self, out: Path) -> bool:
        """Whether everything that is written for a raster is there."""
        return all(file.exists() for file in self.files(out))


@dataclass(frozen=True, slots=True)
class RasterSource:
    """location: a file, or what GDAL takes in place of one. name: of what is made of it, without suffix."""

    location: str
    name: str


def check_input(location: str, out: Path) -> None:
    """Raise ValueError if a scene would be written over itself."""
    if is_local(location) and out.exists() and Path(location).exists() and out.samefile(location):
        raise ValueError(f"--out {out} is the input itself; give another name")


def predict_into(
    job: RasterJob,
    location: str,
    out: Path,
    progress: Callable[[int, int], None],
    *,
    talk: bool,
    together: Together | None = None,
) -> tuple[RasterResult, list[str]]:
    """What was done, and which of the derived kinds could not be made. talk: say what is in the files. together: with
    others, of which the first puts the files together.
    """
    check_input(location, out)
    predictor, options = job.predictor, job.options
    described = {
        "weights": " + ".join(f"{name} {digest[:16]}" for name, digest in job.model.digests),
        "model": hashlib.sha256(repr((*job.model.described, predictor.augmented)).encode()).hexdigest()[:16],
    }
    failed: list[str] = []
    with Scene(location, predictor.reader, nodata=options.nodata, alpha=cast("Alpha", options.alpha)) as scene:
        done = predict_scene(
            predictor, scene, out, _settings(job, scene.size),
            described=described, restart=options.restart, progress=progress, together=together,
            derive=lambda label: failed.extend(_derive(job, label, scene.name, out, talk=talk)),
        )  # fmt: skip
    return done, failed


def _settings(job: RasterJob, size: Size) -> RasterSettings:
    inference, options = job.predictor.inference, job.options
    if options.window is None and size[0] * size[1] <= job.at_once:
        window, overlap = size, 0
    else:
        window = _window(options.window, job.model, inference)
        overlap = _default_overlap(window, inference) if options.overlap is None else options.overlap
    return RasterSettings(
        window=window,
        overlap=overlap,
        blend=job.blend,
        kinds=frozenset(job.kinds & set(LAYERS)),
        min_confidence=job.min_confidence,
    )


def _window(text: str | None, model: OpenModel, inference: InferenceSpec) -> Size:
    """The size that was asked for, or the one that the model knows best."""
    if text is None:
        return inference.crop_size or model.spec.preprocess.train_size or (DEFAULT_WINDOW, DEFAULT_WINDOW)
    height, _, width = text.partition("x")
    try:
        return int(height), int(width or height)
    except ValueError:
        raise ValueError(f"--window takes pixels, one number or HEIGHTxWIDTH, found {text!r}") from None


def _default_overlap(window: Size, inference: InferenceSpec) -> int:
    """That of the model's own windows, or a quarter of a window; large ones then begin at multiples of 32."""
    if inference.mode != "whole" and window == inference.crop_size and inference.stride is not None:
        return min(side - step for side, step in zip(window, inference.stride, strict=True))
    side = min(window)
    step = side - side // 4
    return side - (step // 32 * 32 if step >= 96 else step)


def beside(out: Path, kind: str) -> Path:
    """The file of what is made of a label map."""
    return out.with_name(out.stem + DERIVED[kind])


def _derive(job: RasterJob, label: Path, scene: str, out: Path, *, talk: bool) -> list[str]:
    """What is made of the finished label map, which has not got its name yet. Gives the kinds that could not be."""
    with without_place(), raster_library().open(label) as source:
        ground, labels, nothing = Ground.of(source), Labels(source), int(source.nodata)

        def write_polygons(path: Path) -> None:
            least, simplify = job.options.min_area, job.options.simplify
            if several:
                shapes = polygons_of_sets(labels, len(classes), nothing=nothing, min_area=least, simplify=simplify)
            else:
                shapes = polygons(labels, nothing=nothing, min_area=least, simplify=simplify)
            count = write_geojson(path, shapes, classes=classes, palette=job.predictor.palette, ground=ground)
            if talk:
                say(f"{path}: {count} polygons {coordinates_in_words(ground)}")

        def write_runs(path: Path) -> None:
            write_coco(path, labels, classes=classes, image=CocoImage(scene), nothing=nothing, sets=several)

        def write_table(path: Path) -> None:
            found = areas(labels, classes=classes, ground=ground, nothing=nothing, sets=several)
            if found[0].square_metres is None and talk:
                warn("areas are in pixels only: the raster's coordinates say nothing about metres")
            write_areas(path, found)

        classes, several, failed = job.predictor.classes, job.predictor.multi_label, []
        for kind, write in (("polygons", write_polygons), ("rle", write_runs), ("areas", write_table)):
            if kind in job.kinds:
                try:
                    write(beside(out, kind))
                except (ValueError, OSError, RuntimeError) as error:
                    say(f"failed: {beside(out, kind)}: {error}", style="red")
                    failed.append(kind)
        return failed
