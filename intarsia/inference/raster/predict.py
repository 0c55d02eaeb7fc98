"""Prediction for scenes of any size, in a memory that does not grow with them.

A scene is worked through in panels of columns, a panel in strips from top to bottom: one strip for each row of
windows, of the rows about which the windows below have nothing to say (`windows.py`). Each window is
an image to the predictor, with the test pipeline, padding and augmented views of any other image. Finished strips are
kept (`resume.py`) until all are there and files are put together (`files.py`).

The windows of one row go through the network in batches, no batch holds windows of two rows, and windows without data
are left out. So a run that was interrupted computes the very same batches when it goes on, and leaves the same files.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.contracts import Sample, SampleMeta, Size
from intarsia.data.scenes.georeference import Area
from intarsia.data.scenes.scene import Scene, gdal_environment
from intarsia.inference.inputs.images import ahead
from intarsia.inference.logits.lazy import CropFlip, HeadLogits, LogitMap, Resized
from intarsia.inference.logits.postprocess import Postprocessed, RequestedFields
from intarsia.inference.logits.sliding import Window, default_batch
from intarsia.inference.predictor import Predictor
from intarsia.inference.raster.files import LAYERS, Layer, category_names, layers_of, with_names, write_layer
from intarsia.inference.raster.resume import FinishedStrips
from intarsia.inference.raster.windows import BlendedWindows, ColumnPanel, Tiling
from intarsia.io.whole_files import put_in_place, write_bytes
from intarsia.label_sets import has

MEMORY = 384 * 2**20
"""Bytes that the logits and the results of a strip over a panel may take; decides how wide panels are."""

BLEND_BUDGET = 16 * 2**20
"""Bytes of the rows that a processor blends at once: many, since each is made of all windows over a panel's width."""

Views = list[LogitMap]
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class RasterSettings:
    """How a scene is looked at, and what is kept.

    window: (height, width) of what the network sees at a time. overlap: of neighbouring windows, in pixels. blend:
    "crop", "average", "gaussian" or "linear". kinds: of `raster_files.LAYERS`, beside the labels. min_confidence:
    pixels of less confidence get the value of those without data.
    """

    window: Size
    overlap: int
    blend: str = "crop"
    kinds: frozenset[str] = frozenset()
    min_confidence: float | None = None

    @property
    def described(self) -> dict[str, str]:
        """What must not change while a run is interrupted."""
        return {
            "window": "x".join(map(str, self.window)),
            "overlap": str(self.overlap),
            "blend": self.blend,
            "save": ",".join(sorted({"label", *self.kinds})),
            "min_confidence": str(self.min_confidence),
        }


class Together(Protocol):
    """Processes that predict one scene together: this one's number among how many."""

    @property
    def rank(self) -> int:
        """From 0."""
        ...

    @property
    def world_size(self) -> int:
        """How many there are."""
        ...

    def gather(self, value: Any) -> list[Any]:
        """What all have given, which waits for all."""
        ...


class _Alone:
    """No others."""

    rank, world_size = 0, 1

    def gather(self, value: Any) -> list[Any]:
        return [value]


@dataclass(frozen=True, slots=True)
class RasterResult:
    """files: by kind. windows: of the whole scene, of which an earlier run did `resumed`. seen: by the network, now."""

    files: Mapping[str, Path]
    windows: int
    resumed: int
    seen: int


