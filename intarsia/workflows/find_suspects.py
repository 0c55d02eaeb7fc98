"""`intarsia data suspects`: labels that a trained model doubts, listed and drawn."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from intarsia.contracts import Dataset, Report, Sample, SampleMeta
from intarsia.data.labels import holds_sets
from intarsia.data.pipeline import Pipeline
from intarsia.evaluation.evaluate import evaluate
from intarsia.io.cores import available_cores
from intarsia.io.whole_files import write_text
from intarsia.label_sets import has
from intarsia.terminal import progress, say, warn
from intarsia.visual.files import save_picture
from intarsia.visual.marked import MARKED, marked, sheet
from intarsia.visual.overlay import Picture
from intarsia.visual.picture import as_picture
from intarsia.workflows.suspect_regions import Region, SetSuspectCounter, SuspectCounter
from intarsia.workflows.trained_model import labelled_images, open_model

if TYPE_CHECKING:
    from intarsia.inference.predictor import Predictor

ROWS = 10
"""Regions on one contact sheet."""

COLUMNS = (
    "rank", "image", "label_file", "labelled", "predicted", "score", "area", "confidence", "x", "y", "width", "height",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class SuspectRequest:
    """What is looked at.

    run: a training's folder, a weights file, or the folder of a cross-validation, whose images are all judged by the
    model that has not seen them. data: other labelled images than the run's; split: of them. top: how many regions are
    listed. out: folder, by default beside the weights. margin: pixels at outlines that are left out; least_area: pixels
    of the smallest region.
    """

    run: Path
    data: Path | None = None
    split: str = "train"
    top: int = 50
    out: Path | None = None
    margin: int = 3
    least_area: int = 16
    config: str | None = None
    device: str = "auto"
    workers: int | None = None


@dataclass(frozen=True)
class Suspect:
    """A region with its image. source: which of several models has judged it."""

    region: Region
    meta: SampleMeta
    source: int
    labelled: str
    predicted: str

    @property
    def file(self) -> str:
        """The image's file, or its name where it has none."""
        return self.meta.image_path or self.meta.name

    @property
    def key(self) -> tuple[Any, ...]:
        """What suspects are sorted by."""
        return (-self.region.score, self.meta.name, self.region.box)

    def row(self, rank: int) -> dict[str, Any]:
        """For CSV and JSON; x, y: of the upper left pixel."""
        top, left, bottom, right = self.region.box
        found = (
            rank, self.file, self.meta.label_path, self.labelled, self.predicted,
            round(self.region.score, 3), self.region.area, round(self.region.confidence, 5),
            left, top, right - left, bottom - top,
        )  # fmt: skip
        return dict(zip(COLUMNS, found, strict=True))


@dataclass(frozen=True)
class Suspects:
    """What was found. suspects: the first regions. total: of how many. images: (name, score, regions), the worst first.

    seen: whether the models were trained on these images.
    """

    suspects: tuple[Suspect, ...]
    total: int
    images: tuple[tuple[str, float, int], ...]
    looked_at: int
    seen: bool
    folder: Path
    sheets: tuple[Path, ...]


@dataclass
class _Source:
    """A model and the images it judges."""

    predictor: Predictor
    pipeline: Pipeline
    metas: list[SampleMeta]


def find_suspects(request: SuspectRequest) -> Suspects:
    """Predict all images of a split, and write suspects.csv, suspects.json and contact sheets.

    Raises ValueError where there are no weights or labels, or the model answers with something else than classes.
    """
    runs, split, out_of_fold = _runs(request)
    sources: list[_Source] = []
    found: list[Suspect] = []
    looked_at = 0
    for number, run in enumerate(runs):
        source, counter, folder = _judge(run, split, request)
        names = value_names(source.predictor)
        found += [
            Suspect(region, source.metas[region.image], number, names[region.labelled], names[region.predicted])
            for region in counter.regions()
        ]
        looked_at += counter.images
        sources.append(source)
    found = _once(sorted(found, key=lambda suspect: suspect.key))
    out = request.out or (request.run / "suspects" if out_of_fold else folder / f"suspects_{split}")
    shown = tuple(found[: request.top])
    sheets = _draw(sources, shown, out)
    seen = split == "train" and request.data is None
    result = Suspects(shown, len(found), _by_image(found), looked_at, seen, out, sheets)
    _write(result)
    return result


