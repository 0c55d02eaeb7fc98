"""Rasters for ``intarsia predict``: a scene of any size in, a GeoTIFF of labels out, with what is made of it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast, get_args

from intarsia.contracts import Size
from intarsia.data.gdal import raster_library, without_place
from intarsia.inference.outputs.coco import CocoImage, write_coco
from intarsia.inference.outputs.geojson import coordinates_in_words, write_geojson
from intarsia.inference.outputs.ground import Ground
from intarsia.inference.outputs.polygons import Labels, areas, polygons, write_areas
from intarsia.inference.raster.files import LAYERS
from intarsia.inference.raster.predict import RasterSettings, predict_scene
from intarsia.inference.raster.source import Alpha, Scene
from intarsia.io.digest import file_hash
from intarsia.terminal import err, say, warn

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor
    from intarsia.spec import InferenceSpec
    from intarsia.workflows.trained_model import OpenModel

DERIVED: Mapping[str, str] = {"polygons": ".geojson", "rle": "_rle.json", "areas": "_areas.csv"}
"""What is made of the finished label map -> what its file's name ends in."""

KINDS = (*LAYERS, *DERIVED)
"""What `--save` knows for rasters. The label map is always written."""

DEFAULT_WINDOW = 512


def predict_raster(
    model: OpenModel,
    predictor: Predictor,
    scene: Path,
    out: Path,
    *,
    kinds: frozenset[str],
    unsure: float | None,
    window: str | None = None,
    overlap: int | None = None,
    blend: str = "crop",
    nodata: float | None = None,
    alpha: str = "auto",
    min_area: int = 0,
    simplify: float = 0.0,
    restart: bool = False,
) -> bool:
    """Predict the label map of a scene into the GeoTIFF `out`, and what else is wanted into files beside it.

    Gives whether all of them could be made: polygons, say, that fail are named, and leave the label map alone.

    kinds: of `KINDS`; colours are part of the label file, so that "color" and "overlay" add nothing. window: "512" or
    "512x1024", by default what the model was trained or is evaluated with. overlap: pixels that neighbours share.
    blend: "crop", "average", "gaussian" or "linear". nodata: a value that marks missing pixels. alpha: "mask" or
    "band", what a band is that the file calls so; "auto" looks at it.
    min_area: pixels of the smallest polygon. simplify: pixels by which
    outlines may be off. restart: begin anew in place of going on with an interrupted run.

    Raises ValueError for what cannot be done.
    """
    _check(scene, out, kinds, unsure)
    shape = _window(window, model, predictor.inference)
    settings = RasterSettings(
        window=shape,
        overlap=_default_overlap(shape, predictor.inference) if overlap is None else overlap,
        seams=blend,
        kinds=frozenset(kinds & set(LAYERS)),
        unsure=unsure,
    )
    described = {
        "weights": f"{model.file.name} {file_hash(model.file)[:16]}",
        "model": hashlib.sha256(repr((model.spec, predictor.augmented)).encode()).hexdigest()[:16],
    }
    began = time.monotonic()
    failed: list[str] = []
    with (
        Scene(scene, predictor.reader, nodata=nodata, alpha=_alpha(alpha)) as source,
        _progress() as progress,
    ):
        done = predict_scene(
            predictor, source, out, settings, described=described, restart=restart, progress=progress,
            derive=lambda label: failed.extend(_derive(label, scene.name, out, predictor, kinds, min_area, simplify)),
        )  # fmt: skip
    seconds = time.monotonic() - began
    if done.resumed:
        say(f"went on with an interrupted run: {done.resumed} of {done.windows} windows were done")
    skipped = done.windows - done.resumed - done.seen
    empty = f", {skipped} without data" if skipped > 0 else ""
    rate = f"{done.seen / seconds:.1f} per second"
    say(f"{done.windows} windows{empty}; {done.seen} predicted in {seconds:.1f} s, {rate}")
    files = [*done.files.values(), *(_beside(out, kind) for kind in DERIVED if kind in kinds and kind not in failed)]
    say(", ".join(map(str, files)))
    return not failed


def _check(scene: Path, out: Path, kinds: frozenset[str], unsure: float | None) -> None:
    unknown = kinds - set(KINDS) - {"color", "overlay"}
    if unknown:
        raise ValueError(f"--save {','.join(sorted(unknown))}: of a raster, {', '.join(KINDS)} can be saved")
    if unsure is not None and not 0 <= unsure <= 1:
        raise ValueError(f"--unsure is a confidence from 0 to 1, found {unsure:g}")
    if out.exists() and scene.exists() and out.samefile(scene):
        raise ValueError(f"--out {out} is the input itself; give another name")
    raster_library()


def _alpha(word: str) -> Alpha:
    if word not in get_args(Alpha):
        raise ValueError(f"--alpha is {', '.join(get_args(Alpha))}, found {word!r}")
    return cast("Alpha", word)


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


def _beside(out: Path, kind: str) -> Path:
    return out.with_name(out.stem + DERIVED[kind])


def _derive(
    label: Path, scene: str, out: Path, predictor: Predictor, kinds: frozenset[str], min_area: int, simplify: float
) -> list[str]:
    """What is made of the finished label map, which has not got its name yet. Gives the kinds that could not be."""
    with without_place(), raster_library().open(label) as source:
        ground, labels, nothing = Ground.of(source), Labels(source), int(source.nodata)

        def write_polygons(path: Path) -> None:
            shapes = polygons(labels, nothing=nothing, min_area=min_area, simplify=simplify)
            count = write_geojson(path, shapes, classes=classes, palette=predictor.palette, ground=ground)
            say(f"{path}: {count} polygons {coordinates_in_words(ground)}")

        def write_runs(path: Path) -> None:
            write_coco(path, labels, classes=classes, image=CocoImage(scene), nothing=nothing)

        def write_table(path: Path) -> None:
            found = areas(labels, classes=classes, ground=ground)
            if found[0].square_metres is None:
                warn("areas are in pixels only: the raster's coordinates say nothing about metres")
            write_areas(path, found)

        classes, failed = predictor.classes, []
        for kind, write in (("polygons", write_polygons), ("rle", write_runs), ("areas", write_table)):
            if kind in kinds:
                try:
                    write(_beside(out, kind))
                except (ValueError, OSError, RuntimeError) as error:
                    say(f"failed: {_beside(out, kind)}: {error}", style="red")
                    failed.append(kind)
        return failed


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error, with windows and their rate since the first that was not done before."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (
        TextColumn("predicting"), BarColumn(), MofNCompleteColumn(), TextColumn("windows {task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None, rate="")

        def show(done: int, total: int) -> None:
            speed = bar.tasks[0].speed
            bar.update(task, completed=done, total=total, rate="" if speed is None else f"{speed:.1f}/s")

        yield show