def predict_scene(
    predictor: Predictor,
    scene: Scene,
    out: Path,
    settings: RasterSettings,
    *,
    described: Mapping[str, str],
    restart: bool = False,
    memory: int = MEMORY,
    progress: Progress = lambda done, total: None,
    derive: Callable[[Path], None] = lambda label: None,
    together: Together | None = None,
) -> RasterResult:
    """Write the label map of a scene to `out`, and other layers beside it, each when it is complete.

    An interrupted run leaves ``OUT.parts``, from which the next one goes on. described: what else the values depend on,
    such as the weights, by name. restart: begin anew. progress: is told of windows that are done, and of how many.
    derive: is called with the finished label file before it gets its name: what is made of it is there when it appears.
    together: with other processes, each of which computes its share of the strips; the first makes the files of them,
    and the others give a result without.

    Raises ValueError if `out` is no .tif, if the settings make no sense or do not fit the model, and if strips of
    another run are in the way.
    """
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise ValueError(f"{out}: the label map of a raster is a GeoTIFF: give it a name that ends in .tif")
    unknown = settings.kinds - set(LAYERS)
    if unknown:
        raise ValueError(f"of a raster, {', '.join(LAYERS)} can be saved, not {', '.join(sorted(unknown))}")
    classes, palette = predictor.classes, predictor.palette
    tiling = Tiling.of(scene.size, settings.window, settings.overlap, settings.blend)
    several = predictor.multi_label
    one_logit = predictor.inference.threshold is not None
    layers = layers_of(settings.kinds, classes, single_logit=one_logit, multi_label=several)
    share = together or _Alone()
    begun = None if restart else FinishedStrips.described(out)
    batch = predictor.batch_windows or int((begun or {}).get("batch", 0))  # a GPU's free memory decides anew each time
    with gdal_environment():
        strips = _Strips(predictor, scene, tiling, layers, settings.min_confidence, batch)
        (strips.batch, *_) = share.gather(strips.batch)  # for all what suits the first
        panels = tiling.panels(memory // strips.bytes_per_column())
        everything = {
            **described,
            **scene.described,
            **settings.described,
            "panels": ",".join(str(panel.left) for panel in panels),
            "batch": str(strips.batch),
            "device": predictor.device.type,
            **({} if predictor.network.precision == "32" else {"precision": predictor.network.precision}),
        }
        parts = _finished_strips(out, everything, share, restart=restart)
        counts = share.gather(_predict_parts(strips, panels, parts, progress, share))
        done = tuple(map(sum, zip(*counts, strict=True)))
        if share.rank > 0:
            return RasterResult({}, *done)
        asides: dict[str, Path] = {}
        for layer in layers:
            asides[layer.kind] = aside = parts.folder / layer.file(out).name
            write_layer(
                aside, layer, parts, panels=panels, down=tiling.down, size=scene.size, place=scene.place,
                classes=classes, palette=palette, multi_label=several,
            )  # fmt: skip
        derive(asides["label"])
    write_bytes(with_names(out), category_names(predictor.shown_values[0]))
    for layer in reversed(layers):  # the labels last: where they are, everything is
        put_in_place(asides[layer.kind], layer.file(out))
    parts.remove()
    return RasterResult({layer.kind: layer.file(out) for layer in layers}, *done)


def _finished_strips(out: Path, described: Mapping[str, str], share: Together, *, restart: bool) -> FinishedStrips:
    """The strips of a run; the first process makes or removes their folder before the others look at it."""
    parts = FinishedStrips(out, described, restart=restart) if share.rank == 0 else None
    share.gather(None)
    return FinishedStrips(out, described) if parts is None else parts


def _predict_parts(
    strips: _Strips, panels: Sequence[ColumnPanel], parts: FinishedStrips, progress: Progress, share: Together
) -> tuple[int, int, int]:
    """Compute those strips of this process that are not there yet. Gives the numbers of `RasterResult`.

    It has the strips of some rows that follow each other: where windows are blended, neighbours share windows.
    """
    count = len(strips.tiling.down.firsts)
    rows = range(count * share.rank // share.world_size, count * (share.rank + 1) // share.world_size)
    total = sum(len(panel.windows) for panel in panels) * len(rows)
    finished = resumed = 0
    for number, panel in enumerate(panels):
        strips.begin()
        for row in rows:
            if parts.has(number, row):
                resumed += len(panel.windows)
            else:
                parts.put(number, row, strips.compute(panel, row, lambda count: progress(finished + count, total)))  # noqa: B023
            finished += len(panel.windows)
            progress(finished, total)
    return total, resumed, strips.seen


class _Strips:
    """Computes strips, one after the other from the top of a panel; any number of them may be left out.

    batch: windows that go through the network together, 0 for as many as suit the device. seen: by it, so far.
    """

    def __init__(
        self,
        predictor: Predictor,
        scene: Scene,
        tiling: Tiling,
        layers: Sequence[Layer],
        min_confidence: float | None,
        batch: int,
    ) -> None:
        self.tiling, self.seen = tiling, 0
        self._predictor = _looking_once(predictor, (tiling.down.window, tiling.across.window))
        self._scene, self._layers, self._min_confidence = scene, layers, min_confidence
        kinds = {layer.kind for layer in layers}
        self._wanted = RequestedFields(
            probabilities="probs" in kinds,
            confidence="confidence" in kinds or min_confidence is not None,
            entropy="entropy" in kinds,
            logits="logits" in kinds,
        )
        predictor.check_fields(self._wanted)
        self._shape: Size = (tiling.down.window, tiling.across.window)
        self.batch = batch or default_batch(self._shape, predictor.device)
        self._open: dict[int, list[tuple[Window, Views]]] = {}

    def bytes_per_column(self) -> int:
        """What a column of a panel takes, about: of the results, and where windows are blended, of their logits."""
        down, across = self.tiling.down, self.tiling.across
        rows = max(stop - start for start, stop in map(down.final, range(len(down.firsts))))
        results = (sum(layer.bytes for layer in self._layers) + self._scene.bytes) * rows
        if self.tiling.blend == "crop":
            return results
        blank = np.zeros((*self._shape, self._scene.channels), np.uint8)
        with torch.inference_mode():
            (views,) = self._predictor.logit_maps([_sample(blank, "blank")])
        step = across.firsts[1] - across.firsts[0] if len(across.firsts) > 1 else across.length
        held = 1 + max(len(down.meeting(*down.final(row))) for row in range(len(down.firsts)))
        return results + held * sum(map(_held, views)) // step

    def begin(self) -> None:
        """The next strip is of another panel."""
        self._open.clear()

    @torch.inference_mode()
    def compute(self, panel: ColumnPanel, row: int, progress: Callable[[int], None]) -> dict[str, npt.NDArray[Any]]:
        """The layers (bands, n, W) of a strip; none if there is no data in it. progress: windows done so far."""
        top, bottom = self.tiling.down.final(row)
        valid = self._scene.valid(Area(top, panel.left, bottom - top, panel.right - panel.left))
        if not valid.any():
            return {}
        strip = {layer.kind: layer.blank(bottom - top, panel.right - panel.left) for layer in self._layers}
        is_cropped = self.tiling.blend == "crop"
        regions = self._cropped if is_cropped else self._blended
        budget = None if is_cropped or self._predictor.device.type != "cpu" else BLEND_BUDGET
        for left, views in regions(panel, row, progress):
            self._paste(strip, left, self._predictor.decided(views, self._wanted, budget=budget))
        for layer in self._layers:
            strip[layer.kind][:, ~valid] = layer.fill
        return strip

    def _paste(self, strip: Mapping[str, npt.NDArray[Any]], left: int, found: Postprocessed) -> None:
        arrays = {
            "label": found.label, "confidence": found.confidence, "entropy": found.entropy,
            "probs": found.probabilities, "logits": found.logits,
        }  # fmt: skip
        width = found.label.shape[1]
        for layer in self._layers:
            values = self._masks(found.label, layer) if layer.kind == "masks" else arrays[layer.kind]
            assert values is not None
            target = strip[layer.kind][:, :, left : left + width]
            target[...] = values.cpu().numpy()
            if layer.kind in ("label", "masks") and self._min_confidence is not None:
                assert found.confidence is not None
                target[:, ~(found.confidence.cpu().numpy() >= self._min_confidence)] = layer.fill

    def _masks(self, label: Tensor, layer: Layer) -> Tensor:
        """Where each class is, (K, n, W)."""
        kinds = range(len(layer.bands))
        return torch.stack([has(label, k) if self._predictor.multi_label else (label == k).byte() for k in kinds])

    def _cropped(self, panel: ColumnPanel, row: int, progress: Callable[[int], None]) -> Iterator[tuple[int, Views]]:
        """The middle of each window of a row, with the column of the panel that it begins at."""
        top, bottom = self.tiling.down.counts[row]
        for column, window, views in self._windows(panel, row, progress):
            begin, end = self.tiling.across.counts[column]
            left, right = max(begin, panel.left), min(end, panel.right)
            size, origin = (bottom - top, right - left), (top - window.top, left - window.left)
            yield left - panel.left, [CropFlip(view, size, origin=origin) for view in views]

    def _blended(self, panel: ColumnPanel, row: int, progress: Callable[[int], None]) -> Iterator[tuple[int, Views]]:
        """All of a strip at once, from the windows of this row and of those above that reach into it."""
        top, bottom = self.tiling.down.final(row)
        rows = [index for index in self.tiling.down.meeting(top, bottom) if index <= row]
        self._open = {index: windows for index, windows in self._open.items() if index in rows}
        for index in rows:
            if index not in self._open:
                self._open[index] = [(window, views) for _, window, views in self._windows(panel, index, progress)]
        windows = [pair for index in rows for pair in self._open[index]]
        number = len(windows[0][1])
        yield (
            0,
            [
                BlendedWindows(self.tiling, panel, top, bottom, [(window, views[view]) for window, views in windows])
                for view in range(number)
            ],
        )

    def _windows(
        self, panel: ColumnPanel, row: int, progress: Callable[[int], None]
    ) -> Iterator[tuple[int, Window, Views]]:
        """The windows of a row that have data, each with its column and maps; read while the network works."""
        done = 0
        batches = [panel.windows[start : start + self.batch] for start in range(0, len(panel.windows), self.batch)]
        for read in ahead(batches, lambda columns: self._read(row, columns), count=1):
            with_data = [(column, window, sample) for column, window, sample in read if sample is not None]
            if with_data:
                maps = self._predictor.logit_maps([sample for _, _, sample in with_data])
                for (column, window, _), views in zip(with_data, maps, strict=True):
                    yield column, window, views
            self.seen += len(with_data)
            done += len(read)
            progress(done)

    def _read(self, row: int, columns: Sequence[int]) -> list[tuple[int, Window, Sample | None]]:
        top, (height, width) = self.tiling.down.firsts[row], self._shape
        found: list[tuple[int, Window, Sample | None]] = []
        for column in columns:
            left = self.tiling.across.firsts[column]
            image = self._scene.read(Area(top, left, height, width))
            sample = None if image is None else _sample(image, f"{self._scene.name}, window at {left}, {top}")
            found.append((column, Window(0, top, left, height, width), sample))
        return found


def _looking_once(predictor: Predictor, window: Size) -> Predictor:
    """The same predictor, which need not look through windows of its own if those of the scene are not larger."""
    spec = predictor.inference
    crop = spec.crop_size
    if spec.mode not in ("slide", "slide_even") or crop is None or predictor.augmented is not None or spec.mirror:
        return predictor
    if window[0] > crop[0] or window[1] > crop[1]:
        return predictor
    once = copy.copy(predictor)
    once.inference = replace(spec, mode="whole")
    return once


def _sample(image: npt.NDArray[Any], name: str) -> Sample:
    return Sample(image, meta=SampleMeta(name=name, original_size=(image.shape[0], image.shape[1])))


def _held(view: LogitMap) -> int:
    """Bytes of the logits that a logit map is made from; where it cannot tell, as if they had its own size."""
    logit_map = view
    while isinstance(logit_map, Resized | CropFlip):
        logit_map = logit_map.source
    if isinstance(logit_map, HeadLogits):
        return logit_map.values.numel() * logit_map.values.element_size()
    return view.like.shape[0] * view.area * view.like.element_size()