def _runs(request: SuspectRequest) -> tuple[list[Path], str, bool]:
    """(folders or files of weights, split, whether they are the folds of a cross-validation)."""
    file = request.run / "cv.json"
    if not file.is_file():
        return [request.run], request.split, False
    if request.data is not None:
        raise ValueError(f"{request.run} is a cross-validation, which knows its images; leave out --data")
    content = json.loads(file.read_text(encoding="utf-8"))
    if content.get("status") != "finished":
        raise ValueError(f"{request.run}: this cross-validation is not finished; go on with it first")
    return [request.run / f"fold_{n}" for n in range(1, len(content["images"]) + 1)], "val", True


def value_names(predictor: Predictor) -> tuple[str, ...]:
    """What the values of regions mean: classes, or where a pixel may have several whether it has one: "no spot"."""
    if not predictor.multi_label:
        return tuple(predictor.classes)
    return tuple(name for own in predictor.classes for name in (f"no {own}", own))


def _counter(predictor: Predictor, ignore_index: int, request: SuspectRequest) -> SuspectCounter | SetSuspectCounter:
    count, margin, least = len(predictor.classes), request.margin, request.least_area
    if predictor.multi_label:
        return SetSuspectCounter(num_classes=count, ignore_index=ignore_index, margin=margin, least_area=least)
    return SuspectCounter(values=count, ignore_index=ignore_index, margin=margin, least_area=least)


def _judge(run: Path, split: str, request: SuspectRequest) -> tuple[_Source, SuspectCounter | SetSuspectCounter, Path]:
    model = open_model(run, config=request.config, device=request.device)
    if model.spec.inference.answer == "depth":
        raise ValueError("suspects are labels of classes, and this model answers with depths")
    pipeline = labelled_images(model, request.data, split)
    dataset = pipeline.dataset
    predictor = model.predictor(dataset.classes, dataset.palette)
    counter = _counter(predictor, dataset.ignore_index, request)
    source = _Source(predictor, pipeline, [])
    done = 0
    with progress(f"looking at {split} images") as bar:

        def count(images: int) -> None:
            nonlocal done
            done += images
            bar(done, len(pipeline))

        evaluate(
            predictor,
            pipeline,
            counter,
            workers=min(2, len(pipeline), available_cores()) if request.workers is None else request.workers,
            progress=count,
            on_prediction=lambda meta, _: source.metas.append(meta),
        )
    return source, counter, model.file.parent


def _once(suspects: Sequence[Suspect]) -> list[Suspect]:
    """Without the repetitions of an image that a data set holds several times; in the same order."""
    seen: dict[tuple[Any, ...], Suspect] = {}
    for suspect in suspects:
        seen.setdefault((suspect.file, suspect.source, suspect.region.box, suspect.predicted), suspect)
    return list(seen.values())


def _by_image(suspects: Sequence[Suspect]) -> tuple[tuple[str, float, int], ...]:
    scores: dict[str, tuple[float, int]] = {}
    for suspect in suspects:
        score, count = scores.get(suspect.file, (0.0, 0))
        scores[suspect.file] = score + suspect.region.score, count + 1
    ranked = sorted(scores.items(), key=lambda item: (-item[1][0], item[0]))
    return tuple((name, score, count) for name, (score, count) in ranked)


# --- Files --------------------------------------------------------------------------------------------------------


def _write(result: Suspects) -> None:
    rows = [suspect.row(rank) for rank, suspect in enumerate(result.suspects, 1)]
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(result.folder / "suspects.csv", text.getvalue())
    content: Mapping[str, Any] = {
        "images_looked_at": result.looked_at,
        "trained_on_these_images": result.seen,
        "regions": result.total,
        "suspects": rows,
        "images": [{"image": n, "score": round(s, 3), "regions": c} for n, s, c in result.images],
    }
    write_text(result.folder / "suspects.json", json.dumps(content, indent=2, ensure_ascii=False) + "\n")


