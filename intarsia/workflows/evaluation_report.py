"""What `intarsia eval --report` collects while it evaluates, and how it becomes a page."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from intarsia.colours import distinct_colours
from intarsia.config.build import build_metric, first_metric_of, metric_of
from intarsia.contracts import IGNORE_INDEX, Metric, NumberedMetric, Report, SampleMeta
from intarsia.engine.training import environment
from intarsia.inference.precision import AUTOCAST
from intarsia.label_sets import pictured
from intarsia.metrics.confusion import confusion_matrix
from intarsia.metrics.iou import FAMILIES, IoUMetric, class_scores
from intarsia.metrics.multi_label import MultiLabelMetric, report_of, set_counts
from intarsia.metrics.per_image import image_iou
from intarsia.metrics.several import count, needs_instances
from intarsia.spec import Component, RunSpec, ViewSize
from intarsia.visual.picture import as_picture
from intarsia.visual.report.content import Bins, Example, ImageEntry, ReportContent
from intarsia.visual.report.page import MOST_EXAMPLES, save_report

if TYPE_CHECKING:
    from intarsia.data.pipeline import Pipeline
    from intarsia.inference.predictor import Predictor
    from intarsia.workflows.trained_model import OpenModel

WIDEST = 480
"""Images of the report are reduced to this width."""

MOST_SETS = 6
"""Classes of which a pixel may have several, for a page: their sets are the rows of a matrix, 64."""

EVERYTHING = tuple(name for name in FAMILIES if name != "mDice")
"""What a page shows; the Dice coefficient is the F-score."""


@dataclass(frozen=True)
class Kept:
    """An image among the worst or the best, reduced. index: in its data set; the arrays are (h, w)."""

    index: int
    truth: npt.NDArray[Any]
    prediction: npt.NDArray[Any]
    confidence: npt.NDArray[np.float32] | None


@dataclass
class Gallery:
    """A metric that also keeps what a report shows of single images. For one pass.

    details: counts for the page; may be the metric itself. count: of images kept at either end, by their mIoU.
    several: where a pixel may have several classes, how many there are; `details` then counts sets of them.
    scores: mIoU and share of right pixels of each image. names: of each image, filled in from outside.
    """

    metric: Metric
    details: IoUMetric
    count: int
    several: int = 0
    names: list[str] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)
    _worst: list[tuple[float, float, Kept]] = field(default_factory=list)
    _best: list[tuple[float, float, Kept]] = field(default_factory=list)

    @property
    def needs_confidence(self) -> bool:
        """Always: the page shows how sure the network was."""
        return True

    @property
    def needs_instances(self) -> bool:
        """The metric's."""
        return needs_instances(self.metric)

    def update(
        self,
        prediction: Tensor,
        label: Tensor,
        confidence: Tensor | None = None,
        *,
        instances: Tensor | None = None,
    ) -> None:
        """Count one image, and keep it if it is among the worst or the best."""
        count(self.metric, prediction, label, confidence=confidence, instances=instances)
        if self.details is not self.metric:
            self.details.update(prediction, label, confidence)
        ignored = self.details.ignore_index
        assert ignored is not None  # data sets name one
        found = confusion_matrix(prediction, label, len(self.details.classes), ignored)
        pixels = int(found.sum())
        iou, accuracy = image_iou(found), int(found.diagonal().sum()) / pixels if pixels else np.nan
        if self.several:
            counts, _, _ = set_counts(prediction, label, self.several, ignored)
            iou = report_of(counts.cpu(), [""] * self.several, images=1).summary["mIoU"]
        index = len(self.scores)
        self.scores.append((iou, accuracy))
        if not pixels or not self.count:
            return
        entry = (iou, accuracy, index)
        self._worst = self._with(self._worst, entry, -1, prediction, label, confidence)
        self._best = self._with(self._best, entry, 1, prediction, label, confidence)

    def _with(
        self,
        kept: list[tuple[float, float, Kept]],
        entry: tuple[float, float, int],
        sign: int,
        prediction: Tensor,
        label: Tensor,
        confidence: Tensor | None,
    ) -> list[tuple[float, float, Kept]]:
        """The list with this image in its place, if it belongs there; sign: 1 where the highest come first."""
        iou, accuracy, index = entry
        if len(kept) == self.count and sign * iou <= sign * kept[-1][0]:
            return kept
        small = Kept(
            index,
            reduced(label),
            reduced(prediction),
            None if confidence is None else reduced(confidence).astype(np.float32),
        )
        return sorted([*kept, (iou, accuracy, small)], key=lambda e: (-sign * e[0], e[2].index))[: self.count]

    def named(self, meta: SampleMeta, _: Tensor) -> None:
        """Remember the name of the image that was just counted."""
        self.names.append(meta.name or f"image {len(self.names)}")

    def number_images(self, first: int, step: int) -> None:
        """The metrics'."""
        self.details.number_images(first, step)
        if self.details is not self.metric and isinstance(self.metric, NumberedMetric):
            self.metric.number_images(first, step)

    def join(self, others: Sequence[Gallery]) -> None:
        """Take over what several processes have, each of every n-th image from that of its own number.

        The state of the metric is what they have in common, and is loaded by others.
        """
        n = len(others)
        total = sum(len(other.scores) for other in others)
        self.scores = [others[index % n].scores[index // n] for index in range(total)]
        self.names = [others[index % n].names[index // n] for index in range(total)]
        self._worst = self._joined([other._worst for other in others], -1)
        self._best = self._joined([other._best for other in others], 1)
        if self.details is not self.metric:
            first, *rest = (other.details.state() for other in others)
            self.details.load_state(sum(rest, first))

    def _joined(
        self, each: Sequence[Sequence[tuple[float, float, Kept]]], sign: int
    ) -> list[tuple[float, float, Kept]]:
        entries = [
            (iou, accuracy, replace(kept, index=rank + kept.index * len(each)))
            for rank, entries in enumerate(each)
            for iou, accuracy, kept in entries
        ]
        return sorted(entries, key=lambda e: (-sign * e[0], e[2].index))[: self.count]

    def examples(self, pipeline: Pipeline) -> tuple[tuple[Example, ...], tuple[Example, ...]]:
        """The worst and the best images with their pictures, none of them in both."""
        scored = sum(np.isfinite(iou) for iou, _ in self.scores)
        worst, best = self._worst[: -(-scored // 2)], self._best[: scored // 2]
        return tuple(self._example(e, pipeline) for e in worst), tuple(self._example(e, pipeline) for e in best)

    def _example(self, entry: tuple[float, float, Kept], pipeline: Pipeline) -> Example:
        iou, accuracy, kept = entry
        image = as_picture(pipeline.dataset.load(kept.index).image)
        height, width = kept.truth.shape
        if image.shape[:2] != kept.truth.shape:
            image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        named = ImageEntry(self.names[kept.index], iou, accuracy)
        return Example(named, image, kept.truth, kept.prediction, kept.confidence)

    def state(self) -> Tensor:
        """The metric's."""
        return self.metric.state()

    def load_state(self, state: Tensor) -> None:
        """The metric's; what was kept stays."""
        self.metric.load_state(state)

    def report(self) -> Report:
        """The metric's."""
        return self.metric.report()


def reduced(values: Tensor) -> npt.NDArray[Any]:
    """Every so many pixels of (H, W), so that the width is `WIDEST` at most."""
    height, width = values.shape
    if width <= WIDEST:
        return values.cpu().numpy()
    rows = torch.arange(size := max(1, round(height * WIDEST / width)), device=values.device) * height // size
    columns = torch.arange(WIDEST, device=values.device) * width // WIDEST
    return values[rows[:, None], columns].cpu().numpy()


def gallery_for(spec: RunSpec, classes: Sequence[str], count: int) -> Gallery:
    """The config's metric, or what a page shows beside it: an `IoUMetric` is asked for everything there is."""
    count = min(count, MOST_EXAMPLES)
    metric = build_metric(spec, classes)
    if isinstance(metric, MultiLabelMetric):
        if len(classes) > MOST_SETS:
            raise ValueError(
                f"--report shows how sets of classes are confused, of {MOST_SETS} classes at most; there are "
                f"{len(classes)}. eval.json and eval.csv have all scores"
            )
        sets = pictured(classes, distinct_colours(len(classes)))[0]
        ignored = metric.ignore_index
        details = IoUMetric(num_classes=len(sets), classes=sets, metrics=EVERYTHING, ignore_index=ignored)
        return Gallery(metric, details, count, several=len(classes))
    if not isinstance(metric, IoUMetric):
        ignored = first_metric_of(spec).args.get("ignore_index", IGNORE_INDEX)
        details = IoUMetric(num_classes=len(classes), classes=classes, metrics=EVERYTHING, ignore_index=ignored)
        return Gallery(metric, details, count)
    component = metric_of(spec)
    asked = tuple(dict.fromkeys((*metric.metrics, *EVERYTHING)))
    full = replace(component, args={**component.args, "metrics": asked})
    metric = build_metric(replace(spec, metric=full), classes)
    assert isinstance(metric, IoUMetric)
    return Gallery(metric, metric, count)


def write_page(
    folder: Path,
    gallery: Gallery,
    report: Report,
    pipeline: Pipeline,
    model: OpenModel,
    predictor: Predictor,
    data: Mapping[str, str],
) -> Path:
    """Write report.html into a folder, or the file itself if `folder` ends in .html. data: facts about it by name."""
    file = folder if folder.suffix.lower() in (".html", ".htm") else folder / "report.html"
    return save_report(file, report_content(gallery, report, pipeline, model, predictor, data))


def report_content(
    gallery: Gallery,
    report: Report,
    pipeline: Pipeline,
    model: OpenModel,
    predictor: Predictor,
    data: Mapping[str, str],
) -> ReportContent:
    """Everything on the page."""
    details = gallery.details
    matrix = details.matrix.cpu()
    scores = {name: values.numpy() for name, values in class_scores(matrix, beta=details.beta).items()}
    assert details.boundary is not None
    assert details.bootstrap is not None
    assert details.calibration is not None
    scores["BoundaryIoU"] = details.boundary.scores().numpy()
    low, high = details.bootstrap.class_intervals()
    reliability = details.calibration.reliability()
    worst, best = gallery.examples(pipeline)
    summary = {**details.report().summary, **report.summary, **report.losses}
    interval: tuple[float, float] | None = (summary["mIoU_low"], summary["mIoU_high"])
    facts = _facts(model, predictor, report, int(matrix.sum()), data)
    bins: Bins | None = Bins(
        reliability.pixels.numpy(), reliability.accuracy.numpy(), reliability.confidence.numpy(), reliability.error
    )
    if gallery.several:  # what is counted of sets is no score of the classes, nor a confidence one of a set
        summary, interval, bins = {**report.summary, **report.losses}, None, None
        facts = {"Each class by itself": _each_class(report), **facts}
    return ReportContent(
        title=f"Evaluation of {model.title}",
        subtitle=f"{report.images:,} images of {data['split']}, {len(details.classes)} classes",
        classes=details.classes,
        palette=predictor.shown_values[1],
        summary=summary,
        scores=scores,
        matrix=matrix.numpy(),
        ignore_index=IGNORE_INDEX if details.ignore_index is None else details.ignore_index,
        interval=interval,
        class_intervals=torch.stack([low, high]).numpy(),
        bins=bins,
        images=tuple(ImageEntry(n, *s) for n, s in zip(gallery.names, gallery.scores, strict=True)),
        worst=worst,
        best=best,
        facts=facts,
    )


def _each_class(report: Report) -> dict[str, str]:
    """The scores of every class in percent, in a line."""
    found = {}
    for entry in report.classes:
        scores = ", ".join(f"{name} {100 * value:.2f} %" for name, value in entry.values.items() if np.isfinite(value))
        threshold = report.thresholds.get(entry.name)
        found[entry.name] = (scores or "not in the labels") + ("" if threshold is None else f"; above {threshold:.4f}")
    return found


# --- Facts --------------------------------------------------------------------------------------------------------


def _facts(
    model: OpenModel, predictor: Predictor, report: Report, pixels: int, data: Mapping[str, str]
) -> dict[str, dict[str, str]]:
    tasks = [one.task for one in (model, *model.others)]
    parameters = sum(parameter.numel() for task in tasks for parameter in task.parameters())
    found = {
        "Weights": {
            "file": ", ".join(map(str, model.files)),
            "SHA-256": ", ".join(digest for _, digest in model.digests),
            **({"together": f"the mean of the {model.mean} of {len(model.files)} models"} if model.others else {}),
            "parameters": f"{parameters:,}",
            "network": _network(model.spec.model),
            **({"trained for": f"{model.meta.step:,} steps"} if model.meta.step is not None else {}),
            **({"written by": f"Intarsia {model.meta.version}"} if model.meta.version else {}),
        },
        "Data": {**data, "images": f"{report.images:,}", "labelled pixels": f"{pixels:,}"},
        "Inference": _inference(model, predictor),
    }
    run = {} if model.others else _run(model.file.parent / "run.json")
    if run:
        found["Training"] = run
    system = environment.hardware()
    machine = {"system": str(system["system"]), "processor": str(system["processor"])}
    if system["accelerators"]:
        machine["accelerators"] = ", ".join(system["accelerators"])
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    found["Software and machine"] = {"made": made, **environment.versions(), **machine}
    return found


def _shown_scale(scale: float | ViewSize) -> str:
    return str(scale) if isinstance(scale, ViewSize) else f"{scale:g}"


def _inference(model: OpenModel, predictor: Predictor) -> dict[str, str]:
    spec, parameter = predictor.inference, next(iter(model.task.parameters()), None)
    found = {"images": "whole" if spec.mode == "whole" else f"sliding windows ({spec.mode})"}
    if spec.mode != "whole" and spec.crop_size is not None:
        apart = "evenly apart" if spec.stride is None else f"every {spec.stride[0]} x {spec.stride[1]}"
        found["windows"] = f"{spec.crop_size[0]} x {spec.crop_size[1]}, {apart}"
        found["overlaps"] = spec.blend
    if predictor.augmented is not None:
        views = predictor.augmented
        found["scales"] = ", ".join(map(_shown_scale, views.scales))
        if views.first is not None:
            found["scales"] += f", of images resized to {_shown_scale(views.first)}"
        found["flips"] = ", ".join(flip or "none" for flip in views.flips)
    if spec.thresholds is not None:
        found["thresholds"] = ", ".join(
            f"{name} {value:.4f}" for name, value in zip(predictor.classes, spec.thresholds, strict=True)
        )
    if spec.foreground_above is not None:
        found["threshold"] = f"{spec.foreground_above:.4f}"
    found["device"] = str(predictor.device)
    if parameter is not None:
        found["precision"] = str(AUTOCAST.get(model.precision) or parameter.dtype).removeprefix("torch.")
    return found


def _network(model: Component) -> str:
    """Its parts by name: "EncoderDecoder: ResNetV1c, FCNHead"."""
    parts = [value.type for value in model.args.values() if isinstance(value, Component)]
    return f"{model.type}: {', '.join(parts)}" if parts else model.type


def _run(file: Path) -> dict[str, str]:
    """What run.json beside the weights says of their training; nothing if there is none, or it cannot be read."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict):
        return {}
    found = {name: str(content[name]) for name in ("started", "steps", "batch", "epochs", "seed") if name in content}
    if isinstance(content.get("command"), list):
        found["command"] = " ".join(map(str, content["command"]))
    if isinstance(content.get("git"), dict):
        found["commit"] = str(content["git"].get("commit"))
    return found