class _Chosen:
    """Some samples of a data set."""

    def __init__(self, dataset: Dataset, indices: Sequence[int]) -> None:
        self._dataset, self._indices = dataset, tuple(indices)
        self.classes, self.palette = tuple(dataset.classes), tuple(dataset.palette)
        self.ignore_index = dataset.ignore_index
        self.multi_label = holds_sets(dataset)

    def __len__(self) -> int:
        return len(self._indices)

    def load(self, index: int) -> Sample:
        """One of them."""
        return self._dataset.load(self._indices[index])


class _Drawing:
    """A metric that draws the regions of each image when its prediction comes; nothing else is kept of it."""

    def __init__(self, source: _Source, wanted: Mapping[int, Sequence[tuple[int, Suspect]]]) -> None:
        self._source, self._wanted = source, wanted
        self._images = sorted(wanted)
        self._next = 0
        self.rows: dict[int, Picture] = {}

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Draw what is wanted of the next image."""
        index = self._images[self._next]
        self._next += 1
        dataset, predictor = self._source.pipeline.dataset, self._source.predictor
        image = as_picture(dataset.load(index).image)
        for rank, suspect in self._wanted[index]:
            region = suspect.region
            truth, said, names, palette = label, prediction, tuple(predictor.classes), tuple(predictor.palette)
            values = region.labelled, region.predicted
            if predictor.multi_label:  # the one class that is doubted, as no and yes
                k = region.predicted // 2
                truth = torch.where(label == dataset.ignore_index, dataset.ignore_index, has(label, k))
                said, values = has(prediction, k), (region.labelled % 2, region.predicted % 2)
                names, palette = value_names(predictor)[2 * k : 2 * k + 2], ((0, 0, 0), palette[k])
            self.rows[rank] = marked(
                image, truth.cpu().numpy(), said.cpu().numpy(), region.box, *values,
                classes=names, palette=palette, ignore_index=dataset.ignore_index,
                title=f"{rank}. {suspect.meta.name}",
                note=f"{region.area:,} pixels, sure by {region.confidence:.0%}",
            )  # fmt: skip

    def state(self) -> Tensor:
        """Nothing is counted."""
        return torch.zeros(1)

    def load_state(self, state: Tensor) -> None:
        """Nothing is counted."""

    def report(self) -> Report:
        """No scores."""
        return Report(summary={}, classes=(), absent=(), images=len(self._images))


def _draw(sources: Sequence[_Source], suspects: Sequence[Suspect], out: Path) -> tuple[Path, ...]:
    """Predict the images with the worst regions once more, and draw these on sheets."""
    rows: dict[int, Picture] = {}
    for number, source in enumerate(sources):
        wanted: dict[int, list[tuple[int, Suspect]]] = {}
        for rank, suspect in enumerate(suspects, 1):
            if suspect.source == number:
                wanted.setdefault(suspect.region.image, []).append((rank, suspect))
        if wanted:
            chosen = _Chosen(source.pipeline.dataset, sorted(wanted))
            drawing = _Drawing(source, wanted)
            evaluate(source.predictor, Pipeline(chosen, source.pipeline.transforms, label_size="original"), drawing)
            rows |= drawing.rows
    files = []
    for old in out.glob("sheet_*.jpg"):
        old.unlink()
    for start in range(0, len(rows), ROWS):
        ranks = sorted(rows)[start : start + ROWS]
        file = out / f"sheet_{start // ROWS + 1:02}.jpg"
        files.append(save_picture(file, sheet([rows[rank] for rank in ranks])))
    return tuple(files)


def tell(result: Suspects) -> None:
    """The end of the command, in lines."""
    if result.seen:
        warn(
            "the model was trained on these images and knows many of their labels by heart, wrong ones too; more is "
            "found by models that have not seen them: intarsia cv ..., then: intarsia data suspects OUT"
        )
    where = f"{len(result.images):,} of {result.looked_at:,} images"
    say(f"{result.total:,} regions in {where}; drawn with an outline in {MARKED}")
    say(f"suspects.csv, suspects.json, {len(result.sheets)} contact sheets: {result.folder}")
